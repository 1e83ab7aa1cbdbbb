"""Error rate against what a run took: trained parameters, time, memory."""

from data.preparation.inspection_page import escaped

from .charts import PANEL, WIDE_RANGE, by_rate, colours, legend, plain_number, share
from .comparison import Comparison
from .drawing import Axis, axis_over, marker, panel, upright
from .figures import percent, time_unit


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
    if not any(drawn):
        return ""
    named = legend(comparison, [index for index in by_rate(comparison) if index in trained])
    return f'{named}<div class="plots">{"".join(drawn)}</div>'


def scatter(comparison: Comparison, costs: dict[int, float], title: str) -> str:
    """Runs by their colours and shapes alone, which the legend names: beside the markers names would cover others."""
    costs = {index: cost for index, cost in costs.items() if cost > 0}
    if not costs:
        return ""
    results, given = comparison.results, colours(comparison)
    spans = {index: results[index].interval or (results[index].word_error_rate,) * 2 for index in costs}
    y_axis = axis_over([bound for span in spans.values() for bound in span])
    x_axis = axis_over(list(costs.values()), from_zero=True, log_from=WIDE_RANGE)
    baseline = comparison.baseline
    content, note = baseline_line(comparison, y_axis) if baseline not in costs else ("", "")
    for index in sorted(costs, key=lambda index: results[index].word_error_rate):
        rate = results[index].word_error_rate
        x, (low, y, high) = (
            x_axis.place(costs[index]),
            ((1 - y_axis.place(value)) * PANEL for value in (spans[index][0], rate, spans[index][1])),
        )
        told = f"{results[index].arm.name}: {percent(rate, 2)} %, {plain_number(costs[index])} ({title})"
        content += upright(x, high, low, "span", given[index]) + marker(x, y, given[index], told)
    drawn = panel(
        content,
        PANEL,
        [(x_axis.place(tick), plain_number(tick)) for tick in x_axis.ticks(4)],
        [(y_axis.place(tick), share(tick)) for tick in y_axis.ticks(5)],
        title,
        f"Word error rate by {title}",
    )
    return f"<figure><figcaption>Word error rate by {title.partition(',')[0]}</figcaption>{drawn}{note}</figure>"


def baseline_line(comparison: Comparison, y_axis: Axis) -> tuple[str, str]:
    """The untrained baseline's rate across a panel, and a note under it of what it is, or where it lies beyond it."""
    result = comparison.results[comparison.baseline]
    named = f"{escaped(result.arm.name, 60)}, {percent(result.word_error_rate)} %"
    if not y_axis.low <= result.word_error_rate <= y_axis.high:
        side = "above" if result.word_error_rate > y_axis.high else "below"
        return "", f'<p class="note">{named}, lies {side} what is shown.</p>'
    y = (1 - y_axis.place(result.word_error_rate)) * PANEL
    line = f'<line class="reference" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'
    return line, f'<p class="note">Dashed: {named}.</p>'
