"""Bootstrap intervals: how far an error rate would move with other utterances or speakers of the same kind.

Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP 2004. Utterances of
one speaker have similar errors; a cluster bootstrap therefore draws whole speakers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError

from .error_rates import ScoredUtterance, check_same

RESAMPLES = 10_000
SEED = 20_220_822
LEVEL = 0.95
CHUNK_CELLS = 4_000_000  # units x resamples held at a time

Counts = NDArray[np.int64]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """A rate less another, of the same utterances.

    Attributes:
        interval: 95 %; None below two units. Where it holds 0, the difference may be chance.
        improved: share of the draws in which it is below 0.
    """

    value: float
    interval: Interval | None
    improved: float | None


def totals(scored: Sequence[ScoredUtterance], cluster: str | None = None) -> Counts:
    """What is drawn, int64 [units, 4]: word errors, words, character errors, characters of each.

    Args:
        cluster: the column whose values are the units, an utterance without one being its own; None for utterances.
    """
    rows = np.array(
        [[one.words.errors, one.words.tokens, one.characters.errors, one.characters.tokens] for one in scored],
        dtype=np.int64,
    ).reshape(-1, 4)
    if cluster is None:
        return rows
    values = np.array([one.prediction.columns[cluster] for one in scored], dtype=str)
    known = values != ""
    names, units = np.unique(values[known], return_inverse=True)
    summed = np.zeros((len(names), 4), np.int64)
    np.add.at(summed, units, rows[known])
    return np.concatenate([summed, rows[~known]])


def resampled_sums(counts: Counts, resamples: int = RESAMPLES, seed: int = SEED) -> Counts:
    """Column sums of ``resamples`` draws of units with replacement: [resamples, columns].

    All columns are summed over the same draw, which is what makes comparisons between columns paired.
    """
    number = len(counts)
    generator = np.random.default_rng(seed)
    parts = []
    for size in chunks(resamples, number):
        drawn = generator.integers(0, number, (size, number)) + np.arange(size)[:, None] * number
        times = np.bincount(drawn.ravel(), minlength=size * number).reshape(size, number)
        parts.append((times.astype(np.float64) @ counts.astype(np.float64)).round().astype(np.int64))
    return np.concatenate(parts)


def chunks(total: int, width: int) -> Iterator[int]:
    """``total`` rows in portions whose cells fit memory."""
    size = max(1, CHUNK_CELLS // width)
    for begin in range(0, total, size):
        yield min(size, total - begin)


def rates(errors: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Errors over tokens; without any token 0 or 1, as for a corpus."""
    return np.where(tokens > 0, errors / np.maximum(tokens, 1), errors > 0)


def percentiles(values: np.ndarray) -> Interval:
    """The 95 % interval of drawn values."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def rate_intervals(counts: Counts) -> list[Interval | None]:
    """95 % intervals of several rates, the same units drawn for all; None below two units.

    Args:
        counts: int64 [units, 2 x rates]: errors and tokens of the first rate, of the second, and so on.
    """
    places = range(0, counts.shape[1], 2)
    if len(counts) < 2:
        return [None for _ in places]
    sums = resampled_sums(counts)
    return [percentiles(rates(sums[:, at], sums[:, at + 1])) for at in places]


def difference_of(counts: Counts) -> Difference:
    """Our rate less theirs, the same units drawn for both: what they have in common cancels.

    Args:
        counts: int64 [units, 4]: our errors and tokens, then theirs.
    """
    whole = counts.sum(axis=0)
    value = float(rates(whole[0], whole[1]) - rates(whole[2], whole[3]))
    if len(counts) < 2:
        return Difference(value, None, None)
    sums = resampled_sums(counts)
    drawn = rates(sums[:, 0], sums[:, 1]) - rates(sums[:, 2], sums[:, 3])
    return Difference(value, percentiles(drawn), float((drawn < 0).mean()))


def paired_difference(
    ours: Sequence[ScoredUtterance], theirs: Sequence[ScoredUtterance], cluster: str | None = None
) -> Difference:
    """Our word error rate less theirs, both sorted by id.

    Raises:
        DataError: if the two are not of the same utterances with the same references.
    """
    check_same_texts(ours, theirs)
    return difference_of(np.hstack([totals(side, cluster)[:, :2] for side in (ours, theirs)]))


def check_same_texts(ours: Sequence[ScoredUtterance], theirs: Sequence[ScoredUtterance]) -> None:
    """Raises: DataError: if two evaluations are not of the same utterances with the same references."""
    said, others = ({one.id: one.prediction.reference for one in side} for side in (ours, theirs))
    check_same("the two evaluations", said, others)
    for name, text in said.items():
        if text != others[name]:
            raise DataError(f"the two evaluations differ in what was said in {name!r}: {text!r} and {others[name]!r}")
