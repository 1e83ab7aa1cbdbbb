"""How much later a second recording hears the same, whatever noise it has of its own."""

import numpy as np
import pytest

from data.utterance import SAMPLING_RATE
from trainer.transcription.second.alignment import find_delay, moved


def voice(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise in syllables, float32 [N]."""
    rng = np.random.default_rng(seed)
    samples = rng.normal(0, 0.1, round(seconds * SAMPLING_RATE))
    loud = np.repeat(rng.uniform(0, 1, round(seconds * 8) + 1) ** 2, SAMPLING_RATE // 8)[: len(samples)]
    return (samples * loud).astype(np.float32)


def heard(scene: np.ndarray, begin: float, seconds: float, seed: int) -> np.ndarray:
    """A microphone's recording of a part of a scene, with as much noise as voice, at a level of its own."""
    part = scene[round(begin * SAMPLING_RATE) :][: round(seconds * SAMPLING_RATE)]
    noise = np.random.default_rng(seed).normal(0, np.sqrt(np.square(part).mean()), len(part))
    return ((part + noise) * 0.1 * seed).astype(np.float32)


@pytest.mark.parametrize(
    ("first", "second"),
    [((3, 8), (3, 8)), ((3, 8), (1.2, 9)), ((1, 6), (4.5, 8)), ((30, 45), (2, 78)), ((2, 9), (30, 4))],
)
def test_the_delay_is_that_of_when_they_began(first: tuple[float, float], second: tuple[float, float]) -> None:
    scene = voice(80)
    found = find_delay(heard(scene, *first, 1), heard(scene, *second, 2))
    if second == (30, 4):
        assert found is None  # nothing of it is at the same time
        return
    assert found is not None
    assert found.seconds == pytest.approx(first[0] - second[0], abs=0.001)
    assert found.drift == pytest.approx(0, abs=0.001)


def test_other_speech_has_no_delay() -> None:
    assert find_delay(voice(8, 1), voice(8, 2)) is None
    assert find_delay(voice(8, 1), np.zeros(8 * SAMPLING_RATE, np.float32)) is None


def test_clocks_that_run_apart_are_noticed() -> None:
    scene = voice(60)
    late = np.concatenate(
        [scene[: 30 * SAMPLING_RATE], np.zeros(SAMPLING_RATE // 2, np.float32), scene[30 * SAMPLING_RATE :]]
    )
    found = find_delay(scene, late)
    assert found is not None
    assert found.drift == pytest.approx(0.5, abs=0.001)
    assert 0 < found.seconds < 0.5


def test_what_is_moved_hears_it_at_the_same_time() -> None:
    scene = voice(10)
    later, earlier = np.concatenate([np.zeros(8000, np.float32), scene]), scene[8000:]
    assert np.array_equal(moved(later, 0.5), scene)
    assert np.array_equal(moved(earlier, -0.5)[8000:], scene[8000:])
