"""Computes the figures of a comparison from the arms' predictions. Knows nothing of their presentation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..config.reading import ConfigError
from ..evaluation import significance
from ..evaluation.intervals import Counts, Interval, percentiles, rates, resampled_sums
from .breakdowns import Breakdown, breakdowns
from .differences import config_differences
from .reading import Arm

UTTERANCES = "utterances"
KINDS = ("errors", "character_errors", "substitutions", "deletions", "insertions")  # counts of a prediction
FEW_UNITS = 20  # below it percentile intervals are too narrow


@dataclass(frozen=True)
class Pair:
    """Two arms by index. The difference is first minus second: below 0, the first is better.

    Attributes:
        interval: the differences that the randomisation test does not reject, at its level after Holm's correction: 0
            lies within exactly where the two do not differ. Without bounds where the units are too few to tell.
        least_p: the smallest ``p_adjusted`` that so many units could have given.
        p_bootstrap, p_matched_pairs, p_randomisation: two-sided, not corrected.
        p_adjusted: the randomisation test's after Holm's correction for all pairs; decides ``differs``.
    """

    first: int
    second: int
    difference: float
    interval: Interval | None
    p_bootstrap: float
    p_matched_pairs: float | None
    p_randomisation: float
    p_adjusted: float
    least_p: float = 0.0

    @property
    def can_differ(self) -> bool:
        """Whether there are enough units to find any difference."""
        return self.least_p < significance.LEVEL

    @property
    def differs(self) -> bool:
        """Whether the test that decides tells the two apart."""
        return self.p_adjusted < significance.LEVEL


@dataclass(frozen=True)
class Result:
    """An arm's figures. Rates are fractions; kinds of errors are fractions of the words spoken.

    Attributes:
        pair: the arm and the baseline; None for the baseline itself.
        saved: word error rate (as a fraction) below the baseline's; None for the baseline itself.
    """

    arm: Arm
    word_error_rate: float
    interval: Interval | None
    character_error_rate: float
    character_interval: Interval | None
    substitutions: float
    deletions: float
    insertions: float
    pair: Pair | None
    saved: float | None

    @property
    def seconds_per_point(self) -> float | None:
        """Training time for each percentage point saved; None without training or a saving that differs from none."""
        if self.arm.summary is None or self.pair is None or not self.pair.differs or not self.saved or self.saved < 0:
            return None
        return self.arm.summary.seconds / (100 * self.saved)


@dataclass(frozen=True)
class Comparison:
    """Arms on the same utterances.

    Attributes:
        units: what was resampled: "utterances" or a column.
        baseline: index of the arm the others are set against.
    """

    split: str
    normalizer: str
    units: str
    unit_count: int
    utterances: int
    words: int
    baseline: int
    results: tuple[Result, ...]
    pairs: tuple[Pair, ...]
    differences: dict[str, tuple[str, ...]]
    breakdowns: tuple[Breakdown, ...]

    @property
    def arms(self) -> list[Arm]:
        return [result.arm for result in self.results]

    @property
    def best(self) -> int:
        """Index of the arm with the lowest word error rate."""
        return min(range(len(self.results)), key=lambda index: self.results[index].word_error_rate)

    def pair(self, first: int, second: int) -> Pair:
        """The test of two arms, in either order."""
        return next(pair for pair in self.pairs if {pair.first, pair.second} == {first, second})


def compare(arms: Sequence[Arm], cluster: str | None = None) -> Comparison:
    """The figures of arms that :func:`trainer.comparison.reading.read_arms` found comparable.

    Args:
        cluster: a column whose values are resampled instead of utterances; without it, what the evaluations' own
            intervals resampled, if that is the same in all.

    Raises:
        ConfigError: if the predictions lack the column.
    """
    columns = columns_of(arms)
    units_name = cluster or agreed_units(arms)
    units = unit_indices(arms, columns, units_name, cluster is not None)
    counts = np.array([[[getattr(p, kind) for kind in KINDS] for p in arm.predictions] for arm in arms], np.int64)
    errors, characters = counts[:, :, 0].T, counts[:, :, 1].T
    first = arms[0].predictions
    totals = np.array([[p.words, p.characters] for p in first], np.int64)
    number = len(arms)
    sums = significance.sums_by_unit(np.hstack([errors, characters, totals]), units)
    samples = resampled_sums(sums)
    word_samples = rates(samples[:, :number], samples[:, -2:-1])
    character_samples = rates(samples[:, number:-2], samples[:, -1:])
    words, spelled = map(int, totals.sum(axis=0))
    whole = rates(errors.sum(axis=0), totals[:, 0].sum())
    baseline = next((index for index, arm in enumerate(arms) if not arm.is_trained), 0)
    pairs = paired_tests(sums[:, :number], sums[:, -2], errors, word_samples, whole)
    results = []
    for index, arm in enumerate(arms):
        pair = next((pair for pair in pairs if {pair.first, pair.second} == {index, baseline}), None)
        summed = dict(zip(KINDS, counts[index].sum(axis=0).tolist(), strict=True))
        result = Result(
            arm=arm,
            word_error_rate=float(whole[index]),
            interval=percentiles(word_samples[:, index]) if len(sums) > 1 else None,
            character_error_rate=summed["character_errors"] / max(spelled, 1),
            character_interval=percentiles(character_samples[:, index]) if len(sums) > 1 else None,
            substitutions=summed["substitutions"] / max(words, 1),
            deletions=summed["deletions"] / max(words, 1),
            insertions=summed["insertions"] / max(words, 1),
            pair=pair,
            saved=None if pair is None else float(whole[baseline] - whole[index]),
        )
        results.append(result)
    return Comparison(
        split=arms[0].evaluation.split,
        normalizer=arms[0].evaluation.normalizer,
        units=units_name,
        unit_count=len(sums),
        utterances=len(first),
        words=words,
        baseline=baseline,
        results=tuple(results),
        pairs=tuple(pairs),
        differences=config_differences(arms),
        breakdowns=tuple(breakdowns(columns, first, errors, totals[:, 0])),
    )


def paired_tests(
    unit_errors: Counts, unit_words: Counts, errors: Counts, samples: np.ndarray, whole: np.ndarray
) -> list[Pair]:
    """Tests of every pair of arms, all with the same units, exchanges and resamples."""
    places = [(a, b) for a in range(len(whole)) for b in range(a + 1, len(whole))]
    if not places:
        return []
    first, second = [a for a, _ in places], [b for _, b in places]
    unit_differences = unit_errors[:, first] - unit_errors[:, second]
    draws = significance.draws_for(len(places))
    exchanged = significance.exchanged_sums(np.column_stack([unit_differences, unit_words]), draws)
    p_values = [float(p) for p in significance.randomisation_p(unit_differences, exchanged[:, :-1])]
    least = 1 / len(exchanged) * (2 if len(unit_errors) <= significance.MOST_ENUMERATED else 1)
    totals, words = unit_differences.sum(axis=0), float(unit_words.sum())
    pairs = []
    corrected = significance.holm(p_values)
    for number, ((a, b), p, (p_adjusted, divisor)) in enumerate(zip(places, p_values, corrected, strict=True)):
        differences = samples[:, a] - samples[:, b]
        pairs.append(
            Pair(
                first=a,
                second=b,
                difference=float(whole[a] - whole[b]),
                interval=significance.randomisation_interval(
                    float(totals[number]), words, exchanged[:, number], exchanged[:, -1], divisor
                ),
                p_bootstrap=significance.bootstrap_p(differences) if len(unit_errors) > 1 else 1.0,
                p_matched_pairs=significance.matched_pairs_p(errors[:, a] - errors[:, b]),
                p_randomisation=p,
                p_adjusted=p_adjusted,
                least_p=min(1.0, divisor * least),
            )
        )
    return pairs


def columns_of(arms: Sequence[Arm]) -> list[dict[str, str]]:
    """The columns of each utterance, in order, merged over the arms that have them."""
    merged: list[dict[str, str]] = [{} for _ in arms[0].predictions]
    for arm in arms:
        for known, prediction in zip(merged, arm.predictions, strict=True):
            for key, value in prediction.columns.items():
                if value:  # a missing value is stored as an empty string
                    known.setdefault(key, value)
    return merged


def agreed_units(arms: Sequence[Arm]) -> str:
    """What the evaluations resampled, if that is the same in all; else utterances."""
    named = {arm.evaluation.interval_units for arm in arms}
    return named.pop() if len(named) == 1 else UTTERANCES


def unit_indices(arms: Sequence[Arm], columns: list[dict[str, str]], name: str, is_asked: bool) -> np.ndarray:
    """The index of each utterance's unit; an utterance without a value in the column is a unit of its own."""
    if name == UTTERANCES:
        return np.arange(len(columns))
    known = sorted({key for arm in arms for prediction in arm.predictions for key in prediction.columns})
    if name not in known:
        evaluation = arms[0].evaluation
        there = f"they hold {', '.join(known)}" if known else "they hold no columns"
        asked = "--cluster" if is_asked else "evaluation.cluster"
        raise ConfigError(
            f"{asked} is {name!r}, which the predictions lack; {there}. Evaluate again with: python launch/eval.py "
            f"--checkpoint {evaluation.checkpoint} --split {evaluation.split} 'evaluation.columns=[{name}]'"
        )
    numbers: dict[str | int, int] = {}
    return np.array([numbers.setdefault(row.get(name, index), len(numbers)) for index, row in enumerate(columns)])
