"""How much later a second recording hears the same speech, found by the correlation of both."""

import math
from dataclasses import dataclass

import numpy as np
import soxr

from data.audio.cutting import has_sound
from data.utterance import SAMPLING_RATE

RATE = 8000  # of the correlation; telephones leave nothing above it
BAND = 200.0, 3500.0  # hertz
WHITENING = 0.8  # of the cross spectrum's magnitude; 1 would weigh bands of noise like those of speech
NEIGHBOURHOOD = 0.05  # seconds around the peak, where a room's reflections lie
SAME_SPEECH = 1.8  # times the next peak, from which on both are the same speech; docs/preparing.md measures it
SHORTEST_SECONDS = 1.0  # of both, to be compared at all
LONGEST_DELAY = 60.0  # seconds that a second recording may begin earlier or later
EXCERPTS, EXCERPT_SECONDS = 8, 20.0  # of a longer first recording, evenly spread
SAME_DELAY = 1.0  # seconds between excerpts' delays that clocks of their own may make


@dataclass(frozen=True)
class Delay:
    """By how many seconds the second recording hears the same later, below 0 earlier.

    Attributes:
        seconds: the mean over the recordings.
        drift: seconds by which it changes from the least to the most, as clocks that run apart make it.
    """

    seconds: float
    drift: float


def find_delay(first: np.ndarray, second: np.ndarray) -> Delay | None:
    """The delay of a second recording of the same speech, at most a minute; None if they have no speech in common.

    Args:
        first, second: float32 [N] and [M], 16 kHz, a second or more of each.
    """
    found = []
    for begin, end in excerpts(len(first)):
        excerpt = first[begin:end]
        reach = round(LONGEST_DELAY * SAMPLING_RATE)
        around = second[max(0, begin - reach) : end + reach]
        if has_sound(excerpt) and len(around) >= SHORTEST_SECONDS * SAMPLING_RATE and has_sound(around):
            likeness, lag = likeness_of(excerpt, around, begin / SAMPLING_RATE - max(0, begin - reach) / SAMPLING_RATE)
            found.append((likeness, lag))
    best = max(found, default=(0.0, 0.0))
    if best[0] < SAME_SPEECH:
        return None
    delays = [lag for likeness, lag in found if likeness >= SAME_SPEECH and abs(lag - best[1]) <= SAME_DELAY]
    return Delay(sum(delays) / len(delays), max(delays) - min(delays))


def excerpts(samples: int) -> list[tuple[int, int]]:
    """First and last sample of the parts of a recording that are compared: all of it, or some, evenly spread."""
    length = round(EXCERPT_SECONDS * SAMPLING_RATE)
    if samples <= 2 * length:
        return [(0, samples)]
    count = min(EXCERPTS, samples // length)
    begins = np.linspace(0, samples - length, count).astype(int).tolist()
    return [(begin, begin + length) for begin in begins]


def likeness_of(first: np.ndarray, second: np.ndarray, ahead: float) -> tuple[float, float]:
    """How much the two are the same speech, and by how many seconds the second hears it later.

    The generalised cross-correlation with the phase transform (Knapp and Carter 1976): its peak over the highest value
    elsewhere, about 1 for what has nothing in common.

    Args:
        first, second: float32 [N] and [M], 16 kHz.
        ahead: seconds that the second one's samples begin before the first one's.
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
    reach, shift = round(LONGEST_DELAY * RATE), round(ahead * RATE)
    lowest, highest = max(shift - reach, 1 - len(one)), min(shift + reach, len(two) - 1)  # lags in these samples
    correlation = np.concatenate([correlation[lowest:], correlation[: highest + 1]]) if lowest < 0 else (
        correlation[lowest : highest + 1]
    )  # fmt: skip
    peak, around = int(np.argmax(correlation)), round(NEIGHBOURHOOD * RATE)
    others = correlation[: max(0, peak - around)], correlation[peak + around + 1 :]
    next_peak = max(float(part.max(initial=0)) for part in others)
    likeness = float(correlation[peak]) / next_peak if next_peak else math.inf
    return likeness, (peak + lowest - shift) / RATE


def moved(second: np.ndarray, delay: float) -> np.ndarray:
    """The second recording on the first one's clock: begun with silence, or without its beginning."""
    samples = round(delay * SAMPLING_RATE)
    return second[samples:] if samples >= 0 else np.concatenate([np.zeros(-samples, np.float32), second])
