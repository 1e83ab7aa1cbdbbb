"""Sounds without speech and streams whose words are known; what is counted of them."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.long_form import live, silence
from benchmarks.long_form.simulated import SimulatedStream
from data.utterance import SAMPLING_RATE
from tests.support.films import noise
from tests.support.loudness import Loudness
from tests.support.untrained import save_checkpoint
from trainer.evaluation.normalizers import build_normalizer
from trainer.transcription.transcriber import Transcriber


def decibels(audio: np.ndarray) -> float:
    return 10 * float(np.log10(np.square(audio).mean()))


def test_sounds_have_their_level_and_length() -> None:
    made = silence.sounds([noise(1.0), noise(2.0)], [], 12.0)
    assert len(made) == 4 * len(silence.LEVELS)
    for kind, (audio,) in made.items():
        level = float(kind.split()[-2])
        assert decibels(audio) == pytest.approx(level, abs=0.5), kind
        assert len(audio) == 12 * SAMPLING_RATE and audio.dtype == np.float32


def test_pink_noise_has_equal_power_in_octaves() -> None:
    power = np.abs(np.fft.rfft(silence.pink(np.random.default_rng(0), 20.0))) ** 2
    octaves = [power[20 * low : 40 * low].sum() for low in (100, 400, 1600)]
    assert max(octaves) / min(octaves) < 1.2


def test_first_words_begin_where_they_are_said_to() -> None:
    for audio in silence.first_words(2):
        loud = np.flatnonzero(np.abs(audio) > 0.01 * np.abs(audio).max())
        assert loud[0] / SAMPLING_RATE == pytest.approx(silence.DIGITS_BEGIN, abs=0.01)


def test_words_an_hour_are_counted(tmp_path: Path) -> None:
    """A checkpoint without training writes a word wherever it listens."""
    folder, made = str(save_checkpoint(tmp_path)), {"loud": [noise(4.0), noise(4.0)], "faint": [0.02 * noise(4.0)]}
    deaf = silence.measure_sounds(Transcriber(folder, "az"), made)
    assert deaf["loud"]["without_rule"] == pytest.approx(3600 / 4) and deaf["faint"]["without_rule"] > 0
    heard = silence.measure_sounds(Transcriber(folder, "az", voice=Loudness()), made)
    assert heard["loud"]["without_rule"] > 0 and heard["faint"] == {
        "hours": 4 / 3600,
        "without_rule": 0,
        "with_rule": 0,
    }


def test_how_late_right_words_are() -> None:
    normalize = build_normalizer("auto", "en")
    audio, words = live.joined([(noise(2.0), "One four!"), (noise(1.0), "six")], normalize)
    assert [word for word, _ in words] == ["one", "4", "6"]
    assert words[1][1] - words[0][1] > 0.49 and words[2][1] < len(audio) / SAMPLING_RATE
    said = [("cat", 1.0), ("dog", 2.0), ("cow", 3.0)]
    assert live.lateness(said, [("Cat,", 2.5), ("hen", 3.0), ("pig cow.", 3.5)], normalize) == [1.5, 0.5]


def test_a_simulated_stream_comes_as_it_is_spoken() -> None:
    stream = SimulatedStream([np.ones(SAMPLING_RATE, np.float32), 5.0, np.ones(SAMPLING_RATE, np.float32)])
    first = stream.take(0.2)
    assert first is not None and len(first) == 1600 and stream.now == pytest.approx(0.1)
    stream.now += 0.5
    assert stream.seconds == pytest.approx(0.6)
    later = stream.take(0.2)
    assert later is not None and len(later) == 8000
    stream.now = 1.0
    assert len(stream.take(0.2)) == 6400  # type: ignore[arg-type]
    nothing = stream.take(0.2)
    assert nothing is not None and len(nothing) == 0 and stream.now == pytest.approx(1.2)
    stream.now = 60.0
    assert len(stream.take(0.2)) == SAMPLING_RATE  # type: ignore[arg-type]
    assert stream.take(0.2) is None
