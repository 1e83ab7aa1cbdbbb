"""The arms of a plan, one after the other, each training and evaluation in a process of its own.

A plan that was killed goes on where it stood: finished arms are passed over, an unfinished one is resumed.
"""

import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from data.errors import nearest

from ..config.reading import ConfigError, dump_config, flatten, read_yaml
from ..engine.stopping import StopRequest
from ..record.best import BEST, read_record
from ..record.checkpoints import list_checkpoints
from ..record.lock import only_one
from .planning import PlannedArm
from .reading import CHECKPOINTS, Evaluation, Summary, read_predictions, stored

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
LAUNCHERS = ("accelerate", "torchrun", "deepspeed")
LAST_LINES = 5  # of a failed arm's log
GROUP_PATIENCE = 300.0  # seconds for the processes of a launcher to follow it


class Stopped(Exception):
    """Ctrl-C or SIGTERM; the child that was at work has ended."""


def run_plan(arms: Sequence[PlannedArm], output: Path, launcher: str | None = None) -> dict[str, str]:
    """Train and evaluate what is not yet; returns the arms that failed, and why.

    Args:
        launcher: what starts a command of launch/ instead of this Python, such as ``accelerate launch``.

    Raises:
        ConfigError: if another plan is at work in ``output``, or there is no such launcher.
        Stopped: if a stop was asked for.
    """
    start = [sys.executable] if launcher is None else launcher_words(launcher)
    failed: dict[str, str] = {}
    output.mkdir(parents=True, exist_ok=True)
    with StopRequest() as stop, only_one(output) as lock:
        for arm in arms:
            reason = run_arm(arm, output, start, stop, lock)
            if reason is not None:
                failed[arm.name] = reason
                print(f"arm {arm.name} failed: {reason}", file=sys.stderr, flush=True)
    return failed


def launcher_words(launcher: str) -> list[str]:
    """A launcher's command line in words.

    Raises:
        ConfigError: if a quote is not closed, or there is no such command.
    """
    try:
        words = shlex.split(launcher)
    except ValueError as error:
        raise ConfigError(f"--launcher is {launcher!r}: {str(error).lower()}") from None
    if not words or shutil.which(words[0]) is None:
        name = words[0] if words else ""
        raise ConfigError(f"--launcher is {launcher!r}, but there is no command {name!r}{nearest(name, LAUNCHERS)}")
    return words


def run_arm(arm: PlannedArm, output: Path, start: Sequence[str], stop: StopRequest, lock: int) -> str | None:
    """None, or why the arm has no result."""
    config = output / f"{arm.name}.yaml"
    checkpoint, place = evaluated(arm)
    if not arm.is_trained and not evaluated_alike(arm, config):
        (place / "evaluation.json").unlink(missing_ok=True)  # before the config that it was made by is lost
    config.write_text(dump_config(arm.config), encoding="utf-8")
    log = output / f"{arm.name}.log"
    if arm.is_trained and not is_finished(arm):
        clear_unfinished(arm)
        code = tell_and_run(f"{arm.name}: training", training_command(start, config), log, stop, lock)
        if code != 0 or not is_finished(arm):
            return f"training ended with exit code {code}; {last_lines(log)}"
    checkpoint, place = evaluated(arm)
    if not is_evaluated(place, checkpoint, arm.split):
        command = evaluation_command(start, config, checkpoint, arm.split, place)
        code = tell_and_run(f"{arm.name}: evaluating", command, log, stop, lock)
        if code != 0 or not is_evaluated(place, checkpoint, arm.split):
            return f"evaluation ended with exit code {code}; {last_lines(log)}"
    return None


def clear_unfinished(arm: PlannedArm) -> None:
    """Remove the best model of an arm that was killed before its first checkpoint: it begins again, and training would
    refuse to overwrite it. A later one stays, whose checkpoints were deleted: there training refuses, and says why."""
    if list_checkpoints(arm.folder / "checkpoints"):
        return
    record = read_record(arm.folder / BEST)
    if record is not None and record.step < arm.config.checkpoints.every_steps:
        shutil.rmtree(arm.folder / BEST)


def training_command(start: Sequence[str], config: Path) -> list[str]:
    return [*start, str(LAUNCH / "train.py"), "--config", str(config), "--resume"]


def evaluation_command(start: Sequence[str], config: Path, checkpoint: str, split: str, place: Path) -> list[str]:
    command = [*start, str(LAUNCH / "eval.py"), "--checkpoint", checkpoint, "--config", str(config)]
    return [*command, "--split", split, "--output", str(place)]


def evaluated(arm: PlannedArm) -> tuple[str, Path]:
    """The checkpoint that is evaluated, and where to."""
    if not arm.is_trained:
        return str(arm.config.model.checkpoint), arm.folder
    made = next((name for name in CHECKPOINTS if (arm.folder / name).is_dir()), CHECKPOINTS[-1])
    return str(arm.folder / made), arm.folder / "evaluations" / f"{made}_{arm.split}"


def is_finished(arm: PlannedArm) -> bool:
    """Whether training reached its end and left a model."""
    summary = arm.folder / "summary.json"
    if not summary.exists() or not (arm.folder / "final").is_dir():
        return False
    try:
        read = stored(Summary, summary)
    except ConfigError:  # cut off by a kill
        return False
    return read.stopped_early or read.steps >= arm.config.training.steps


def evaluated_alike(arm: PlannedArm, saved: Path) -> bool:
    """Whether the config that an arm had before says the same of how its unmodified checkpoint is evaluated."""
    sections = ("model.", "evaluation.", "data.language", "data.task", f"data.{arm.split}")
    try:
        old, new = flatten(read_yaml(saved)), flatten(yaml.safe_load(dump_config(arm.config)))
    except ConfigError:  # there is none, or a kill cut it off
        return False
    return all(old.get(key) == new.get(key) for key in old.keys() | new.keys() if key.startswith(sections))


def is_evaluated(place: Path, checkpoint: str, split: str) -> bool:
    """Whether there is a whole evaluation of the checkpoint on the split, not older than the checkpoint."""
    try:
        evaluation = stored(Evaluation, place / "evaluation.json")
        read_predictions(place, evaluation)
    except ConfigError:
        return False
    if Path(evaluation.checkpoint).resolve() != Path(checkpoint).resolve() or evaluation.split != split:
        return False
    written = max((path.stat().st_mtime for path in Path(checkpoint).glob("*.safetensors")), default=0.0)
    return (place / "evaluation.json").stat().st_mtime >= written


def tell_and_run(told: str, command: Sequence[str], log: Path, stop: StopRequest, lock: int) -> int:
    """Run a command, its output added to ``log``; a line before and after on the terminal.

    Raises:
        Stopped: if a stop was asked for.
    """
    if stop():
        raise Stopped
    print(f"{told} (output in {log})", flush=True)
    started = time.perf_counter()
    code = run_logged(command, log, stop, lock)
    if stop():
        raise Stopped
    print(f"{told}: {'done' if code == 0 else 'failed'} in {time.perf_counter() - started:.0f} s", flush=True)
    return code


def run_logged(command: Sequence[str], log: Path, stop: StopRequest, lock: int) -> int:
    """The exit code of a command in a session of its own; a stop is passed to all of its processes as one SIGTERM.

    A terminal's Ctrl-C would reach a child in our own session a second time, which ends a training unsaved.
    """
    with log.open("ab") as file:
        file.write(f"$ {shlex.join(command)}\n".encode())
        file.flush()
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},  # or what it says and complains of would be out of order
            start_new_session=True,
            pass_fds=(lock,),
            preexec_fn=END_WITH_PARENT,  # there are no threads that it could meet
        )
    is_told = False
    try:
        while child.poll() is None:
            if stop() and not is_told:
                is_told = True
                signal_group(child.pid, signal.SIGTERM)
            time.sleep(0.05)
        limit = time.monotonic() + GROUP_PATIENCE
        while signal_group(child.pid, 0) and time.monotonic() < limit:
            time.sleep(0.05)
    except KeyboardInterrupt:  # asked for twice
        signal_group(child.pid, signal.SIGKILL)
        child.wait()
        raise
    return child.returncode


def signal_group(group: int, number: int) -> bool:
    """Whether there was a process to get the signal."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def end_with_parent() -> None:
    """Let the kernel send SIGTERM to this child when the plan is killed, so that it does not train on unseen."""
    LIBC.prctl(1, signal.SIGTERM)


LIBC = ctypes.CDLL(None)  # loaded here: between fork and exec little may be done
END_WITH_PARENT = end_with_parent if sys.platform == "linux" else None


def last_lines(log: Path) -> str:
    """What a log ends with: its complaint, or where there is none its last lines in one."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    if lines and lines[-1].startswith("error: "):
        return f"{lines[-1].removeprefix('error: ')} ({log})"
    return f"{log} ends: {' / '.join(lines[-LAST_LINES:])}"
