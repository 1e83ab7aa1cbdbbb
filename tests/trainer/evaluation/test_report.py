"""Where errors lie: breakdowns, confusions, the worst; and the files that hold it."""

import json
from pathlib import Path
from typing import Any

import pytest

from trainer.evaluation.breakdown import breakdowns, confusions, length_bin, worst
from trainer.evaluation.error_rates import Prediction, corpus_rates, score
from trainer.evaluation.normalizers import build_normalizer
from trainer.evaluation.report import print_evaluation, write_evaluation
from trainer.evaluation.result import Evaluation

SAID = [
    ("u1", "the dog ran", "the fog ran", 1.0, {"speaker": "10", "age": "9"}, "en"),
    ("u2", "a dog", "a fog", 2.0, {"speaker": "10", "age": "9"}, "en"),
    ("u3", "one cat", "one hat [on]", 4.9, {"speaker": "9", "age": ""}, "en"),
    ("u4", "yes", "yes", 25.0, {"speaker": "9", "age": "child"}, "en"),
]


def evaluation(said: list[Any] = SAID, **values: Any) -> Evaluation:
    predictions = [Prediction(i, one, other, lang, seconds, columns) for i, one, other, seconds, columns, lang in said]
    scored = score(predictions, lambda language: build_normalizer("basic", language))
    options = {"columns": ("speaker", "age"), "cluster": None, "skipped": [{"id": "u9", "reason": "no audio"}]} | values
    return Evaluation(
        utterances=scored,
        rates=corpus_rates(scored),
        normalizer="basic",
        beams=2,
        seconds=3.0,
        audio_seconds=32.9,
        real_time_factor=0.1,
        repeated=1,
        **options,
    )


def by_value(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {row["value"]: row for row in rows}


def test_rates_by_column_add_up() -> None:
    by = breakdowns(evaluation().utterances, ["speaker", "age"], None)
    assert list(by) == ["speaker", "age", "seconds"]
    assert [row["value"] for row in by["speaker"]] == ["9", "10"], "in the order of numbers"
    speakers = by_value(by["speaker"])
    assert (speakers["10"]["utterances"], speakers["10"]["words"]) == (2, 5)
    assert speakers["10"]["word_error_rate"] == pytest.approx(2 / 5)
    assert speakers["9"]["word_error_rate"] == pytest.approx(1 / 3)
    assert {row["value"] for row in by["age"]} == {"9", "", "child"}
    assert sum(row["words"] for row in by["age"]) == 8


def test_lengths() -> None:
    (first, *_), rows = (breakdowns(evaluation().utterances, [], None)["seconds"],) * 2
    assert first["value"] == "0-2"
    assert {row["value"]: row["utterances"] for row in rows} == {"0-2": 1, "2-5": 2, "20-": 1}
    assert [length_bin(seconds) for seconds in (0, 1.99, 2, 9.99, 10, 30)] == [
        "0-2",
        "0-2",
        "2-5",
        "5-10",
        "10-20",
        "20-",
    ]


def test_languages_are_told_apart_where_there_are_several() -> None:
    mixed = [*SAID, ("u5", "üç", "üç", 1.0, {"speaker": "9", "age": ""}, "az")]
    by = breakdowns(evaluation(mixed).utterances, [], None)
    assert [(row["value"], row["utterances"]) for row in by["language"]] == [("az", 1), ("en", 4)]


def test_a_speaker_among_speakers_has_an_interval_over_utterances() -> None:
    by = breakdowns(evaluation().utterances, ["speaker", "age"], "speaker")
    assert all(row["word_error_rate_interval"] is not None for row in by["speaker"])
    assert by_value(by["age"])["9"]["word_error_rate_interval"] is None, "one speaker alone is of that age"


def test_confusions_and_the_worst() -> None:
    scored = evaluation().utterances
    assert confusions(scored) == [("dog", "fog", 2), ("cat", "hat", 1)]
    assert worst(scored) == ["u2", "u3", "u1"]


def test_the_files(tmp_path: Path) -> None:
    found = evaluation(cluster="speaker")
    write_evaluation(tmp_path / "new" / "folder", "runs/x/best", "test", found)
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [
        "evaluation.json",
        "predictions.jsonl",
    ]
    figures = json.loads((tmp_path / "new" / "folder" / "evaluation.json").read_text("utf-8"))
    assert list(figures) == [
        "checkpoint", "split", "normalizer", "beams", "with_second_recording", "utterances", "words",
        "substitutions", "deletions", "insertions",
        "word_error_rate", "character_error_rate", "raw_word_error_rate", "raw_character_error_rate",
        "word_error_rate_interval", "character_error_rate_interval", "interval_units", "seconds", "audio_seconds",
        "real_time_factor", "by", "confusions", "worst", "skipped", "repeated",
    ]  # fmt: skip
    assert figures["interval_units"] == "speaker"
    assert figures["word_error_rate"] == pytest.approx(3 / 8)
    assert figures["skipped"] == [{"id": "u9", "reason": "no audio"}] and figures["repeated"] == 1
    low, high = figures["word_error_rate_interval"]
    assert low <= figures["word_error_rate"] <= high
    lines = (tmp_path / "new" / "folder" / "predictions.jsonl").read_text("utf-8").split("\n")
    rows = [json.loads(line) for line in lines[:-1]]
    assert [row["id"] for row in rows] == ["u1", "u2", "u3", "u4"]
    assert rows[0]["columns"] == {"speaker": "10", "age": "9"}


def test_what_is_printed_is_short(capsys: pytest.CaptureFixture[str]) -> None:
    worse = [(i, said, "fog", seconds, columns, lang) for i, said, _, seconds, columns, lang in SAID]
    print_evaluation("runs/[x]/best", evaluation(), evaluation(worse), folder=Path("somewhere"))
    shown = capsys.readouterr().out
    for part in (
        "runs/[x]/best",
        "plain Whisper",
        "37.50%",
        "basic",
        "normalizer: basic; intervals: 95 %, bootstrap over utterances",
        "dog → fog (2)",
    ):
        assert part in shown
    assert "word error rate less plain Whisper's: -62.50 points" in shown
    assert "word error rate by speaker: 10 40.0%, 9 33.3%" in shown
    assert "repeated ids, counted once: 1" in shown and "skipped: 1" in shown
    assert len(shown.splitlines()) < 25
    assert "second recording" not in shown, "the data have none"


def test_second_recordings_that_were_heard_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    print_evaluation("best", evaluation(with_second=3), evaluation())
    line = next(line for line in capsys.readouterr().out.splitlines() if "second recordings heard" in line)
    assert [cell.strip() for cell in line.split("│")[2:4]] == ["3", "0"]
