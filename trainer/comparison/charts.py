"""What the charts of a comparison show: error rates, learning curves, cost; one colour a run in all of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..pages.charts import WIDE_RANGE, Axis, Chart, Level, Point, Series, axis_over
from ..pages.formats import percent, plain_number, share, time_unit
from .breakdowns import Breakdown
from .comparison import Comparison

MOST_POINTS = 150  # of a curve; more are averaged


def colours(comparison: Comparison) -> list[int]:
    """Each arm's colour and shape: numbers in order, -1 (grey) for an untrained baseline."""
    given, numbers = [], 0
    for index, arm in enumerate(comparison.arms):
        is_plain = index == comparison.baseline and not arm.is_trained and len(comparison.arms) > 1
        given.append(-1 if is_plain else numbers)
        numbers += not is_plain
    return given


def by_rate(comparison: Comparison) -> list[int]:
    """Arms from the lowest word error rate up."""
    return sorted(range(len(comparison.results)), key=lambda index: comparison.results[index].word_error_rate)


def ticks(axis: Axis, most: int = 5) -> list[tuple[float, str]]:
    """(place, text) of the ticks of an axis of rates."""
    return [(axis.place(tick), share(tick)) for tick in axis.ticks(most)]


def rates_axis(comparison: Comparison) -> Axis:
    """An axis that holds all rates and intervals."""
    return axis_over([bound for one in comparison.results for bound in one.interval or (one.word_error_rate,)])


def error_kinds_axis(comparison: Comparison) -> Axis:
    """An axis from zero to the highest rate."""
    return Axis(0.0, 1.02 * max(result.word_error_rate for result in comparison.results) or 1.0)


def breakdown_axis(breakdown: Breakdown) -> Axis:
    """An axis from zero to the highest rate; very long intervals are cut off."""
    highest = max(rate for group in breakdown.groups for rate in group.rates)
    ends = [interval[1] for group in breakdown.groups for interval in group.intervals if interval]
    return Axis(0.0, 1.05 * max([highest, *(min(end, 1.6 * highest) for end in ends)]) or 1.0)


def seconds_at(metrics: Sequence[dict[str, Any]]) -> dict[int, float]:
    """Training time in seconds at each logged step, summed from the seconds per step of the train lines."""
    passed, before, found = 0.0, 0, {}
    for row in metrics:
        pace = row.get("seconds_per_step")
        if row.get("kind") == "train" and isinstance(pace, (int, float)):
            passed += pace * (row["step"] - before)
            before = row["step"]
        found[row["step"]] = passed
    return found


def points_of(metrics: Sequence[dict[str, Any]], kind: str, key: str) -> list[tuple[float, float]]:
    """(step, value) of all metric lines of a kind that have the key."""
    return [
        (float(row["step"]), float(row[key]))
        for row in metrics
        if row.get("kind") == kind and isinstance(row.get(key), (int, float))
    ]


def thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most :data:`MOST_POINTS` points; each is the mean of equally many neighbours."""
    size = -(-len(points) // MOST_POINTS)
    parts = [points[begin : begin + size] for begin in range(0, len(points), max(size, 1))]
    return [(part[-1][0], sum(y for _, y in part) / len(part)) for part in parts]


def learning_charts(comparison: Comparison) -> list[Chart]:
    """Training loss by step; validation word error rate by step and by training time."""
    losses, by_step, by_time = {}, {}, {}
    for index, arm in enumerate(comparison.arms):
        times = seconds_at(arm.metrics)
        losses[index] = thinned(points_of(arm.metrics, "train", "loss"))
        by_step[index] = points_of(arm.metrics, "validation", "word_error_rate")
        by_time[index] = [(times[int(step)], rate) for step, rate in by_step[index] if times[int(step)] > 0]
    unit, unit_name = time_unit(max([time for line in by_time.values() for time, _ in line], default=0.0))
    by_time = {index: [(time / unit, rate) for time, rate in line] for index, line in by_time.items()}
    error_rate = "Validation word error rate"
    return [
        *curves(comparison, losses, "Training loss", "updates"),
        *curves(comparison, by_step, error_rate, "updates", share),
        *curves(comparison, by_time, error_rate, f"{unit_name} of training", share),
    ]


def curves(
    comparison: Comparison,
    lines: Mapping[int, Sequence[tuple[float, float]]],
    title: str,
    x_title: str,
    y_text: Callable[[float], str] | None = None,
) -> list[Chart]:
    """A line for each arm, with markers where a text is given for their values; no chart without points."""
    points = [point for line in lines.values() for point in line]
    if not points:
        return []
    given = colours(comparison)
    series = [
        Series(comparison.arms[index].name, [Point(*place) for place in line], given[index], is_marked=bool(y_text))
        for index, line in lines.items()
    ]
    x_axis = Axis(0.0, 1.03 * max(x for x, _ in points) or 1.0)
    y_axis = axis_over([y for _, y in points], log_from=WIDE_RANGE)
    return [Chart(title, series, x_axis, y_axis, x_title=x_title, y_text=y_text or plain_number)]


def cost_charts(comparison: Comparison) -> list[Chart]:
    """Word error rate over what was trained, how long and in how much memory; down and left is better."""
    trained = {i: result.arm.summary for i, result in enumerate(comparison.results) if result.arm.summary}
    unit, unit_name = time_unit(max([summary.seconds for summary in trained.values()], default=0.0))
    parameters = {i: summary.trainable_parameters / 1e6 for i, summary in trained.items()}
    times = {i: summary.seconds / unit for i, summary in trained.items()}
    memory = {i: (summary.peak_memory_bytes or 0) / 2**30 for i, summary in trained.items()}
    return [
        *scatter(comparison, parameters, "trained parameters, millions"),
        *scatter(comparison, times, f"training time, {unit_name}"),
        *scatter(comparison, memory, "peak memory, GiB"),
    ]


def scatter(comparison: Comparison, costs: Mapping[int, float], title: str) -> list[Chart]:
    """Word error rate against a cost of the arms that have one. Names stand in the legend, where none overlap."""
    costs = {index: cost for index, cost in costs.items() if cost > 0}
    if not costs:
        return []
    results, given = comparison.results, colours(comparison)
    y_axis = axis_over([bound for i in costs for bound in results[i].interval or (results[i].word_error_rate,)])
    series = []
    for index in sorted(costs, key=lambda index: results[index].word_error_rate):
        rate, name = results[index].word_error_rate, results[index].arm.name
        told = f"{name}: {percent(rate, 2)} %, {plain_number(costs[index])} ({title})"
        point = Point(costs[index], rate, results[index].interval, told)
        series.append(Series(name, [point], given[index], is_joined=False))
    baseline = results[comparison.baseline]
    chart = Chart(
        f"Word error rate by {title.partition(',')[0]}",
        series,
        x=axis_over(list(costs.values()), from_zero=True, log_from=WIDE_RANGE),
        y=y_axis,
        x_title=title,
        y_text=share,
    )
    if comparison.baseline in costs:
        return [chart]
    note = baseline_note(baseline.arm.name, baseline.word_error_rate, y_axis)
    return [replace(chart, levels=[Level(baseline.word_error_rate)], note=note)]


def baseline_note(name: str, rate: float, axis: Axis) -> str:
    """What the dashed line of an untrained baseline is, or where the baseline lies beyond the chart."""
    named = f"{name}, {percent(rate)} %"
    if axis.low <= rate <= axis.high:
        return f"Dashed: {named}."
    return f"{named}, lies {'above' if rate > axis.high else 'below'} what is shown."
