"""What a person sees of a preparation: a line that moves while it runs, and a table at its end."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from ..terminal_table import print_table
from .summary import Summary
from .work import JobResult

if TYPE_CHECKING:
    from rich.text import Text

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

    def watch(self, result: JobResult, reused: bool) -> None:
        """A job is done; fit for :func:`data.preparation.prepare.prepare`."""
        self.add(result.rows, len(result.dropped), reused)


def duration(seconds: float) -> str:
    """``3.2 h``, ``5.1 min`` or ``7.0 s``."""
    if seconds >= 3600:
        return f"{seconds / 3600:,.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"


def print_summary(summary: Summary, output: str) -> None:
    """Kept, dropped and why, hours and mean length, by split."""
    from rich.text import Text

    def row(name: str, clips: int, seconds: float, style: str = "") -> tuple[Text, ...]:
        cells = (name, f"{clips:,}", duration(seconds), f"{seconds / max(clips, 1):.2f} s")
        return tuple(Text(cell, style) for cell in cells)

    rows: list[tuple[str | Text, ...]] = [row(split, *figures) for split, figures in sorted(summary.splits.items())]
    rows.append(row("kept", summary.clips, summary.audio_seconds, "bold"))
    rows += [(f"dropped: {kind}", f"{count:,}", "", "") for kind, count in summary.dropped.most_common()]
    rows += [(f"notice: {notice}", f"{count:,}", "", "") for notice, count in summary.notices.most_common()]
    rows.append(("read", f"{summary.rows:,}", "", ""))
    print_table(("", "clips", "audio", "mean"), rows, numbers=frozenset((1, 2, 3)), title=output)
    fresh = summary.rows - summary.reused
    rate = f"{fresh / max(summary.seconds, 1e-9):,.0f} rows a second" if fresh else "nothing was left to do"
    more = f", {summary.reused:,} rows done before" if summary.reused else ""
    files = f"{summary.shards} shards, {summary.bytes / 2**20:,.0f} MiB of audio"
    print(f"{files}; {summary.seconds:.1f} s, {rate}{more}")
    if summary.dropped:
        print(f"{output.rstrip('/')}/quarantine.jsonl names each row that was dropped, with the reason")
