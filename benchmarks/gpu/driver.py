"""Runs cells in order, each in a process of its own with a time limit, until a deadline; it knows no cell.

A crash, a hang or a lack of memory costs that cell alone. What a cell is, :mod:`.setting` says.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.outcomes import DROPPED, FAILED, KILLED, MEASURED, read_result, signal_name
from benchmarks.written import write_whole

from .setting import Cell, Setting

LEAST_SECONDS = 10.0  # with less left, a cell is not started
SECONDS_TO_DIE = 2.0
LAST_LINES = 12  # of a log, kept where a cell failed
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
QUIET = {"TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error", "DS_BUILD_OPS": "0"}
MODULE = "benchmarks.gpu.cell_process"


def limits(cells: Sequence[Cell], number: int, left: float) -> float | None:
    """Seconds for a cell: its budget, and what the cells after it can spare, or the rest. None to drop it.

    Args:
        left: seconds until the deadline.
    """
    later = sum(cell.seconds for cell in cells[number + 1 :])
    limit = min(left, max(cells[number].seconds, left - later))
    return limit if limit >= min(LEAST_SECONDS, cells[number].seconds) else None


def run_cells(
    cells: Sequence[Cell],
    setting: Setting,
    seconds: float,
    keep: Callable[[list[dict[str, Any]]], None],
    module: str = MODULE,
    *,
    gone: float = 0.0,
) -> list[dict[str, Any]]:
    """All cells' outcomes, in order; those for which no time is left are dropped, from the end.

    Args:
        seconds: that all may take.
        keep: called after each cell with all outcomes so far.
        module: what a cell's process runs: ``python -m MODULE NAME SETTING RESULT``.
        gone: seconds of them that are past already, or must be left at the end.
    """
    deadline = time.monotonic() + seconds - gone
    found: list[dict[str, Any]] = []
    for number, cell in enumerate(cells):
        limit = limits(cells, number, deadline - time.monotonic())
        outcome: dict[str, Any] = {"name": cell.name, "title": cell.title, "budget": cell.seconds}
        if limit is None:
            reason = f"no time was left of {seconds:g} s"
            outcome |= {"status": DROPPED, "reason": reason, "seconds": 0.0, "parts": []}
        else:
            outcome |= run_cell(cell, replace(setting, seconds=limit), module)
        found.append(outcome)
        keep(found)
    return found


def run_cell(cell: Cell, setting: Setting, module: str) -> dict[str, Any]:
    """One cell's status, reason, seconds and parts; returns within the setting's seconds, whatever its process does."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cell-") as folder:
        place = Path(folder)
        setting.write(place / "setting.json")
        result = place / "result.json"
        command = [sys.executable, "-m", module, cell.name, str(place / "setting.json"), str(result)]
        with (place / "log").open("w") as log:
            # A session of its own, so that what it starts can be ended with it.
            process = subprocess.Popen(
                command, env=environment(setting), stdout=log, stderr=log, start_new_session=True
            )
            try:
                code: int | None = process.wait(setting.seconds)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                with suppress(subprocess.TimeoutExpired):  # a process can hang in a driver, where no signal reaches it
                    process.wait(SECONDS_TO_DIE)
        said = (place / "log").read_text(encoding="utf-8", errors="replace").splitlines()
        parts = read_result(result).get("parts", [])
    status, reason = outcome_of(code, setting.seconds)
    outcome: dict[str, Any] = {"status": status, "reason": reason, "parts": parts}
    if status != MEASURED or any(part["status"] == FAILED for part in parts):
        outcome["log"] = said[-LAST_LINES:]
    return outcome | {"seconds": round(time.monotonic() - started, 1)}


def outcome_of(code: int | None, limit: float) -> tuple[str, str | None]:
    """Status and reason of a cell by its process's exit code, None where it was ended after ``limit`` seconds."""
    if code is None:
        return KILLED, f"not done after {limit:.0f} s, and ended"
    name = signal_name(code)
    if name:
        return KILLED, f"ended by {name}"
    return (FAILED, f"ended with exit code {code}") if code else (MEASURED, None)


def environment(setting: Setting) -> dict[str, str]:
    """A cell's: nothing is fetched; one GPU or none, and few threads, since many processes run at once."""
    values = dict(os.environ) | OFFLINE | QUIET
    values.setdefault("OMP_NUM_THREADS", setting.size("4", "1"))
    root = str(Path(__file__).parents[2])
    values["PYTHONPATH"] = os.pathsep.join(filter(None, (root, values.get("PYTHONPATH"))))
    first = (values.get("CUDA_VISIBLE_DEVICES") or "0").split(",")[0]  # transformers' trainer would take them all
    values["CUDA_VISIBLE_DEVICES"] = "" if setting.on_cpu else first
    return values


def save(path: Path, about: dict[str, Any], cells: list[dict[str, Any]]) -> None:
    """Everything so far as JSON; the file is whole at any time."""
    write_whole(path, about | {"cells": cells})
