"""The report's charts: axes that suit what was measured, for the page and for files beside the Markdown."""

from collections.abc import Sequence

from trainer.pages.charts import WIDE_RANGE, Axis, Chart, Level, Point, Series, axis_over
from trainer.pages.formats import plain_number

HEIGHT = 220  # pixels


def picture(
    name: str,
    title: str,
    series: Sequence[Series],
    x_title: str,
    y_title: str,
    *,
    levels: Sequence[tuple[float, str]] = (),
    categories: Sequence[str] = (),
    log_x: bool = False,
    log_y: bool = False,
    is_square: bool = False,
) -> Chart:
    """A chart whose axes hold all points, from zero or logarithmic.

    Args:
        name: of its file, without its ending.
        levels: horizontal lines and what they mean.
        categories: names along x, in place of numbers; the points' x counts them from 0.
        log_x: x is logarithmic.
        log_y: y is logarithmic where its values lie far apart.
        is_square: both directions have one axis, and a dashed line shows where x and y are equal.
    """
    xs = [point.x for one in series for point in one.points]
    ys = [point.y for one in series for point in one.points]
    y_axis = axis_over(ys, from_zero=True, log_from=WIDE_RANGE if log_y else None)
    x_axis = Axis(0.0, 1.05 * max(xs) or 1.0)
    if categories:
        x_axis = Axis(-0.5, len(categories) - 0.5)
    elif log_x and 0 < min(xs) < max(xs):
        x_axis = Axis(min(xs) / 1.25, max(xs) * 1.25, is_log=True)
    if is_square:
        x_axis = y_axis = axis_over([*xs, *ys], from_zero=True, log_from=WIDE_RANGE)
    return Chart(
        title,
        series,
        x=x_axis,
        y=y_axis,
        x_title=x_title,
        y_title=y_title,
        x_text=(lambda number: categories[round(number)]) if categories else plain_number,
        x_at=range(len(categories)),
        levels=[Level(value, text) for value, text in levels],
        has_diagonal=is_square,
        height=HEIGHT,
        name=name,
    )


def points(places: Sequence[tuple[float, float]]) -> list[Point]:
    """Points at (x, y) with their values as tooltips."""
    return [Point(x, y) for x, y in places]
