"""Which of a suite's noises a checkpoint was trained with, in its run or in the runs that this one began from."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.errors import DataError

from ..config.reading import ConfigError, load_config
from .checkpoints import NamedCheckpoint

MOST_RUNS = 5  # how many runs are followed back


@dataclass
class Training:
    """What is known of a checkpoint's training.

    Attributes:
        noises: the noise sections of the runs' configs.
        unknown: why something cannot be known.
    """

    noises: list[Any] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def training_of(checkpoint: NamedCheckpoint) -> Training:
    """The training of a checkpoint, from the configs of its run and of those before it, back to a hub name."""
    found = Training()
    current, seen = checkpoint, set()
    for _ in range(MOST_RUNS):
        path = current.run_config
        if path is None:
            if reason := no_run(current, current is checkpoint):
                found.unknown.append(reason)
            return found
        if path in seen:
            return found  # a run that continues from its own weights
        seen.add(path)
        try:
            config = load_config(path)
        except ConfigError as error:  # of another version, perhaps
            found.unknown.append(str(error))
            return found
        augmentation = config.data.augmentation
        if augmentation is not None and augmentation.noise is not None and augmentation.noise_share:
            found.noises.append(augmentation.noise)
        windows = config.data.windows
        if windows is not None and windows.silence_sounds is not None:
            found.noises.append(windows.silence_sounds)
        if config.data.non_speech is not None and config.data.non_speech.sounds is not None:
            found.noises.append(config.data.non_speech.sounds)
        if config.model.checkpoint is None:
            return found  # it began from random weights
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
    """Names of the suite's noises that a checkpoint was trained with, and reasons why some may be missing."""
    from data.augmentation.noise_clips import NoiseClips, overlapping

    if not isinstance(noises, NoiseClips):
        return [], []  # synthetic noises, or none
    training = training_of(checkpoint)
    found: set[str] = set()
    unknown = list(training.unknown)
    for section in training.noises:
        try:
            found.update(overlapping(noises, NoiseClips(section)))
        except DataError as error:
            unknown.append(str(error))
    return sorted(found), [f"whether it was trained in these noises cannot be told: {reason}" for reason in unknown]
