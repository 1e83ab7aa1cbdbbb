"""Error rates in parts of the data: by length of the clip and by each column that came with the predictions."""

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
    """Utterances that share a column's value, or a length: each arm's word error rate and interval."""

    value: str
    utterances: int
    words: int
    rates: tuple[float, ...]
    intervals: tuple[Interval | None, ...]


@dataclass(frozen=True)
class Breakdown:
    """A column's groups; ``left_out`` more values have fewer words."""

    title: str
    groups: tuple[Group, ...]
    left_out: int = 0


def breakdowns(
    columns: list[dict[str, str]], predictions: Sequence[Prediction], errors: Counts, words: Counts
) -> list[Breakdown]:
    """By length, then by each column that parts the utterances."""
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
    """The bins of evaluation.json, those that are empty left out."""
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
