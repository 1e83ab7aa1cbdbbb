"""The page of what a GPU showed: from whole and partial results, with predicted beside measured."""

import json
from pathlib import Path
from typing import Any

import pytest

import benchmarks.gpu.__main__
from benchmarks.gpu.__main__ import is_whole, results_folder
from benchmarks.gpu.page import write_page
from benchmarks.gpu.promises import PROMISES
from benchmarks.gpu.table import MEMORY_CELLS
from tests.end_to_end import run


def part(name: str, **figures: Any) -> dict[str, Any]:
    return {"name": name, "status": "measured", "reason": None, "seconds": 1.0, "figures": figures}


def cell(name: str, *parts: dict[str, Any], status: str = "measured", reason: str | None = None) -> dict[str, Any]:
    told = {"name": name, "title": f"The {name}", "budget": 40, "seconds": 12.3, "status": status, "reason": reason}
    return told | {"parts": list(parts)}


def results(*cells: dict[str, Any]) -> dict[str, Any]:
    about = {"command": "python -m benchmarks.gpu", "device": "NVIDIA H200", "on_cpu": False, "date": "2027-01-31"}
    return about | {"seconds": 470, "cells": list(cells)}


def memory(off_by: float, cells: int = len(MEMORY_CELLS)) -> dict[str, Any]:
    sizes = {"predicted_bytes": round((1 + off_by) * 2**30), "measured_bytes": 2**30}
    one = {"batch_size": 8, "precision": "bf16", "off_by": off_by, **sizes}
    return cell("memory", *(part(f"cell {number}", **one) for number in range(cells)))


WHOLE = (
    cell("small", part("batch 64", utterances_per_second=900.0, data_wait_share=0.01, utilisation=0.3),
         part("batch 256", utterances_per_second=1200.0, data_wait_share=0.02)),
    cell("usual_recipe", part("batch 64", utterances_per_second=200.0)),
    cell("medium", part("equal lengths", utilisation=0.55), part("spread lengths", utilisation=0.6)),
    memory(-0.06),
)  # fmt: skip


def verdicts(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [one.row(found)[3:] for one in PROMISES]


def test_each_promise_is_reached_missed_or_not_measured() -> None:
    goal = "reached, and the goal"
    assert verdicts(results(*WHOLE)) == [
        ("6.0 %", "missed"),
        ("6.0", "reached"),
        ("55.0 %", goal),
        ("2.0 %", "reached"),
    ]
    assert verdicts(results(memory(0.04)))[0] == ("4.0 %", "reached")
    assert verdicts(results(WHOLE[0]))[1] == ("", "not measured"), "there is nothing to compare with"
    assert {verdict for _, verdict in verdicts(results())} == {"not measured"}
    assert {verdict for _, verdict in verdicts(results(*WHOLE) | {"on_cpu": True})} == {"not measured"}
    assert PROMISES[0].verdict(float("nan")) == "missed"


def test_nothing_is_reached_by_a_part_of_what_was_asked_for() -> None:
    """Cells that do not fit, that failed, or that were not reached before the end."""
    some = memory(0.04, 14)
    some["parts"].append({"name": "large", "status": "skipped", "reason": "it does not fit", "seconds": 1.0})
    assert verdicts(results(some))[0] == ("4.0 % (14 of 18 measured)", "not measured")
    assert verdicts(results(memory(-0.06, 1)))[0] == ("6.0 % (1 of 18 measured)", "missed")
    one_batch = cell("small", part("batch 64", utterances_per_second=900.0, data_wait_share=0.01))
    assert verdicts(results(one_batch))[3] == ("1.0 % (1 of 2 measured)", "not measured")


def test_the_page_has_what_was_measured_and_why_the_rest_was_not(tmp_path: Path) -> None:
    kernels = [{"kernel": "flash", "both_milliseconds": 1.25}, {"kernel": "cudnn", "refused": "no such <plan>"}]
    attention = cell(
        "attention",
        part("encoder", shape=[64, 12, 180, 64], kernels=kernels, nothing=None),
        {"name": "one query", "status": "failed", "reason": "RuntimeError: boom", "seconds": 0.1},
        status="killed",
        reason="ended by SIGSEGV",
    )
    attention["log"] = ["Traceback", "RuntimeError: <boom>"]
    dropped = cell("decoding", status="dropped", reason="no time was left of 470 s")
    write_page(results(attention, memory(0.021), dropped), tmp_path)
    page, summary = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    for text in (page, summary):
        assert "NVIDIA H200; 2027-01-31" in text and "python -m benchmarks.gpu" in text
        assert "ended by SIGSEGV" in text and "no time was left of 470 s" in text and "RuntimeError: boom" in text
        assert "1,046" in text and "1,024" in text and "+2.10 %" in text, "predicted beside measured"
        assert "1.25" in text and "not measured" in text
    assert "no such &lt;plan&gt;" in page and "RuntimeError: &lt;boom&gt;" in page
    assert not is_whole(results(attention)["cells"]) and is_whole(list(WHOLE))


def test_a_page_can_be_written_again(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(results(*WHOLE)))
    outcome = run(benchmarks.gpu.__main__.main, "--page", tmp_path)
    assert outcome.code == 0 and str(tmp_path / "report.html") in outcome.output
    assert "reached" in (tmp_path / "report.md").read_text()
    assert run(benchmarks.gpu.__main__.main, "--page", tmp_path / "none").code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cpu", "--only", "nothing"], "the cells are machine, attention"),
        (["--cpu", "--tokenizer", "nowhere"], "holds no tokenizer_config.json"),
        (["--cpu", "--only", "machine", "--output", __file__], "is a file"),
        (["--cpu", "--only", "machine", "--output", f"{__file__}/below"], "is a file"),
    ],
)
def test_a_wrong_option_is_refused(arguments: list[str], said: str) -> None:
    outcome = run(benchmarks.gpu.__main__.main, *arguments)
    assert outcome.code == 2 and said in outcome.complaint


@pytest.mark.parametrize("content", ["[]", "{}", '{"cells": 3}', '{"cells": [{}]}', "no JSON"])
def test_a_page_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "results.json").write_text(content)
    outcome = run(benchmarks.gpu.__main__.main, "--page", tmp_path)
    assert outcome.code == 2 and "--page" in outcome.complaint and "results.json" in outcome.complaint


def test_too_little_time_is_told_as_it_was_asked_for(tmp_path: Path) -> None:
    outcome = run(benchmarks.gpu.__main__.main, "--cpu", "--seconds", 1, "--only", "machine", "--output", tmp_path)
    assert outcome.code == 1 and "no time was left of 1 s" in outcome.output


def test_results_lie_under_the_name_of_the_device() -> None:
    assert str(results_folder("NVIDIA H200", "2027-01-31")) == "benchmarks/results/gpu/nvidia-h200-2027-01-31"
