"""A table of text that the terminal, Markdown and pages share."""

from collections.abc import Sequence
from dataclasses import dataclass

from data.inspection.characters import visible

SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_[]<>|#~"})


@dataclass(frozen=True)
class FigureTable:
    """A table whose cells are text.

    Attributes:
        weights: a number for each row, which a page shows as a bar; may be empty.
        numbers: indices of columns that are aligned to the right.
        note: a remark on rows that were left out.
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
    """Text with Markdown's special characters escaped."""
    return visible(text, 800).translate(SPECIAL)
