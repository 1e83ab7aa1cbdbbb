"""The options' benchmark: names, both sides' fastest rounds and ratios, a side that fails; one small side measured."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.training import options as benchmark
from benchmarks.training.options import OPTIONS, PEAK, Option, as_lines, chosen, compare, main
from trainer.config.reading import ConfigError, load_config

OPTION = Option("some", ("a=1",), ("a=2",))


def side(seconds: float, peak: float) -> dict[str, Any]:
    return {"seconds": seconds, "processor_seconds": 2 * seconds, PEAK: peak}


def test_ratios_of_the_fastest_rounds() -> None:
    rounds = {("a=1",): [side(4, 100), side(6, 100), side(5, 100)], ("a=2",): [side(2, 50), side(2.5, 50), side(9, 50)]}
    row = compare(rounds, OPTION)
    assert (row["times_faster"], row["times_less_work"], row["times_smaller"]) == (2, 2, 2)
    assert row["with"]["seconds_of_rounds"] == [2, 2.5, 9]
    assert "| some | 4.00 → 2.00 | 2.00 |" in as_lines([row])[-1]


def test_a_side_that_failed_is_told_and_the_others_stand() -> None:
    rounds = {("a=1",): [side(4, 100)], ("a=2",): [{"failed": "error: killed"}]}
    assert "| some | error: killed |" in as_lines([compare(rounds, OPTION)])[-1]


def test_which_options() -> None:
    assert {option.name for option in chosen([], on_gpu=True)} == {option.name for option in OPTIONS}
    assert not any(option.on_gpu_only for option in chosen([], on_gpu=False))
    with pytest.raises(ConfigError, match="--only is 'speed'; the options are onednn, "):
        chosen(["speed"], on_gpu=True)
    with pytest.raises(ConfigError, match="only a CUDA GPU can measure"):
        chosen(["tf32"], on_gpu=False)


@pytest.mark.slow
def test_both_sides_in_processes_of_their_own(tiny_config: Path, tmp_path: Path, capfd: Any) -> None:
    output = tmp_path / "options.json"
    arguments = ["--config", str(tiny_config), "--only", "checkpointing_all", "--rounds", "1", "--steps", "1"]
    assert main([*arguments, "data.validation=null", "--output", str(output)]) == 0
    (row,) = json.loads(output.read_text())["options"]
    assert row["times_smaller"] > 1 and row["without"]["seconds"] > 0


def test_a_side_measures_what_it_is_asked(tiny_config: Path, tmp_path: Path) -> None:
    config = load_config(tiny_config, [f"output_dir={tmp_path / 'side'}", "data.validation=null"])
    figures = benchmark.measure_side(config, 1)
    assert set(figures) == {"seconds", "processor_seconds", PEAK} and min(figures.values()) > 0
