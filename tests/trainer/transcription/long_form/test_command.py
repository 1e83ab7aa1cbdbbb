"""launch/eval.py --recordings as a whole: a tiny checkpoint, recordings of a few seconds."""

import json
from pathlib import Path

import pytest

import launch.eval
import launch.ngram
from tests.end_to_end import Outcome, run

from .test_known import segment, write_recording


def evaluate(*arguments: object) -> Outcome:
    return run(launch.eval.main, *arguments)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "long"
    folder.mkdir()
    write_recording(folder, segment(1, 2, "bir iki"), segment(4, 5, "üç"), name="one", seconds=6)
    write_recording(folder, segment(0.5, 3, "dörd beş altı"), name="two", seconds=4)
    for path in folder.glob("*.json"):
        path.write_text(path.read_text().replace('"en"', '"az"'))
    return folder


def test_the_whole_command_writes_figures_and_transcripts(checkpoint: Path, recordings: Path, tmp_path: Path) -> None:
    output = tmp_path / "found"
    done = evaluate(
        "--recordings", recordings, "--checkpoint", checkpoint, "--output", output, "--piece-seconds", "3",
        "--no-speech-threshold", "1",
    )  # fmt: skip
    assert done.code == 0, done.errors
    found = json.loads((output / "evaluation.json").read_text())
    assert found["recordings"] == 2
    assert found["words"] == 6
    assert found["normalizer"] == "basic"
    assert found["options"] == ["--piece-seconds", "3", "--no-speech-threshold", "1"]
    assert found["audio_seconds"] == pytest.approx(10.0)
    assert "word error rate" in done.output
    assert "nobody" in done.output  # a cell is wrapped between its words
    rows = [json.loads(line) for line in (output / "recordings.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["one", "two"]
    assert rows[0]["reference"] == "bir iki üç"
    assert rows[0]["language"] == "az"
    assert len(rows[0]["segments"]) >= 2  # the options have reached the transcriber: pieces of at most 3 s
    assert max(part["end"] - part["start"] for part in rows[0]["segments"]) <= 3


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--format", "srt"), "--format does not go with --recordings"),
        (("--windwos", "sequential"), "unrecognized arguments: --windwos"),
        (("--language", "xx"), "--language"),
    ],
)
def test_options_that_cannot_be_are_told(
    checkpoint: Path, recordings: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    done = evaluate("--recordings", recordings, "--checkpoint", checkpoint, *arguments)
    assert done.code == 2
    assert complaint in done.complaint


def test_bad_segments_are_told_before_a_checkpoint_is_opened(recordings: Path) -> None:
    write_recording(recordings, segment(1, 3), segment(2, 4), name="three")
    done = evaluate("--recordings", recordings, "--checkpoint", "no/such/checkpoint")
    assert done.code == 2
    assert "three.json: segment 2: starts at 2 s" in done.complaint


def test_a_language_model_of_what_is_said_is_refused(checkpoint: Path, recordings: Path, tmp_path: Path) -> None:
    text, arpa = tmp_path / "text.txt", tmp_path / "lm.arpa"
    text.write_text("Bir, iki!\nbaşqa söz\n", "utf-8")
    assert run(launch.ngram.main, text, "--language", "az", "--output", arpa).code == 0
    given = ("--recordings", recordings, "--checkpoint", checkpoint, "--output", tmp_path / "found")
    refused = evaluate(*given, "--language-model", arpa)
    assert refused.code == 2
    assert f"1 of 3 sentences to evaluate on are in the text of {arpa}" in refused.complaint
    allowed = evaluate(*given, f"--language-model={arpa}", "--allow-seen")
    assert allowed.code == 0, allowed.errors
    assert f"{arpa}: 1 of 3 segments are in its text" in allowed.errors


def test_a_launcher_is_refused(checkpoint: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = evaluate("--recordings", recordings, "--checkpoint", checkpoint)
    assert done.code == 2
    assert "one process" in done.complaint
