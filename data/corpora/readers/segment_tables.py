"""Tables of segments: what other tables are read as, but with times that can be, and no two of a recording at once."""

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from ...errors import DataError, nearest, placed
from ..annotations.timeline import Timeline, parse_interval, segment_id
from ..census import Census
from ..columns import Layout
from ..places import canonical, relative
from ..record import Record
from ..settings import CorpusSettings
from .tables import read_table


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
    timelines: dict[str, Timeline] = field(default_factory=lambda: defaultdict(Timeline), compare=False, repr=False)
    stems: dict[str, str] = field(default_factory=dict, compare=False, repr=False)
    known: dict[str, tuple[str, str]] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(
        cls, place: str, settings: CorpusSettings, columns: Iterable[str], *, root: str, split: str | None = None
    ) -> Self:
        """See :meth:`.columns.Layout.of`; start and end must be among the columns, too."""
        columns = list(columns)
        layout = super().of(place, settings, columns, root=root, split=split)
        for key in ("start", "end"):
            if layout.names[key] is None:
                raise DataError(
                    f"{place} has no column for {key}{nearest(key, columns)}; say {settings.names_column(key)}, one of "
                    f"{', '.join(columns)}"
                )
        return replace(layout, overlaps=settings.allow_overlaps)

    def record(self, row: Mapping[str, Any], place: str) -> Record:
        """The row as a record; its id, where it has none, is the recording's path without suffix, and the times.

        Raises:
            DataError: naming file and row, for times that cannot be or overlap.
        """
        begins, ends = self.names["start"] or "", self.names["end"] or ""
        with placed(place):
            try:
                start, end = parse_interval(self.number(row.get(begins)), self.number(row.get(ends)))
            except DataError as error:
                first = place.endswith((": row 1", ": line 1")) and "not after its start" in str(error)
                hint = f"; if they have changed places, say --columns start={ends} end={begins}" if first else ""
                raise DataError(f"{error}{hint}") from None
            record = super().record({**row, begins: start, ends: end}, place)
            if not isinstance(record.audio, str):
                return record
            recording, stem = self.recording(record.audio)
            if not self.overlaps:
                word, _, number = place.rpartition(": ")[2].partition(" ")
                self.timelines[recording].add(start, end, int(number), lambda other: f"{word} {other}")
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


def read_segment_table(file: str, settings: CorpusSettings, split: str | None, census: Census) -> Iterator[Record]:
    """The segments of a table with columns for audio, start, end and text.

    Memory: 24 bytes for each segment and about 1 kB for each recording, so that overlaps are found wherever rows stand;
    where overlaps are allowed, some 200 bytes for each recording.

    Args:
        split: of rows that do not name theirs.

    Raises:
        DataError: naming file and row, for missing columns, rows that are none, and times that cannot be or overlap.
    """
    rows = None
    for rows in read_table(file, settings, split, census, layout=SegmentLayout):
        census.take_layout(rows.layout)
        for record in rows.records():
            if record.end is None:  # the layout never saw it
                raise DataError(f"{record.place}: {record.fault}")
            yield record
    if rows is None:
        raise DataError(f"{file} has no rows")
