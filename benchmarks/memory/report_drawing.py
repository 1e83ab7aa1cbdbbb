"""Charts for the report: whole SVG pictures, the same in the page and beside the Markdown, light and dark.

Unlike trainer/comparison's, whose labels are HTML, these carry their text, so that a file of one stands alone.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.comparison.drawing import SHAPES, Axis, axis_over, run_class
from trainer.comparison.style import CLASSES, palette

WIDTH = 420
LEFT, RIGHT, TOP = 46, 408, 26
PLOT_HEIGHT = 190
LETTER = 6.1  # pixels, of an average letter in the legend
WIDE_RANGE = 8.0  # largest over smallest value from which an axis is logarithmic

CHART_STYLE = """
.picture { width: 100%; max-width: 540px; height: auto; }
.picture text { font: 11px system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; fill: var(--soft);
  stroke: var(--card); stroke-width: 3px; paint-order: stroke; }
.picture .legend-name { fill: var(--ink); }
.picture .mark { fill: var(--c); stroke: var(--card); stroke-width: 1.2; paint-order: stroke; }
.picture .mark.open { fill: var(--card); stroke: var(--c); stroke-width: 2; }
.picture .curve { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round; }
.picture .curve.dashed { stroke-dasharray: 5 4; }
.picture .bar { fill: var(--c); }
.picture .grid { stroke: var(--line); stroke-width: 1; }
.picture .base { stroke: var(--soft); stroke-width: 1; }
.picture .reference { stroke: var(--soft); stroke-width: 1.3; stroke-dasharray: 4 4; fill: none; }
"""
LIGHT = ":root { --card: #fff; --ink: #1c2430; --soft: #5d6979; --line: #dfe3e9; }"
DARK = ":root { --card: #1b2129; --ink: #e6eaf0; --soft: #97a3b4; --line: #2d3641; }"
ALONE_STYLE = (
    f"{LIGHT} {palette(0)} @media (prefers-color-scheme: dark) {{ {DARK} {palette(1)} }} {CLASSES} {CHART_STYLE}"
    " svg { background: var(--card); }"
)


@dataclass(frozen=True)
class Series:
    """Points of one colour.

    Attributes:
        points: x and y; x is a number of :attr:`Picture.categories` where there are any.
        joined: by a line.
        is_open: markers without a filling, and the line dashed: for what was predicted or computed beside what was
            measured.
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: int
    joined: bool = True
    is_open: bool = False


@dataclass(frozen=True)
class Picture:
    """A chart.

    Attributes:
        name: of its file, without its ending.
        levels: horizontal lines and what they mean; those beyond the axis are left out.
        categories: names along x, in place of numbers.
        diagonal: draw where x and y are equal; both axes are then one.
        is_wide: y, and with ``diagonal`` x too, is logarithmic where values lie far apart.
        log_x: x is logarithmic.
    """

    name: str
    title: str
    series: Sequence[Series]
    x_title: str
    y_title: str
    levels: Sequence[tuple[float, str]] = ()
    categories: Sequence[str] = ()
    diagonal: bool = False
    is_wide: bool = False
    log_x: bool = False

    def svg(self) -> str:
        """The picture's markup, to be put into a page that has :data:`CHART_STYLE`."""
        x_axis, y_axis = self.axes()
        legend, legend_height = self.legend()
        height = TOP + PLOT_HEIGHT + 40 + legend_height
        content = grid(x_axis, y_axis, self.categories) + self.references(x_axis, y_axis)
        content += "".join(self.drawn(one, x_axis, y_axis) for one in self.series) + self.titles() + legend
        return (
            f'<svg class="picture" viewBox="0 0 {WIDTH} {height}" role="img" '
            f'aria-label="{html.escape(self.title)}">{content}</svg>'
        )

    def alone(self) -> str:
        """The picture as a file."""
        opening = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
        return self.svg().replace("<svg ", opening, 1).replace(">", f"><style>{ALONE_STYLE}</style>", 1) + "\n"

    def axes(self) -> tuple[Axis, Axis]:
        points = [point for one in self.series for point in one.points]
        ys = [y for _, y in points]
        log_from = WIDE_RANGE if self.is_wide else None
        y_axis = axis_over(ys, from_zero=True, log_from=log_from)
        if self.diagonal:
            both = axis_over([x for x, _ in points] + ys, from_zero=True, log_from=log_from)
            return both, both
        if self.categories:
            return Axis(-0.5, len(self.categories) - 0.5), y_axis
        xs = [x for x, _ in points]
        if self.log_x and min(xs) > 0 and min(xs) < max(xs):
            return Axis(min(xs) / 1.25, max(xs) * 1.25, is_log=True), y_axis
        return Axis(0.0, 1.05 * max(xs) or 1.0), y_axis

    def references(self, x_axis: Axis, y_axis: Axis) -> str:
        drawn = ""
        if self.diagonal:
            low, high = (place_x(x_axis, x_axis.low), place_y(y_axis, y_axis.low)), (RIGHT, TOP)
            drawn += f'<path class="reference" d="M{low[0]:.1f},{low[1]:.1f}L{high[0]},{high[1]}"/>'
        for value, name in self.levels:
            if y_axis.low <= value <= y_axis.high:
                y = place_y(y_axis, value)
                drawn += f'<path class="reference" d="M{LEFT},{y:.1f}H{RIGHT}"/>'
                drawn += f'<text x="{RIGHT}" y="{y - 4:.1f}" text-anchor="end">{html.escape(name)}</text>'
        return drawn

    def drawn(self, one: Series, x_axis: Axis, y_axis: Axis) -> str:
        """A series' line under its markers; each marker tells its values to whoever points at it."""
        places = [(place_x(x_axis, x), place_y(y_axis, y)) for x, y in one.points]
        colour, kind = run_class(one.colour), " open" if one.is_open else ""
        found = ""
        if one.joined and len(places) > 1:
            line = "L".join(f"{x:.1f},{y:.1f}" for x, y in places)
            found += f'<path class="curve {colour}{" dashed" if one.is_open else ""}" d="M{line}"/>'
        for (x, y), (at, value) in zip(places, one.points, strict=True):
            where = self.categories[round(at)] if self.categories else f"{short(at)} {self.x_title}"
            told = html.escape(f"{one.name}, {where}: {short(value)} {self.y_title}")
            found += mark(x, y, one.colour, kind, told)
        return found

    def titles(self) -> str:
        return (
            f'<text x="{LEFT - 40}" y="12">{html.escape(self.y_title)}</text>'
            f'<text x="{(LEFT + RIGHT) / 2}" y="{TOP + PLOT_HEIGHT + 32}" text-anchor="middle">'
            f"{html.escape(self.x_title)}</text>"
        )

    def legend(self) -> tuple[str, int]:
        """Names of the series in rows under the chart, and the rows' height; nothing for a single series."""
        if len(self.series) < 2:
            return "", 0
        x, row, found = 10.0, 0, ""
        for one in self.series:
            length = 22 + LETTER * len(one.name)
            if x > 10 and x + length > WIDTH:
                x, row = 10.0, row + 1
            y = TOP + PLOT_HEIGHT + 50 + 16 * row
            found += mark(x + 6, y - 4, one.colour, " open" if one.is_open else "", "")
            found += f'<text class="legend-name" x="{x + 16:.1f}" y="{y}">{html.escape(one.name)}</text>'
            x += length + 10
        return found, 16 * (row + 1) + 2


def place_x(axis: Axis, value: float) -> float:
    return LEFT + axis.place(value) * (RIGHT - LEFT)


def place_y(axis: Axis, value: float) -> float:
    return TOP + (1 - axis.place(value)) * PLOT_HEIGHT


def grid(x_axis: Axis, y_axis: Axis, categories: Sequence[str]) -> str:
    """Ticks of both axes with their values."""
    bottom, found = TOP + PLOT_HEIGHT, ""
    for tick in y_axis.ticks(5):
        y = place_y(y_axis, tick)
        found += f'<path class="grid" d="M{LEFT},{y:.1f}H{RIGHT}"/>'
        found += f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{short(tick)}</text>'
    ticks = list(enumerate(categories)) if categories else [(tick, short(tick)) for tick in x_axis.ticks(6)]
    for tick, name in ticks:
        x = place_x(x_axis, tick)
        found += f'<text x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">{html.escape(name)}</text>'
    return f'{found}<path class="base" d="M{LEFT},{bottom}H{RIGHT}"/>'


def mark(x: float, y: float, colour: int, kind: str, told: str) -> str:
    title = f"<title>{told}</title>" if told else ""
    shape = SHAPES[colour % len(SHAPES)]
    place = f"translate({x:.1f},{y:.1f}) scale(.8)"
    return f'<path class="mark {run_class(colour)}{kind}" transform="{place}" d="{shape}">{title}</path>'


def short(value: float) -> str:
    """A number with as many digits as a reader of a chart wants."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
