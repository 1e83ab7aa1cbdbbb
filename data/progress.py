"""A line that tells how many rows of a corpus are done, while it is read."""

from __future__ import annotations

import sys
import time
from typing import Any

LINE_EVERY = 30.0  # seconds, where the output is no terminal


class Progress:
    """Rows done, rows a second and rows left out, on standard error.

    How many rows there are in all is not known before the last was read; the bar says how far it is.
    """

    def __init__(self) -> None:
        self.started = self.told = time.perf_counter()
        self.rows = self.dropped = self.reused = 0
        self.bar: Any = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress as Bar
            from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

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
        line = f"{self.rows:,} rows{earlier}, {rate:,.0f} a second, {self.dropped:,} left out"
        if self.bar:
            self.bar.update(self.task, description=line)
        elif now - self.told > LINE_EVERY:
            self.told = now
            print(line, file=sys.stderr, flush=True)
