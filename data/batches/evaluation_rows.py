"""The utterances of an evaluation, in batches that are the same for any number of ranks, each utterance once."""

import hashlib
import heapq
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import Any

from ..errors import DataError, check_column
from ..sources.source import Source
from ..utterance import AudioBatch, Skipped, Utterance
from .collation import collate, language_of, read_utterance, row_id
from .drawing import EvaluationDraws
from .second_recordings import Drawn, header_seconds, second_seconds

WINDOW = 1024  # rows read ahead and sorted by length
ROUND = 8  # batches; a subset is decoded in rounds, so that it can end after any of them

Row = dict[str, Any]


@dataclass(frozen=True)
class Turn:
    """What one rank decodes at a time. All ranks have equally many turns.

    Attributes:
        audio: None where there is nothing for this rank.
        columns: of each utterance the values that are reported by, as text.
        skipped: rows that cannot be used; each is reported by one rank only.
        repeated: rows left out because an earlier row has the same id; reported by one rank only.
        rows: rows taken so far, where a window ends with this turn; else None. The same on all ranks.
    """

    audio: AudioBatch | None
    columns: list[dict[str, str]] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    repeated: int = 0
    rows: int | None = None


@dataclass
class EvaluationRows:
    """A source shared out over ranks batch by batch: which utterances share a batch does not depend on the ranks.

    Attributes:
        columns: the source's columns whose values are wanted.
        check: called with each utterance's language or None; raises DataError to skip the row.
        subset: use only this many rows, those with the lowest hashes of their ids; they are kept in memory.
        max_seconds: longer clips are skipped, longer second recordings cut.
        change: applied to each utterance after it is read, such as adding noise; raises DataError to skip it.
    """

    source: Source
    batch_size: int
    _: KW_ONLY
    columns: Sequence[str] = ()
    check: Callable[[str | None], None] = lambda language: None
    subset: int | None = None
    rank: int = 0
    world_size: int = 1
    max_seconds: float = 30.0
    change: Callable[[Utterance], Utterance] | None = None

    @cached_property
    def chosen(self) -> list[Row]:
        """The subset, by the hash of the id: not the first speakers only, and the same at every evaluation."""
        assert self.subset is not None
        return heapq.nsmallest(self.subset, self.source.rows(), key=lambda row: hash_of(row_id(row, self.source)))

    @cached_property
    def draws(self) -> EvaluationDraws | None:
        """What second recordings are drawn from, where they are other rows' audio."""
        return EvaluationDraws(self.source) if self.source.config.draws_second else None

    def drawn(self, row: Row) -> Drawn | None:
        """What is drawn for a row: the same at every evaluation."""
        return None if self.draws is None else self.draws.drawn(row)

    def windows(self, limit: int | None) -> Iterator[list[Row]]:
        """Rows that are sorted by length together: a fixed number, or a few batches of a subset."""
        rows, size = self.source.rows(), WINDOW
        if self.subset is not None:
            rows, size = iter(self.chosen[:limit]), self.batch_size * ROUND * math.ceil(self.world_size / ROUND)
        while window := list(itertools.islice(rows, size)):
            yield window

    def turns(self, limit: int | None = None) -> Iterator[Turn]:
        """This rank's turns, the longest utterances of a window first.

        Args:
            limit: read only this many rows of a subset.
        """
        seen: set[str] = set()
        taken = 0
        for window in self.windows(limit):
            taken += len(window)
            once = []
            for row in window:
                name = row_id(row, self.source)
                if name not in seen:
                    once.append(row)
                seen.add(name)
            batches, skipped = self.plan(once)
            last = max(1, math.ceil(len(batches) / self.world_size)) - 1
            for turn in range(last + 1):
                audio, columns, broken = self.read(batches, turn * self.world_size + self.rank)
                tells = turn == 0 and self.rank == 0
                yield Turn(
                    audio,
                    columns,
                    skipped=skipped + broken if tells else broken,
                    repeated=len(window) - len(once) if tells else 0,
                    rows=taken if turn == last else None,
                )

    def plan(self, rows: list[Row]) -> tuple[list[list[Row]], list[Skipped]]:
        """Rows in batches of similar length, and the rows that their headers show to be unusable."""
        source, skipped = self.source, []
        timed: list[tuple[float, Row]] = []
        for row in rows:
            try:
                self.check(language_of(row, source))
                seconds = header_seconds(row[source.columns.audio], source)
                second = second_seconds(row, source, seconds, self.max_seconds, self.drawn(row))
            except DataError as error:
                skipped.append(Skipped(row_id(row, source), str(error)))
                continue
            if seconds > self.max_seconds:
                reason = f"{seconds:.2f} s long; up to {self.max_seconds:g} s are evaluated"
                skipped.append(Skipped(row_id(row, source), reason, broken=False))
            else:
                timed.append((seconds + second, row))
        timed.sort(key=lambda pair: -pair[0])
        ordered = [row for _, row in timed]
        starts = range(0, len(ordered), self.batch_size)
        return [ordered[start : start + self.batch_size] for start in starts], skipped

    def read(
        self, batches: list[list[Row]], number: int
    ) -> tuple[AudioBatch | None, list[dict[str, str]], list[Skipped]]:
        """A batch decoded, the columns of its utterances, and the rows that cannot be read."""
        utterances, columns, skipped = [], [], []
        for row in batches[number] if number < len(batches) else []:
            try:
                utterance = read_utterance(row, self.source, self.drawn(row), self.max_seconds)
                utterances.append(utterance if self.change is None else self.change(utterance))
                columns.append({column: text_of_value(row.get(column)) for column in self.columns})
            except DataError as error:
                skipped.append(Skipped(row_id(row, self.source), str(error)))
        return (collate(utterances) if utterances else None), columns, skipped


def text_of_value(value: Any) -> str:
    """A column's value as text; nothing for a missing one."""
    return "" if value is None or value != value else str(value)


def hash_of(name: str) -> bytes:
    return hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()


def check_reported_columns(source: Source, wanted: Sequence[tuple[str, str]]) -> None:
    """Check that the source has the columns that an evaluation reports by.

    Args:
        wanted: columns, each after the config's key that names it.

    Raises:
        DataError: naming the nearest column.
    """
    for key, column in wanted:
        check_column(column, source.column_names, f"{key} is {column!r}: {source.name} ({source.config.described})")
