"""Where recordings are cut, and where pieces have sound."""

import numpy as np
import pytest

from data.audio.cutting import cut_at_quiet, has_sound, sound_bounds
from data.utterance import SAMPLING_RATE


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * SAMPLING_RATE)).astype(np.float32)


@pytest.mark.parametrize("window", [30, 10, 2])
@pytest.mark.parametrize("seconds", [0.01, 1, 2.1, 29.9, 30, 30.01, 31, 65, 123.456])
def test_pieces_sum_to_the_audio_and_fit_the_window(seconds: float, window: int) -> None:
    audio = noise(seconds)
    pieces = cut_at_quiet(audio, window)
    np.testing.assert_array_equal(np.concatenate([piece.audio for piece in pieces]), audio)
    assert [piece.begin for piece in pieces] == [0, *np.cumsum([len(piece.audio) for piece in pieces])[:-1]]
    assert max(piece.seconds for piece in pieces) <= window
    if len(pieces) > 1:
        assert min(piece.seconds for piece in pieces[:-1]) >= max(0.3 * window, window - 8) - 1e-9
        assert pieces[-1].seconds >= 1  # no remnant that holds half a word


@pytest.mark.parametrize("pause", [22.0, 25.5, 29.5])
def test_the_cut_is_in_the_pause(pause: float) -> None:
    audio = noise(40)
    audio[int(pause * SAMPLING_RATE) : int((pause + 0.3) * SAMPLING_RATE)] *= 0.01
    audio[10 * SAMPLING_RATE : 11 * SAMPLING_RATE] = 0  # quieter, but it would make a short piece
    first, _ = cut_at_quiet(audio)
    assert pause <= first.seconds <= pause + 0.3


def test_a_piece_is_a_view_so_that_hours_of_audio_are_held_once() -> None:
    audio = noise(70)
    assert all(np.shares_memory(piece.audio, audio) for piece in cut_at_quiet(audio))


def test_only_digital_silence_has_no_sound() -> None:
    silence = np.zeros(SAMPLING_RATE, np.float32)
    dither = np.random.default_rng(0).integers(-1, 2, SAMPLING_RATE).astype(np.float32) / 32_768
    assert not has_sound(silence)
    assert not has_sound(dither)
    assert has_sound(0.001 * noise(1))  # a quiet room at -70 dB
    silence[100] = -0.001
    assert has_sound(silence)


def test_bounds_leave_out_the_quiet_around_the_sound() -> None:
    audio = noise(5) * 0.001
    audio[SAMPLING_RATE * 2 : SAMPLING_RATE * 3] = noise(1)
    begin, end = (bound / SAMPLING_RATE for bound in sound_bounds(audio))
    assert begin == pytest.approx(1.9, abs=0.03)
    assert end == pytest.approx(3.1, abs=0.03)


@pytest.mark.parametrize("seconds", [0.001, 0.5, 1.013])
def test_bounds_of_even_sound_are_the_piece(seconds: float) -> None:
    audio = noise(seconds)
    assert sound_bounds(audio) == (0, len(audio))
