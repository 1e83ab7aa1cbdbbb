"""launch/eval.py on tiny checkpoints: what it writes and where, beams, columns, the baseline, and bad input."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jiwer
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import launch.eval
from tests.end_to_end import Outcome, run
from tests.support.untrained import save_checkpoint
from trainer.evaluation.result import Share, real_time_factor

pytestmark = pytest.mark.usefixtures("exact_attention")

Evaluate = Callable[..., Outcome]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``plain`` and ``dual``, neither of them of a run."""
    folder = tmp_path_factory.mktemp("models")
    save_checkpoint(folder / "plain", ("az", "en"), padding=None)
    save_checkpoint(folder / "dual", ("az", "en"))
    return folder


@pytest.fixture
def evaluate(models: Path, tiny_values: dict[str, Any], tmp_path: Path) -> Evaluate:
    """Evaluates ``run/best``, or what else --checkpoint says, of a run that began from plain Whisper."""
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    shutil.copytree(models / "dual", run_folder / "best")
    tiny_values["model"] = {"checkpoint": str(models / "plain")}
    tiny_values["data"]["test"] = tiny_values["data"]["validation"]
    (run_folder / "config.yaml").write_text(yaml.safe_dump(tiny_values), encoding="utf-8")
    config = tmp_path / "other.yaml"
    config.write_text(yaml.safe_dump(tiny_values), encoding="utf-8")

    def call(*arguments: object, checkpoint: object = run_folder / "best") -> Outcome:
        return run(launch.eval.main, "--checkpoint", checkpoint, "--config", config, *arguments)

    return call


def read(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """evaluation.json and predictions.jsonl."""
    lines = (folder / "predictions.jsonl").read_text("utf-8").split("\n")[:-1]
    return json.loads((folder / "evaluation.json").read_text("utf-8")), [json.loads(line) for line in lines]


def test_the_written_texts_give_the_written_rates(evaluate: Evaluate, tmp_path: Path) -> None:
    outcome = evaluate("--output", tmp_path / "out", "evaluation.columns=[speaker]", "evaluation.cluster=speaker")
    assert outcome.code == 0, outcome.errors
    figures, rows = read(tmp_path / "out")
    assert len(rows) == figures["utterances"] == 11
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    for kind, prefix in (("normalized_", ""), ("", "raw_")):
        texts = [[row[f"{kind}{side}"] for row in rows] for side in ("reference", "hypothesis")]
        assert figures[f"{prefix}word_error_rate"] == jiwer.wer(*texts)
        assert figures[f"{prefix}character_error_rate"] == jiwer.cer(*texts)
    assert {row["value"] for row in figures["by"]["speaker"]} == {row["columns"]["speaker"] for row in rows}
    assert sum(row["words"] for row in figures["by"]["speaker"]) == figures["words"]
    assert (figures["normalizer"], figures["beams"], figures["interval_units"]) == ("basic", 1, "speaker")
    assert {row["language"] for row in rows} == {"az"}
    assert sum(row["seconds"] for row in rows) == pytest.approx(figures["audio_seconds"])
    assert (
        "normalizer: basic; intervals: 95 %, bootstrap over speaker" in outcome.output
        and str(tmp_path / "out") in outcome.output
    )


def test_without_output_it_is_written_into_the_run(evaluate: Evaluate, tmp_path: Path) -> None:
    assert evaluate().code == 0
    assert evaluate("--split", "validation").code == 0
    folder = tmp_path / "run" / "evaluations"
    assert sorted(path.name for path in folder.iterdir()) == ["best_test", "best_validation"]
    assert read(folder / "best_test")[0]["split"] == "test"


def test_a_checkpoint_of_no_run_is_only_printed(evaluate: Evaluate, models: Path, tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*")) | set(models.rglob("*"))
    outcome = evaluate(checkpoint=models / "dual")
    assert outcome.code == 0
    assert "written" not in outcome.output
    assert set(tmp_path.rglob("*")) | set(models.rglob("*")) == before


def test_batches_do_not_change_what_is_heard(evaluate: Evaluate, tmp_path: Path) -> None:
    for size in (1, 4, 11):
        evaluate("--output", tmp_path / str(size), f"evaluation.batch_size={size}")
    one, four, eleven = (read(tmp_path / str(size))[1] for size in (1, 4, 11))
    assert one == four == eleven


def test_beams(evaluate: Evaluate, tmp_path: Path) -> None:
    for beams in (1, 3):
        assert evaluate("--output", tmp_path / str(beams), f"evaluation.beams={beams}").code == 0
    (greedy, greedy_rows), (beam, beam_rows) = (read(tmp_path / str(beams)) for beams in (1, 3))
    assert (greedy["beams"], beam["beams"]) == (1, 3)
    assert [row["hypothesis"] for row in greedy_rows] != [row["hypothesis"] for row in beam_rows]


def test_each_row_has_the_normalizer_of_its_language(evaluate: Evaluate, corpus: Path, tmp_path: Path) -> None:
    rows = pq.read_table(next(corpus.glob("validation-*.parquet"))).to_pylist()
    texts = {0: ("en", "Two COLOURS, don't"), 1: ("az", "SIFIR")}
    mixed = [row | dict(zip(("language", "text"), texts[n], strict=True)) for n, row in enumerate(rows[:2])]
    pq.write_table(pa.Table.from_pylist([*mixed, rows[2] | {"language": "de"}]), tmp_path / "mixed.parquet")
    source = f"{{files: {tmp_path / 'mixed.parquet'}, columns: {{id: id, language: language}}}}"
    assert evaluate(f"data.test={source}", "--output", tmp_path / "out").code == 0
    figures, found = read(tmp_path / "out")
    by_id = {row["id"]: row for row in found}
    assert by_id[rows[0]["id"]]["normalized_reference"] == "2 colors do not"
    assert by_id[rows[1]["id"]]["normalized_reference"] == "sıfır"
    assert figures["normalizer"] == "mixed"
    assert [row["value"] for row in figures["by"]["language"]] == ["az", "en"]
    (skipped,) = figures["skipped"]
    assert skipped["id"] == rows[2]["id"] and "'de'" in skipped["reason"]
    outcome = evaluate(f"data.test={source}", "evaluation.normalizer=english")
    assert outcome.code == 2
    assert "evaluation.normalizer is 'english'" in outcome.complaint and "'az'" in outcome.complaint


def test_a_missing_reference_is_left_out_and_an_empty_one_is_silence(
    evaluate: Evaluate, corpus: Path, tmp_path: Path
) -> None:
    rows = pq.read_table(next(corpus.glob("validation-*.parquet"))).to_pylist()
    texts = [None, "", "<|az|> bir", "<|0.00|>bir"]
    changed = [row | {"text": text} for row, text in zip(rows, texts, strict=False)]
    pq.write_table(pa.Table.from_pylist([*changed, *rows[4:]]), tmp_path / "texts.parquet")
    source = f"{{files: {tmp_path / 'texts.parquet'}, columns: {{id: id}}}}"
    outcome = evaluate(f"data.test={source}", "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.errors
    figures, found = read(tmp_path / "out")
    reasons = {row["id"]: row["reason"] for row in figures["skipped"]}
    assert figures["utterances"] == 8 and len(reasons) == 3
    assert reasons[rows[0]["id"]] == "the text is null, a missing value"
    assert "'<|az|>', which is a special token" in reasons[rows[2]["id"]]
    assert "the timestamp '<|0.00|>'" in reasons[rows[3]["id"]]
    (silent,) = [row for row in found if row["id"] == rows[1]["id"]]
    assert (silent["reference"], silent["substitutions"], silent["deletions"]) == ("", 0, 0)


def test_an_english_only_checkpoint_is_measured_as_english(evaluate: Evaluate, models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "dual", tmp_path / "english")
    path = tmp_path / "english" / "generation_config.json"
    values = json.loads(path.read_text("utf-8")) | {"is_multilingual": False}
    path.write_text(json.dumps({k: v for k, v in values.items() if k not in ("lang_to_id", "task_to_id")}))
    outcome = evaluate("--output", tmp_path / "out", "data.language=null", checkpoint=tmp_path / "english")
    assert outcome.code == 0, outcome.errors
    figures, rows = read(tmp_path / "out")
    assert figures["normalizer"] == "english" and {row["language"] for row in rows} == {"en"}


def test_a_language_that_must_be_heard_first(evaluate: Evaluate, tmp_path: Path) -> None:
    assert evaluate("--output", tmp_path / "out", "data.language=null").code == 0
    figures, rows = read(tmp_path / "out")
    assert figures["normalizer"] == "basic" and {row["language"] for row in rows} == {None}


def test_the_limits_of_training_do_not_count_here(evaluate: Evaluate, tmp_path: Path) -> None:
    options = ("evaluation.utterances=3", "evaluation.max_seconds=0.001")
    assert evaluate("--output", tmp_path / "out", *options).code == 0
    assert read(tmp_path / "out")[0]["utterances"] == 11


@pytest.mark.parametrize(
    ("shares", "factor"),
    [
        # (seconds, of them the first batch's; audio seconds, of them the first batch's) of each rank
        ([(10, 8, 30, 10)], 2 / 20),
        ([(10, 8, 30, 10), (10, 5, 20, 10)], 5 / 30),
        ([(10, 10, 20, 20)], 10 / 20),
        ([(10, 9, 20, 20), (8, 8, 0, 0)], 10 / 20),
    ],
)
def test_the_first_batch_warms_up(shares: list[tuple[float, float, float, float]], factor: float) -> None:
    parts = [
        Share(seconds=all_, warm_up_seconds=first, audio_seconds=audio, warm_up_audio_seconds=first_audio)
        for all_, first, audio, first_audio in shares
    ]
    assert real_time_factor(parts) == pytest.approx(factor)


# The baseline


def test_plain_whisper_beside_it(evaluate: Evaluate, models: Path, tmp_path: Path) -> None:
    outcome = evaluate("--baseline", "plain")
    assert outcome.code == 0
    folder = tmp_path / "run" / "evaluations" / "best_test"
    (ours, our_rows), (theirs, their_rows) = read(folder), read(folder / "baseline_plain")
    assert theirs["checkpoint"] == str(models / "plain")
    assert [row["reference"] for row in our_rows] == [row["reference"] for row in their_rows]
    assert [row["hypothesis"] for row in our_rows] != [row["hypothesis"] for row in their_rows]
    difference = 100 * (ours["word_error_rate"] - theirs["word_error_rate"])
    assert f"word error rate less plain Whisper's: {difference:+.2f} points (" in outcome.output
    alone = evaluate("--output", tmp_path / "alone", checkpoint=models / "plain")
    assert alone.code == 0
    assert read(tmp_path / "alone")[1] == their_rows, "opened as it is, with windows of 30 s"
    assert evaluate().code == 0
    assert not (folder / "baseline_plain").exists(), "it may be of other data than what lies there now"


def test_an_output_that_cannot_be_made_is_told_in_a_line(evaluate: Evaluate) -> None:
    outcome = evaluate("--output", "/proc/nowhere")
    assert (outcome.code, "/proc/nowhere: " in outcome.complaint) == (1, True)


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (
            (
                "model.checkpoint=null",
                "model={architecture: {d_model: 32, encoder_layers: 1, decoder_layers: 1, attention_heads: 2}}",
            ),
            ("--baseline plain", "model.architecture"),
        ),
        (("model.checkpoint={dual}",), ("--baseline plain", "model.checkpoint", "'dual_whisper'")),
    ],
)
def test_runs_that_did_not_begin_from_plain_whisper(
    evaluate: Evaluate, models: Path, overrides: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    outcome = evaluate("--baseline", "plain", *(text.replace("{dual}", str(models / "dual")) for text in overrides))
    assert outcome.code == 2
    assert all(part in outcome.complaint for part in parts)


# Bad input


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (
            ("evaluation.columns=[speeker]",),
            ("evaluation.columns is 'speeker'", "did you mean 'speaker'?", "data.test"),
        ),
        (("evaluation.cluster=room",), ("evaluation.cluster is 'room'", "it has ")),
        (("evaluation.normalizer=english",), ("evaluation.normalizer is 'english'", "language 'az'")),
        (("evaluation.normalizer=englisch",), ("evaluation.normalizer is 'englisch'", "'english', 'basic'")),
        (("data.language=turkich",), ("no normalizer for the language 'turkich'", "did you mean 'turkish', 'tr'?")),
        (("data.language=tr", "evaluation.normalizer=none"), ("data.language is 'tr'", "knows az, en")),
        (("evaluation.beams=0",), ("evaluation.beams is 0",)),
        (("evaluation.max_new_tokens=21",), ("evaluation.max_new_tokens is 21", "places for 20")),
        (("evaluation.beam=2",), ("evaluation.beam", "did you mean 'beams'?")),
        (("--baseline", "best"), ("--baseline", "plain")),
        (("data.test=null", "--split", "test"), ("no data.test",)),
    ],
)
def test_what_the_user_can_put_right(evaluate: Evaluate, arguments: tuple[str, ...], parts: tuple[str, ...]) -> None:
    outcome = evaluate(*arguments)
    assert outcome.code == 2
    for part in parts:
        assert part in outcome.complaint
    assert "Traceback" not in outcome.errors


def test_an_output_that_is_a_file(evaluate: Evaluate, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    outcome = evaluate("--output", tmp_path / "taken")
    assert outcome.code == 2
    assert "--output" in outcome.complaint and "is a file" in outcome.complaint.replace("which is", "is")


def test_utterances_with_a_second_recording_are_counted(evaluate: Evaluate, tmp_path: Path, models: Path) -> None:
    """A model that hears both says of how many it did; plain Whisper hears none of them."""
    joined = tmp_path / "joined"
    shutil.copytree(models / "dual", joined)
    config = json.loads((joined / "config.json").read_text())
    (joined / "config.json").write_text(json.dumps(config | {"second_recording": "attention"}))
    given = ("data.test.second=copy", "--output", tmp_path / "out")
    outcome = evaluate(*given, "--baseline", "plain", checkpoint=joined)
    assert outcome.code == 0, outcome.errors
    assert read(tmp_path / "out")[0]["with_second_recording"] == 11
    assert read(tmp_path / "out" / "baseline_plain")[0]["with_second_recording"] == 0
