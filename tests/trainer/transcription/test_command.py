"""launch/transcribe.py: whatever audio and arguments a user gives, the output or a line that says what is wrong."""

import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

import launch.transcribe
from tests.end_to_end import Outcome, run
from tests.support.films import noise

pytestmark = pytest.mark.usefixtures("exact_attention")


def test_one_recording_is_its_text_alone(transcribe: Callable[..., Outcome], recordings: Path) -> None:
    outcome = transcribe("good.wav")
    assert outcome.code == 0
    assert re.fullmatch(r"[a-z]+\n", outcome.output)
    assert outcome.errors == ""


def test_several_recordings_say_whose_text_it_is(transcribe: Callable[..., Outcome], recordings: Path) -> None:
    soundfile.write("other.wav", noise(1.5), 16_000)
    outcome = transcribe("other.wav", "good.wav")
    assert outcome.code == 0
    assert [line.split(": ")[0] for line in outcome.output.splitlines()] == ["other.wav", "good.wav"]
    assert re.fullmatch(r"2\.0 s of audio in \d+\.\d s, real-time factor \d+\.\d+\n", outcome.errors)


def test_work_goes_on_after_a_file_that_is_no_recording(transcribe: Callable[..., Outcome], recordings: Path) -> None:
    outcome = transcribe("text.wav", "good.wav")
    assert outcome.code == 1
    assert "error: text.wav: not audio that soundfile reads" in outcome.complaint
    assert outcome.output.startswith("good.wav: ")


@pytest.mark.parametrize(
    ("name", "rate", "channels", "subtype"),
    [
        ("stereo.wav", 44_100, 2, "PCM_24"),
        ("telephone.wav", 8000, 1, "ULAW"),
        ("eight.wav", 8000, 1, "PCM_U8"),
        ("studio.wav", 96_000, 1, "FLOAT"),
        ("integers.wav", 16_000, 1, "PCM_16"),
        ("six.flac", 48_000, 6, "PCM_16"),
        ("vorbis.ogg", 22_050, 2, "VORBIS"),
        ("opus.opus", 48_000, 1, "OPUS"),
        ("layer.mp3", 44_100, 2, "MPEG_LAYER_III"),
        ("apple.aiff", 11_025, 1, "PCM_16"),
        ("moment.wav", 16_000, 1, "PCM_16"),
    ],
)
def test_audio_of_every_kind(
    transcribe: Callable[..., Outcome], recordings: Path, name: str, rate: int, channels: int, subtype: str
) -> None:
    seconds = 0.001 if name == "moment.wav" else 1.0
    kind = "OGG" if name.endswith(".opus") else None
    soundfile.write(name, noise(seconds, rate, channels), rate, subtype=subtype, format=kind)
    outcome = transcribe(name, "--format", "json")
    assert (outcome.code, outcome.errors) == (0, "")
    result = json.loads(outcome.output)
    assert result["text"]
    assert result["duration"] == pytest.approx(seconds, abs=0.07)  # MP3 pads


def test_a_recording_cut_off_in_the_middle(transcribe: Callable[..., Outcome], recordings: Path) -> None:
    data = Path("good.wav").read_bytes()
    Path("half.wav").write_bytes(data[: len(data) // 2])
    assert json.loads(transcribe("half.wav", "--format", "json").output)["duration"] == pytest.approx(0.25, abs=0.01)
    soundfile.write("good.flac", noise(1), 16_000)
    Path("half.flac").write_bytes(Path("good.flac").read_bytes()[:9000])
    outcome = transcribe("half.flac")
    assert outcome.code == 1
    assert "error: half.flac: not audio that soundfile reads" in outcome.complaint


def test_three_hours(transcribe: Callable[..., Outcome], recordings: Path) -> None:
    with soundfile.SoundFile("hours.flac", "w", 8000, 1) as file:
        file.write(noise(20, 8000))
        for _ in range(180):
            file.write(np.zeros(60 * 8000, np.float32))
        file.write(noise(20, 8000))
    outcome = transcribe("hours.flac", "--format", "srt")
    assert outcome.code == 0
    cues = outcome.output.split("\n\n")
    assert cues[0].startswith("1\n00:00:00,000 --> ")
    assert " --> 03:00:40,000\n" in cues[-1]


def test_standard_input(transcribe: Callable[..., Outcome], recordings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(Path("good.wav").read_bytes())))
    piped = transcribe("-")
    assert piped.code == 0
    assert piped.output == transcribe("good.wav").output
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    assert "error: -: the file is empty" in transcribe("-").complaint


# Formats and folders


def test_formats_on_standard_output(transcribe: Callable[..., Outcome], recordings: Path) -> None:
    text = transcribe("good.wav").output
    assert transcribe("good.wav", "--timestamps").output == f"[00:00:00.000 --> 00:00:00.500] {text}"
    assert transcribe("good.wav", "--format", "srt").output == f"1\n00:00:00,000 --> 00:00:00,500\n{text}"
    vtt = f"WEBVTT\n\n00:00:00.000 --> 00:00:00.500\n{text}"
    assert transcribe("good.wav", "--format", "vtt").output == vtt
    lines = transcribe("good.wav", "good.wav", "text.wav", "--format", "json").output.splitlines()
    assert [json.loads(line)["file"] for line in lines] == ["good.wav"]


def test_a_file_for_each_recording(transcribe: Callable[..., Outcome], recordings: Path) -> None:
    for name in ("rec/a/x.wav", "rec/b/x.wav", "rec/b/y.wav"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("good.wav", name)
    shutil.copy("text.wav", "rec/a/w.wav")
    outcome = transcribe("rec", "--output", "out", "--format", "vtt")
    assert outcome.code == 1
    assert "rec/a/w.wav" in outcome.complaint
    assert outcome.output == ""
    assert "real-time factor" in outcome.errors
    written = {path.relative_to("out").as_posix(): path.read_text() for path in Path("out").rglob("*.vtt")}
    assert set(written) == {"a/x.vtt", "b/x.vtt", "b/y.vtt"}
    assert set(written.values()) == {transcribe("good.wav", "--format", "vtt").output}


def test_a_transcript_that_cannot_be_written(transcribe: Callable[..., Outcome], recordings: Path) -> None:
    Path("out/good.txt").mkdir(parents=True)
    outcome = transcribe("good.wav", "--output", "out")
    assert outcome.code == 1
    assert "the transcript of good.wav cannot be written: Is a directory" in outcome.complaint


def test_loops_are_told(transcribe: Callable[..., Outcome], recordings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.transcription.hearing.REPEATING", 0.1)
    outcome = transcribe("good.wav")
    assert outcome.code == 0
    assert outcome.errors == "warning: good.wav: parts of the text repeat themselves\n"


# What cannot be


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["no_samples.wav"], 1, ("no_samples.wav: no samples",)),
        (["empty"], 2, ("empty holds no recording", ".flac")),
        (["good.wav", "nowhere.wav"], 2, ("nowhere.wav does not exist",)),
        (["good.wav", "--language", "xx"], 2, ("--language is 'xx'", "it knows az only")),
        (["good.wav", "--task", "translat"], 2, ("--task", "'translat'", "translate")),
        (["good.wav", "--format", "doc"], 2, ("--format", "'doc'", "txt", "vtt")),
        (["good.wav", "text.wav", "--format", "srt"], 2, ("--format srt of several recordings needs --output",)),
        (["good.wav", "--output", "text.wav"], 2, ("--output is 'text.wav'", "nothing can be written")),
        (["good.wav", "--device", "cuda:99"], 2, ("--device is 'cuda:99'", "torch sees")),
        (["good.wav", "--device", "cdua"], 2, ("--device is 'cdua'", "did you mean 'cuda'?")),
        (["good.wav", "--device", "cuda:x"], 2, ("--device is 'cuda:x'", "cuda:N")),
        (["good.wav", "--device", "mps:0"], 2, ("--device is 'mps:0'", "must be auto, cpu, cuda")),
        (["good.wav", "--batch-size", "0"], 2, ("--batch-size", "'0' is not a whole number from 1 to")),
        (["good.wav", "--beams", "2.5"], 2, ("--beams", "'2.5' is not a whole number")),
        (["good.wav", "--piece-seconds", "31"], 2, ("--piece-seconds", "'31' is not a number from 2 to 30")),
        (["good.wav", "--segments", "tokens", "--timestamps"], 2, ("--segments is 'tokens'", "'pauses' is right")),
        ([], 2, ("FILE_OR_FOLDER",)),
    ],
)
def test_what_cannot_be_transcribed(
    transcribe: Callable[..., Outcome], recordings: Path, arguments: list[str], code: int, parts: tuple[str, ...]
) -> None:
    outcome = transcribe(*arguments)
    assert outcome.code == code
    for part in parts:
        assert part in outcome.complaint


@pytest.mark.parametrize("arguments", [["--output", "text.wav"], ["--device", "cuda:99"], ["--format", "doc"]])
def test_arguments_are_refused_before_a_model_is_loaded(recordings: Path, arguments: list[str]) -> None:
    outcome = run(launch.transcribe.main, "--checkpoint", "nowhere/at/all", "good.wav", *arguments)
    assert outcome.code == 2
    assert arguments[0] in outcome.complaint


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("run", "did you mean run/best?"),
        ("runs/demo/best", "neither a folder nor a hub name"),
        ("run/checkpoints/step_00000004", "--resume"),
        ("openai/whisper-tinny", "did you mean 'openai/whisper-tiny'?"),
        ("team/whisper", "cannot open checkpoint team/whisper"),
    ],
)
def test_a_checkpoint_that_is_none(checkpoint: Path, recordings: Path, name: str, part: str) -> None:
    shutil.copytree(checkpoint, "run/best")
    Path("run/checkpoints/step_00000004").mkdir(parents=True)
    Path("run/checkpoints/step_00000004/run_state.json").write_text("{}")
    outcome = run(launch.transcribe.main, "--checkpoint", name, "good.wav")
    assert outcome.code == 2
    assert part in outcome.complaint
