"""A training run ends with what it reached, where the model lies, and commands that work when they are typed."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

import launch.eval
import launch.train
from tests.end_to_end import run
from trainer.config.reading import load_config
from trainer.record.closing_words import closing_words

SUMMARY: dict[str, Any] = {
    "word_error_rate": 0.1234,
    "character_error_rate": 0.0456,
    "best_step": 1000,
    "steps": 2000,
    "stopped_early": False,
    "seconds": 4000.0,
    "utterances_per_second": 12.34,
}


@pytest.fixture
def finished(tiny_values: dict[str, Any], tmp_path: Path) -> Any:
    """The words at the end of a run of 2,000 steps, by name."""

    def words(folders: tuple[str, ...], *overrides: str, **summary: Any) -> dict[str, str]:
        (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny_values))
        config = load_config(tmp_path / "tiny.yaml", ["training.steps=2000", *overrides])
        for name in folders:
            (tmp_path / "run" / name).mkdir(parents=True, exist_ok=True)
        text = closing_words(config, SUMMARY | summary, ["--config", "my config.yaml", "training.steps=2000"])
        return {line.split("  ")[0]: line.split("  ", 1)[1].strip() for line in text.splitlines()}

    return words


def test_a_run_that_came_to_its_end(finished: Any, tmp_path: Path) -> None:
    words = finished(("best", "final"))
    assert words["trained"] == "2,000 steps in 67 min, 12.3 utterances a second"
    assert words["best"] == "word error rate 12.34%, character error rate 4.56%, at step 1,000"
    assert words["model"] == str(tmp_path / "run" / "best")
    assert words["transcribe"] == f"python launch/transcribe.py --checkpoint {tmp_path / 'run' / 'best'} FILE"
    assert "go on" not in words


def test_a_run_that_was_stopped_says_how_to_go_on(finished: Any) -> None:
    words = finished((), steps=700, best_step=None, word_error_rate=None, character_error_rate=None)
    assert words["trained"].startswith("700 steps of 2,000 in ")
    assert words["best"] == "not known: nothing was evaluated"
    assert words["go on"] == "python launch/train.py --config 'my config.yaml' training.steps=2000 --resume"
    assert "model" not in words and "evaluate" not in words


def test_a_run_that_got_no_better_has_ended(finished: Any) -> None:
    words = finished(("best",), steps=1500, stopped_early=True)
    assert words["trained"].startswith("1,500 steps of at most 2,000, since evaluations got no better")
    assert "go on" not in words


def test_a_run_without_validation(finished: Any) -> None:
    words = finished(("final",), "data.validation=null", best_step=None)
    assert words["best"] == "not known: nothing was evaluated, as there is no data.validation"
    assert words["model"].endswith("final (the last step)")
    assert "evaluate" not in words and "transcribe" in words
    words = finished(("final",), "data.validation=null", "training.ema=0.9", best_step=None)
    assert words["model"].endswith("final (the average at the last step)")


def test_what_a_run_prints_can_be_typed(tiny_config: Path, tmp_path: Path) -> None:
    outcome = run(launch.train.main, "--config", tiny_config)
    assert outcome.code == 0
    last = outcome.output[outcome.output.index("\n\ntrained ") :]
    assert f"{tmp_path / 'run' / 'best'}\n" in last
    (line,) = (line for line in last.splitlines() if line.startswith("evaluate"))
    command = shlex.split(line.split("  ", 1)[1])
    assert command[:2] == ["python", "launch/eval.py"]
    assert run(launch.eval.main, *command[2:]).code == 0
