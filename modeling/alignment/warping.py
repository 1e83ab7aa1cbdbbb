"""From scores of cross-attention heads to the frame at which each token begins. It knows arrays alone.

The method is that of OpenAI's whisper/timing.py: weights over the frames, standardised over the tokens, smoothed by a
median over frames, averaged over heads; the path by dynamic time warping.
"""

import numpy as np

MEDIAN_FRAMES = 7
LEAST_DEVIATION = 1e-6


def closeness(scores: np.ndarray, width: int = MEDIAN_FRAMES) -> np.ndarray:
    """How much more than usual each token looks at each frame, [heads, L, S], from scores before the softmax.

    Args:
        scores: float32 [heads, L, S], of the frames that belong to the recording alone.
        width: frames of the median, odd; 1 for none.
    """
    weights = np.exp(scores - scores.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    deviation = weights.std(axis=1, keepdims=True)
    return median_of((weights - weights.mean(axis=1, keepdims=True)) / np.maximum(deviation, LEAST_DEVIATION), width)


def median_of(values: np.ndarray, width: int) -> np.ndarray:
    """The running median over the last axis, mirrored at both ends; unchanged where that is no longer than half."""
    half = width // 2
    if half < 1 or values.shape[-1] <= half:
        return values
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(half, half)], mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=-1)
    return np.partition(windows, half, axis=-1)[..., half]


def first_frames(gains: np.ndarray) -> np.ndarray:
    """The frame at which each token begins on the path of most gain through all tokens and frames, int64 [K, L].

    Dynamic time warping: a path goes from the first token and frame to the last ones, and each step goes on by a frame,
    a token, or both. Anti-diagonals are computed at once, and K matrices side by side.

    Args:
        gains: [K, L, S], L and S at least 1.
    """
    count, tokens, frames = gains.shape
    diagonals = tokens + frames - 1
    slanted = np.full((diagonals, count, tokens), -np.inf, np.float32)  # by diagonal: gains[:, i, d - i]
    for token in range(tokens):
        slanted[token : token + frames, :, token] = gains[:, token].T
    steps = np.zeros((diagonals, count, tokens), np.int8)  # 0: both, 1: a token, 2: a frame
    two_before = np.full((count, tokens), -np.inf, np.float32)
    before = two_before.copy()
    before[:, 0] = slanted[0, :, 0]
    ways = np.empty((3, count, tokens), np.float32)
    for diagonal in range(1, diagonals):
        ways[:2, :, 0] = -np.inf
        ways[0, :, 1:] = two_before[:, :-1]
        ways[1, :, 1:] = before[:, :-1]
        ways[2] = before
        steps[diagonal] = ways.argmax(axis=0)
        two_before, before = before, ways.max(axis=0) + slanted[diagonal]
    firsts = np.zeros((count, tokens), np.int64)
    at_token, at_frame = np.full(count, tokens - 1), np.full(count, frames - 1)
    each = np.arange(count)
    for _ in range(diagonals):
        firsts[each, at_token] = at_frame
        step = steps[at_token + at_frame, each, at_token]
        at_token = at_token - ((step != 2) & (at_token > 0))
        at_frame = at_frame - ((step != 1) & (at_frame > 0))
    return firsts
