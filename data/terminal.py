"""What is shown on a terminal: tables, and how many rows of a corpus are done while it is read.

Tables fit the terminal, however narrow, and cut nothing that may be copied, such as a path. A file or a pipe is 80
columns wide.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

FRAME = 3  # columns that a cell takes beside its text; the table takes one more
LINE_EVERY = 30.0  # seconds between lines of progress, where the output is no terminal
SHORT = 12  # words up to so many columns stay in their cells


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    numbers: Collection[int] = (),
    title: str = "",
    console: Console | None = None,
) -> None:
    """Print a table whose cells are wrapped between words. A word that is too long for that stands below, in full.

    Where even so there is no room for so many columns, each row is printed as lines of ``column: cell``.

    Args:
        numbers: the columns, from 0 on, that are aligned to the right.
    """
    console = console or Console(highlight=False)
    cells = [[as_text(cell) for cell in row] for row in (columns, *rows)]
    below: dict[str, str] = {}
    while (widths := fitting_widths(cells, console.width)) is None:
        longest = max((word for row in cells for cell in row for word in words(cell)), key=cell_len)
        if cell_len(longest) <= SHORT:
            break
        below[longest] = mark = f"({len(below) + 1})"
        cells = [[with_mark(cell, longest, mark) for cell in row] for row in cells]
    if widths is None:
        if title:
            console.print(Text(title), soft_wrap=True)
        for row in cells[1:]:
            lines = [Text(": ").join(part for part in pair if part) for pair in zip(cells[0], row, strict=True)]
            console.print(Text("\n  ").join(line for line in lines if line), soft_wrap=True)
    else:
        table = Table(title=Text(title) if title else None, title_justify="left")
        for number, (head, width) in enumerate(zip(cells[0], widths, strict=True)):
            table.add_column(head, justify="right" if number in numbers else "left", width=width)
        for row in cells[1:]:
            table.add_row(*row)
        console.print(table)
    for word, mark in below.items():
        console.print(Text(f"{mark} {word}"), soft_wrap=True)


def fitting_widths(cells: Sequence[Sequence[Text]], width: int) -> list[int] | None:
    """How wide each column is, at least as its longest word; None where they do not fit into ``width`` together."""
    by_column = list(zip(*cells, strict=True))
    lines = [[line for cell in column for line in cell.plain.splitlines()] for column in by_column]
    widths = [max(map(cell_len, column), default=0) for column in lines]
    least = [max((cell_len(word) for cell in column for word in words(cell)), default=0) for column in by_column]
    room = width - FRAME * len(widths) - 1
    if sum(least) > room:
        return None
    while sum(widths) > room:
        widest = max((wide, number) for number, wide in enumerate(widths) if wide > least[number])[1]
        widths[widest] -= 1
    return widths


def as_text(cell: str | Text) -> Text:
    """Plain text of a string: brackets in it are no markup."""
    return Text(cell) if isinstance(cell, str) else cell


def with_mark(cell: Text, word: str, mark: str) -> Text:
    """The cell with a mark in the word's place."""
    return Text(cell.plain.replace(word, mark), cell.style) if word in words(cell) else cell


def words(cell: Text) -> list[str]:
    return cell.plain.split()


class Progress:
    """Rows done, rows a second and rows left out, on standard error.

    How many rows there are in all is not known before the last was read; the bar says how far it is.
    """

    def __init__(self) -> None:
        self.started = self.told = time.perf_counter()
        self.rows = self.dropped = self.reused = 0
        self.bar: Any = None
        if sys.stderr.isatty():
            columns = (SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
            self.bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self.task = self.bar.add_task("reading")

    def __enter__(self) -> Progress:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar:
            self.bar.stop()

    def add(self, rows: int, dropped: int = 0, reused: bool = False) -> None:
        """So many rows more are done."""
        self.rows, self.dropped = self.rows + rows, self.dropped + dropped
        self.reused += rows if reused else 0
        now = time.perf_counter()
        rate = (self.rows - self.reused) / max(now - self.started, 1e-9)
        earlier = f", {self.reused:,} of them by an earlier run" if self.reused else ""
        line = f"{self.rows:,} rows{earlier}, {speed(rate)} a second, {self.dropped:,} left out"
        if self.bar:
            self.bar.update(self.task, description=line)
        elif now - self.told > LINE_EVERY:
            self.told = now
            print(line, file=sys.stderr, flush=True)


def speed(rate: float) -> str:
    """``1,234``, and with two digits what is slower than ten a second: ``0.13``."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
