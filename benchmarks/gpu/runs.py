"""Whole runs by the project's own command, each in a process of its own: started, stopped in the middle, resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from trainer.config.reading import merge, nested

from .setting import Setting
from .stand_ins import NOTHING, run_values

LAUNCHER = Path(__file__).parents[2] / "launch" / "train.py"
POLL = 0.02  # seconds


def run_config(setting: Setting, folder: Path, steps: int, settings: Any = NOTHING) -> Path:
    """The file of a short run's config, whose folder is ``folder``; every step is logged.

    Args:
        settings: by dotted keys, over the others.
    """
    values: dict[str, Any] = {
        "output_dir": str(folder),
        "data": {"workers": 1, "shuffle_window": 50},
        "training": {"steps": steps, "batch_size": setting.size(8, 2)},
        "optimizer": {"learning_rate": 1e-4},
        "checkpoints": {"every_steps": 10**6},
        "logging": {"every_steps": 1, "record_batches": True},
    }
    path = folder.with_suffix(".yaml")
    whole = merge(merge(run_values(setting, "tiny"), values), nested(settings))
    path.write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
    return path


class Run:
    """A run that was started."""

    def __init__(self, config: Path, resume: bool = False) -> None:
        self.folder = config.with_suffix("")
        self.log = config.with_suffix(f".{'resumed' if resume else 'begun'}.log")
        command = [sys.executable, str(LAUNCHER), "--config", str(config), *(["--resume"] if resume else [])]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=dict(os.environ))

    def finish(self) -> None:
        """Wait for the end.

        Raises:
            RuntimeError: if it ended badly; with the last line of its log.
        """
        code = self.process.wait()
        if code:
            said = [line for line in self.log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
            raise RuntimeError(f"{self.folder.name} ended with exit code {code}: {(said or [''])[-1]}")

    def stop_after(self, steps: int) -> int:
        """Ask it to stop as soon as so many steps are logged, and wait; returns the step that it stopped at.

        Raises:
            RuntimeError: if it ended badly, or all steps were done before.
        """
        while len(losses(self.folder)) < steps and self.process.poll() is None:
            time.sleep(POLL)
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        self.finish()
        if (self.folder / "final").exists():
            raise RuntimeError(f"{self.folder.name} was done before it could be stopped")
        return len(losses(self.folder))


def logged(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file that a run writes; none where there is no file yet."""
    rows = []
    with suppress(FileNotFoundError):
        for line in path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                rows.append(json.loads(line))
    return rows


def losses(folder: Path) -> list[float]:
    """The loss of each step that a run has logged."""
    return [row["loss"] for row in logged(folder / "metrics.jsonl") if row["kind"] == "train"]


def batches(folder: Path) -> list[Any]:
    """What the first process trained on, step by step."""
    return [row["ids"] for row in logged(folder / "batches_rank0.jsonl")]


def furthest(ones: list[float], others: list[float]) -> float:
    """The largest difference of two lists of losses, as a share of the first; infinite where one is longer."""
    if len(ones) != len(others):
        return float("inf")
    return max((abs(one - other) / max(abs(one), 1e-12) for one, other in zip(ones, others, strict=True)), default=0.0)
