"""Several checkpoints, or several programs, on the same recordings: what is done is kept, and failures are told."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import benchmarks.long_form.__main__ as long_form
from benchmarks.long_form import measuring, speed
from benchmarks.long_form.speed import Job
from tests.end_to_end import Outcome, run
from tests.support.untrained import save_checkpoint
from tests.trainer.transcription.long_form.test_known import segment, write_recording
from trainer.config.reading import ConfigError

# A program as another project may be: it "hears" what its arguments say.
PROGRAM = """
import json, pathlib, sys, time
folder = pathlib.Path(sys.argv[sys.argv.index("--output") + 1])
folder.mkdir()
for number, file in enumerate(word for word in sys.argv if word.endswith(".flac")):
    segments = [{"start": 1.0, "end": 2.0, "text": sys.argv[1]}]
    folder.joinpath(f"{number}.json").write_text(json.dumps({"file": file, "segments": segments}))
print("10.0 s of audio in 2.5 s, real-time factor 0.250", file=sys.stderr)
"""


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "long"
    folder.mkdir()
    write_recording(folder, segment(1, 2, "so far"), name="one", seconds=6)
    write_recording(folder, segment(1, 2, "so what"), name="two", seconds=4)
    return folder


def program(*words: str) -> Callable[[Job], list[str]]:
    return lambda job: [sys.executable, "-c", PROGRAM, *words]


def test_a_checkpoint_that_was_measured_is_not_decoded_again(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = save_checkpoint(tmp_path / "clip", languages=("en", "az"))
    output = tmp_path / "results" / "found.json"
    calls: list[str] = []
    decode = measuring.evaluate_recordings

    def counted(known: Any, path: str, options: list[str]) -> Any:
        calls.append(path)
        return decode(known, path, options)

    monkeypatch.setattr(measuring, "evaluate_recordings", counted)

    def measure(*arguments: object) -> Outcome:
        return run(long_form.main, "measure", "--recordings", recordings, "--output", output, *arguments)

    first = measure("--checkpoint", f"a={checkpoint}", "--no-speech-threshold", "1")
    assert first.code == 0, first.errors
    assert "word error rate" in output.with_suffix(".md").read_text()
    again = measure("--checkpoint", f"a={checkpoint}", "--checkpoint", f"b={checkpoint}", "--no-speech-threshold", "1")
    assert again.code == 0, again.errors
    assert "a: done before" in again.output
    assert len(calls) == 2
    found = json.loads(output.read_text())
    assert list(found["measured"]) == ["a", "b"]
    assert found["measured"]["a"]["word_error_rate"] == found["measured"]["b"]["word_error_rate"]
    assert found["measured"]["a"]["options"] == ["--no-speech-threshold", "1"]
    assert found["measured"]["a"]["machine"]["versions"]["torch"]
    assert found["source"]["number"] == 2
    other = measure("--checkpoint", f"a={checkpoint}", "--piece-seconds", "5")  # other options
    assert other.code == 0
    assert len(calls) == 3
    write_recording(recordings, segment(1, 3, "so far"), name="one", seconds=6)
    changed = measure("--checkpoint", f"a={checkpoint}")
    assert changed.code == 2
    assert "whose digest was" in changed.complaint


def test_names_of_checkpoints_are_checked() -> None:
    assert measuring.named(["a=b", "c=d=e"]) == {"a": "b", "c": "d=e"}
    for wrong in (["folder"], ["=x"], ["a=b", "a=c"]):
        with pytest.raises(ConfigError, match="NAME=PATH is right, each name once"):
            measuring.named(wrong)


def test_programs_are_timed_by_what_they_say_and_scored_alike(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "speed.json"
    monkeypatch.setitem(speed.SYSTEMS, "sequential", program("so far"))
    monkeypatch.setitem(speed.SYSTEMS, "transformers", program("so fat"))
    broken = [sys.executable, "-c", "import sys; sys.exit('no such option')"]
    monkeypatch.setitem(speed.SYSTEMS, "pieces", lambda job: broken)

    def measure(*arguments: object) -> Outcome:
        base = ("speed", "--recordings", recordings, "--checkpoint", "x", "--output", output)
        return run(long_form.main, *base, *arguments)

    done = measure("--systems", "pieces", "sequential", "transformers", "--repeats", "2")
    assert done.code == 1
    assert "pieces: ended with 1: no such option" in done.errors
    found = json.loads(output.read_text())
    assert list(found["measured"]) == ["sequential", "transformers"]
    one = found["measured"]["sequential"]
    assert one["audio_seconds_per_second"] == pytest.approx(4.0)
    assert one["word_error_rate"] == pytest.approx(1 / 4)
    assert len(one["turns"]) == 2
    assert one["cpu_seconds"] > 0
    assert one["beside_transformers"] == {
        "equal_texts": 0, "recordings": 2, "word_difference": 0.5, "equal_times": 2,
    }  # fmt: skip
    text = output.with_suffix(".md").read_text()
    assert "0 of 2 texts are equal to the letter, and 2 have equal times; 50.00 % of the words differ" in text
    monkeypatch.setitem(speed.SYSTEMS, "sequential", lambda job: broken)
    assert measure("--systems", "sequential", "--repeats", "2").code == 0  # done before
    other = measure("--systems", "sequential", "--threads", "1")
    assert other.code == 2
    assert "whose threads was 2 and is 1 now" in other.complaint


def test_faster_whisper_without_an_environment_is_told(recordings: Path, tmp_path: Path) -> None:
    done = run(
        long_form.main, "speed", "--recordings", recordings, "--checkpoint", "x", "--output", tmp_path / "speed.json",
        "--systems", "faster_whisper_int8",
    )  # fmt: skip
    assert done.code == 2
    assert "--faster-whisper is missing" in done.complaint


@pytest.mark.slow
def test_this_projects_own_command_is_timed(recordings: Path, tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "plain", languages=("en", "az"), padding=None, timestamp_tokens=True)
    output = tmp_path / "speed.json"
    done = run(
        long_form.main, "speed", "--recordings", recordings, "--checkpoint", checkpoint, "--output", output,
        "--systems", "pieces", "--threads", "1",
    )  # fmt: skip
    assert done.code == 0, done.errors
    one = json.loads(output.read_text())["measured"]["pieces"]
    assert one["audio_seconds"] == pytest.approx(10.0)
    assert one["seconds"] > 0
    assert one["peak_bytes"] > 1e8
