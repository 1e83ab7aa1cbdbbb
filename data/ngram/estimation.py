"""Interpolated modified Kneser-Ney estimation (Chen and Goodman 1999) with numpy.

Counts of shorter n-grams are the numbers of different words before them, but for those at the beginning of a sentence,
as in KenLM's estimation (Heafield et al. 2013).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .levels import NEVER, SPECIAL, Level, Ngrams

HIGHEST_ORDER = 5
USUAL = (0.5, 1.0, 1.5)  # discounts where counts of counts give none, as KenLM's --discount_fallback

Discounts = tuple[float, float, float]  # of n-grams that were counted once, twice, and more often
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Estimated:
    """A model and what it was made of.

    Attributes:
        discounts: by length.
        usual: lengths whose discounts are :data:`USUAL`, since the text is too small to find them.
    """

    ngrams: Ngrams
    sentences: int
    tokens: int
    discounts: tuple[Discounts, ...]
    usual: tuple[int, ...]


@dataclass(frozen=True)
class _Counted:
    """The different n-grams of one length, sorted: places of their first words and of their last ones in the level
    below, their keys, and how often they occur and count."""

    keys: Integers
    parents: Integers
    suffixes: Integers
    raw: Integers
    counts: Integers


def estimate(sentences: Iterable[Sequence[str]], order: int = 3, prune: int = 0) -> Estimated:
    """The model of normalised sentences, those without words left out.

    Args:
        order: length of the longest n-grams, 1 to 5.
        prune: n-grams of two words or more that occur at most so often are left out; their mass goes to shorter
            contexts.

    Raises:
        DataError: if no sentence has words, or the order is out of range.
    """
    if not 1 <= order <= HIGHEST_ORDER:
        raise DataError(f"the order is {order}; 1 to {HIGHEST_ORDER} is right")
    kept = [sentence for sentence in sentences if len(sentence)]
    if not kept:
        raise DataError("the text has no words")
    words = sorted({word for sentence in kept for word in sentence} - set(SPECIAL))
    size = len(words) + len(SPECIAL)
    counted = count(kept, words, order)
    levels: list[Level] = []
    discounts, usual = [], []
    lower = np.full(1, 1 / (size - 1))  # uniform over all but the beginning of a sentence
    kept_below = np.ones(1, bool)
    places: Integers = np.zeros(1, np.int64)  # in what is kept of the level below, of each of its n-grams
    for length, level in enumerate(counted, 1):
        found = discounts_of(level.counts)
        discounts.append(found or USUAL)
        usual += [] if found else [length]
        stays = (level.raw > prune) | (length == 1)
        taken = np.where(stays, np.array([0.0, *discounts[-1]])[np.minimum(level.counts, 3)], level.counts)
        sums = np.bincount(level.parents, level.counts, len(lower))
        mass = np.bincount(level.parents, taken, len(lower)) / np.maximum(sums, 1)
        probabilities = (level.counts - taken) / np.maximum(sums, 1)[level.parents]
        probabilities += mass[level.parents] * lower[level.suffixes]
        if length == 1:
            probabilities[len(words) + 1] = 0.0  # nothing leads to the beginning of a sentence
        else:
            is_context = sums > 0
            backoff = np.where(is_context, np.log10(np.where(is_context, mass, 1.0)), 0.0)
            levels[-1].backoff[:] = backoff[kept_below]
        with np.errstate(divide="ignore"):
            log10 = np.maximum(np.log10(probabilities), NEVER)[stays].astype(np.float32)
        keys = (places[level.parents] * size + level.keys % size)[stays]
        levels.append(Level(keys, log10, np.zeros(len(keys), np.float32)))
        places, lower, kept_below = np.cumsum(stays) - 1, probabilities, stays
    tokens = sum(map(len, kept))
    return Estimated(Ngrams(words, levels), len(kept), tokens, tuple(discounts), tuple(usual))


def count(sentences: Sequence[Sequence[str]], words: Sequence[str], order: int) -> list[_Counted]:
    """The n-grams of each length up to ``order``, with the counts that they are estimated by."""
    numbers = {word: number for number, word in enumerate(words)}
    unknown, begin, end = (len(words) + place for place in range(3))
    stream: list[int] = []
    within: list[int] = []  # words before each in its sentence
    for sentence in sentences:
        stream += [begin, *(numbers.get(word, unknown) for word in sentence), end]
        within += range(len(sentence) + 2)
    tokens, place = np.array(stream, np.int64), np.array(within, np.int64)
    size = len(words) + 3
    raw = np.bincount(tokens, minlength=size)
    every = np.arange(size)
    levels = [_Counted(every, np.zeros(size, np.int64), np.zeros(size, np.int64), raw, raw.copy())]
    ids, starts = (
        tokens,
        every == begin,
    )  # of the level below: the n-gram that ends at each token; which begin sentences
    for length in range(2, order + 1):
        ends = np.flatnonzero(place >= length - 1)
        keys, first, inverse, raw = np.unique(
            ids[ends - 1] * size + tokens[ends], return_index=True, return_inverse=True, return_counts=True
        )
        suffixes = ids[ends[first]]
        different = np.bincount(suffixes, minlength=len(levels[-1].keys))
        levels[-1].counts[:] = np.where(starts, levels[-1].raw, different)
        levels.append(_Counted(keys, keys // size, suffixes, raw, raw.copy()))
        starts = place[ends[first]] == length - 1
        ids = np.full(len(tokens), -1)
        ids[ends] = inverse
    levels[0].counts[begin] = 0
    return levels


def discounts_of(counts: Integers) -> Discounts | None:
    """What counts of one, two and more are lowered by; None where counts of counts do not say."""
    seen = [int(number) for number in np.bincount(np.minimum(counts, 5), minlength=5)[1:5]]
    if 0 in seen:
        return None
    y = seen[0] / (seen[0] + 2 * seen[1])
    found = tuple(k - (k + 1) * y * seen[k] / seen[k - 1] for k in (1, 2, 3))
    if all(0 < one <= k for k, one in enumerate(found, 1)):  # a discount of 0 would leave nothing to shorter contexts
        return found[0], found[1], found[2]
    return None
