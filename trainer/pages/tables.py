"""A table of text: the same rows for the terminal, for Markdown and for a page."""

from collections.abc import Sequence
from dataclasses import dataclass

from data.inspection.characters import visible

SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_[]<>|#~"})


@dataclass(frozen=True)
class FigureTable:
    """Rows of text.

    Attributes:
        weights: for each row a number that a bar may show; none where there is nothing to compare.
        numbers: columns that hold numbers, to be set to the right.
        note: what is not among the rows.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    weights: tuple[float, ...] = ()
    numbers: frozenset[int] = frozenset()
    note: str = ""


def table_lines(table: FigureTable) -> list[str]:
    """The table as Markdown, numbers to the right."""
    rule = ("---:" if column in table.numbers else "---" for column in range(len(table.columns)))
    rows = [table.columns, *table.rows]
    written = [f"| {' | '.join(plain(cell) for cell in row)} |" for row in rows]
    return [written[0], f"|{'|'.join(rule)}|", *written[1:]]


def plain(text: str) -> str:
    """Text that Markdown takes as it is."""
    return visible(text, 800).translate(SPECIAL)
