"""The checkpoints that a suite measures: their names, and which weights they are."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from ..config.reading import ConfigError

WEIGHTS = ("*.safetensors", "*.json")  # of a checkpoint's folder, what decides what it says
NAME = re.compile(r"[\w+.-]+")


@dataclass(frozen=True)
class NamedCheckpoint:
    """A folder or hub name, and what tables and files call it."""

    name: str
    path: str

    @property
    def run_config(self) -> Path | None:
        """The config of the run that it lies in."""
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
    """Checkpoints as ``NAME=PATH`` or ``PATH``, or by their names; all are known to be checkpoints.

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
            default = short_name(str(path))
            name = default if short.count(default) == 1 else long_name(str(path))
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


def short_name(path: str) -> str:
    """The run's name for its best/ or final/, else the last part: ``medium`` for runs/medium/best."""
    parts = Path(path).resolve().parts if Path(path).is_dir() else Path(path).parts
    last = parts[-2] if len(parts) > 1 and parts[-1] in ("best", "final") else parts[-1] if parts else ""
    return re.sub(r"[^\w+.-]", "_", last)


def long_name(path: str) -> str:
    """The last two parts: ``medium_final``."""
    parts = Path(path).resolve().parts if Path(path).is_dir() else Path(path).parts
    return re.sub(r"[^\w+.-]", "_", "_".join(parts[-2:]))


def check_weights(checkpoint: NamedCheckpoint) -> None:
    """Whether a folder's weights are all there, by their headers, and its parts fit; of a hub name nothing is asked.

    Raises:
        CheckpointError: if a file is missing, damaged or cut short, or of another checkpoint.
    """
    from modeling.checkpoint_files import ADAPTER_WEIGHTS, Checkpoint, CheckpointError, damage_told, weight_files
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
        with damage_told(file), safe_open(str(file), "np") as opened:
            if not opened.keys():
                raise CheckpointError(f"{file} holds no tensor")
