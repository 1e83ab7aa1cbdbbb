"""launch/transcribe.py says what is odd about a recording: silence, damage, several in one file; and reads films."""

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

from tests.end_to_end import Outcome
from tests.support.films import SECONDS, film, needs_ffmpeg, noise

pytestmark = pytest.mark.usefixtures("exact_attention")


def test_silence_says_so_and_has_no_text(transcribe: Callable[..., Outcome], recordings: Path) -> None:
    soundfile.write("silent.wav", np.zeros(16_000), 16_000)
    outcome = transcribe("silent.wav")
    assert (outcome.code, outcome.output) == (0, "\n")
    assert outcome.errors == "warning: silent.wav: no sound: all of it is digital silence\n"
    outcome = transcribe("silent.wav", "good.wav", "--format", "json")
    assert outcome.code == 0
    remarks = [json.loads(line)["remarks"] for line in outcome.output.splitlines()]
    assert remarks == [["no sound: all of it is digital silence"], []]


def test_channels_out_of_phase_are_heard(transcribe: Callable[..., Outcome], recordings: Path) -> None:
    soundfile.write("cancelled.wav", np.stack([noise(0.5), -noise(0.5)], axis=1), 16_000)
    outcome = transcribe("cancelled.wav")
    assert outcome.code == 0
    assert outcome.output == transcribe("good.wav").output
    assert outcome.errors == (
        "warning: cancelled.wav: channels out of phase, which cancel each other: one of them was kept\n"
    )


@pytest.mark.parametrize(("suffix", "kind"), [("wav", "WAV"), ("flac", "FLAC"), ("ogg", "OGG"), ("mp3", "MP3")])
def test_all_of_joined_recordings_is_transcribed(
    transcribe: Callable[..., Outcome], recordings: Path, suffix: str, kind: str
) -> None:
    parts = []
    for seconds in (0.5, 0.7, 0.9):
        file = io.BytesIO()
        soundfile.write(file, noise(seconds), 16_000, format=kind)
        parts.append(file.getvalue())
    Path(f"joined.{suffix}").write_bytes(b"".join(parts))
    outcome = transcribe(f"joined.{suffix}", "--format", "json")
    assert outcome.code == 0
    assert json.loads(outcome.output)["duration"] == pytest.approx(2.1, abs=0.01)
    reason = "3 recordings in one file, one after the other: all of them were read"
    assert outcome.errors == f"warning: joined.{suffix}: {reason}\n"


def test_damage_is_told_and_what_can_be_read_is_transcribed(
    transcribe: Callable[..., Outcome], recordings: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    soundfile.write("whole.mp3", noise(2), 16_000)
    Path("half.mp3").write_bytes(Path("whole.mp3").read_bytes()[:6000])
    content = Path("good.wav").read_bytes()
    Path("half.wav").write_bytes(content[: len(content) // 2])
    outcome = transcribe("half.mp3", "half.wav")
    assert outcome.code == 0
    warnings = [line for line in outcome.errors.splitlines() if line.startswith("warning: ")]
    assert any(re.match("warning: half.mp3: the MP3 file was cut off", line) for line in warnings)
    assert any(re.match("warning: half.mp3: Warning: Xing stream size", line) for line in warnings)
    assert any(re.match("warning: half.wav: the header promises 0.50 s", line) for line in warnings)
    assert "Xing" not in capfd.readouterr().err.replace(outcome.errors, "")


@needs_ffmpeg
def test_what_ffmpeg_reads_is_transcribed(
    transcribe: Callable[..., Outcome], recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("m4a", "film.mp4"):
        Path(f"a.{name}").write_bytes(film(name))
    outcome = transcribe(".", "--format", "json")
    assert outcome.code == 1  # of the recordings that are none
    lengths = {line["file"]: line["duration"] for line in map(json.loads, outcome.output.splitlines())}
    assert lengths["a.m4a"] == lengths["a.film.mp4"] == pytest.approx(SECONDS, abs=0.1)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(film("m4a"))))
    assert json.loads(transcribe("-", "--format", "json").output)["duration"] == lengths["a.m4a"]


def test_without_ffmpeg_what_it_would_read_is_named(
    transcribe: Callable[..., Outcome], recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(recordings / "empty"))
    for name in ("mixed/a.m4a", "mixed/b.webm", "films/c.mp4"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"\0\0\0\x1cftypM4A " + bytes(100))
    shutil.copy("good.wav", "mixed/good.wav")
    outcome = transcribe("mixed")
    assert outcome.code == 0
    advice = "cannot be read without ffmpeg: apt install ffmpeg, or brew install ffmpeg"
    assert outcome.errors.startswith(f"warning: mixed/a.m4a and 1 more {advice}\n")
    outcome = transcribe("films")
    assert outcome.code == 2 and "films holds no recording" in outcome.complaint
    assert f"films/c.mp4 {advice}" in outcome.complaint
    outcome = transcribe("films/c.mp4")
    assert outcome.code == 1 and "MP4 or QuickTime, which ffmpeg reads" in outcome.complaint
