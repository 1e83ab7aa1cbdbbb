"""A comparison as Markdown, for places where a page cannot be shown."""

import datetime
from collections.abc import Mapping

from data.inspection.characters import visible

from ..pages.tables import plain, table_lines
from .comparison import Comparison
from .tables import (
    cost_table,
    definitions,
    difference_table,
    error_table,
    notes,
    pair_table,
    title,
    verdict,
)


def comparison_markdown(
    comparison: Comparison,
    command: str,
    date: datetime.date,
    price_per_hour: float | None = None,
    missing: Mapping[str, str] | None = None,
) -> str:
    """The page's figures without charts and examples."""
    tables = [error_table(comparison)]
    if comparison.pairs:
        tables.append(pair_table(comparison))
    tables.append(cost_table(comparison, price_per_hour))
    if comparison.differences:
        tables.append(difference_table(comparison))
    lines = [f"# {title(comparison)}", "", plain(verdict(comparison))]
    if missing:
        lines += ["", "## What did not run", ""]
        lines += [f"- {plain(name)}: {plain(reason)}" for name, reason in missing.items()]
    for table in tables:
        lines += ["", f"## {plain(table.title)}", "", *table_lines(table)]
    if notes(comparison):
        lines += ["", "## Read with care", "", *(f"- {plain(note)}" for note in notes(comparison))]
    lines += ["", "## What the figures mean", ""]
    lines += [f"- **{plain(name)}**: {plain(text)}" for name, text in definitions(comparison, price_per_hour)]
    fence = "`" * (3 if "```" not in command else 8)
    lines += ["", f"Made on {date.isoformat()} by:", "", f"{fence}sh", visible(command, 4000), fence]
    return "\n".join(lines) + "\n"
