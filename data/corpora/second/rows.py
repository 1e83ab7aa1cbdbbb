"""Pieces of a corpus whose records have their second recordings."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

from ... import storage
from ...audio.mixing import CHANNELS
from ...errors import DataError
from ..format import Listed, Rows, digest
from ..record import Record
from .names import NamePattern, is_pattern


@dataclass(frozen=True)
class PairedRows:
    """A piece of a corpus whose records have their second recordings. Rows that are others' second are left out."""

    rows: Rows
    second: str

    @property
    def layout(self) -> Any:
        """How the rows become records, where they have columns."""
        return getattr(self.rows, "layout", None)

    @property
    def file(self) -> str:
        """Where the rows lie, as messages call it."""
        return str(getattr(self.rows, "file", "the corpus"))

    def records(self) -> Iterator[Record]:
        """The records of first recordings.

        Raises:
            DataError: if names are to tell, but the audio has none.
        """
        if self.second in CHANNELS:
            first, other = CHANNELS[self.second]
            for record in self.rows.records():
                yield replace(record, channel=first, second=record.audio, second_channel=other)
        elif is_pattern(self.second):
            yield from self.by_name(NamePattern(self.second))
        else:
            for record in self.rows.records():
                yield located(record)

    def by_name(self, pattern: NamePattern) -> Iterator[Record]:
        """The records, each with the recording of the name that the pattern says."""
        for record in self.rows.records():
            path = record.audio
            if isinstance(path, dict) and path.get("array") is None and not path.get("bytes"):
                path = path.get("path")
            if isinstance(path, str):
                if not pattern.is_second(path):
                    second, place = pattern.find(path)
                    yield replace(record, second=second, second_place=place)
            elif record.fault or path is None:
                yield record
            else:
                raise DataError(
                    f"--second {self.second} goes by the names of files, but the audio of {record.place} is no file of "
                    f"its own; --second COLUMN or --second channel is right"
                )

    def digest(self) -> str:
        """Of the rows, and of which second recordings are there."""
        if self.second in CHANNELS or not isinstance(self.rows, Listed):
            return self.rows.digest()
        there = bytes(record.second is not None for record in self.records())
        return digest([self.rows.digest().encode(), there])

    def limited(self, limit: int) -> tuple[Self, int]:
        """The piece with no more rows than a limit, and how many it has then."""
        rows, count = self.rows.limited(limit)
        return replace(self, rows=rows), count


def unpaired(rows: Rows) -> Rows:
    """A piece as it was before its records had second recordings."""
    return rows.rows if isinstance(rows, PairedRows) else rows


def located(record: Record) -> Record:
    """A record without the second recording that its column names, where no such file is there."""
    path = record.second.get("path") if isinstance(record.second, dict) else record.second
    has_bytes = isinstance(record.second, dict) and any(
        record.second.get(key) is not None for key in ("bytes", "array")
    )
    if not isinstance(path, str) or has_bytes:
        return record
    return replace(record, second=path if storage.exists(path) else None, second_place=path)
