"""A comparison as one HTML file, laid out by ``page.html.j2``, and as Markdown by ``page.md.j2``."""

import datetime
from collections.abc import Mapping

from ..evaluation.significance import MOST_ENUMERATED, RESAMPLES, draws_for
from ..pages.formats import counted, percent, signed
from ..pages.page import rendered_report
from .charts import breakdown_axis, by_rate, colours, cost_charts, error_kinds_axis, learning_charts, rates_axis, ticks
from .comparison import Comparison
from .examples import setbacks, widest
from .tables import (
    against_baseline,
    cost_table,
    difference_table,
    error_table,
    notes,
    pair_table,
    plural,
    turned,
    verdict,
)

MOST_OPEN_PAIRS = 10  # in the table of pairs; more are folded away
KINDS = (("substitutions", "substituted"), ("deletions", "deleted"), ("insertions", "inserted"))


def comparison_report(
    comparison: Comparison,
    command: str,
    date: datetime.date,
    price_per_hour: float | None = None,
    missing: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The contents of comparison.html and comparison.md, of a comparison made by ``command`` on ``date``.

    Args:
        price_per_hour: dollars for all machines of a run.
        missing: arms of a plan that have no result, and why.
    """
    chosen = widest(comparison)
    exchanges = f"{draws_for(len(comparison.pairs)):,} drawn exchanges"
    if comparison.unit_count <= MOST_ENUMERATED:
        exchanges = "all exchanges are tried"
    return rendered_report(
        "trainer/comparison",
        "comparison",
        comparison=comparison,
        title=f"{counted(len(comparison.results), 'run')} on {comparison.split}",
        date=date.isoformat(),
        verdict=verdict(comparison),
        tiles=tiles_of(comparison),
        against_baseline=against_baseline(comparison),
        missing=[f"{name}: {reason}" for name, reason in (missing or {}).items()],
        colours=colours(comparison),
        order=by_rate(comparison),
        trained=[index for index, arm in enumerate(comparison.arms) if arm.is_trained],
        ticks=ticks,
        rates_axis=rates_axis(comparison),
        kinds=KINDS,
        kinds_axis=error_kinds_axis(comparison),
        learning=learning_charts(comparison),
        costs=cost_charts(comparison),
        breakdowns=[(breakdown, breakdown_axis(breakdown)) for breakdown in comparison.breakdowns],
        errors=error_table(comparison),
        pairs=pair_table(comparison),
        is_open=len(comparison.pairs) <= MOST_OPEN_PAIRS,
        turned=turned,
        cost=cost_table(comparison, price_per_hour),
        differences=difference_table(comparison),
        examples=chosen,
        setbacks=setbacks(comparison, chosen),
        notes=notes(comparison),
        units=plural(comparison.units),
        resamples=RESAMPLES,
        exchanges=exchanges,
        price_per_hour=price_per_hour,
        command=command,
    )


def tiles_of(comparison: Comparison) -> list[tuple[str, str]]:
    """The figures that come first: what each is, and its value."""
    best = comparison.results[comparison.best]
    tiles = [("lowest word error rate", f"{percent(best.word_error_rate)} %")]
    if best.saved is not None:
        baseline = comparison.arms[comparison.baseline].name
        tiles.append((f"points against {baseline}", signed(-best.saved, 1)))
    tiles += [("utterances", f"{comparison.utterances:,}"), ("words spoken", f"{comparison.words:,}")]
    if comparison.units != "utterances":
        tiles.append((f"resampled by {comparison.units}", f"{comparison.unit_count:,}"))
    return tiles
