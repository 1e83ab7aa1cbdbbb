"""Dynamic time warping finds the best path, and gains are what Whisper's authors make of attention."""

import functools

import numpy as np
import pytest

from modeling.alignment.warping import closeness, first_frames, median_of


def best_path(gains: np.ndarray) -> list[int]:
    """The first frame of each token on the best path, by trying them all."""

    @functools.cache
    def best(token: int, frame: int) -> tuple[float, tuple[int, int] | None]:
        before = [
            place for place in ((token - 1, frame - 1), (token - 1, frame), (token, frame - 1)) if min(place) >= 0
        ]
        if not before:
            return float(gains[0, 0]), None
        gain, place = max(((best(*place)[0], place) for place in before), key=lambda found: found[0])
        return gain + float(gains[token, frame]), place

    firsts = [0] * len(gains)
    place: tuple[int, int] | None = (gains.shape[0] - 1, gains.shape[1] - 1)
    while place is not None:
        firsts[place[0]] = place[1]
        place = best(*place)[1]
    return firsts


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 1), (3, 3), (6, 4), (4, 9)])
def test_the_path_is_the_best_of_all(shape: tuple[int, int]) -> None:
    gains = np.random.default_rng(sum(shape)).normal(size=(40, *shape)).astype(np.float32)
    assert first_frames(gains).tolist() == [best_path(matrix) for matrix in gains]


def test_a_diagonal_is_followed() -> None:
    gains = np.repeat(np.eye(5, dtype=np.float32), 3, axis=1)
    assert first_frames(gains[None]).tolist() == [[0, 3, 6, 9, 12]]


def test_gains_are_weights_beside_those_of_other_tokens() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 4, 30)).astype(np.float32)
    weights = np.exp(scores) / np.exp(scores).sum(axis=2, keepdims=True)
    expected = (weights - weights.mean(axis=1, keepdims=True)) / weights.std(axis=1, keepdims=True)
    np.testing.assert_allclose(closeness(scores, width=1), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(closeness(scores, width=3)[..., 5], np.median(expected[..., 4:7], axis=-1), rtol=1e-3)


def test_one_token_alone_gains_nothing_anywhere() -> None:
    assert not closeness(np.ones((1, 1, 9), np.float32)).any()


def test_the_median_is_mirrored_at_the_ends_and_left_out_where_it_is_wider() -> None:
    values = np.array([[5.0, 1.0, 2.0, 9.0, 3.0]])
    assert median_of(values, 3).tolist() == [[1.0, 2.0, 2.0, 3.0, 9.0]]
    assert median_of(values, 11) is values
