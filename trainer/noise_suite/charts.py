"""The suite's pictures: error rates by ratio, differences, attention by layer; SVG for the page, PNG for a paper."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..pages.charts import Axis, Chart, Level, Point, Series, axis_over
from ..pages.formats import Bounds, bracketed, decimal, minus, percent, share, signed
from .conditions import CLEAN, DESCRIBED

HEIGHT = 230  # pixels
TALLEST = 1.5  # of an axis of error rates, unless all are above: repetitions without end would flatten the rest


@dataclass(frozen=True)
class Line:
    """A checkpoint's values by ratio (ratio, value, interval or None), and on clean speech if that was measured."""

    number: int
    name: str
    points: list[tuple[float, float, Bounds | None]]
    clean: float | None = None


def kinds_of(result: dict[str, Any]) -> list[str]:
    """The kinds of noise that were mixed in."""
    return list(result["checkpoints"][0]["types"])


def lines_of(result: dict[str, Any], kind: str, value: Callable[[dict[str, Any]], Any]) -> list[Line]:
    """A line for each checkpoint; ``value`` gives a condition's number and interval, None to leave it out."""
    lines = []
    for number, checkpoint in enumerate(result["checkpoints"]):
        points = []
        for figures in checkpoint["conditions"].values():
            found = value(figures) if figures["kind"] == kind else None
            if found is not None:
                points.append((figures["ratio"], *found))
        clean = checkpoint["conditions"].get(CLEAN)
        at_clean = value(clean) if clean else None
        lines.append(Line(number, checkpoint["name"], sorted(points), at_clean and at_clean[0]))
    return [line for line in lines if line.points]


def word_error_rate(figures: dict[str, Any]) -> Any:
    """A condition's rate and its interval."""
    return figures["word_error_rate"], figures["word_error_rate_interval"]


def points_of_difference(figures: dict[str, Any]) -> Any:
    """A condition's difference from the first checkpoint and its interval; None for the first."""
    difference = figures["difference"]
    return None if difference is None else (difference["value"], difference["interval"])


def rate_charts(result: dict[str, Any]) -> list[Chart]:
    """Word error rates by ratio, a chart for each kind of noise; dashed lines are rates on clean speech."""
    charts = []
    for kind in kinds_of(result):
        lines = lines_of(result, kind, word_error_rate)
        if not lines:
            continue
        values = [value for line in lines for _, value, _ in line.points]
        cleans = [(line.number, line.clean) for line in lines if line.clean is not None]
        top = max(min(max([*values, *bounds_of(lines)]), TALLEST), min(values))
        y_axis = axis_over([0.0, top, *(min(clean, top) for _, clean in cleans)], from_zero=True)
        levels = [Level(clean, colour=number) for number, clean in cleans]
        charts.append(by_ratio(DESCRIBED[kind], lines, y_axis, levels, share))
    return charts


def difference_charts(result: dict[str, Any]) -> list[Chart]:
    """Points of word error rate less the first checkpoint's, by ratio; the dashed line is 0."""
    charts = []
    for kind in kinds_of(result):
        lines = lines_of(result, kind, points_of_difference)
        if lines:
            values = [value for line in lines for _, value, _ in line.points]
            y_axis = axis_over([*values, *bounds_of(lines), 0.0])
            charts.append(by_ratio(DESCRIBED[kind], lines, y_axis, [Level(0.0)], points))
    return charts


def bounds_of(lines: Sequence[Line]) -> list[float]:
    """Of all intervals."""
    return [bound for line in lines for _, _, interval in line.points for bound in interval or ()]


def points(difference: float) -> str:
    """A tick of an axis of differences."""
    return minus(f"{100 * difference:.3g}")


def by_ratio(
    title: str, lines: Sequence[Line], y_axis: Axis, levels: Sequence[Level], y_text: Callable[[float], str]
) -> Chart:
    """Values by ratio, quiet noise to the left."""
    ratios = sorted({ratio for line in lines for ratio, _, _ in line.points})
    room = 0.06 * (ratios[-1] - ratios[0]) or 1.0
    x_axis = Axis(ratios[-1] + room, ratios[0] - room)
    series = []
    for number, line in enumerate(lines):
        shift = 0.006 * (number - (len(lines) - 1) / 2) * (x_axis.high - x_axis.low)  # no interval hides another
        places = []
        for ratio, value, interval in reversed(line.points):
            told = f"{percent(value)} %" if y_text is share else f"{signed(value, 1)} points"
            told = f"{line.name}, {ratio:g} dB: {told}{bracketed(interval, 1)}"
            places.append(Point(ratio + shift, value, interval, told))
        series.append(Series(line.name, places, line.number))
    return Chart(
        title.capitalize(),
        series,
        x_axis,
        y_axis,
        x_title="speech over noise, dB",
        x_at=ratios,
        y_text=y_text,
        levels=levels,
        height=HEIGHT,
    )


def layer_charts(result: dict[str, Any]) -> list[Chart]:
    """For each checkpoint with two attentions their odds on noise by layer, the primary's in grey."""
    charts = []
    for number, checkpoint in enumerate(result["checkpoints"]):
        found = checkpoint["attention_odds"]
        if found is None:
            continue
        layers, series = found["layers"], []
        for name, colour in (("primary", -1), ("secondary", number)):
            odds = [(layer, one[f"{name}_odds"], one["gate"]) for layer, one in enumerate(layers, 1)]
            told = [f"{name}: odds {decimal(value, 3)}, gate {decimal(gate, 2)}" for _, value, gate in odds]
            places = [Point(layer, value, told=text) for (layer, value, _), text in zip(odds, told, strict=True)]
            series.append(Series(name, places, colour))
        charts.append(
            Chart(
                checkpoint["name"],
                series,
                Axis(0.5, len(layers) + 0.5),
                axis_over([point.y for one in series for point in one.points], from_zero=True),
                x_title="decoder layer",
                x_at=range(1, len(layers) + 1, -(-len(layers) // 8)),
                height=HEIGHT,
            )
        )
    return charts


def write_picture(path: Path, result: dict[str, Any]) -> None:
    """Word error rates by ratio as a PNG, a panel for each kind of noise; nothing where no noise is mixed."""
    from matplotlib.figure import Figure

    kinds = kinds_of(result)
    if not kinds:
        return
    figure = Figure(figsize=(4.2 * len(kinds), 3.6), layout="constrained")
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, kind in zip(panels, kinds, strict=True):
        for line in lines_of(result, kind, word_error_rate):
            ratios = [ratio for ratio, _, _ in line.points]
            rates = [100 * rate for _, rate, _ in line.points]
            spans = [interval or (rate, rate) for _, rate, interval in line.points]
            below = [max(rate - 100 * low, 0.0) for rate, (low, _) in zip(rates, spans, strict=True)]
            above = [max(100 * high - rate, 0.0) for rate, (_, high) in zip(rates, spans, strict=True)]
            drawn = axes.errorbar(ratios, rates, yerr=[below, above], marker="o", capsize=2, label=line.name)
            if line.clean is not None:
                axes.axhline(100 * line.clean, linestyle="--", linewidth=1, color=drawn[0].get_color())
        axes.set_title(DESCRIBED[kind].capitalize())
        axes.set_xlabel("speech over noise, dB")
        axes.invert_xaxis()
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("word error rate, %")
    panels[0].set_ylim(bottom=0)
    panels[0].legend(fontsize="small", title="dashed: clean speech", title_fontsize="small")
    partial = path.with_name(f".partial_{path.name}")
    figure.savefig(partial, dpi=150, format="png")
    partial.replace(path)
