"""The suite's pictures: error rates by ratio, differences, attention by layer; SVG for the page, PNG for a paper."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..pages.charts import Axis, Chart, Level, Point, Series, axis_over
from ..pages.formats import Bounds, bracketed, decimal, minus, percent, share, signed
from .conditions import CLEAN, DESCRIBED

HEIGHT = 230  # pixels
TALLEST = 1.5  # of an axis of error rates, unless all are above: repetitions without end would flatten the rest


Figures = dict[str, Any]  # of a condition
Value = Callable[[Figures], tuple[float, Bounds | None] | None]  # a number and its interval


def curves_of(result: dict[str, Any], value: Value) -> dict[str, list[Series]]:
    """By kind of noise, values by ratio of each checkpoint that has any; ``value`` gives None to leave one out."""
    found = {}
    for kind in result["checkpoints"][0]["types"]:
        curves = []
        for number, checkpoint in enumerate(result["checkpoints"]):
            figures = [one for one in checkpoint["conditions"].values() if one["kind"] == kind]
            if any(one.get("second_ratio") is not None for one in figures):
                continue  # pairs of ratios lie on no line
            values = [(one["ratio"], value(one)) for one in sorted(figures, key=lambda one: one["ratio"])]
            points = [Point(ratio, *pair) for ratio, pair in values if pair is not None]
            curves.append(Series(checkpoint["name"], points, number))
        found[kind] = [curve for curve in curves if curve.points]
    return {kind: curves for kind, curves in found.items() if curves}


def word_error_rate(figures: Figures) -> tuple[float, Bounds | None]:
    """A condition's rate and its interval."""
    return figures["word_error_rate"], figures["word_error_rate_interval"]


def difference(figures: Figures) -> tuple[float, Bounds | None] | None:
    """A condition's difference from the first checkpoint and its interval; None for the first."""
    found = figures["difference"]
    return None if found is None else (found["value"], found["interval"])


def clean_rates(result: dict[str, Any], curves: Sequence[Series]) -> dict[int, float]:
    """Word error rates on clean speech by the curves' numbers, of those that were measured on it."""
    conditions = {curve.colour: result["checkpoints"][curve.colour]["conditions"] for curve in curves}
    return {number: one[CLEAN]["word_error_rate"] for number, one in conditions.items() if CLEAN in one}


def rate_charts(result: dict[str, Any]) -> list[Chart]:
    """Word error rates by ratio, a chart for each kind of noise; dashed lines are rates on clean speech."""
    charts = []
    for kind, curves in curves_of(result, word_error_rate).items():
        cleans = clean_rates(result, curves)
        top = max(min(max(ends_of(curves)), TALLEST), min(point.y for curve in curves for point in curve.points))
        y_axis = axis_over([0.0, top, *(min(clean, top) for clean in cleans.values())], from_zero=True)
        levels = [Level(clean, colour=number) for number, clean in cleans.items()]
        charts.append(by_ratio(kind, curves, y_axis, levels, share))
    return charts


def difference_charts(result: dict[str, Any]) -> list[Chart]:
    """Points of word error rate less the first checkpoint's, by ratio; the dashed line is 0."""
    return [
        by_ratio(kind, curves, axis_over([*ends_of(curves), 0.0]), [Level(0.0)], points)
        for kind, curves in curves_of(result, difference).items()
    ]


def ends_of(curves: Sequence[Series]) -> list[float]:
    """All values and the bounds of their intervals."""
    return [end for curve in curves for point in curve.points for end in (point.y, *(point.interval or ()))]


def points(value: float) -> str:
    """A tick of an axis of differences."""
    return minus(f"{100 * value:.3g}")


def by_ratio(
    kind: str, curves: Sequence[Series], y_axis: Axis, levels: Sequence[Level], y_text: Callable[[float], str]
) -> Chart:
    """Values by ratio, quiet noise to the left."""
    ratios = sorted({point.x for curve in curves for point in curve.points})
    room = 0.06 * (ratios[-1] - ratios[0]) or 1.0
    x_axis = Axis(ratios[-1] + room, ratios[0] - room)
    series = []
    for number, curve in enumerate(curves):
        shift = 0.006 * (number - (len(curves) - 1) / 2) * (x_axis.high - x_axis.low)  # no interval hides another
        places = []
        for point in reversed(curve.points):
            told = f"{percent(point.y)} %" if y_text is share else f"{signed(point.y, 1)} points"
            told = f"{curve.name}, {point.x:g} dB: {told}{bracketed(point.interval, 1)}"
            places.append(replace(point, x=point.x + shift, told=told))
        series.append(replace(curve, points=places))
    return Chart(
        DESCRIBED[kind].capitalize(),
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
            places = []
            for layer, one in enumerate(layers, 1):
                value = one[f"{name}_odds"]
                told = f"{name}: odds {decimal(value, 3)}, gate {decimal(one['gate'], 2)}"
                places.append(Point(layer, value, told=told))
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


def draw_curve(axes: Any, curve: Series) -> Any:
    """Draw rates in percent with their intervals on matplotlib's axes; returns the colour of the line."""
    spans = [(point, point.interval or (point.y, point.y)) for point in curve.points]
    below = [max(100 * (point.y - low), 0.0) for point, (low, _) in spans]
    above = [max(100 * (high - point.y), 0.0) for point, (_, high) in spans]
    places = [[point.x for point in curve.points], [100 * point.y for point in curve.points]]
    return axes.errorbar(*places, yerr=[below, above], marker="o", capsize=2, label=curve.name)[0].get_color()


def write_picture(path: Path, result: dict[str, Any]) -> None:
    """Word error rates by ratio as a PNG, a panel for each kind of noise; nothing where no noise is mixed."""
    from matplotlib.figure import Figure

    by_kind = curves_of(result, word_error_rate)
    if not by_kind:
        return
    figure = Figure(figsize=(4.2 * len(by_kind), 3.6), layout="constrained")
    panels = figure.subplots(1, len(by_kind), sharey=True, squeeze=False)[0]
    for axes, (kind, curves) in zip(panels, by_kind.items(), strict=True):
        cleans = clean_rates(result, curves)
        for curve in curves:
            color = draw_curve(axes, curve)
            if curve.colour in cleans:
                axes.axhline(100 * cleans[curve.colour], linestyle="--", linewidth=1, color=color)
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
