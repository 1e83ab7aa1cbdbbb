"""Axes, markers and lines as inline SVG that is as wide as the page lets it; knows no runs, only their numbers.

Places along x are percentages and sizes are pixels, so text stays legible and markers round at any width.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from data.preparation.inspection_plots import nice_step

COLOURS = 8
SHAPES = (
    "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0Z",
    "M-4.5,-4.5h9v9h-9Z",
    "M0,-6.2L6.2,0L0,6.2L-6.2,0Z",
    "M0,-5.8L5.6,4.4H-5.6Z",
    "M0,5.8L5.6,-4.4H-5.6Z",
    "M-2,-5.5h4v3.5h3.5v4h-3.5v3.5h-4v-3.5h-3.5v-4h3.5Z",
    "M0,-6L5.7,-1.9L3.5,4.9H-3.5L-5.7,-1.9Z",
)


@dataclass(frozen=True)
class Axis:
    """From low to high, even or logarithmic, with ticks at round values."""

    low: float
    high: float
    is_log: bool = False

    def place(self, value: float) -> float:
        """Where a value stands, 0 to 1; what lies beyond an end stands at it."""
        low, high = self.low, self.high
        if self.is_log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, low))
        return min(max((value - low) / (high - low), 0.0), 1.0)

    def ticks(self, most: int = 5) -> list[float]:
        if self.is_log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for digits in ((1, 2, 5), (1, 3), (1,)):
                values = [digit * 10.0**power for power in powers for digit in digits]
                inside = [value for value in values if self.low * 0.999 <= value <= self.high * 1.001]
                if len(inside) <= most + 1:
                    break
            if len(inside) >= 2:
                return inside[:: -(-len(inside) // (most + 1))]
        step = nice_step((self.high - self.low) / most)
        first = math.ceil(self.low / step - 1e-9)
        return [step * number for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def axis_over(values: Sequence[float], from_zero: bool = False, log_from: float | None = None) -> Axis:
    """An axis that holds all values; logarithmic where the largest is ``log_from`` times the smallest or more."""
    low, high = min(values), max(values)
    if log_from is not None and low > 0 and high / low >= log_from:
        return Axis(low / 1.25, high * 1.25, is_log=True)
    room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return Axis(0.0 if from_zero else max(low - room, 0.0) if low >= 0 else low - room, high + room)


def run_class(index: int) -> str:
    """The class that gives a run its colour; numbers below 0 are for what is no run."""
    return f"run{index % COLOURS}" if index >= 0 else "plain"


def marker(x: float, y: float, index: int, title: str = "") -> str:
    """A run's marker, ``x`` of the width and ``y`` pixels down; shapes change with the run as colours do."""
    told = f"<title>{html.escape(title)}</title>" if title else ""
    shape = SHAPES[index % len(SHAPES)] if index >= 0 else "M-5,-5L5,5M5,-5L-5,5"
    return f'<svg x="{x:.2%}" y="{y:.1f}" class="dot {run_class(index)}"><path d="{shape}"/>{told}</svg>'


def across(y: float, low: float, high: float, index: int, kind: str = "span") -> str:
    """A horizontal line between two places."""
    return f'<line class="{kind} {run_class(index)}" x1="{low:.2%}" x2="{high:.2%}" y1="{y:.1f}" y2="{y:.1f}"/>'


def upright(x: float, low: float, high: float, kind: str, index: int | None = None) -> str:
    """A vertical line, from ``low`` to ``high`` pixels down."""
    colour = "" if index is None else f" {run_class(index)}"
    return f'<line class="{kind}{colour}" x1="{x:.2%}" x2="{x:.2%}" y1="{low:.1f}" y2="{high:.1f}"/>'


def curve(points: Sequence[tuple[float, float]], height: float, index: int) -> str:
    """A line through places given as shares of width and height, which stretches without growing thicker."""
    drawn = " ".join(f"{1000 * x:.1f},{1000 * y:.1f}" for x, y in points)
    return (
        f'<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" width="100%" height="{height:g}">'
        f'<polyline class="curve {run_class(index)}" points="{drawn}" vector-effect="non-scaling-stroke"/></svg>'
    )


def strip(content: str, height: float, ticks: Sequence[float], described: str = "") -> str:
    """A row of a chart: its content over the ticks' lines."""
    lines = "".join(upright(place, 0, height, "grid") for place in ticks)
    named = f' role="img" aria-label="{html.escape(described)}"' if described else ' aria-hidden="true"'
    return f'<svg class="strip" width="100%" height="{height:g}"{named}>{lines}{content}</svg>'


def x_labels(places: Sequence[tuple[float, str]]) -> str:
    spans = "".join(f'<span style="left:{place:.2%}">{html.escape(text)}</span>' for place, text in places)
    return f'<div class="axis" aria-hidden="true">{spans}</div>'


def panel(
    content: str,
    height: float,
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[tuple[float, str]],
    x_title: str,
    described: str,
) -> str:
    """A chart with two axes; y places are shares of the height from the bottom."""
    rows = "".join(
        f'<line class="grid" x1="0" x2="100%" y1="{(1 - place) * height:.1f}" y2="{(1 - place) * height:.1f}"/>'
        for place, _ in y_ticks
    )
    names = "".join(
        f'<span style="top:{(1 - place) * height:.1f}px">{html.escape(text)}</span>' for place, text in y_ticks
    )
    drawn = f'<svg class="area" width="100%" height="{height:g}" role="img" aria-label="{html.escape(described)}">'
    return (
        f'<div class="chart"><div class="ys" aria-hidden="true">{names}</div>{drawn}{rows}{content}</svg>'
        f'<div></div>{x_labels(x_ticks)}<div></div><p class="x-title">{html.escape(x_title)}</p></div>'
    )
