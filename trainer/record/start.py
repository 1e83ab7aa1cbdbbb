"""What the output folder holds before a run begins to write, and whether the run can begin or go on there."""

from dataclasses import dataclass, field
from pathlib import Path

from ..config.run import RunConfig
from .folder import changed_settings, check_output_dir
from .lock import holds_something
from .resuming import checkpoints_to_resume


@dataclass(frozen=True)
class Start:
    """What the output folder held before the run began to write.

    Attributes:
        was_empty: there was no run in it.
        checkpoints: those to go on from, newest first.
        lines: remarks for the user on checkpoints that cannot be used.
        changes: settings that have changed since the run began, a line each.
    """

    was_empty: bool
    checkpoints: list[Path] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)


def look_at_folder(config: RunConfig, resume: bool) -> Start:
    """Read what is in ``output_dir``; nothing is written.

    Raises:
        ConfigError, CheckpointError: if the run can neither begin nor go on there.
    """
    check_output_dir(config, resume)
    folder = Path(config.output_dir)
    if not holds_something(folder):
        return Start(True, lines=[f"--resume: there is no run in {folder} yet; it begins at step 0"] if resume else [])
    changes = changed_settings(config)
    return Start(False, *checkpoints_to_resume(folder), changes)
