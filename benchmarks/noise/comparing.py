"""Families of arms beside each other: error rates over seeds, and paired bootstrap intervals over speakers."""

from collections.abc import Sequence
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
        relative: less than the other family's, as a share of it, with its interval of paired draws; None without one.
        over_utterances: the same interval, utterances drawn; None also where an arm's errors are kept by speaker alone.
    """

    rates: tuple[float, ...]
    mean: float
    interval: Interval
    relative: tuple[float, Interval] | None
    over_utterances: Interval | None = None


@dataclass(frozen=True)
class Side:
    """One side of a comparison: the results of a family's arms, by the suite of that key."""

    results: Sequence[Row]
    suite: str

    def condition(self, name: str) -> list[Row]:
        """The figures of one condition, of each seed."""
        return [result[self.suite]["conditions"][name] for result in self.results]

    def has(self, condition: str) -> bool:
        return all(condition in result[self.suite]["conditions"] for result in self.results)


def counts(results: Sequence[Row], suite: str, condition: str, capped: bool = False) -> np.ndarray:
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


def utterance_counts(side: Side, condition: str, capped: bool = False, key: str = "errors") -> dict[str, np.ndarray]:
    """Word errors, or what else is kept under ``key``, and words of each utterance over all seeds, int64 [2], by id.

    Empty where that is not kept.
    """
    found: dict[str, np.ndarray] = {}
    for result in side.results:
        suite = result[side.suite]
        if key not in suite["conditions"][condition]:
            return {}
        columns = (suite["utterances"]["ids"], suite["conditions"][condition][key], suite["utterances"]["words"])
        for name, errors, words in zip(*(column.split() for column in columns), strict=True):
            if errors != "-":
                pair = int(errors), int(words)
                pair = (min(pair), pair[1]) if capped else pair
                found[name] = found.get(name, 0) + np.array(pair, dtype=np.int64)
    return found


def compare(ours: Side, theirs: Side | None, condition: str, capped: bool = False) -> Compared:
    """One side, and how it differs from another; each seed's rate, and all seeds together."""
    own = counts(ours.results, ours.suite, condition, capped)
    base = own if theirs is None else counts(theirs.results, theirs.suite, condition, capped)
    of_each = (counts([result], ours.suite, condition, capped).sum(axis=0) for result in ours.results)
    each = tuple(float(errors / words) for errors, words in of_each)
    rows = np.hstack([own, base])
    mean, mean_base = (float(rates(*side)) for side in rows.sum(axis=0).reshape(2, 2))
    sums = resampled_sums(rows)
    interval = percentiles(rates(sums[:, 0], sums[:, 1]))
    if theirs is None:
        return Compared(each, mean, interval, None)
    relative = 1 - mean / (mean_base or 1.0), fewer(sums)
    pair = [utterance_counts(side, condition, capped) for side in (ours, theirs)]
    shared = sorted(pair[0].keys() & pair[1].keys())
    alone = np.array([np.concatenate([side[name] for side in pair]) for name in shared])
    return Compared(each, mean, interval, relative, fewer(resampled_sums(alone)) if shared else None)


def fewer(sums: np.ndarray) -> Interval:
    """The interval of how much lower the first rate is than the second, of drawn sums [draws, 4].

    Draws in which the second makes no error, as of a handful of utterances, are left out.
    """
    ours, theirs = rates(sums[:, 0], sums[:, 1]), rates(sums[:, 2], sums[:, 3])
    some = theirs > 0
    return percentiles(1 - ours[some] / theirs[some]) if some.any() else (0.0, 0.0)


def words_of_other(side: Side, condition: str) -> tuple[float, float] | None:
    """Words of the one other voice in a seed's transcripts, in the mean over seeds, and for a word of the speaker.

    None where they were not counted.
    """
    found = utterance_counts(side, condition, key="words_of_other")
    if not found:
        return None
    heard, words = np.sum(list(found.values()), axis=0)
    return float(heard) / len(side.results), float(heard / words)
