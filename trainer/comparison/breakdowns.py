"""Error rates in parts of the data: by clip length and by each column of the predictions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..evaluation.breakdown import groups, length_bin
from ..evaluation.intervals import Counts, Interval, percentiles, rates, resampled_sums
from .reading import Prediction

MOST_VALUES = 12  # of a column, those with most words
GROUP_RESAMPLES = 1000


@dataclass(frozen=True)
class Group:
    """Utterances with the same column value or length bin, with each arm's word error rate and interval."""

    value: str
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
    lengths = groups((length_bin(prediction.seconds), index) for index, prediction in enumerate(predictions))
    shown = [group(length_name(value), members, errors, words) for value, members in lengths.items()]
    found = [Breakdown("length of the clip", tuple(shown))]
    for key in sorted({key for row in columns for key in row}):
        parts = groups((row[key], index) for index, row in enumerate(columns) if key in row)
        if 2 <= len(parts) < len(columns):
            largest = sorted(parts, key=lambda value: -int(words[parts[value]].sum()))[:MOST_VALUES]
            shown = [group(value, members, errors, words) for value, members in parts.items() if value in largest]
            found.append(Breakdown(key, tuple(shown), len(parts) - len(shown)))
    return [breakdown for breakdown in found if len(breakdown.groups) > 1]


def length_name(value: str) -> str:
    """The name of a :func:`length_bin`: ``2–5 s``, ``20 s and more``."""
    low, _, high = value.partition("-")
    return f"{low}–{high} s" if high else f"{low} s and more"


def group(value: str, members: list[int], errors: Counts, words: Counts) -> Group:
    """A group's rates, with intervals over its utterances."""
    counts = np.hstack([errors[members], words[members][:, None]])
    sums = counts.sum(axis=0)
    intervals: list[Interval | None] = [None] * errors.shape[1]
    if len(members) > 1:
        samples = resampled_sums(counts, GROUP_RESAMPLES)
        intervals = [percentiles(drawn) for drawn in rates(samples[:, :-1], samples[:, -1:]).T]
    whole = rates(sums[:-1], sums[-1])
    return Group(value, int(sums[-1]), tuple(map(float, whole)), tuple(intervals))
