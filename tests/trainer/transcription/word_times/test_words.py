"""Times of words in transcripts: within their segments, in order, of the whole recording, whatever the batch."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.end_to_end import Outcome
from tests.support.films import noise
from tests.support.untrained import save_checkpoint
from trainer.transcription.hearing import Silence
from trainer.transcription.transcriber import Transcriber
from trainer.transcription.transcripts import Segment, Word
from trainer.transcription.word_times.words import moved, silence_of, texts_between

ALWAYS = Silence(no_speech=1.0)  # untrained models are unsure of everything


def bursts(*spans: tuple[float, float], seconds: float, level: float = 0.1) -> np.ndarray:
    """Noise that is loud in the spans, in seconds, and 50 dB softer elsewhere."""
    audio = noise(seconds)[: round(seconds * 16_000)] * np.float32(10 ** (-50 / 20) * level)
    for begin, end in spans:
        audio[round(begin * 16_000) : round(end * 16_000)] *= 10 ** (50 / 20)
    return audio


def test_silence_is_what_is_quiet_beside_the_recordings_own_sounds() -> None:
    for level in (0.5, 0.005):
        found = silence_of(bursts((0.2, 0.6), (1.0, 1.4), seconds=2.0, level=level))
        assert len(found) == 100
        assert (found[[2, 40, 90]] == 1).all()
        assert (found[[15, 60]] == -1).all()


@pytest.mark.parametrize("audio", [np.zeros(16_000, np.float32), np.full(16_000, 0.1, np.float32), noise(0.001)])
def test_levels_that_do_not_differ_tell_nothing(audio: np.ndarray) -> None:
    assert not silence_of(audio).any()


def test_text_lies_between_timestamps() -> None:
    assert texts_between([100, 1, 2, 110, 110, 3, 120], 100) == [[1, 2], [3]]
    assert texts_between([1, 2, 3], None) == [[1, 2, 3]]
    assert texts_between([100, 101], 100) == []


def test_words_move_with_their_piece() -> None:
    assert moved(None, 3.0) is None
    assert moved((Word("a", 0.02, 0.1, 0.5),), 30.3331875) == (Word("a", 30.353, 30.433, 0.5),)


def check(segments: Any, duration: float) -> None:
    words = [word for segment in segments for word in segment.words]
    assert words
    for segment in segments:
        assert (segment.start, segment.end) == (segment.words[0].start, segment.words[-1].end)
        assert "".join(word.word for word in segment.words) == "".join(segment.text.split())
    assert all(word.start < word.end for word in words)
    assert all(before.end <= after.start for before, after in pairwise(words))
    assert words[0].start >= 0
    assert words[-1].end <= duration
    assert all(0 <= word.probability <= 1 for word in words)


@pytest.fixture(scope="module", params=[(None, False), (None, True), ("clip", False)], ids=["plain", "tokens", "dual"])
def checkpoint_and_source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    padding, timestamp_tokens = request.param
    folder: Path = tmp_path_factory.mktemp("checkpoints") / "tiny"
    save_checkpoint(folder, padding=padding, positions=40, timestamp_tokens=timestamp_tokens)
    return folder, "tokens" if timestamp_tokens else "pauses"


def test_times_of_words_do_not_depend_on_the_batch(checkpoint_and_source: tuple[Path, str], tmp_path: Path) -> None:
    checkpoint, source = checkpoint_and_source
    paths = [tmp_path / f"{number}.wav" for number in range(3)]
    for path, seconds in zip(paths, (3.0, 5.3, 12.5), strict=True):
        soundfile.write(path, bursts((0.5, 1.2), (1.9, 2.4), (6.0, 9.0), seconds=seconds), 16_000)
    found = []
    for size in (1, 8):
        transcriber = Transcriber(
            str(checkpoint), "az", timestamps=source, words=True, piece_seconds=4, batch_size=size, silence=ALWAYS
        )
        found.append([transcriber.transcribe(path) for path in paths])
    for alone, together in zip(*found, strict=True):
        assert [segment.words for segment in alone.segments] == [segment.words for segment in together.segments]
        check(alone.segments, alone.duration)


def test_without_being_asked_for_there_are_no_words(checkpoint_and_source: tuple[Path, str], tmp_path: Path) -> None:
    checkpoint, source = checkpoint_and_source
    soundfile.write(tmp_path / "a.wav", bursts((0.5, 1.2), seconds=2.0), 16_000)
    found = Transcriber(str(checkpoint), "az", timestamps=source, silence=ALWAYS).transcribe(tmp_path / "a.wav")
    assert [segment.words for segment in found.segments] == [None] * len(found.segments)


def test_the_command_writes_words(transcribe: Any, recordings: Path) -> None:
    given = ("--words", "--no-speech-threshold", "1")
    outcome: Outcome = transcribe(*given, "--format", "json", "good.wav")
    assert outcome.code == 0, outcome
    (segment,) = json.loads(outcome.output)["segments"]
    assert segment["words"]
    for word in segment["words"]:
        assert word.keys() == {"word", "start", "end", "probability"}
        assert segment["start"] <= word["start"] < word["end"] <= segment["end"]
    assert "<c>" in transcribe(*given, "--format", "vtt", "good.wav").output
    assert "<u>" in transcribe(*given, "--format", "srt", "good.wav").output


def test_fused_recordings_have_the_words_of_the_first(transcribe: Any, recordings: Path) -> None:
    soundfile.write("other.wav", noise(0.5) * 0.5, 16_000)
    given = ("--words", "--format", "json", "--no-speech-threshold", "1", "--second", "other.wav", "--fuse")
    outcome: Outcome = transcribe(*given, "good.wav")
    assert outcome.code == 0, outcome
    assert all(segment["words"] for segment in json.loads(outcome.output)["segments"])


def test_segments_of_silence_stay_as_they_are(checkpoint_and_source: tuple[Path, str], tmp_path: Path) -> None:
    checkpoint, source = checkpoint_and_source
    soundfile.write(tmp_path / "a.wav", bursts((0.5, 1.2), seconds=2.0), 16_000)
    never = Silence(no_speech=-1.0, log_probability=0.0)
    found = Transcriber(str(checkpoint), "az", timestamps=source, words=True, silence=never).transcribe(
        tmp_path / "a.wav"
    )
    assert not found.segments
    assert all(isinstance(segment, Segment) and segment.words is None for segment in found.left_out)
