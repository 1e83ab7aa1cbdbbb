"""Families of arms beside each other: error rates over seeds, and paired bootstrap intervals over speakers."""

from dataclasses import dataclass

import numpy as np

from trainer.evaluation.intervals import Interval, percentiles, rates, resampled_sums

from .measuring import Row


@dataclass(frozen=True)
class Compared:
    """A family under one condition.

    Attributes:
        rates: word error rate of each seed.
        mean: of all seeds together, errors over words.
        interval: 95 %, speakers drawn.
        relative: less than the first family's, as a share of it, with its interval of paired draws; None for the first.
    """

    rates: tuple[float, ...]
    mean: float
    interval: Interval
    relative: tuple[float, Interval] | None


def counts(results: list[Row], suite: str, condition: str, capped: bool = False) -> np.ndarray:
    """Word errors and words of each speaker over all seeds: int64 [speakers, 2], in the speakers' order.

    Args:
        capped: an utterance has no more errors than words.

    Raises:
        ValueError: if the seeds were not measured on the same words.
    """
    of_seeds = [result[suite]["conditions"][condition]["speakers"] for result in results]
    speakers = sorted(of_seeds[0])
    for other in of_seeds:
        if [(name, other[name][1]) for name in sorted(other)] != [(name, of_seeds[0][name][1]) for name in speakers]:
            raise ValueError(f"{results[0]['arm']} and another seed were not measured on the same words")
    return np.array(
        [[sum(seed[name][i] for seed in of_seeds) for i in (2 if capped else 0, 1)] for name in speakers],
        dtype=np.int64,
    )


def compare(ours: list[Row], theirs: list[Row] | None, suite: str, condition: str, capped: bool = False) -> Compared:
    """One family, and how it differs from another; each seed's rate, and all seeds together."""
    own = counts(ours, suite, condition, capped)
    base = own if theirs is None else counts(theirs, suite, condition, capped)
    of_each = (counts([result], suite, condition, capped).sum(axis=0) for result in ours)
    each = tuple(float(errors / words) for errors, words in of_each)
    rows = np.hstack([own, base])
    mean, mean_base = (float(rates(*side)) for side in rows.sum(axis=0).reshape(2, 2))
    sums = resampled_sums(rows)
    drawn, drawn_base = rates(sums[:, 0], sums[:, 1]), rates(sums[:, 2], sums[:, 3])
    relative = None if theirs is None else (1 - mean / mean_base, percentiles(1 - drawn / drawn_base))
    return Compared(each, mean, percentiles(drawn), relative)
