"""What a run finds in its output folder: whether it can begin or go on there, and from which checkpoint.

A run goes on from the newest checkpoint that is whole. The others are reported.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modeling.checkpoint_files import CheckpointError

from ..config.reading import ConfigError, read_yaml
from ..config.run import RunConfig
from ..engine.accelerator import bare_model, gather_objects
from .best import BEST, read_record
from .checkpoints import latest_checkpoint, list_checkpoints, read_state
from .durable import Damage, damage_of, digest_damage, files_below, listed_files
from .folder import changed_settings, check_output_dir
from .lock import holds_something

KEPT = (BEST, "final")


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

    Raises ConfigError or CheckpointError if the run can neither begin nor go on there.
    """
    check_output_dir(config, resume)
    folder = Path(config.output_dir)
    if not holds_something(folder):
        return Start(True, lines=[f"--resume: there is no run in {folder} yet; it begins at step 0"] if resume else [])
    changes = changed_settings(config)
    return Start(False, *checkpoints_to_resume(folder), changes)


def value_before(config: RunConfig, section: str, key: str) -> Any:
    """A value in the config of the run in ``output_dir``; None where there is none."""
    try:
        return read_yaml(Path(config.output_dir) / "config.yaml")[section][key]
    except (ConfigError, KeyError, TypeError):  # said when the run is looked at
        return None


def found_before(config: RunConfig, processes: int) -> int | None:
    """The microbatch that the run in ``output_dir`` has; None where it has none, or had another number of processes."""
    found = value_before(config, "training", "batch_size")
    try:
        last = latest_checkpoint(Path(config.output_dir))
        if last is not None and read_state(last).processes != processes:
            return None
    except CheckpointError:  # said when the run is looked at
        return None
    return found if isinstance(found, int) else None


def checkpoints_to_resume(folder: Path) -> tuple[list[Path], list[str]]:
    """A run's checkpoints that are whole by their files' names and sizes, newest first, and lines on the others.

    A run that ended before its first checkpoint has none, which is no error.

    Raises:
        CheckpointError: if there are checkpoints, and none of them is whole.
        ConfigError: if there is none, but a ``best/`` or ``final/`` that the run would overwrite.
    """
    there = list_checkpoints(folder / "checkpoints")
    if not there:
        refuse_to_overwrite(folder)
        return [], [f"--resume: there is no checkpoint in {folder / 'checkpoints'} yet; the run begins at step 0"]
    whole, lines = [], []
    for path in reversed(there):
        damage = plain_damage(path)
        if damage is None:
            whole.append(path)
        else:
            lines.append(damaged_line(path, damage))
    if not whole:
        raise CheckpointError(none_left(folder, lines))
    return whole, lines


def refuse_to_overwrite(folder: Path) -> None:
    """Raises: ConfigError: if a run without checkpoints has a ``best/`` or ``final/``."""
    kept = [folder / name for name in KEPT if (folder / name).is_dir()]
    if not kept:
        return
    records = [(path, read_record(path)) for path in kept]
    told = " and ".join(f"{path} ({record.described()})" if record else str(path) for path, record in records)
    them = "it away; it" if len(kept) == 1 else "them away; each"
    raise ConfigError(
        f"{folder} has no checkpoint to resume from, but holds {told}, which a run from the beginning would overwrite: "
        f"choose another output_dir, or move {them} can be model.checkpoint of a new run"
    )


def plain_damage(path: Path) -> Damage | str | None:
    """What is wrong with a checkpoint, without reading all of it; None if nothing is found."""
    try:
        read_state(path)
    except CheckpointError as error:
        return str(error)
    if (damage := damage_of(path)) is not None:
        return damage
    if not listed_files(path):  # an older version's
        empty = [name for name, file in files_below(path) if file.stat().st_size == 0]
        return Damage(empty[0], "is empty") if empty else None
    return None


def whole_checkpoint(accelerator: Any, folder: Path, candidates: list[Path]) -> tuple[Path | None, list[str]]:
    """The first candidate whose files hold what was written, and lines on damaged ones; all ranks call it.

    The ranks share the reading. Rank 0's candidates count.

    Raises:
        CheckpointError: on every rank, if there are candidates and none is whole.
    """
    candidates = gather_objects(accelerator, candidates)[0]
    rank, ranks = accelerator.process_index, accelerator.num_processes
    lines: list[str] = []
    for path in candidates:
        try:
            found: Damage | str | None = digest_damage(path, rank, ranks)
        except OSError as error:
            found = f"{error.filename}: {error.strerror}"
        damage = next(filter(None, gather_objects(accelerator, found)), None)
        if damage is None:
            if not listed_files(path):
                lines.append(f"{path} was written by an older version, without a manifest: it cannot be checked")
            return path, lines
        lines.append(damaged_line(path, damage))
    if candidates:
        raise CheckpointError(none_left(folder, lines))
    return None, lines


def damaged_line(path: Path, damage: Damage | str) -> str:
    return f"{path} is damaged and passed over: {damage}"


def none_left(folder: Path, lines: list[str]) -> str:
    best = folder / BEST
    remedy = f"{best} can be model.checkpoint of a new run" if best.is_dir() else "begin in another output_dir"
    return f"no checkpoint in {folder / 'checkpoints'} is whole ({'; '.join(lines)}); {remedy}"


def check_base(model: Any, blueprint: Path) -> None:
    """Refuse to go on with an adapter whose base is not what it was: its checkpoints hold no weight of it."""
    from modeling.checkpoint_files import Checkpoint

    before, now = Checkpoint(str(blueprint)).recorded_base, getattr(bare_model(model), "adapter_base", None)
    if before is not None and now is not None and before.fingerprint != now.fingerprint:
        raise ConfigError(
            f"model.checkpoint is {now.checkpoint!r}, whose weights are not those that the run was begun with: the "
            "adapter fits those alone"
        )
