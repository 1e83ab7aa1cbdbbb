"""What leaks into a recording from another one is taken out of it."""

import numpy as np
import pytest

from data.audio.mixing import LEAK_BLOCK, without_leak
from data.augmentation.changes.reverberation import reverberated, synthetic_response
from data.utterance import SAMPLING_RATE
from tests.support.ratios import ratio_in_decibel


def voice(seconds: float, seed: int) -> np.ndarray:
    """Noise in syllables."""
    generator, samples = np.random.default_rng(seed), int(seconds * SAMPLING_RATE)
    loudness = np.repeat(generator.uniform(0.0, 1.0, 1 + samples // 3200), 3200)[:samples]
    return (0.1 * loudness * generator.standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize(("seconds", "room", "least"), [(4, None, 10), (30, None, 18), (4, 0.3, 8), (30, 0.3, 12)])
def test_a_leak_is_fainter_by_many_decibels(seconds: float, room: float | None, least: float) -> None:
    """It was as loud as the speech; a room's sound beyond 0.13 s stays."""
    own, other = voice(seconds, 1), voice(seconds, 2)
    leak = other
    if room is not None:
        leak = reverberated(other, synthetic_response(room, np.random.default_rng(3)))
    left = without_leak(own + leak, other)
    assert left.dtype == np.float32 and len(left) == len(own)
    assert ratio_in_decibel(own, left - own) > least


def test_nothing_is_taken_out_where_nothing_leaks() -> None:
    own = voice(4, 1)
    assert np.array_equal(without_leak(own, np.zeros_like(own)), own)
    assert np.array_equal(without_leak(own, np.zeros(0, np.float32)), own)
    assert ratio_in_decibel(own, without_leak(own, voice(4, 2)) - own) > 10


def test_channels_may_differ_in_length_and_change_in_time() -> None:
    """Each 20 s has a filter of its own."""
    own, other = voice(41, 1), voice(41, 2)
    gain = np.where(np.arange(len(own)) < len(own) // 2, 0.3, 1.0).astype(np.float32)
    assert len(own) > 2 * LEAK_BLOCK
    left = without_leak(own + gain * other, np.concatenate([other, voice(2, 5)]))
    assert ratio_in_decibel(own, left - own) > 15
    short = without_leak(own, other[:100])
    assert len(short) == len(own)
    assert len(without_leak(own[:0], other)) == 0
