"""Error rates in parts of the data: by clip length and by each column of the predictions."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..evaluation.breakdown import LENGTHS, natural_order
from ..evaluation.intervals import Counts, Interval, percentiles, rates, resampled_sums
from .reading import Prediction

MOST_VALUES = 12  # of a column, those with most words
GROUP_RESAMPLES = 1000


@dataclass(frozen=True)
class Group:
    """Utterances with the same column value or length bin, with each arm's word error rate and interval."""

    value: str
    utterances: int
    words: int
    rates: tuple[float, ...]
    intervals: tuple[Interval | None, ...]


@dataclass(frozen=True)
class Breakdown:
    """A column's largest groups; ``left_out`` counts the smaller ones that are not shown."""

    title: str
    groups: tuple[Group, ...]
    left_out: int = 0


def breakdowns(
    columns: list[dict[str, str]], predictions: Sequence[Prediction], errors: Counts, words: Counts
) -> list[Breakdown]:
    """A breakdown by length, then one for each column with at least two values."""
    found = [by_length([prediction.seconds for prediction in predictions], errors, words)]
    for key in sorted({key for row in columns for key in row}):
        members: dict[str, list[int]] = {}
        for index, row in enumerate(columns):
            if key in row:
                members.setdefault(row[key], []).append(index)
        if 2 <= len(members) < len(columns):
            largest = sorted(members, key=lambda value: -int(words[members[value]].sum()))[:MOST_VALUES]
            shown = [group(value, members[value], errors, words) for value in sorted(largest, key=natural_order)]
            found.append(Breakdown(key, tuple(shown), len(members) - len(shown)))
    return [breakdown for breakdown in found if len(breakdown.groups) > 1]


def by_length(seconds: Sequence[float], errors: Counts, words: Counts) -> Breakdown:
    """Groups by clip length, in the bins of evaluation.json; empty bins are left out."""
    bins = [
        (low, high, [index for index, value in enumerate(seconds) if low <= value < high])
        for low, high in itertools.pairwise(LENGTHS)
    ]
    named = [
        group(f"{low:g} s and more" if math.isinf(high) else f"{low:g}–{high:g} s", members, errors, words)
        for low, high, members in bins
        if members
    ]
    return Breakdown("length of the clip", tuple(named))


def group(value: str, members: list[int], errors: Counts, words: Counts) -> Group:
    """A group's rates, with intervals over its utterances."""
    counts = np.hstack([errors[members], words[members][:, None]])
    sums = counts.sum(axis=0)
    intervals: list[Interval | None] = [None] * errors.shape[1]
    if len(members) > 1:
        samples = resampled_sums(counts, GROUP_RESAMPLES)
        drawn = rates(samples[:, :-1], samples[:, -1:])
        intervals = [percentiles(drawn[:, index]) for index in range(errors.shape[1])]
    whole = rates(sums[:-1], sums[-1])
    return Group(value, len(members), int(sums[-1]), tuple(map(float, whole)), tuple(intervals))
