"""The driver of cells on a GPU: what a crash, a hang and the deadline cost, and what is written when."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import cell_process, driver
from benchmarks.gpu.driver import environment, limits
from benchmarks.gpu.setting import Cell, Part, Setting, Skipped
from benchmarks.gpu.table import CELLS


def cells(*named: tuple[str, float]) -> list[Cell]:
    return [Cell(name, name, seconds) for name, seconds in named]


def is_running(process: int) -> bool:
    try:
        return "sleep" in Path(f"/proc/{process}/cmdline").read_text()
    except OSError:
        return False


def test_a_cell_costs_itself_alone_and_the_deadline_drops_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash, an error and a hang. What was measured before is kept, what a cell started is ended with it, and all is
    told as each ends; the hang has the rest of the time."""
    monkeypatch.setattr(driver, "LEAST_SECONDS", 0.2)
    kept: list[int] = []
    started = time.monotonic()
    found = driver.run_cells(
        cells(("crashes", 20), ("errs", 20), ("fine", 20), ("hangs", 500), ("late", 500)),
        Setting(str(tmp_path), on_cpu=True, seconds=0),
        seconds=5.0,
        keep=lambda found: kept.append(len(found)),
        module="tests.support.ending_cell",
    )
    assert time.monotonic() - started < 7
    crashed, erred, fine, hung, dropped = found
    assert (crashed["status"], crashed["reason"]) == ("killed", "ended by SIGABRT")
    assert (erred["status"], erred["reason"]) == ("failed", "ended with exit code 1")
    assert erred["log"][-1] == "ValueError: the last line" and len(erred["log"]) <= 12
    assert fine["status"] == "measured" and "log" not in fine
    assert hung["status"] == "killed" and hung["reason"].startswith("not done after")
    assert all(cell["parts"][0]["figures"]["answer"] == 42 for cell in found[:4])
    assert fine["parts"][0]["figures"]["offline"] == "1"
    assert (dropped["status"], dropped["reason"]) == ("dropped", "no time was left of 5 s") and not dropped["parts"]
    assert kept == [1, 2, 3, 4, 5]
    child = int((tmp_path / "child").read_text())
    while is_running(child) and time.monotonic() - started < 60:  # a busy machine takes a moment to end what was killed
        time.sleep(0.05)
    assert not is_running(child)


@pytest.mark.parametrize(
    ("number", "left", "limit"),
    [
        (0, 100.0, 40.0),  # its budget
        (0, 130.0, 60.0),  # and what the others can spare
        (1, 45.0, 45.0),  # the rest
        (1, 9.0, None),
        (2, 12.0, 12.0),
        (2, 25.0, 25.0),
    ],
)
def test_the_time_of_a_cell(number: int, left: float, limit: float | None) -> None:
    assert limits(cells(("a", 40), ("b", 50), ("c", 20)), number, left) == limit


def test_all_budgets_fit_the_deadline() -> None:
    assert sum(cell.seconds for cell in CELLS) <= 470 - 5
    assert [cell.name for cell in CELLS] == [
        "machine", "attention", "numerics", "small", "usual_recipe", "medium", "memory", "resuming", "decoding",
    ]  # fmt: skip
    folder = Path(cell_process.__file__).parent / "cells"
    assert all((folder / f"{cell.name}.py").exists() for cell in CELLS)


def test_a_fault_in_a_part_costs_that_part_alone(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    written: list[int] = []

    def part(name: str, error: Exception | None = None) -> Part:
        def measure() -> dict[str, Any]:
            written.append(len(json.loads(result.read_text())["parts"]))
            if error is not None:
                raise error
            return {"figure": 1.5}

        return Part(name, measure)

    errors = {"skipped": Skipped("no GPU"), "failed": ValueError("no\nsuch"), "memory": MemoryError("full")}
    cell_process.measure_parts("any", [part("first"), *(part(*one) for one in errors.items()), part("last")], result)
    found = {one["name"]: one for one in json.loads(result.read_text())["parts"]}
    assert written == [0, 1, 2, 3, 4], "the file has each part before the next begins"
    assert found["first"]["figures"] == found["last"]["figures"] == {"figure": 1.5}
    assert (found["skipped"]["status"], found["skipped"]["reason"]) == ("skipped", "no GPU")
    assert (found["failed"]["status"], found["failed"]["reason"]) == ("failed", "ValueError: no such")
    assert found["memory"]["status"] == "out_of_memory"


@pytest.mark.parametrize(("on_cpu", "set_to", "visible"), [(True, "1", ""), (False, "2,3", "2"), (False, None, "0")])
def test_a_cell_sees_one_gpu_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_cpu: bool, set_to: str | None, visible: str
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if set_to is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", set_to)
    assert environment(Setting(str(tmp_path), on_cpu, 1.0))["CUDA_VISIBLE_DEVICES"] == visible
