"""Sentences and tables of a comparison, shared by the page and the Markdown."""

from collections.abc import Callable

from ..evaluation.intervals import Interval
from ..evaluation.significance import LEVEL
from ..pages.formats import (
    NONE,
    bracketed,
    compared_probability,
    duration,
    listed,
    percent,
    probability,
    short_number,
    signed,
)
from ..pages.tables import FigureTable
from .comparison import FEW_UNITS, UTTERANCES, Comparison, Pair, Result
from .differences import shown
from .reading import Arm, Summary

NOT_DISTINGUISHABLE = "not distinguishable at 5 %"
FEW_SEGMENTS = 50  # below it MAPSSWE's normal distribution is a rough guess


def named(result: Result) -> str:
    """The arm's name, with its state if the run is unfinished."""
    return result.arm.name if result.arm.is_finished else f"{result.arm.name} ({result.arm.state})"


def verdict(comparison: Comparison) -> str:
    """The result of the comparison in one or two sentences."""
    best = comparison.results[comparison.best]
    rate = f"{percent(best.word_error_rate)} %{bracketed(best.interval, 1)}"
    if not comparison.pairs:
        return f"{named(best)}: word error rate {rate}."
    ties = [
        comparison.results[other].arm.name
        for pair in comparison.pairs
        if comparison.best in (pair.first, pair.second) and not pair.differs
        for other in (pair.second if pair.first == comparison.best else pair.first,)
    ]
    lead = f"{named(best)} has the lowest word error rate, {rate}"
    if not ties:
        return f"{lead}, distinguishable at 5 % from every other."
    return f"{lead}. {NOT_DISTINGUISHABLE.capitalize()} from it: {listed(ties)}."


def against_baseline(comparison: Comparison) -> list[str]:
    """A sentence for each arm that is not the baseline."""
    baseline = comparison.results[comparison.baseline].arm.name
    told = []
    for index, result in enumerate(comparison.results):
        if result.pair is None:
            continue
        difference, interval = turned(result.pair, index)
        points = f"{percent(abs(difference), 2)} points"
        where = f"{points} {'below' if difference < 0 else 'above'} {baseline}"
        if difference == 0:
            where = f"as many errors as {baseline}"
        told.append(f"{result.arm.name}: {where}{bracketed(interval, 2, signed)}, {judgement(comparison, result.pair)}")
    return told


def judgement(comparison: Comparison, pair: Pair) -> str:
    """The verdict on a pair; if no difference was found, also why."""
    if pair.differs:
        return f"p {compared_probability(pair.p_adjusted)}"
    if not pair.can_differ:
        count = f"{comparison.unit_count} {plural(comparison.units)}"
        return f"{NOT_DISTINGUISHABLE}: {count} are too few to find any difference"
    if pair.p_randomisation < LEVEL:
        alone = f"p {compared_probability(pair.p_randomisation)} for this pair alone"
        return f"{NOT_DISTINGUISHABLE}: {alone}, {probability(pair.p_adjusted)} as one of {len(comparison.pairs)} pairs"
    return f"{NOT_DISTINGUISHABLE}, p {compared_probability(pair.p_adjusted)}"


def turned(pair: Pair, first: int) -> tuple[float, Interval | None]:
    """A pair's difference and interval as ``first`` minus the other."""
    if pair.first == first:
        return pair.difference, pair.interval
    return -pair.difference, None if pair.interval is None else (-pair.interval[1], -pair.interval[0])


def notes(comparison: Comparison) -> list[str]:
    """Caveats that a reader should know before trusting the figures."""
    arms = comparison.arms
    found = [f"{arm.name} is {arm.state}; its figures are those so far." for arm in arms if not arm.is_finished]
    if comparison.unit_count < FEW_UNITS:
        found.append(
            f"Only {comparison.unit_count} {plural(comparison.units)}: the intervals of single runs, which are drawn "
            "from so few, are too narrow. Those of differences are not: the randomisation test assumes no large sample."
        )
    if comparison.units != UTTERANCES:
        found.append(
            f"MAPSSWE takes every utterance for independent of the others; those of one {comparison.units} are not, so "
            "its p-values are too small here. Intervals and the randomisation test keep them together."
        )
    elif len(comparison.pairs) and comparison.utterances < FEW_SEGMENTS:
        found.append(f"{comparison.utterances} utterances are few for MAPSSWE, which wants about {FEW_SEGMENTS}.")
    found += [
        f"{arm.name} was resumed with another {change.key}: {shown(change.old)} until step {change.step}, then "
        f"{shown(change.new)}."
        for arm in arms
        for change in arm.changes
    ]
    beams = {arm.evaluation.beams for arm in arms}
    if len(beams) > 1:
        found.append("The arms were decoded with different numbers of beams: part of the difference is the search.")
    hardware = {arm.summary.hardware or arm.summary.engine for arm in arms if arm.summary}
    if len(hardware) > 1:
        found.append("The arms were trained on different hardware: their times and memory do not compare.")
    if any(arm.is_trained for arm in arms):
        found.append(
            "One training each: the tests say whether two models differ on speech like this, not whether the strategy "
            "would win again with another seed."
        )
    return found


def plural(units: str) -> str:
    """What was resampled, in a sentence: ``utterances`` or ``values of speaker``."""
    return units if units == UTTERANCES else f"values of {units}"


def error_table(comparison: Comparison) -> FigureTable:
    """Error rates in percent, with 95 % intervals, and the difference from the baseline."""
    baseline = comparison.arms[comparison.baseline].name
    columns: dict[str, Callable[[Result], str]] = {
        "run": named,
        "WER % [95 %]": lambda one: percent(one.word_error_rate, 2) + bracketed(one.interval),
        "CER % [95 %]": lambda one: percent(one.character_error_rate, 2) + bracketed(one.character_interval),
        "substituted %": lambda one: percent(one.substitutions, 2),
        "deleted %": lambda one: percent(one.deletions, 2),
        "inserted %": lambda one: percent(one.insertions, 2),
    }
    if len(comparison.results) > 1:
        columns |= {
            f"points against {baseline}": lambda one: NONE if one.saved is None else signed(-one.saved),
            "p (Holm)": lambda one: probability(one.pair.p_adjusted if one.pair else None),
            "": lambda one: "" if one.pair is None or one.pair.differs else NOT_DISTINGUISHABLE,
        }
    return FigureTable.of("Error rates", comparison.results, columns, range(1, 8))


def cost_table(comparison: Comparison, price_per_hour: float | None) -> FigureTable:
    """Parameters, time and memory of each arm."""

    def trained(text: Callable[[Summary], str]) -> Callable[[Result], str]:
        return lambda one: NONE if one.arm.summary is None else text(one.arm.summary)

    def memory(summary: Summary) -> str:
        return f"{summary.peak_memory_bytes / 2**30:.1f} GiB" if summary.peak_memory_bytes else NONE

    columns: dict[str, Callable[[Result], str]] = {
        "run": named,
        "parameters": trained(lambda summary: short_number(summary.parameters)),
        "trained": trained(lambda summary: short_number(summary.trainable_parameters)),
        "share": trained(lambda summary: f"{percent(summary.trainable_parameters / summary.parameters, 2)} %"),
        "updates": lambda one: NONE if one.arm.summary is None else updates_of(one.arm),
        "training": trained(lambda summary: duration(summary.seconds)),
        "utterances/s": trained(lambda summary: f"{summary.utterances_per_second:.3g}"),
        "peak memory": trained(memory),
        "real-time factor": lambda one: f"{one.arm.evaluation.real_time_factor:.3g}",
        "time per point": lambda one: NONE if one.seconds_per_point is None else duration(one.seconds_per_point),
    }
    if price_per_hour is not None:
        columns["$ per point"] = lambda one: dollars(one.seconds_per_point, price_per_hour)
        columns["$ in all"] = trained(lambda summary: dollars(summary.seconds, price_per_hour))
    return FigureTable.of("Cost", comparison.results, columns, range(1, len(columns)))


def updates_of(arm: Arm) -> str:
    """The number of updates, and the step of the evaluated weights if it is not the last."""
    assert arm.summary is not None
    made, step = arm.summary.steps, arm.evaluated_step
    return f"{made:,}" if step in (None, made) else f"{step:,} of {made:,}"


def dollars(seconds: float | None, price_per_hour: float) -> str:
    """What so much time costs."""
    return NONE if seconds is None else f"{seconds / 3600 * price_per_hour:.2f}"


def pair_table(comparison: Comparison) -> FigureTable:
    """Every pair's difference and tests."""
    columns: dict[str, Callable[[Pair], str]] = {
        "A": lambda pair: comparison.arms[pair.first].name,
        "B": lambda pair: comparison.arms[pair.second].name,
        "A − B, points [interval]": lambda pair: signed(pair.difference) + bracketed(pair.interval, 2, signed),
        "p bootstrap, alone": lambda pair: probability(pair.p_bootstrap),
        "p MAPSSWE, alone": lambda pair: probability(pair.p_matched_pairs),
        "p randomisation, alone": lambda pair: probability(pair.p_randomisation),
        "p (Holm), decides": lambda pair: probability(pair.p_adjusted),
        "verdict": lambda pair: "differ" if pair.differs else judgement(comparison, pair).partition(", p")[0],
    }
    return FigureTable.of("Pairs", comparison.pairs, columns, range(2, 7))


def difference_table(comparison: Comparison) -> FigureTable:
    """Config keys that are not the same in all trained arms."""
    columns = ("key", *(arm.name for arm in comparison.arms if arm.is_trained))
    return FigureTable(
        "What differs in the configs", columns, [(key, *values) for key, values in comparison.differences.items()]
    )
