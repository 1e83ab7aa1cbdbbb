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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from data.errors import nearest

from ..config.reading import ConfigError, dump_config, flatten, read_yaml, settings_of
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


class Measurement(Protocol):
    """What is measured of an arm once it is trained."""

    def is_done(self, arm: PlannedArm) -> bool:
        """Whether the arm is passed over: it is trained and measured."""

    def prepare(self, arm: PlannedArm, config: Path) -> None:
        """What must happen while ``config`` still holds what the arm was run with before."""

    def measure(self, arm: PlannedArm, config: Path, runner: "Runner") -> str | None:
        """Measure what is not yet; None, or why there is no result."""


@dataclass(frozen=True)
class Runner:
    """Runs commands of launch/, their output in a log for each arm.

    Attributes:
        output: the folder of configs and logs.
        start: what starts a command: this Python, or a launcher.
        stop: asked several times a second whether the command is to end.
        lock: a descriptor that children inherit, so that the folder stays locked until the last of them has ended.
    """

    output: Path
    start: Sequence[str]
    stop: Callable[[], bool]
    lock: int

    def log(self, arm: str) -> Path:
        return self.output / f"{arm}.log"

    def run(self, arm: str, what: str, script: str, *arguments: str) -> str | None:
        """Run a script of launch/ and tell of it; None, or how it ended and what its log says.

        Raises:
            Stopped: if a stop was asked for.
        """
        log = self.log(arm)
        if self.stop():
            raise Stopped
        print(f"{arm}: {what} (output in {log})", flush=True)
        started = time.perf_counter()
        code = run_logged([*self.start, str(LAUNCH / script), *arguments], log, self.stop, self.lock)
        if self.stop():
            raise Stopped
        took = time.perf_counter() - started
        print(f"{arm}: {what}: {'done' if code == 0 else 'failed'} in {took:.0f} s", flush=True)
        return None if code == 0 else self.ended(arm, what, code)

    def ended(self, arm: str, what: str, code: int) -> str:
        return f"{what} ended with exit code {code}; {last_lines(self.log(arm))}"


def run_arms(
    arms: Sequence[PlannedArm],
    output: Path,
    measurement: Measurement,
    *,
    start: Sequence[str] = (sys.executable,),
    share: tuple[int, int] = (1, 1),
) -> dict[str, str]:
    """Train and measure what is not yet; returns the arms that failed, and why.

    Args:
        start: what starts a command of launch/.
        share: number of this queue, from 1, and of queues at work in ``output``; of 2, the first takes every other arm.

    Raises:
        ConfigError: if another such queue is at work in ``output``.
        Stopped: if a stop was asked for.
    """
    number, queues = share
    own = output if queues == 1 else output / f"queue_{number}_of_{queues}"
    failed: dict[str, str] = {}
    with StopRequest() as stop, only_one(own) as lock:
        runner = Runner(output, start, stop, lock)
        for arm in arms[number - 1 :: queues]:
            reason = None if measurement.is_done(arm) else run_arm(arm, measurement, runner)
            if reason is not None:
                failed[arm.name] = reason
                print(f"arm {arm.name} failed: {reason}", file=sys.stderr, flush=True)
    return failed


def run_arm(arm: PlannedArm, measurement: Measurement, runner: Runner) -> str | None:
    """None, or why the arm has no result."""
    config = runner.output / f"{arm.name}.yaml"
    measurement.prepare(arm, config)
    config.write_text(dump_config(arm.config), encoding="utf-8")
    if arm.is_trained and not is_finished(arm):
        clear_unfinished(arm)
        given = ("--config", str(config), "--resume")
        failed = runner.run(arm.name, "training", "train.py", *given)
        if failed is None and not is_finished(arm):
            failed = runner.ended(arm.name, "training", 0)
        if failed is not None:
            return failed
    return measurement.measure(arm, config, runner)


class SplitEvaluation:
    """An arm's best checkpoint evaluated on the split that the plan names."""

    def is_done(self, arm: PlannedArm) -> bool:
        return False  # looked at step by step: a config that changed must be written

    def prepare(self, arm: PlannedArm, config: Path) -> None:
        if not arm.is_trained and not evaluated_alike(arm, config):
            (evaluated(arm)[1] / "evaluation.json").unlink(missing_ok=True)

    def measure(self, arm: PlannedArm, config: Path, runner: Runner) -> str | None:
        checkpoint, place = evaluated(arm)
        if is_evaluated(place, checkpoint, arm.split):
            return None
        given = ("--checkpoint", checkpoint, "--config", str(config), "--split", arm.split, "--output", str(place))
        failed = runner.run(arm.name, "evaluating", "eval.py", *given)
        if failed is None and not is_evaluated(place, checkpoint, arm.split):
            failed = runner.ended(arm.name, "evaluating", 0)
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


def clear_unfinished(arm: PlannedArm) -> None:
    """Remove the best model of an arm that was killed before its first checkpoint: it begins again, and training would
    refuse to overwrite it. A later one stays, whose checkpoints were deleted: there training refuses, and says why."""
    if list_checkpoints(arm.folder / "checkpoints"):
        return
    record = read_record(arm.folder / BEST)
    if record is not None and record.step < arm.config.checkpoints.every_steps:
        shutil.rmtree(arm.folder / BEST)


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
        old, new = flatten(read_yaml(saved)), settings_of(arm.config)
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


def run_logged(command: Sequence[str], log: Path, stop: Callable[[], bool], lock: int) -> int:
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
