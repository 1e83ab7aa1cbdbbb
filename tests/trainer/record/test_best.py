"""best/ knows what it is: its step and figure count on a resume, as long as the same is measured in the same way."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import launch.train
from tests.end_to_end import Outcome, run
from trainer.record.best import RECORD, BestRecord, read_record
from trainer.record.checkpoints import latest_checkpoint, read_state

Train = Callable[..., Outcome]
EACH = ("evaluation.every_steps=1", "checkpoints.every_steps=1", "checkpoints.keep=9", "optimizer.warmup_steps=0")
RATE = "optimizer.learning_rate=0.003"


@pytest.fixture
def train(tiny_config: Path) -> Train:
    """Trains the tiny model into ``run``, with overrides and flags."""
    return lambda *arguments: run(launch.train.main, "--config", tiny_config, *EACH, RATE, *arguments)


def record(folder: Path) -> BestRecord:
    found = read_record(folder / "best")
    assert found is not None
    return found


def rates(folder: Path, metric: str = "character_error_rate") -> dict[int, float]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row[metric] for row in rows if row["kind"] == "validation"}


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


CHARACTERS = "evaluation.best_metric=character_error_rate"


def test_best_says_what_it_is(train: Train, tmp_path: Path) -> None:
    train(CHARACTERS, "training.steps=4")
    folder = tmp_path / "run"
    found, measured = record(folder), rates(folder)
    assert (found.metric, found.value) == ("character_error_rate", min(measured.values()))
    assert found.step == min(measured, key=lambda step: (measured[step], step))
    assert found.word_error_rate == rates(folder, "word_error_rate")[found.step]
    assert found.measured["evaluation.beams"] == 1 and found.measured["data.language"] == "az"
    assert (found.utterances, found.skipped) == (11, 0)


def test_best_may_be_of_a_later_step_than_the_checkpoint_gone_on_from(train: Train, tmp_path: Path) -> None:
    """The later checkpoints are deleted, best/ is not: its own step and figure count, and the summary names them."""
    folder = tmp_path / "run"
    train(CHARACTERS, "training.steps=4")
    best = record(folder)
    assert best.step > 1, "else the test shows nothing"
    for path in (folder / "checkpoints").iterdir():
        if path.name != "step_00000001":
            shutil.rmtree(path)
    outcome = train("--resume", CHARACTERS, "training.steps=2", "optimizer.learning_rate=1e-9")
    assert outcome.code == 0, outcome.errors
    assert record(folder) == best
    told = summary(folder)
    assert (told["best_step"], told["character_error_rate"]) == (best.step, best.character_error_rate)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("evaluation.normalizer=none", "evaluation.normalizer was 'auto' and is 'none'"),
        ("evaluation.beams=2", "evaluation.beams was 1 and is 2"),
        ("evaluation.max_new_tokens=9", "evaluation.max_new_tokens was 8 and is 9"),
        ("evaluation.utterances=5", "evaluation.utterances was None and is 5"),
    ],
)
def test_what_was_measured_otherwise_counts_no_more(train: Train, tmp_path: Path, override: str, told: str) -> None:
    folder = tmp_path / "run"
    train("training.steps=2")
    before = record(folder)
    outcome = train("--resume", "training.steps=3", override)
    assert outcome.code == 0
    aside = folder / f"best_step_{before.step:08d}"
    (line,) = [line for line in outcome.output.splitlines() if "no longer counts" in line]
    assert told in line and str(aside) in line and f"step {before.step}, word error rate" in line
    assert read_record(aside) == before
    # Measured anew at the step that is gone on from, and chosen among what was measured alike.
    now = {step: rate for step, rate in rates(folder, "word_error_rate").items() if step >= 2}
    assert record(folder).value == min(now.values()) and record(folder).step >= 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows[:-3], "has other utterances (11 were decoded, now 8)"),
        (lambda rows: [row | {"text": "bir iki"} for row in rows], "has other transcripts"),
    ],
)
def test_other_validation_data_under_the_same_name(
    train: Train, corpus: Path, tmp_path: Path, change: Callable[[list[dict]], list[dict]], told: str
) -> None:
    rows = pq.read_table(next(corpus.glob("validation-*.parquet"))).to_pylist()
    path = tmp_path / "validation.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    options = (f"data.validation.files={path}",)
    train(*options, "training.steps=1")
    pq.write_table(pa.Table.from_pylist(change(rows)), path)
    outcome = train(*options, "--resume", "training.steps=2")
    assert outcome.code == 0, outcome.errors
    (line,) = [line for line in outcome.output.splitlines() if "no longer counts" in line]
    assert told in line
    assert record(tmp_path / "run").step == 2


def test_best_stays_where_nothing_is_measured_any_more(train: Train, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train("training.steps=2")
    before = record(folder)
    outcome = train("--resume", "training.steps=3", "data.validation=null")
    assert outcome.code == 0, outcome.errors
    assert "no longer counts" not in outcome.output
    assert record(folder) == before and summary(folder)["best_step"] == before.step


def test_a_best_that_is_gone_counts_no_more(train: Train, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train("training.steps=2")
    shutil.rmtree(folder / "best")
    outcome = train("--resume", "training.steps=3", "optimizer.learning_rate=1e-9")
    assert f"{folder / 'best'} is gone" in outcome.output
    assert record(folder).step == 2, "evaluated anew before training goes on"


def test_best_of_an_older_version_counts_as_the_checkpoint_says(train: Train, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train("training.steps=2")
    (folder / "best" / RECORD).unlink()
    saved = latest_checkpoint(folder)
    assert saved is not None
    before = read_state(saved)
    outcome = train("--resume", "training.steps=3", "optimizer.learning_rate=1e-9")
    assert "no longer counts" not in outcome.output
    assert summary(folder)["best_step"] == before.best_step
