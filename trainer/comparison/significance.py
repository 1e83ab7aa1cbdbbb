"""Paired tests of error rates on the same utterances; arrays of counts in, intervals and p-values out.

Knows nothing of runs, files or words: a unit (an utterance, or a speaker with all of theirs) is a row of integers.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..scoring.intervals import RESAMPLES, SEED, Counts, chunks

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


def randomisation_p(differences: Counts, draws: int = RESAMPLES, seed: int = SEED) -> Reals:
    """Two-sided p-values of paired randomisation tests: [units, pairs] differences in errors to [pairs].

    If two systems are equally good, their outputs for a unit may be exchanged, which turns the sign of its difference:
    p is the share of exchanges whose total is at least as far from 0. Up to 13 units all exchanges are tried (exact),
    above that ``draws`` of them (Noreen 1989). No large sample is assumed: with 5 units p cannot fall below 1/16.
    """
    number = len(differences)
    observed = np.abs(differences.sum(axis=0))
    values = differences.astype(np.float64)
    if number <= MOST_ENUMERATED:
        bits = (np.arange(2**number)[:, None] >> np.arange(number)) & 1
        totals = np.abs(((2 * bits - 1).astype(np.float64) @ values).round())
        return (totals >= observed).mean(axis=0)
    generator = np.random.default_rng(seed)
    as_far = np.ones(differences.shape[1])
    for size in chunks(draws, number):
        signs = generator.integers(0, 2, (size, number), dtype=np.int8).astype(np.float64) * 2 - 1
        as_far += (np.abs((signs @ values).round()) >= observed).sum(axis=0)
    return as_far / (1 + draws)


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


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number by Holm's step-down method (1979), in the order given."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
