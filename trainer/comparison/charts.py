"""The pictures of a comparison: error rates, kinds of errors, curves, cost, breakdowns; one colour a run in all."""

from collections.abc import Callable, Sequence
from typing import Any

from data.preparation.inspection_page import escaped

from ..evaluation.intervals import Interval
from .breakdowns import Breakdown
from .comparison import Comparison
from .drawing import (
    Axis,
    across,
    axis_over,
    curve,
    marker,
    panel,
    strip,
    upright,
    x_labels,
)
from .figures import bracketed, percent, time_unit

ROW = 34  # pixels
PANEL = 200
MOST_POINTS = 150  # of a curve; more are averaged
WIDE_RANGE = 8.0  # largest over smallest value from which an axis is logarithmic
KINDS = (("substitutions", "substituted"), ("deletions", "deleted"), ("insertions", "inserted"))


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


def chip(colour: int) -> str:
    return f'<svg class="chip" width="14" height="14" aria-hidden="true">{marker(0.5, 7, colour)}</svg>'


def run_name(comparison: Comparison, index: int) -> str:
    arm = comparison.arms[index]
    state = f' <em class="state">{escaped(arm.state)}</em>' if arm.state not in ("finished", "not trained") else ""
    return f'{chip(colours(comparison)[index])}<span dir="auto">{escaped(arm.name)}</span>{state}'


def legend(comparison: Comparison, of: Sequence[int]) -> str:
    items = "".join(f"<li>{run_name(comparison, index)}</li>" for index in of)
    return f'<ul class="legend">{items}</ul>'


def percent_ticks(axis: Axis, most: int = 5) -> list[tuple[float, str]]:
    return [(axis.place(tick), f"{100 * tick:.3g} %") for tick in axis.ticks(most)]


def forest(comparison: Comparison) -> str:
    """Word error rates with their intervals, lowest first; the baseline's goes through all rows."""
    results, given = comparison.results, colours(comparison)
    bounds = [bound for result in results for bound in (result.interval or (result.word_error_rate,) * 2)]
    axis = axis_over(bounds)
    ticks = percent_ticks(axis)
    baseline = results[comparison.baseline]
    rows = []
    for index in by_rate(comparison):
        result = results[index]
        place, middle = axis.place(result.word_error_rate), ROW / 2
        content = upright(axis.place(baseline.word_error_rate), 0, ROW, "reference")
        if result.interval:
            low, high = (axis.place(bound) for bound in result.interval)
            content += across(middle, low, high, given[index])
            content += "".join(upright(end, middle - 5, middle + 5, "span", given[index]) for end in (low, high))
        told = f"{result.arm.name}: {percent(result.word_error_rate, 2)} %{bracketed(result.interval)}"
        content += marker(place, middle, given[index], told)
        interval = f" <small>{bracketed(result.interval, 1).strip()}</small>" if result.interval else ""
        rows.append(
            f'<span class="name">{run_name(comparison, index)}</span>'
            f'<span class="value"><b>{percent(result.word_error_rate)} %</b>{interval}</span>'
            f"{strip(content, ROW, [at for at, _ in ticks], told)}"
        )
    return f'<div class="rows">{"".join(rows)}{x_labels(ticks)}</div>'


def error_kinds(comparison: Comparison) -> str:
    """Substitutions, deletions and insertions, stacked to the word error rate."""
    results = comparison.results
    axis = Axis(0.0, 1.02 * max(result.word_error_rate for result in results) or 1.0)
    ticks = percent_ticks(axis)
    rows = []
    for index in by_rate(comparison):
        result, begin, bars = results[index], 0.0, ""
        for key, name in KINDS:
            share = getattr(result, key)
            width = axis.place(share)
            told = f"{name}: {percent(share, 2)} %"
            bars += f'<rect class="{key}" x="{begin:.2%}" y="8" width="{width:.2%}" height="{ROW - 16}"><title>{told}'
            bars += "</title></rect>"
            if width > 0.09:
                middle = begin + width / 2
                bars += f'<text class="inside {key}" x="{middle:.2%}" y="{ROW / 2 + 4:g}">{percent(share)}</text>'
            begin += width
        told = ", ".join(f"{name} {percent(getattr(result, key), 2)} %" for key, name in KINDS)
        rows.append(
            f'<span class="name">{run_name(comparison, index)}</span>'
            f'<span class="value"><b>{percent(result.word_error_rate)} %</b></span>'
            f"{strip(bars, ROW, [at for at, _ in ticks], f'{result.arm.name}: {told}')}"
        )
    keys = "".join(f'<li><i class="swatch {key}"></i>{name}</li>' for key, name in KINDS)
    return f'<ul class="legend">{keys}</ul><div class="rows">{"".join(rows)}{x_labels(ticks)}</div>'


def seconds_at(metrics: Sequence[dict[str, Any]]) -> dict[int, float]:
    """Training time reached at each logged step, from the seconds a step that each train line tells."""
    passed, before, found = 0.0, 0, {}
    for row in metrics:
        pace = row.get("seconds_per_step")
        if row.get("kind") == "train" and isinstance(pace, (int, float)):
            passed += pace * (row["step"] - before)
            before = row["step"]
        found[row["step"]] = passed
    return found


def points_of(metrics: Sequence[dict[str, Any]], kind: str, key: str) -> list[tuple[float, float]]:
    return [
        (float(row["step"]), float(row[key]))
        for row in metrics
        if row.get("kind") == kind and isinstance(row.get(key), (int, float))
    ]


def thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most so many points, each the mean of as many neighbours."""
    size = -(-len(points) // MOST_POINTS)
    parts = [points[begin : begin + size] for begin in range(0, len(points), max(size, 1))]
    return [(part[-1][0], sum(y for _, y in part) / len(part)) for part in parts]


def learning_curves(comparison: Comparison) -> str:
    """Training loss by step; validation word error rate by step and by training time."""
    losses, by_step, by_time = {}, {}, {}
    for index, arm in enumerate(comparison.arms):
        times = seconds_at(arm.metrics)
        losses[index] = thinned(points_of(arm.metrics, "train", "loss"))
        by_step[index] = points_of(arm.metrics, "validation", "word_error_rate")
        by_time[index] = [(times[int(step)], rate) for step, rate in by_step[index] if times[int(step)] > 0]
    unit, unit_name = time_unit(max([time for line in by_time.values() for time, _ in line], default=0.0))
    by_time = {index: [(time / unit, rate) for time, rate in line] for index, line in by_time.items()}
    drawn = [
        curves(comparison, losses, "Training loss", "updates", plain_number),
        curves(comparison, by_step, "Validation word error rate", "updates", share, dotted=True),
        curves(comparison, by_time, "Validation word error rate", f"{unit_name} of training", share, dotted=True),
    ]
    if not any(drawn):
        return ""
    trained = [index for index, arm in enumerate(comparison.arms) if arm.metrics]
    return f'{legend(comparison, trained)}<div class="plots">{"".join(drawn)}</div>'


def share(value: float) -> str:
    return f"{100 * value:.3g} %"


def plain_number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def curves(
    comparison: Comparison,
    lines: dict[int, list[tuple[float, float]]],
    title: str,
    x_title: str,
    y_text: Callable[[float], str],
    dotted: bool = False,
) -> str:
    points = [point for line in lines.values() for point in line]
    if not points:
        return ""
    given = colours(comparison)
    x_axis = Axis(0.0, 1.03 * max(x for x, _ in points) or 1.0)
    y_axis = axis_over([y for _, y in points], log_from=WIDE_RANGE)
    content = ""
    for index, line in lines.items():
        places = [(x_axis.place(x), 1 - y_axis.place(y)) for x, y in line]
        if len(places) > 1:
            content += curve(places, PANEL, given[index])
        if dotted or len(places) == 1:
            for (x, y), (at, value) in zip(places, line, strict=True):
                told = f"{comparison.arms[index].name}, {plain_number(at)} {x_title}: {y_text(value)}"
                content += marker(x, y * PANEL, given[index], told)
    drawn = panel(
        content,
        PANEL,
        [(x_axis.place(tick), plain_number(tick)) for tick in x_axis.ticks(4)],
        [(y_axis.place(tick), y_text(tick)) for tick in y_axis.ticks(5)],
        x_title,
        f"{title} by {x_title}",
    )
    return f"<figure><figcaption>{title}</figcaption>{drawn}</figure>"


def breakdown_chart(comparison: Comparison, breakdown: Breakdown) -> str:
    """A row for each group, in it a marker for each arm."""
    given, order = colours(comparison), by_rate(comparison)
    bounds: list[float] = [rate for group in breakdown.groups for rate in group.rates]
    ends = [interval[1] for group in breakdown.groups for interval in group.intervals if interval]
    axis = Axis(0.0, 1.05 * max([*bounds, *(min(end, 1.6 * max(bounds)) for end in ends)]) or 1.0)
    ticks = percent_ticks(axis, 4)
    gap, rows = 9, []
    height = gap * len(order) + 8
    for group in breakdown.groups:
        content = ""
        for number, index in enumerate(order):
            y = 4 + gap * (number + 0.5)
            interval: Interval | None = group.intervals[index]
            told = f"{comparison.arms[index].name}: {percent(group.rates[index])} %{bracketed(interval, 1)}"
            if interval:
                content += across(y, axis.place(interval[0]), axis.place(interval[1]), given[index], "thin")
            content += marker(axis.place(group.rates[index]), y, given[index], told)
        words = f"{group.words:,} word{'s' * (group.words != 1)}"
        rows.append(
            f'<span class="name"><span dir="auto">{escaped(group.value, 40)}</span><small>{words}</small></span>'
            f"{strip(content, height, [at for at, _ in ticks], f'{breakdown.title} {group.value[:40]}')}"
        )
    left = (
        f'<p class="note">{breakdown.left_out} more with fewer words are not shown.</p>' if breakdown.left_out else ""
    )
    return (
        f'<figure class="breakdown"><figcaption>By {escaped(breakdown.title, 40)}</figcaption>'
        f'<div class="rows pairwise">{"".join(rows)}{x_labels(ticks)}</div>{left}</figure>'
    )
