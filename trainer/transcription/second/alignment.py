"""How much later a second recording hears the same speech, found by the correlation of both."""

from dataclasses import dataclass

import numpy as np

from data.audio.cutting import has_sound
from data.audio.likeness import SHORTEST_SECONDS, likeness_of
from data.utterance import SAMPLING_RATE

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
        ahead = min(begin, reach)
        around = second[begin - ahead : end + reach]
        if has_sound(excerpt) and len(around) >= SHORTEST_SECONDS * SAMPLING_RATE and has_sound(around):
            found.append(likeness_of(excerpt, around, LONGEST_DELAY, ahead / SAMPLING_RATE))
    best = max(found, default=None)
    if best is None or not best.is_same:
        return None
    delays = [one.delay for one in found if one.is_same and abs(one.delay - best.delay) <= SAME_DELAY]
    return Delay(sum(delays) / len(delays), max(delays) - min(delays))


def excerpts(samples: int) -> list[tuple[int, int]]:
    """First and last sample of the parts of a recording that are compared: all of it, or some, evenly spread."""
    length = round(EXCERPT_SECONDS * SAMPLING_RATE)
    if samples <= 2 * length:
        return [(0, samples)]
    count = min(EXCERPTS, samples // length)
    begins = np.linspace(0, samples - length, count).astype(int).tolist()
    return [(begin, begin + length) for begin in begins]


def moved(second: np.ndarray, delay: float) -> np.ndarray:
    """The second recording on the first one's clock: begun with silence, or without its beginning."""
    samples = round(delay * SAMPLING_RATE)
    return second[samples:] if samples >= 0 else np.concatenate([np.zeros(-samples, np.float32), second])
