"""The checkpoints that a suite measures: their names, which weights they are, and what they were trained in."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import DataError

from ..config_file import ConfigError, load_config

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
    from modeling.checkpoints import checkpoint_kind

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
        checkpoint_kind(one.path)
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


def trained_in(checkpoint: NamedCheckpoint) -> Any:
    """The noise section that a checkpoint's run was augmented from; None where there is no such run or noise."""
    if checkpoint.run_config is None:
        return None
    try:
        config = load_config(checkpoint.run_config)
    except ConfigError:
        return None  # of another version; it is not this suite's config
    augmentation = getattr(config.data, "augmentation", None)
    return None if augmentation is None else augmentation.noise


def overlap_with_training(checkpoint: NamedCheckpoint, noises: Any) -> tuple[list[str], str | None]:
    """Names of the suite's noises that a checkpoint was trained in, and why that cannot be told, if so."""
    from data.noise_clips import NoiseClips, overlapping

    section = trained_in(checkpoint)
    if section is None or not isinstance(noises, NoiseClips):
        return [], None
    try:
        return overlapping(noises, NoiseClips(section)), None
    except DataError as error:
        return [], f"whether it was trained in these noises cannot be told: {error}"
