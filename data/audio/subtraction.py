"""Takes out of a recording what leaks into it from another one of the same clock."""

import numpy as np
from scipy.linalg import solve_toeplitz

from ..utterance import SAMPLING_RATE

TAPS = 2048  # samples of the filter through which a leak is thought to pass, 0.13 s: a room's first echoes
BLOCK = 20 * SAMPLING_RATE  # samples, each with a filter of its own: people and microphones move
LEAST = 1e-4  # of the other recording's power, added to it so that silence in it has no say


def without_leak(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The first recording less what of the second is in it: in each 20 s by the filter that leaves the least power.

    Args:
        first, second: float32 [N] and [M], of the same rate and clock, at best two channels of one file.

    Returns:
        float32 [N].

    Source: N. Wiener's filter of finite length, by Levinson's recursion.
    """
    cleaned = first.copy()
    second = np.pad(second, (0, max(0, len(first) - len(second))))[: len(first)]
    blocks = max(1, round(len(first) / BLOCK))
    for begin, end in zip(bounds := np.linspace(0, len(first), blocks + 1).astype(int), bounds[1:], strict=False):
        before = min(begin, TAPS)
        other = second[begin - before : end]
        size = 1 << (len(other) + TAPS).bit_length()
        of_other = np.fft.rfft(other.astype(np.float64), size)
        of_first = np.fft.rfft(np.pad(first[begin:end].astype(np.float64), (before, 0)), size)
        own = np.fft.irfft(np.abs(of_other) ** 2, size)[:TAPS]
        if own[0] <= 0:
            continue
        own[0] *= 1 + LEAST
        taps = solve_toeplitz(own, np.fft.irfft(of_first * np.conj(of_other), size)[:TAPS])
        leak = np.fft.irfft(of_other * np.fft.rfft(taps, size), size)[before : before + end - begin]
        cleaned[begin:end] -= leak.astype(np.float32)
    return cleaned
