"""What a chart shows: axes, points and bars; ``templates/charts.html.j2`` draws them as SVG. Knows no runs.

Places along x are shares of the width and heights are pixels, so text stays legible and markers round at any width.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .formats import Bounds, plain_number

COLOURS = 8  # in templates/colours.css
SHAPES = (
    "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0Z",
    "M-4.5,-4.5h9v9h-9Z",
    "M0,-6.2L6.2,0L0,6.2L-6.2,0Z",
    "M0,-5.8L5.6,4.4H-5.6Z",
    "M0,5.8L5.6,-4.4H-5.6Z",
    "M-2,-5.5h4v3.5h3.5v4h-3.5v3.5h-4v-3.5h-3.5v-4h3.5Z",
    "M0,-6L5.7,-1.9L3.5,4.9H-3.5L-5.7,-1.9Z",
)
CROSS = "M-5,-5L5,5M5,-5L-5,5"
WIDE_RANGE = 8.0  # largest over smallest value from which an axis is logarithmic
ALONE_WIDTH = 420  # pixels of a chart that is a file of its own
LETTER = 6.4  # pixels of an average letter in its legend


@dataclass(frozen=True)
class Axis:
    """An axis from ``low`` to ``high``, linear or logarithmic. It runs backwards if ``low`` is the larger one."""

    low: float
    high: float
    is_log: bool = False

    def place(self, value: float) -> float:
        """The position of a value, from 0 to 1; values beyond an end are moved to it."""
        low, high = self.low, self.high
        if self.is_log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, low))
        return min(max((value - low) / (high - low), 0.0), 1.0)

    def ticks(self, most: int = 5) -> list[float]:
        """About ``most`` round values for ticks."""
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


def nice_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def axis_over(values: Sequence[float], from_zero: bool = False, log_from: float | None = None) -> Axis:
    """An axis that holds all values; logarithmic where the largest is ``log_from`` times the smallest or more."""
    low, high = min(values), max(values)
    if log_from is not None and low > 0 and high / low >= log_from:
        return Axis(low / 1.25, high * 1.25, is_log=True)
    room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return Axis(0.0 if from_zero else max(low - room, 0.0) if low >= 0 else low - room, high + room)


def run_class(colour: int) -> str:
    """The CSS class of a run's colour; grey for numbers below 0."""
    return f"run{colour % COLOURS}" if colour >= 0 else "plain"


def shape(colour: int) -> str:
    """The path of a run's marker: shapes change with the run as colours do."""
    return SHAPES[colour % len(SHAPES)] if colour >= 0 else CROSS


@dataclass(frozen=True)
class Point:
    """A point of a series.

    Attributes:
        told: the tooltip; if empty, the point's values.
        interval: of ``y``, drawn as an upright line.
    """

    x: float
    y: float
    interval: Bounds | None = None
    told: str = ""


@dataclass(frozen=True)
class Series:
    """Points of one colour.

    Attributes:
        is_joined: by a line.
        is_marked: points have markers; a single point always has.
        is_open: markers without a filling and the line dashed, for what was computed beside what was measured.
    """

    name: str
    points: Sequence[Point]
    colour: int
    is_joined: bool = True
    is_marked: bool = True
    is_open: bool = False


@dataclass(frozen=True)
class Level:
    """A dashed line at a value of y.

    Attributes:
        name: written at its right end.
        colour: of a run; None is grey.
    """

    value: float
    name: str = ""
    colour: int | None = None


@dataclass(frozen=True)
class Chart:
    """Series over two axes.

    Attributes:
        x_text, y_text: write a value of the axis, for ticks and tooltips.
        x_at: values of the ticks along x; round values if empty.
        levels: those beyond the axis are left out.
        has_diagonal: draw the line from the lower left to the upper right.
        note: a sentence below the chart.
        name: of the file, without its ending, where the chart is written alone.
    """

    title: str
    series: Sequence[Series]
    x: Axis
    y: Axis
    x_title: str
    y_title: str = ""
    x_text: Callable[[float], str] = plain_number
    y_text: Callable[[float], str] = plain_number
    x_at: Sequence[float] = ()
    levels: Sequence[Level] = ()
    has_diagonal: bool = False
    height: int = 200
    note: str = ""
    name: str = ""

    def x_ticks(self) -> list[tuple[float, str]]:
        """Places from the left, as shares of the width, with their values."""
        return [(self.x.place(tick), self.x_text(tick)) for tick in self.x_at or self.x.ticks(6)]

    def y_ticks(self) -> list[tuple[float, str]]:
        """Places from the top, in pixels, with their values."""
        return [(self.down(tick), self.y_text(tick)) for tick in self.y.ticks()]

    def down(self, value: float) -> float:
        """How many pixels below the top a value of y stands."""
        return (1 - self.y.place(value)) * self.height

    def shown_levels(self) -> list[Level]:
        """The levels within the axis."""
        return [level for level in self.levels if self.y.low <= level.value <= self.y.high]

    def line(self, series: Series) -> str:
        """The points of a series for a polyline, in thousandths of width and height."""
        return " ".join(
            f"{1000 * self.x.place(point.x):.1f},{1000 * (1 - self.y.place(point.y)):.1f}" for point in series.points
        )

    def told(self, series: Series, point: Point) -> str:
        """The tooltip of a point."""
        if point.told:
            return point.told
        return f"{series.name}, {self.x_text(point.x)} {self.x_title}: {self.y_text(point.y)} {self.y_title}".rstrip()

    def legend_places(self, width: float) -> list[tuple[Series, float, int]]:
        """(series, x, row) of the legend of a chart file; empty for a single series."""
        x, row, found = 10.0, 0, []
        for one in self.series if len(self.series) > 1 else ():
            length = 22 + LETTER * len(one.name)
            if x > 10 and x + length > width:
                x, row = 10.0, row + 1
            found.append((one, x, row))
            x += length + 10
        return found


@dataclass(frozen=True)
class Bars:
    """A histogram.

    Attributes:
        bars: names and counts, from the left.
        ticks, marks: places from the left, as shares of the width, with their names; a mark is a line where something
            begins, such as a limit.
    """

    title: str
    bars: Sequence[tuple[str, int]]
    ticks: Sequence[tuple[float, str]]
    marks: Sequence[tuple[float, str]] = ()

    @property
    def most(self) -> int:
        """The count of the highest bar."""
        return max((count for _, count in self.bars), default=0) or 1

    def sided_marks(self) -> list[tuple[float, str, bool]]:
        """The marks, and whether each name stands left of its line, so that two names do not overlap."""
        turn = [0.2, 0.85] if len(self.marks) == 2 else [0.6] * len(self.marks)
        return [(place, name, place > limit) for (place, name), limit in zip(self.marks, turn, strict=True)]
