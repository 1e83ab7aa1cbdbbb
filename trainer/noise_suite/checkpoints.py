"""The checkpoints that a suite measures: their names, and which weights they are."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from ..config.reading import ConfigError

WEIGHTS = ("*.safetensors", "*.json")  # files of a checkpoint that its output depends on
NAME = re.compile(r"[\w+.-]+")


@dataclass(frozen=True)
class NamedCheckpoint:
    """A folder or hub name, and what tables and files call it."""

    name: str
    path: str

    @property
    def run_config(self) -> Path | None:
        """The config of the run that the folder lies in; None for others."""
        path = Path(self.path).resolve().parent / "config.yaml"
        return path if Path(self.path).is_dir() and path.exists() else None

    def identity(self) -> str:
        """A digest of the folder's weights and configs, or the hub's name."""
        folder = Path(self.path)
        if not folder.is_dir():
            return f"hub:{self.path}"
        digest = hashlib.blake2b(digest_size=16)
        for path in sorted({path for pattern in WEIGHTS for path in folder.glob(pattern)}):
            with path.open("rb") as file:
                digest.update(path.name.encode() + hashlib.file_digest(file, "blake2b").digest())
        return digest.hexdigest()


def named_checkpoints(given: Sequence[str | Path] | Mapping[str, str | Path]) -> list[NamedCheckpoint]:
    """Checkpoints as ``NAME=PATH`` or ``PATH``, or by their names; each is checked to be a checkpoint.

    Raises:
        ConfigError: if there is none, a name cannot name a folder, or two have the same.
        CheckpointError: if one is missing, damaged or no Whisper.
    """
    from modeling.checkpoint_files import Checkpoint

    pairs = list(given.items()) if isinstance(given, Mapping) else [split_name(str(one)) for one in given]
    if not pairs:
        raise ConfigError("no checkpoint is given: name a folder such as runs/medium/best, or several")
    found = []
    short = [short_name(str(path)) for name, path in pairs if name is None]
    for name, path in pairs:
        if name is None:
            name = short_name(str(path))
            name = name if short.count(name) == 1 else short_name(str(path), 2)
        if not NAME.fullmatch(name) or not name.strip("."):
            raise ConfigError(f"checkpoint {name!r}: a name is made of letters, digits, and _ . + -; it names a folder")
        found.append(NamedCheckpoint(name, str(path)))
    names = [one.name for one in found]
    for one in found:
        if names.count(one.name) > 1:
            raise ConfigError(f"two checkpoints are called {one.name!r}: give another name, as in NAME={one.path}")
        Checkpoint(one.path).kind  # noqa: B018 - raises for what is no checkpoint
    return found


def split_name(text: str) -> tuple[str | None, str]:
    name, equals, path = text.partition("=")
    return (name, path) if equals and not Path(text).exists() else (None, text)


def short_name(path: str, parts: int = 1) -> str:
    """The last parts of a path; of one alone, the run's for its best/ or final/: ``medium`` for runs/medium/best."""
    whole = Path(path).resolve().parts if Path(path).is_dir() else Path(path).parts
    if parts == 1 and len(whole) > 1 and whole[-1] in ("best", "final"):
        whole = whole[:-1]
    return re.sub(r"[^\w+.-]", "_", "_".join(whole[-parts:]))


def check_weights(checkpoint: NamedCheckpoint) -> None:
    """Check by their headers that a folder has all its weights, and that its parts fit. Hub names are not checked.

    Raises:
        CheckpointError: if a file is missing, damaged or cut short, or of another checkpoint.
    """
    from modeling.checkpoint_files import ADAPTER_WEIGHTS, Checkpoint, CheckpointError, explain_damage, weight_files
    from modeling.checkpoint_parts import check_stored_parts

    folder, looked_at = Path(checkpoint.path), Checkpoint(checkpoint.path)
    if not folder.is_dir():
        return
    check_stored_parts(looked_at)
    if looked_at.is_adapter:
        files = [folder / ADAPTER_WEIGHTS]
        check_weights(NamedCheckpoint(checkpoint.name, looked_at.base.name))
    else:
        files = weight_files(folder)
    for file in files:
        if not file.is_file():
            raise CheckpointError(f"{file} is missing")
        with explain_damage(file), safe_open(str(file), "np") as opened:
            if not opened.keys():
                raise CheckpointError(f"{file} holds no tensor")
