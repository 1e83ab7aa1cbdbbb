"""Tables of segments: what other tables are read as, but with times that can be, and no two of a recording at once."""

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ..errors import DataError, nearest
from .columns import Layout, normal
from .record import Record
from .settings import CorpusSettings
from .tables import JsonLines, Rows, TableRows, columns_of, object_columns, read_table
from .timeline import Timeline, parse_interval, segment_id


@dataclass(frozen=True)
class SegmentLayout(Layout):
    """A layout whose rows have a start and an end.

    Attributes:
        overlaps: segments of a recording may overlap.
        timelines: of each recording, what was read of it.
        stems: which recording has the name without suffix.
        known: recording and name of each audio address.
    """

    overlaps: bool = False
    timelines: dict[str, Timeline] = field(default_factory=dict, compare=False, repr=False)
    stems: dict[str, str] = field(default_factory=dict, compare=False, repr=False)
    known: dict[str, tuple[str, str]] = field(default_factory=dict, compare=False, repr=False)

    def record(self, row: Mapping[str, Any], place: str) -> Record:
        """The row as a record; its id, where it has none, is the recording's path without suffix, and the times.

        Raises:
            DataError: naming file and row, for times that cannot be or overlap.
        """
        begins, ends = self.names["start"] or "", self.names["end"] or ""
        try:
            start, end = parse_interval(row.get(begins), row.get(ends))
            record = super().record({**row, begins: start, ends: end}, place)
            if not isinstance(record.audio, str):
                return record
            recording, stem = self.recording(record.audio)
            if not self.overlaps:
                word, _, number = place.rpartition(": ")[2].partition(" ")
                timeline = self.timelines.get(recording)
                if timeline is None:
                    timeline = self.timelines[recording] = Timeline()
                timeline.add(start, end, int(number), lambda other: f"{word} {other}")
        except DataError as error:
            raise DataError(f"{place}: {error}") from None
        if self.names["id"] and row.get(self.names["id"]):
            return record
        return replace(record, id=segment_id(stem, start, end, record.speaker if self.overlaps else None))

    def recording(self, audio: str) -> tuple[str, str]:
        """One spelling of a recording's address, and its name: its path without suffix."""
        if audio not in self.known:
            recording, path = canonical(audio), relative(audio, self.root or ".")
            stem = posixpath.splitext(path)[0]
            # a.mp3 beside a.wav keeps its suffix
            self.known[audio] = recording, stem if self.stems.setdefault(stem, recording) == recording else path
        return self.known[audio]


def relative(address: str, folder: str) -> str:
    """An address as seen from a folder; all of it, without its protocol, where it is not inside."""
    path, root = canonical(address), canonical(folder).rstrip("/") + "/"
    return re.sub(r"^[^:/]+://", "", path.removeprefix(root)).lstrip("/")


def canonical(address: str) -> str:
    """One spelling of an address: without ``.`` and ``..``, and memory:///a as memory://a."""
    return re.sub(r"^([^:/]+):/{2,}", r"\1://", normal(address))


def read_segment_table(file: str, settings: CorpusSettings, split: str | None = None) -> Iterator[Record]:
    """The segments of a table with columns for audio, start, end and text.

    Memory: 24 bytes for each segment and about 1 kB for each recording, so that overlaps are found wherever rows stand;
    where overlaps are allowed, some 200 bytes for each recording.

    Args:
        split: of rows that do not name theirs.

    Raises:
        DataError: naming file and row, for missing columns, rows that are none, and times that cannot be or overlap.
    """
    layout = None
    for rows in read_table(file, settings, split):
        if layout is None:
            for key in ("start", "end"):
                if rows.layout.names[key] is None:
                    columns = columns_in(rows)
                    raise DataError(
                        f"{file} has no column for {key}{nearest(key, columns)}; say --columns {key}=NAME, one of "
                        f"{', '.join(columns)}"
                    )
            known = {part.name: getattr(rows.layout, part.name) for part in fields(Layout)}
            layout = SegmentLayout(**known, overlaps=settings.allow_overlaps)
        for record in replace(rows, layout=layout).records():
            if record.end is None:  # the layout never saw it
                raise DataError(f"{record.place}: {record.fault}")
            yield record
    if layout is None:
        raise DataError(f"{file} has no rows")


def columns_in(rows: Rows) -> list[str]:
    """The names of a table's columns, by the rows that come first."""
    if isinstance(rows, TableRows):
        return list(rows.header)
    return columns_of(rows.file, list(rows.lines)) if isinstance(rows, JsonLines) else object_columns(*rows_of(rows))


def rows_of(rows: Any) -> tuple[str, list[Any]]:
    return rows.file, list(rows.rows)
