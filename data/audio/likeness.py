"""Whether two recordings hold the same speech, and by how much the second hears it later: their cross-correlation."""

import math
from typing import NamedTuple

import numpy as np
import soxr

from ..utterance import SAMPLING_RATE

RATE = 8000  # hertz, of the correlation; telephones leave nothing above its half
BAND = 200.0, 3500.0  # hertz, of speech
WHITENING = 0.8  # of the cross spectrum's magnitude; 1 would weigh bands of noise like those of speech
NEIGHBOURHOOD = 0.05  # seconds around the peak, where a room's reflections lie
SAME_SPEECH = 1.8  # times the next peak, from which on both are the same speech; docs/preparing.md measures it
SHORTEST_SECONDS = 1.0  # of both, to be compared at all


class Likeness(NamedTuple):
    """How much two recordings are the same speech.

    Attributes:
        peak: the correlation's peak over the highest value elsewhere; about 1 for what has nothing in common.
        delay: seconds by which the second recording hears the same later, below 0 earlier.
    """

    peak: float
    delay: float

    @property
    def is_same(self) -> bool:
        return self.peak >= SAME_SPEECH


def likeness_of(first: np.ndarray, second: np.ndarray, longest: float, ahead: float = 0.0) -> Likeness:
    """The generalised cross-correlation with the phase transform (Knapp and Carter 1976).

    The same speech through two microphones has a peak of its own, whatever noise each of them adds.

    Args:
        first, second: float32 [N] and [M], 16 kHz.
        longest: seconds of the longest delay that is looked for.
        ahead: seconds by which the second one's samples begin before the first one's.
    """
    one, two = (soxr.resample(samples, SAMPLING_RATE, RATE) for samples in (first, second))
    size = 2 ** math.ceil(math.log2(len(one) + len(two)))
    cross = np.fft.rfft(two, size) * np.conj(np.fft.rfft(one, size))
    frequencies = np.arange(len(cross)) * (RATE / size)
    magnitude = np.abs(cross)
    is_used = (frequencies >= BAND[0]) & (frequencies <= BAND[1]) & (magnitude > 0)
    cross[~is_used] = 0
    cross[is_used] /= magnitude[is_used] ** WHITENING
    correlation = np.abs(np.fft.irfft(cross, size))
    reach, shift = round(longest * RATE), round(ahead * RATE)
    lowest, highest = max(shift - reach, 1 - len(one)), min(shift + reach, len(two) - 1)  # lags in these samples
    correlation = np.take(correlation, np.arange(lowest, highest + 1), mode="wrap")
    peak, around = int(np.argmax(correlation)), round(NEIGHBOURHOOD * RATE)
    others = correlation[: max(0, peak - around)], correlation[peak + around + 1 :]
    next_peak = max(float(part.max(initial=0)) for part in others)
    return Likeness(float(correlation[peak]) / next_peak if next_peak else 1.0, (peak + lowest - shift) / RATE)
