"""The cells of the cost of growth: from a middle one thing grows at a time."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.memory.jobs import Job
from benchmarks.training import growth
from trainer.config.reading import load_config


def test_one_thing_grows_at_a_time() -> None:
    every = list(growth.jobs(3))
    middle = Job(growth.config_of(growth.CHECKPOINT), 2, 5.0, 32, warmup=1, steps=3, threads=1, on_cpu=True)
    named = {"batch_size": "batch_size", "seconds": "seconds", "model": "config", "processes": "processes"}
    assert {what for what, _ in every} == named.keys()
    for what, job in every:
        assert replace(job, **{named[what]: getattr(middle, named[what])}) == middle
    for what in named:
        assert (what, middle) in every, "the middle is one of each"
        assert len([job for name, job in every if name == what]) >= 2


@pytest.mark.slow
def test_cells_are_measured_once_and_told_apart(tiny_config: Path, tmp_path: Path) -> None:
    """The middle grows in two ways, and all are in the file."""
    values = load_config(tiny_config).model_dump(mode="json")
    job = Job(values, batch_size=1, seconds=1.0, tokens=8, warmup=0, steps=1, threads=1, on_cpu=True)
    path = tmp_path / "growth.json"
    every = [("batch_size", job), ("batch_size", replace(job, batch_size=2)), ("seconds", job)]
    found = growth.measure(every, 120, "typed", path)
    assert json.loads(path.read_text()) == found
    assert [cell["grows"] for cell in found["cells"]] == [["batch_size", "seconds"], ["batch_size"]]
    assert [cell["status"] for cell in found["cells"]] == ["measured", "measured"]
    row = growth.table_row(found["cells"][0])
    assert row.startswith("| batch size, seconds | own shape | 1 s | 1 | 1 | ")
    assert row.count("|") == growth.HEAD.splitlines()[0].count("|")
    assert float(row.split("|")[6].split()[0]) == pytest.approx(found["cells"][0]["step_seconds"][0], abs=0.006)
