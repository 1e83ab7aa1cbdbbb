"""launch/transcribe.py --live: streams as they come, and streams that are none."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data.utterance import SAMPLING_RATE
from tests import ROOT
from tests.end_to_end import Outcome
from tests.support.loudness import Loudness, spoken
from trainer.config.reading import ConfigError
from trainer.errors import CommandFailed
from trainer.transcription.live import streams
from trainer.transcription.live.streams import PcmStream, microphone, microphone_command
from trainer.transcription.voice import detector

pytestmark = pytest.mark.usefixtures("exact_attention")


def pcm(audio: np.ndarray) -> bytes:
    return (audio * 32_767).astype("<i2").tobytes()


SPEECH = pcm(spoken(("faint", 1.0), ("loud", 3.0), ("faint", 2.0), ("loud", 1.0), ("faint", 1.0)))


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Give the command these bytes on standard input; ``end`` False leaves it open."""
    monkeypatch.setattr(detector, "SpeechDetector", Loudness)
    opened, closing = list[int](), threading.Event()

    def give(data: bytes, end: bool = True) -> None:
        reading, writing = os.pipe()
        opened.append(reading)
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(fileno=lambda: reading, isatty=lambda: False))

        def write() -> None:
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(data)
                pipe.flush()
                if not end:
                    closing.wait(60)

        threading.Thread(target=write, daemon=True).start()

    yield give
    closing.set()
    for descriptor in opened:
        os.close(descriptor)


def test_final_words_are_written(transcribe: Callable[..., Outcome], given: Callable[..., None]) -> None:
    given(SPEECH)
    text = transcribe("--live", "-")
    assert text.code == 0
    assert len(text.output.splitlines()) == 2 and all(text.output.splitlines())
    assert "8.0 s of audio, real-time factor" in text.errors and "behind the speaker" in text.errors
    given(SPEECH)
    lines = [json.loads(line) for line in transcribe("--live", "-", "--format", "json").output.splitlines()]
    finals = [line for line in lines if line["type"] == "final"]
    assert " ".join(line["text"] for line in finals).split() == text.output.split()
    assert [line["type"] for line in lines].count("end") == 2
    assert all(0 <= word["start"] <= word["end"] <= 8 for line in finals for word in line["words"])
    assert finals[0]["start"] == pytest.approx(1.0, abs=0.1)


def test_silence_has_no_text(transcribe: Callable[..., Outcome], given: Callable[..., None]) -> None:
    given(pcm(spoken(("faint", 60.0))))
    outcome = transcribe("--live", "-")
    assert (outcome.code, outcome.output) == (0, "")
    assert outcome.errors == "60.0 s of audio, real-time factor " + outcome.errors[-6:]
    given(b"")
    assert (transcribe("--live", "-").code, outcome.output) == (0, "")


def test_an_odd_number_of_bytes_is_told(transcribe: Callable[..., Outcome], given: Callable[..., None]) -> None:
    given(SPEECH + b"\x01")
    outcome = transcribe("--live", "-")
    assert outcome.code == 0 and outcome.output
    assert "warning: the stream ended within a sample" in outcome.errors


def test_an_interrupt_ends_a_stream_that_goes_on(
    transcribe: Callable[..., Outcome], given: Callable[..., None]
) -> None:
    given(SPEECH[: 2 * 3 * SAMPLING_RATE], end=False)
    timer = threading.Timer(3.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    outcome = transcribe("--live", "-")
    timer.cancel()
    assert outcome.code == 130
    assert len(outcome.output.splitlines()) == 1, "what was said is final"
    assert "3.0 s of audio" in outcome.errors and "ended by SIGINT" in outcome.errors


@pytest.mark.slow
def test_a_reader_that_has_gone_ends_the_command(checkpoint: Path) -> None:
    lines = (
        "import sys; from tests.support.loudness import Loudness; from trainer.transcription.voice import detector",
        "detector.SpeechDetector = Loudness",
        "import launch.transcribe; from trainer.command_line import run_command; run_command(launch.transcribe.main)",
    )
    command = [sys.executable, "-c", "\n".join(lines), "--checkpoint", str(checkpoint), "--live", "-"]
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(command, input=20 * SPEECH, stdout=writing, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    os.close(writing)
    assert ended.returncode == 128 + signal.SIGPIPE
    assert b"Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["a.wav"], "--live takes - or microphone, not 'a.wav'"),
        (["-", "-"], "--live takes - or microphone"),
        (["-", "--format", "srt"], "--live excludes --format srt"),
        (["-", "--beams", "2"], "--live excludes --beams"),
        (["-", "--second", "b.wav"], "--live excludes --second"),
        (["-", "--output", "texts"], "--live excludes --output"),
        (["-", "--vad", "none"], "--live excludes --vad none"),
        (["-", "--words"], "--live excludes --words"),
        (["-", "--prompt", "names"], "--live excludes --prompt"),
        (["-", "--windows", "sequential"], "--live excludes --windows"),
    ],
)
def test_what_does_not_go_with_a_stream(transcribe: Callable[..., Outcome], arguments: list[str], part: str) -> None:
    outcome = transcribe("--live", *arguments)
    assert outcome.code == 2 and part in outcome.complaint


# Streams


def test_a_stream_that_stalls_gives_nothing_and_does_not_turn_round() -> None:
    reading, writing = os.pipe()
    stream = PcmStream(reading)
    os.write(writing, pcm(np.full(100, 0.5, np.float32)) + b"\x00")
    first = stream.take(5.0)
    assert first is not None and first == pytest.approx(np.full(100, 0.5), abs=1e-4)
    started, turning = time.perf_counter(), time.process_time()
    nothing = stream.take(0.5)
    assert nothing is not None and len(nothing) == 0
    assert time.perf_counter() - started >= 0.45 and time.process_time() - turning < 0.2
    os.write(writing, b"\x40")
    later = stream.take(5.0)
    assert later is not None and later == pytest.approx([0.5], abs=1e-4), "a sample that came in two parts"
    os.close(writing)
    assert stream.take(5.0) is None and not stream.is_torn and stream.take(0.0) is None
    os.close(reading)


def test_a_stream_that_comes_fast_is_not_read_ahead_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST_AHEAD", 100_000)
    reading, writing = os.pipe()
    stream = PcmStream(reading)
    sender = threading.Thread(target=lambda: [os.write(writing, bytes(10_000)) for _ in range(100)], daemon=True)
    sender.start()
    time.sleep(0.5)
    assert stream.waiting <= 200_000 and sender.is_alive()
    taken = 0
    while taken < 500_000:
        part = stream.take(2.0)
        assert part is not None
        taken += len(part)
    sender.join(2)
    os.close(writing)
    assert stream.take(2.0) is None
    os.close(reading)


def test_a_microphone_needs_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="needs ffmpeg"), microphone():
        pass


@pytest.mark.parametrize(("platform", "kind"), [("darwin", "avfoundation"), ("win32", "dshow"), ("linux", "alsa")])
def test_ffmpeg_is_asked_for_the_platforms_microphone(
    monkeypatch: pytest.MonkeyPatch, platform: str, kind: str
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(streams, "has_pulse", lambda: False)
    command = microphone_command(platform)
    assert command[command.index("-f") + 1] == kind and command[-1] == "pipe:1"
    monkeypatch.setattr(streams, "has_pulse", lambda: True)
    assert ("pulse" in microphone_command(platform)) == (platform == "linux")


def test_a_microphone_that_records_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = [sys.executable, "-c", "import sys; sys.exit('cannot open audio device')"]
    monkeypatch.setattr(streams, "microphone_command", lambda platform: failing)
    with pytest.raises(CommandFailed, match="cannot open audio device"), microphone() as stream:
        assert stream.take(20.0) is None
