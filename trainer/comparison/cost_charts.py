"""Error rate against what a run took: trained parameters, time, memory; names stand where they cover least."""

from collections.abc import Sequence

from data.preparation.inspection_page import escaped

from .charts import PANEL, WIDE_RANGE, colours, plain_number, share
from .comparison import Comparison
from .drawing import Axis, axis_over, label, marker, panel, upright
from .figures import percent, time_unit

LONGEST_LABEL = 30  # characters


def cost_against_rate(comparison: Comparison) -> str:
    """Word error rate over what was trained, how long and in how much memory; down and left is better."""
    trained = {i: result.arm.summary for i, result in enumerate(comparison.results) if result.arm.summary}
    unit, unit_name = time_unit(max([summary.seconds for summary in trained.values()], default=0.0))
    parameters = {i: summary.trainable_parameters / 1e6 for i, summary in trained.items()}
    times = {i: summary.seconds / unit for i, summary in trained.items()}
    memory = {i: summary.peak_memory_bytes / 2**30 for i, summary in trained.items() if summary.peak_memory_bytes}
    drawn = [
        scatter(comparison, parameters, "trained parameters, millions"),
        scatter(comparison, times, f"training time, {unit_name}"),
        scatter(comparison, memory, "peak memory, GiB"),
    ]
    return f'<div class="plots">{"".join(drawn)}</div>' if any(drawn) else ""


def scatter(comparison: Comparison, costs: dict[int, float], title: str) -> str:
    costs = {index: cost for index, cost in costs.items() if cost > 0}
    if not costs:
        return ""
    results, given = comparison.results, colours(comparison)
    spans = {index: results[index].interval or (results[index].word_error_rate,) * 2 for index in costs}
    y_axis = axis_over([bound for span in spans.values() for bound in span])
    x_axis = axis_over(list(costs.values()), from_zero=True, log_from=WIDE_RANGE)
    is_right = sum(map(x_axis.place, costs.values())) < 0.5 * len(costs)  # where fewer markers are
    content = baseline_line(comparison, y_axis, is_right) if comparison.baseline not in costs else ""
    order = sorted(costs, key=lambda index: results[index].word_error_rate)
    places = [(x_axis.place(costs[i]), (1 - y_axis.place(results[i].word_error_rate)) * PANEL) for i in order]
    bars = [
        (x, (1 - y_axis.place(spans[index][0])) * PANEL, (1 - y_axis.place(spans[index][1])) * PANEL)
        for index, (x, _) in zip(order, places, strict=True)
    ]
    sides = label_sides(places, bars, [results[index].arm.name for index in order])
    labels = ""
    for index, (x, y), (_, low, high), (dy, to_left) in zip(order, places, bars, sides, strict=True):
        name = results[index].arm.name
        told = f"{name}: {percent(results[index].word_error_rate, 2)} %, {plain_number(costs[index])} ({title})"
        content += upright(x, high, low, "span", given[index]) + marker(x, y, given[index], told)
        labels += label(x, y + dy, name[:LONGEST_LABEL], given[index], to_left)
    drawn = panel(
        content + labels,
        PANEL,
        [(x_axis.place(tick), plain_number(tick)) for tick in x_axis.ticks(4)],
        [(y_axis.place(tick), share(tick)) for tick in y_axis.ticks(5)],
        title,
        f"Word error rate by {title}",
    )
    return f"<figure><figcaption>Word error rate by {title.partition(',')[0]}</figcaption>{drawn}</figure>"


def baseline_line(comparison: Comparison, y_axis: Axis, is_right: bool) -> str:
    """The untrained baseline's rate across a panel, or where it lies beyond it."""
    result = comparison.results[comparison.baseline]
    name = escaped(result.arm.name, LONGEST_LABEL)
    end = 'x="100%" text-anchor="end"' if is_right else 'x="4"'
    if not y_axis.low <= result.word_error_rate <= y_axis.high:
        arrow = "↑" if result.word_error_rate > y_axis.high else "↓"
        beyond = 10 if arrow == "↑" else PANEL - 8
        told = f"{arrow} {name} {percent(result.word_error_rate)} %"
        return f'<text class="label plain" {end} y="{beyond}">{told}</text>'
    y = (1 - y_axis.place(result.word_error_rate)) * PANEL
    line = f'<line class="reference" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'
    return f'{line}<text class="label plain" {end} y="{y - 6:.1f}">{name}</text>'


def label_sides(
    places: Sequence[tuple[float, float]], bars: Sequence[tuple[float, float, float]], names: Sequence[str]
) -> list[tuple[float, bool]]:
    """For each marker how far its name goes down, and whether to the left: where it covers least of the others.

    Args:
        bars: of each marker's interval, its place along x and its lower and upper end.
    """
    width, height = 250.0, 13.0  # pixels; a panel is seldom narrower
    boxes = [(x * width - 7, x * width + 7, y - 7, y + 7) for x, y in places]
    boxes += [(x * width - 3, x * width + 3, high, low) for x, low, high in bars]
    chosen = []
    for number, ((x, y), name) in enumerate(zip(places, names, strict=True)):
        length = 7.0 * len(name[:LONGEST_LABEL])
        best: tuple[float, float, bool, tuple[float, float, float, float]] | None = None
        for dy in (0.0, -13.0, 13.0, -26.0, 26.0):
            for to_left in (x > 0.55, x <= 0.55):
                begin = x * width - 11 - length if to_left else x * width + 11
                box = (begin, begin + length, y + dy - height / 2, y + dy + height / 2)
                outside = max(0.0, -40 - begin) + max(0.0, begin + length - width - 8)
                covered = sum(
                    shared(box, other) for at, other in enumerate(boxes) if at not in (number, number + len(places))
                )
                bad = covered + 20 * outside + abs(dy) + (0.0 if to_left == (x > 0.55) else 5.0)
                if best is None or bad < best[0]:
                    best = (bad, dy, to_left, box)
        assert best is not None
        boxes.append(best[3])
        chosen.append((best[1], best[2]))
    return chosen


def shared(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """The area that two boxes (left, right, top, bottom) have in common."""
    wide = min(one[1], other[1]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[2], other[2])
    return wide * high if wide > 0 and high > 0 else 0.0
