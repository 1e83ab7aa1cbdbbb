"""A comparison as one HTML file, laid out by ``page.html.j2``, and as Markdown by ``page.md.j2``."""

import datetime
from collections.abc import Mapping

from ..evaluation.significance import MOST_ENUMERATED, RESAMPLES, draws_for
from ..pages.formats import counted, percent, signed
from ..pages.page import rendered_report
from . import charts, tables
from .comparison import UTTERANCES, Comparison
from .examples import setbacks, widest


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
        verdict=tables.verdict(comparison),
        tiles=tiles_of(comparison),
        against_baseline=tables.against_baseline(comparison),
        missing=[f"{name}: {reason}" for name, reason in (missing or {}).items()],
        colours=charts.colours(comparison),
        order=charts.by_rate(comparison),
        trained=[index for index, arm in enumerate(comparison.arms) if arm.is_trained],
        ticks=charts.ticks,
        rates_axis=charts.rates_axis(comparison),
        kinds_axis=charts.error_kinds_axis(comparison),
        learning=charts.learning_charts(comparison),
        costs=charts.cost_charts(comparison),
        breakdowns=[(breakdown, charts.breakdown_axis(breakdown)) for breakdown in comparison.breakdowns],
        errors=tables.error_table(comparison),
        pairs=tables.pair_table(comparison),
        turned=tables.turned,
        cost=tables.cost_table(comparison, price_per_hour),
        differences=tables.difference_table(comparison),
        examples=chosen,
        setbacks=setbacks(comparison, chosen),
        notes=tables.notes(comparison),
        units=tables.plural(comparison.units),
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
    if comparison.units != UTTERANCES:
        tiles.append((f"resampled by {comparison.units}", f"{comparison.unit_count:,}"))
    return tiles
