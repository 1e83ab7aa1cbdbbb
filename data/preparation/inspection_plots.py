"""Histograms as small inline SVG that takes its colours from the page and any width; axes are text beside it."""

import html
import math
from dataclasses import dataclass

from ..inspection.counts import Histogram

MOST_BARS = 60
HEIGHT = 100


@dataclass(frozen=True)
class Mark:
    """A line across a plot where something begins, such as a limit."""

    value: float
    name: str


def linear_plot(histogram: Histogram, unit: str, marks: tuple[Mark, ...] = ()) -> str:
    """A histogram over an even axis, no wider than its values."""
    scale = histogram.scale
    width = (scale.high - scale.low) / scale.bins
    first, last = scale.bin(histogram.smallest), scale.bin(histogram.largest) + 1
    if scale.low == 0:
        first = 0
    each = next(n for n in (1, 2, 5, 10, 20, 50, 100, 200) if (last - first) / n <= MOST_BARS)
    first = first // each * each
    last = min(-(-last // each) * each, scale.bins)
    begin, end = scale.edge(first), scale.edge(last)
    step = nice_step((end - begin) / 6)
    ticks = [step * n for n in range(math.ceil(begin / step - 1e-9), math.floor(end / step + 1e-9) + 1)]
    places = [((tick - begin) / (end - begin), f"{tick:g}".replace("-", "−")) for tick in ticks]
    lines = [((mark.value - begin) / (end - begin), mark.name) for mark in marks]
    digits = 0 if width * each >= 1 else 1
    named = [
        (f"{low:.{digits}f} to {high:.{digits}f} {unit}", count)
        for low, high, count in histogram.joined(each, first, last)
    ]
    if histogram.largest > scale.high:
        named[-1] = (f"{named[-1][0].split(' to ')[0]} {unit} and more", named[-1][1])
    return plot(named, places, lines)


def logarithmic_plot(histogram: Histogram, unit: str, marks: tuple[Mark, ...] = ()) -> str:
    """A histogram over a logarithmic axis, no wider than its values and marks."""
    scale = histogram.scale
    edges = [histogram.smallest, histogram.largest, *(mark.value for mark in marks)]
    first, last = max(scale.bin(min(edges)) - 1, 0), min(scale.bin(max(edges)) + 2, scale.bins)
    each = next(n for n in (1, 2, 3, 4, 5, 10) if (last - first) / n <= MOST_BARS)
    last = min(first + -(-(last - first) // each) * each, scale.bins)
    begin, end = math.log(scale.edge(first)), math.log(scale.edge(last))
    values = [digit * 10.0**power for power in range(-1, 3) for digit in (1, 2, 5)]
    places = [((math.log(value) - begin) / (end - begin), f"{value:g}") for value in values]
    lines = [((math.log(mark.value) - begin) / (end - begin), mark.name) for mark in marks]
    named = [(f"{low:.3g} to {high:.3g} {unit}", count) for low, high, count in histogram.joined(each, first, last)]
    return plot(named, [place for place in places if 0 <= place[0] <= 1], lines)


def nice_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def plot(bars: list[tuple[str, int]], ticks: list[tuple[float, str]], lines: list[tuple[float, str]]) -> str:
    """Bars with their names, and where (as a share of the width) ticks and lines stand."""
    most = max((count for _, count in bars), default=0) or 1
    rects = []
    for number, (name, count) in enumerate(bars):
        if count:
            height = max(HEIGHT * count / most, 0.8)
            rects.append(
                f'<rect x="{number + 0.06:g}" y="{HEIGHT - height:.1f}" width=".88" height="{height:.1f}">'
                f"<title>{html.escape(name)}: {count:,}</title></rect>"
            )
    marks = "".join(
        f'<i class="mark{" left" if is_left else ""}" style="left:{place:.2%}"><b>{html.escape(name)}</b></i>'
        for place, name, is_left in sided(lines)
    )
    labels = "".join(f'<span style="left:{place:.2%}">{html.escape(label)}</span>' for place, label in ticks)
    drawn = f'<svg viewBox="0 0 {len(bars)} {HEIGHT}" preserveAspectRatio="none" role="img">{"".join(rects)}</svg>'
    return (
        f'<div class="plot"><span class="most">{most:,}</span>{drawn}{marks}</div>'
        f'<div class="axis" aria-hidden="true">{labels}</div>'
    )


def sided(lines: list[tuple[float, str]]) -> list[tuple[float, str, bool]]:
    """Lines within a plot, and whether each one's name stands left of it: two turn away from each other."""
    inside = [(place, name) for place, name in lines if 0 <= place <= 1]
    turn = [0.2, 0.85] if len(inside) == 2 else [0.6] * len(inside)
    return [(place, name, place > limit) for (place, name), limit in zip(inside, turn, strict=True)]
