"""The benchmark of augmentation: it runs, and measures every codec and kind of change that there is."""

import json
from pathlib import Path

import pytest

import benchmarks.input.augmentation
from data.augmentation.changes.channel import ENCODINGS
from tests.end_to_end import run


@pytest.mark.slow
def test_augmentation_figures(tmp_path: Path) -> None:
    output = tmp_path / "figures" / "augmentation.json"
    outcome = run(benchmarks.input.augmentation.main, "--quick", "--output", output)
    assert outcome.code == 0, outcome.errors
    figures = json.loads(output.read_text())
    assert figures["reading"] > 0 and {f"codec {name}" for name in ENCODINGS} < figures["added"].keys()
    assert figures["added"]["codec opus"] > figures["added"]["codec ulaw"]
    assert "| noise | " in output.with_suffix(".md").read_text()
