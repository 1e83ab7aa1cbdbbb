"""What came of a preparation, in figures, and as a table for a person."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field

from rich.text import Text

from ..corpora.census import Census
from ..errors import DataError
from ..terminal import print_table, speed
from .checking import Dropped
from .leaving_out.misfits import ScoreReport
from .work import JobResult

MIN_ROWS_TO_JUDGE = 100  # the share of broken rows is taken of at least so many


@dataclass
class Summary:
    """What came of a preparation.

    Attributes:
        rows: read, in this and in earlier runs of it.
        reused: rows of jobs that were done already.
        splits: clips and seconds of each split.
        dropped: rows left out, by kind.
        notices: what was put right, or is worth knowing, by how often.
        with_second: clips that were kept and have a second recording.
        absent: the first second recording that was looked for and is not there.
        shares: of the splits, as asked for and as they came out, one line each.
        warnings: what the user should know, one line each.
        scores: what came of scoring, if it was asked for.
        census: what was taken of the corpus, and what was not.
        seconds: wall time of this run.
    """

    rows: int = 0
    reused: int = 0
    broken: int = 0
    splits: dict[str, tuple[int, float]] = field(default_factory=dict)
    shards: int = 0
    bytes: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    notices: Counter[str] = field(default_factory=Counter)
    with_second: int = 0
    absent: str = ""
    example: Dropped | None = None
    shares: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    scores: ScoreReport | None = None
    census: Census = field(default_factory=Census)
    seconds: float = 0.0

    @property
    def clips(self) -> int:
        """Clips that were kept."""
        return sum(clips for clips, _ in self.splits.values())

    @property
    def audio_seconds(self) -> float:
        """Seconds of the clips that were kept."""
        return sum(seconds for _, seconds in self.splits.values())

    def add(self, result: JobResult, is_reused: bool) -> None:
        """Take a job's figures in; ``is_reused``: an earlier run has done it."""
        self.rows += result.rows
        self.reused += result.rows * is_reused
        self.broken += sum(row.broken for row in result.dropped)
        self.dropped += Counter(row.kind for row in result.dropped)
        self.notices += Counter(result.notices)
        self.with_second += sum(shard.with_second for shard in result.shards)
        self.absent = self.absent or result.absent
        self.example = self.example or next((row for row in result.dropped if row.broken), None)

    def judge(self, share: float, rows: int) -> None:
        """Stop where more than a share of the rows read so far, of at least ``rows``, is broken.

        Raises:
            DataError: naming the commonest fault, and a row.
        """
        if self.example and self.broken > share * max(self.rows, rows):
            worst, example = self.dropped.most_common(1)[0][0], self.example
            hint = ". With a larger share the same command goes on where this one stopped"
            hint = hint if self.broken < self.rows else ""  # nothing would be left
            raise DataError(
                f"{self.broken} of {self.rows} rows cannot be used (--max-skipped-share is {share:g}), most of them "
                f"for: {worst}. One is {example.place}: {example.reason}{hint}"
            )

    def check_seconds(self, second: str, clips: int) -> None:
        """Stop where none of so many clips has a second recording.

        Raises:
            DataError: saying where the first was looked for.
        """
        if not self.with_second:
            looked = f"; the first that was looked for is {self.absent}" if self.absent else ""
            raise DataError(f"--second {second}: not one of {clips:,} clips has a second recording{looked}")


def duration(seconds: float) -> str:
    """``3.2 h``, ``5.1 min`` or ``7.0 s``."""
    if seconds >= 3600:
        return f"{seconds / 3600:,.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"


def print_summary(summary: Summary, output: str) -> None:
    """Kept, dropped and why, hours and mean length, by split."""

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
    rate = f"{speed(fresh / max(summary.seconds, 1e-9))} rows a second" if fresh else "nothing was left to do"
    more = f", {summary.reused:,} rows done before" if summary.reused else ""
    files = f"{summary.shards} shards, {summary.bytes / 2**20:,.0f} MiB of audio"
    print(f"{files}; {summary.seconds:.1f} s, {rate}{more}")
    if summary.with_second:
        print(f"{summary.with_second:,} of {summary.clips:,} clips have a second recording")
    for line in summary.shares:
        print(line)
    tell_census(summary.census)
    for warning in summary.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if summary.dropped:
        print(f"{output.rstrip('/')}/quarantine.jsonl names each row that was dropped, with the reason")


def tell_census(census: Census) -> None:
    """Print which columns were taken, and on standard error what was not used of the corpus."""
    if census.column_line:
        print(census.column_line)
    for line in census.lines():
        print(f"{'warning' if line.startswith('not used') else 'note'}: {line}", file=sys.stderr)
