"""The suite's pictures: error rates by ratio, differences, attention by layer; SVG for the page, PNG for a paper."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.preparation.inspection_page import escaped

from ..comparison.charts import chip
from ..comparison.drawing import Axis, axis_over, curve, marker, panel, upright
from .conditions import CLEAN, DESCRIBED
from .tables import Interval, bracketed, percent

HEIGHT = 230  # pixels
TALLEST = 1.5  # of an axis of error rates, unless all are above: repetitions without end would flatten the rest


@dataclass(frozen=True)
class Line:
    """A checkpoint's values by ratio (ratio, value, interval or None), and on clean speech if that was measured."""

    number: int
    name: str
    points: list[tuple[float, float, Interval]]
    clean: float | None = None


def kinds_of(result: dict[str, Any]) -> list[str]:
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
    return figures["word_error_rate"], figures["word_error_rate_interval"]


def points_of_difference(figures: dict[str, Any]) -> Any:
    difference = figures["difference"]
    return None if difference is None else (difference["value"], difference["interval"])


def rate_charts(result: dict[str, Any]) -> str:
    charts = [chart(lines_of(result, kind, word_error_rate), DESCRIBED[kind], True) for kind in kinds_of(result)]
    return f'<div class="plots">{"".join(charts)}</div>'


def difference_charts(result: dict[str, Any]) -> str:
    kinds = {kind: lines_of(result, kind, points_of_difference) for kind in kinds_of(result)}
    charts = [chart(lines, DESCRIBED[kind], False) for kind, lines in kinds.items() if lines]
    return f'<div class="plots">{"".join(charts)}</div>' if charts else ""


def legend(result: dict[str, Any]) -> str:
    names = [escaped(one["name"]) for one in result["checkpoints"]]
    items = "".join(f'<li>{chip(number)}<span dir="auto">{name}</span></li>' for number, name in enumerate(names))
    return f'<ul class="legend">{items}</ul>'


def chart(lines: Sequence[Line], title: str, of_rates: bool) -> str:
    """Values by ratio, quiet noise to the left; dashed lines are rates on clean speech or, of differences, 0."""
    if not lines:
        return ""
    values = [value for line in lines for _, value, _ in line.points]
    bounds = [bound for line in lines for _, _, interval in line.points for bound in interval or ()]
    levels = [line.clean for line in lines if line.clean is not None] if of_rates else [0.0]
    if of_rates:
        top = max(min(max([*values, *bounds]), TALLEST), min(values))
        y_axis = axis_over([0.0, top, *(min(level, top) for level in levels)], from_zero=True)
    else:
        y_axis = axis_over([*values, *bounds, 0.0])
    ratios = sorted({ratio for line in lines for ratio, _, _ in line.points})
    room = 0.06 * (ratios[-1] - ratios[0]) or 1.0
    x_axis = Axis(ratios[0] - room, ratios[-1] + room)
    content = ""
    for number, line in enumerate(lines):
        shift = 0.006 * (number - (len(lines) - 1) / 2)  # so that intervals do not hide each other
        places = [(1 - x_axis.place(ratio) + shift, 1 - y_axis.place(value)) for ratio, value, _ in line.points]
        if line.clean is not None and of_rates:
            level = (1 - y_axis.place(line.clean)) * HEIGHT
            content += (
                f'<line class="reference run{line.number % 8}" x1="0" x2="100%" y1="{level:.1f}" y2="{level:.1f}"/>'
            )
        if len(places) > 1:
            content += curve(sorted(places), HEIGHT, line.number)
        for (x, y), (ratio, value, interval) in zip(places, line.points, strict=True):
            if interval is not None:
                high, low = ((1 - y_axis.place(bound)) * HEIGHT for bound in reversed(interval))
                content += upright(x, high, low, "thin", line.number)
            told = f"{percent(value)} %" if of_rates else f"{100 * value:+.1f} points"
            where = f"{line.name}, {ratio:g} dB: {told}{bracketed(interval)}"
            content += marker(x, y * HEIGHT, line.number, where)
    if not of_rates:
        level = (1 - y_axis.place(0.0)) * HEIGHT
        content += dashed(level)
    drawn = panel(
        content,
        HEIGHT,
        [(1 - x_axis.place(ratio), f"{ratio:g}") for ratio in ratios],
        [(y_axis.place(tick), f"{100 * tick:.3g}{' %' if of_rates else ''}") for tick in y_axis.ticks(5)],
        "speech over noise, dB",
        f"{title}, by ratio",
    )
    return f"<figure><figcaption>{escaped(title.capitalize())}</figcaption>{drawn}</figure>"


def dashed(y: float, kind: str = "") -> str:
    return f'<line class="reference {kind}" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'


def layer_charts(result: dict[str, Any]) -> str:
    """For each checkpoint with two attentions their odds on noise by layer, the primary's in grey."""
    charts = []
    for number, checkpoint in enumerate(result["checkpoints"]):
        found = checkpoint["attention_odds"]
        if found is None:
            continue
        layers = found["layers"]
        y_axis = axis_over([one[key] for one in layers for key in ("primary_odds", "secondary_odds")], from_zero=True)
        x_axis = Axis(0.5, len(layers) + 0.5)
        content = ""
        for key, index in (("primary_odds", -1), ("secondary_odds", number)):
            places = [(x_axis.place(n), 1 - y_axis.place(one[key])) for n, one in enumerate(layers, 1)]
            content += curve(places, HEIGHT, index) if len(places) > 1 else ""
            for (x, y), one in zip(places, layers, strict=True):
                told = f"{key.split('_')[0]}: odds {one[key]:.3f}, gate {one['gate']:.2f}"
                content += marker(x, y * HEIGHT, index, told)
        drawn = panel(
            content,
            HEIGHT,
            [(x_axis.place(tick), f"{tick:g}") for tick in range(1, len(layers) + 1, -(-len(layers) // 8))],
            [(y_axis.place(tick), f"{tick:.3g}") for tick in y_axis.ticks(5)],
            "decoder layer",
            f"attention odds of {checkpoint['name']} by layer",
        )
        charts.append(f"<figure><figcaption>{escaped(checkpoint['name'])}</figcaption>{drawn}</figure>")
    return f'<div class="plots">{"".join(charts)}</div>' if charts else ""


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
