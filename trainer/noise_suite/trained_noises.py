"""Which of a suite's noises a checkpoint was trained in: by its run, and by the runs that this one began from."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.errors import DataError

from ..config.reading import ConfigError, load_config
from .checkpoints import NamedCheckpoint

MOST_RUNS = 5  # that are gone back


@dataclass
class Training:
    """What is known of a checkpoint's training.

    Attributes:
        noises: the sections of noise of its runs.
        unknown: why more cannot be told, if so.
    """

    noises: list[Any] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def training_of(checkpoint: NamedCheckpoint) -> Training:
    """Read from the configs of the checkpoint's run and those before it; hub names end the way back."""
    found = Training()
    current, seen = checkpoint, set()
    for _ in range(MOST_RUNS):
        path = current.run_config
        if path is None:
            if reason := no_run(current, current is checkpoint):
                found.unknown.append(reason)
            return found
        if path in seen:
            return found  # a run that goes on from its own weights
        seen.add(path)
        try:
            config = load_config(path)
        except ConfigError as error:  # of another version, perhaps
            found.unknown.append(str(error))
            return found
        augmentation = config.data.augmentation
        if augmentation is not None and augmentation.noise is not None and augmentation.noise_share:
            found.noises.append(augmentation.noise)
        if config.model.checkpoint is None:
            return found  # it began from nothing
        current = NamedCheckpoint(checkpoint.name, config.model.checkpoint)
    if current.run_config is not None and current.run_config not in seen:
        found.unknown.append(f"{current.path} is {MOST_RUNS} runs back, and further ones are not looked at")
    return found


def no_run(checkpoint: NamedCheckpoint, is_first: bool) -> str | None:
    """Why nothing is known of a checkpoint that lies in no run; None for a hub name, and for plain Whisper that a run
    began from, which somebody downloaded."""
    from modeling.checkpoint_files import DUAL, Checkpoint, CheckpointError, check_name

    if Path(checkpoint.path).is_dir():
        try:
            is_ours = is_first or Checkpoint(checkpoint.path).kind == DUAL
        except CheckpointError:
            is_ours = True
        return f"{checkpoint.path} does not lie in a run's folder, beside a config.yaml" if is_ours else None
    try:
        check_name(checkpoint.path)
    except CheckpointError:
        return f"{checkpoint.path}, which its run began from, is not there"
    return None


def overlap_with_training(checkpoint: NamedCheckpoint, noises: Any) -> tuple[list[str], list[str]]:
    """Names of the suite's noises that a checkpoint was trained in, and why that cannot be told, if so."""
    from data.augmentation.noise_clips import NoiseClips, overlapping

    if not isinstance(noises, NoiseClips):
        return [], []  # synthetic ones, or none
    training = training_of(checkpoint)
    found: set[str] = set()
    unknown = list(training.unknown)
    for section in training.noises:
        try:
            found.update(overlapping(noises, NoiseClips(section)))
        except DataError as error:
            unknown.append(str(error))
    return sorted(found), [f"whether it was trained in these noises cannot be told: {reason}" for reason in unknown]
