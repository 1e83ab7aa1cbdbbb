"""What somebody speaks is put into pieces, and nothing else; times stay those of the recording."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.utterance import SAMPLING_RATE
from tests.end_to_end import Outcome
from tests.support.films import noise
from tests.support.loudness import Loudness, spoken
from tests.support.untrained import save_checkpoint
from trainer.config.reading import ConfigError
from trainer.transcription.recordings import Recording
from trainer.transcription.second.pairing import SecondUse
from trainer.transcription.transcriber import Transcriber
from trainer.transcription.transcripts import Transcript
from trainer.transcription.voice import detector, regions
from trainer.transcription.voice.detector import FRAME
from trainer.transcription.voice.regions import cut_spoken, packed, speech_regions, spoken_spans


def seconds(spans: list[tuple[int, int]]) -> list[tuple[float, float]]:
    return [(begin / SAMPLING_RATE, end / SAMPLING_RATE) for begin, end in spans]


# Regions


def test_speech_begins_where_it_is_likely_and_ends_where_it_is_not() -> None:
    likely = np.array([0.4, 0.8, 0.4, 0.4, 0.4, 0.4, 0.3, 0.1] + 12 * [0.0] + 9 * [0.7] + 5 * [0.0])
    assert speech_regions(likely) == [(0, 6)], "likely enough to go on, but never to begin"
    assert speech_regions(np.zeros(0)) == [] and speech_regions(np.zeros(9)) == []
    assert speech_regions(np.ones(9)) == [(0, 9)]


def test_short_pauses_belong_to_what_is_said_and_clicks_do_not() -> None:
    speech, pause = [0.9] * 10, [0.0] * 9
    assert speech_regions(np.array([*speech, *pause, *speech])) == [(0, 29)]
    assert speech_regions(np.array([*speech, *pause, 0.0, *speech])) == [(0, 10), (20, 30)]
    assert speech_regions(np.array([*pause, *pause, 0.9, 0.9, *pause, *pause])) == []


def test_spans_have_a_margin_within_the_recording() -> None:
    rate = SAMPLING_RATE / FRAME
    spans = spoken_spans([(0, round(rate)), (round(4 * rate), round(5 * rate))], 5 * SAMPLING_RATE)
    assert seconds(spans) == [(0, pytest.approx(2.5, abs=0.02)), (pytest.approx(3.6, abs=0.02), 5)]
    assert len(spoken_spans([(0, 100), (110, 200)], 200 * FRAME)) == 1, "margins that meet"
    assert spoken_spans([(50, 200), (0, 100)], 200 * FRAME) == [(0, 200 * FRAME)], "of two recordings"


def test_spans_are_packed_up_to_the_window_but_not_over_long_pauses() -> None:
    rate = SAMPLING_RATE
    spans = [(0, 4 * rate), (5 * rate, 9 * rate), (10 * rate, 12 * rate), (16 * rate, 17 * rate)]
    assert seconds(packed(spans, 10)) == [(0, 9), (10, 12), (16, 17)]
    assert seconds(packed(spans, 30)) == [(0, 12), (16, 17)]
    assert packed([], 30) == []


# Pieces


def test_pieces_hold_what_is_said() -> None:
    audio = spoken(("faint", 34), ("loud", 3), ("faint", 40), ("loud", 2), ("faint", 1), ("loud", 2), ("faint", 9))
    pieces = cut_spoken(Loudness(), audio, None, None, 30)
    spans = [(piece.begin / SAMPLING_RATE, piece.begin / SAMPLING_RATE + piece.seconds) for piece in pieces]
    assert spans == [pytest.approx((33.6, 38.5), abs=0.04), pytest.approx((76.6, 83.5), abs=0.04)]
    assert [piece.spoken for piece in pieces] == [
        pytest.approx((0.4, 3.4), abs=0.06),
        pytest.approx((0.4, 5.4), abs=0.06),
    ]
    for piece in pieces:
        assert np.array_equal(piece.audio, audio[piece.begin : piece.begin + len(piece.audio)])


def test_what_is_said_for_longer_than_a_piece_is_cut_at_its_quietest() -> None:
    audio = spoken(("faint", 5), ("loud", 8.0), ("faint", 0.2), ("loud", 8.0), ("faint", 5))
    pieces = cut_spoken(Loudness(), audio, None, None, 10)
    assert len(pieces) == 2
    assert pieces[1].begin / SAMPLING_RATE == pytest.approx(13.1, abs=0.1)
    assert pieces[0].begin + len(pieces[0].audio) == pieces[1].begin


def test_two_recordings_are_cut_at_the_same_places() -> None:
    first = spoken(("faint", 5), ("loud", 3), ("faint", 12))
    second = spoken(("faint", 14), ("loud", 3), ("faint", 3))
    heard = cut_spoken(Loudness(), first, second, SecondUse(), 30)
    assert [round(piece.begin / SAMPLING_RATE) for piece in heard] == [5], "what the first holds decides"
    fused = cut_spoken(Loudness(), first, second, SecondUse(fuse=True), 30)
    assert [round(piece.begin / SAMPLING_RATE) for piece in fused] == [5, 14], "both have the same words"
    for piece in (*heard, *fused):
        assert piece.second is not None
        assert np.array_equal(piece.second, second[piece.begin : piece.begin + len(piece.audio)])
    clip = noise(2)
    (piece,) = cut_spoken(Loudness(), first, clip, SecondUse("speaker"), 30)
    assert piece.second is clip


# Transcripts


@pytest.fixture
def heard(tmp_path: Path) -> Callable[[np.ndarray], Transcript]:
    def hear(audio: np.ndarray) -> Transcript:
        soundfile.write(tmp_path / "a.wav", audio, SAMPLING_RATE)
        folder = save_checkpoint(tmp_path / "checkpoint")
        (result,) = Transcriber(str(folder), voice=Loudness()).transcribe_all([Recording(tmp_path / "a.wav")])
        assert isinstance(result, Transcript)
        return result

    return hear


def test_times_stay_those_of_the_recording(heard: Callable[[np.ndarray], Transcript]) -> None:
    result = heard(spoken(("faint", 34), ("loud", 2), ("faint", 30), ("loud", 2), ("faint", 7)))
    assert [segment.start for segment in result.segments] == [
        pytest.approx(34, abs=0.05),
        pytest.approx(66, abs=0.05),
    ]
    assert result.duration == 75


def test_where_nobody_speaks_nothing_is_written(heard: Callable[[np.ndarray], Transcript]) -> None:
    result = heard(spoken(("faint", 40)))
    assert (result.text, result.segments, result.left_out) == ("", (), ())
    assert result.remarks == (regions.NOBODY,) and result.language == "az"
    assert heard(np.zeros(16_000)).remarks == ("no sound: all of it is digital silence",)


def test_the_option(transcribe: Callable[..., Outcome], recordings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "SpeechDetector", Loudness)
    soundfile.write("faint.wav", spoken(("faint", 3)), SAMPLING_RATE)
    outcome = transcribe("faint.wav", "--vad", "silero", "--format", "json")
    assert json.loads(outcome.output)["text"] == ""
    assert outcome.errors == f"warning: faint.wav: {regions.NOBODY}\n"
    assert json.loads(transcribe("faint.wav", "--vad", "none", "--format", "json").output)["text"]


def test_a_missing_package_ends_the_command(
    transcribe: Callable[..., Outcome], recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise ConfigError("--vad is 'silero', whose package is not installed: pip install silero-vad")

    monkeypatch.setattr(detector, "weights_path", missing)
    outcome = transcribe("good.wav", "--vad", "silero")
    assert outcome.code == 2 and "pip install silero-vad" in outcome.complaint
