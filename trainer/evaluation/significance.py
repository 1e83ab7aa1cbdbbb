"""Paired tests of error rates on the same utterances; arrays of counts in, intervals and p-values out.

Knows nothing of runs, files or words: a unit (an utterance, or a speaker with all of theirs) is a row of integers.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .intervals import RESAMPLES, SEED, Counts, Interval, chunks

Reals = NDArray[np.float64]

LEVEL = 0.05  # of every test
MOST_ENUMERATED = 13  # units of which all 2^n assignments are tried instead of drawn


def sums_by_unit(counts: Counts, units: NDArray[np.intp]) -> Counts:
    """Counts [utterances, columns] summed over the utterances of each unit: [units, columns]."""
    summed = np.zeros((int(units.max()) + 1, counts.shape[1]), np.int64)
    np.add.at(summed, units, counts)
    return summed


def bootstrap_p(differences: Reals) -> float:
    """Two-sided p-value of resampled differences: twice the smaller share at or beyond 0, itself counted once."""
    beyond = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (1 + beyond) / (1 + len(differences)))


def exchanged_sums(columns: Counts, draws: int = RESAMPLES, seed: int = SEED) -> Reals:
    """Sums of counts [units, columns] under exchanges of two systems' outputs: [exchanges, columns].

    If two systems are equally good, their outputs for a unit may be exchanged, which turns the sign of its difference.
    Up to 13 units all exchanges are there, above that ``draws`` of them and, last, the one that changes nothing.
    """
    number = len(columns)
    values = columns.astype(np.float64)
    if number <= MOST_ENUMERATED:
        bits = (np.arange(2**number)[:, None] >> np.arange(number)) & 1
        return ((1 - 2 * bits).astype(np.float64) @ values).round()
    generator = np.random.default_rng(seed)
    parts = []
    for size in chunks(draws, number):
        signs = generator.integers(0, 2, (size, number), dtype=np.int8).astype(np.float64) * 2 - 1
        parts.append((signs @ values).round())
    return np.concatenate([*parts, values.sum(axis=0, keepdims=True)])


def randomisation_p(differences: Counts, exchanged: Reals) -> Reals:
    """Two-sided p-values of paired randomisation tests: [units, pairs] differences in errors to [pairs].

    The share of exchanges whose total is at least as far from 0 as the one seen (Noreen 1989). No large sample is
    assumed: with 5 units p cannot fall below 1/16.

    Args:
        exchanged: what :func:`exchanged_sums` made of the differences.
    """
    return (np.abs(exchanged) >= np.abs(differences.sum(axis=0))).mean(axis=0)


def randomisation_interval(
    errors: float, words: float, exchanged_errors: Reals, exchanged_words: Reals, divisor: int = 1
) -> Interval | None:
    """All differences in error rate that the paired randomisation test does not reject at ``LEVEL / divisor``.

    The test of :func:`randomisation_p` asks whether the difference is 0; here it is asked of every difference r, with r
    errors for each word taken off the first system's. So 0 lies within exactly where the test of 0 does not reject.
    An exchange is at least as far from its middle as what was seen for all r between two error rates: of the units
    that it turns, and of those that it leaves (Hartigan, JASA 64, 1969); the ends of the interval are order statistics
    of those (Tritchler, JASA 79, 1984; Garthwaite, Biometrics 52, 1996). An end is infinite where too few units are
    there to reject anything.

    Args:
        errors, words: summed over units: of the differences, and of what was spoken.
        exchanged_errors, exchanged_words: of the same exchanges.
    """
    if words <= 0:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        turned = (errors - exchanged_errors) / (words - exchanged_words)
        left = (errors + exchanged_errors) / (words + exchanged_words)
    lows, highs = np.minimum(turned, left), np.maximum(turned, left)
    lows[np.isnan(lows)], highs[np.isnan(highs)] = -np.inf, np.inf  # nothing was turned, or nothing was left
    number = len(lows)
    rejected = np.flatnonzero(divisor * (np.arange(number) / number) < LEVEL)[-1]  # by so many that hold r, or fewer
    return float(np.partition(lows, rejected)[rejected]), float(-np.partition(-highs, rejected)[rejected])


def draws_for(pairs: int) -> int:
    """So many exchanges that Holm's correction for ``pairs`` can still find a difference."""
    return max(RESAMPLES, 200 * pairs)


def matched_pairs_p(differences: Counts) -> float | None:
    """MAPSSWE's two-sided p-value (Gillick & Cox 1989) of differences in errors [segments]; None below two segments.

    W = mean / (standard deviation / sqrt(segments)) is taken as standard normal, so some 50 segments are wanted.
    """
    number = len(differences)
    if number < 2:
        return None
    mean, deviation = float(differences.mean()), float(differences.std(ddof=1))
    if deviation == 0:
        return 1.0 if mean == 0 else 0.0
    return math.erfc(abs(mean) / (deviation / math.sqrt(number)) / math.sqrt(2))


def holm(p_values: Sequence[float]) -> list[tuple[float, int]]:
    """Of each test, in the order given, its p-value adjusted by Holm's step-down method (1979), and its divisor.

    The method divides the test's level by the divisor. From the first test that is not rejected on, the rest have its
    divisor, so that what is rejected is the same.
    """
    found = [(0.0, 1)] * len(p_values)
    highest, stopped = 0.0, 0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        left = len(p_values) - rank
        highest = max(highest, min(1.0, left * p_values[index]))
        divisor = stopped or left
        found[index] = highest, divisor
        if not stopped and divisor * p_values[index] >= LEVEL:
            stopped = divisor
    return found
