"""Segments of long recordings in pieces, each a job of its own."""

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from ..corpora.record import Record
from ..corpora.segments import check_segments, read_segments
from ..corpora.tables import digest
from .settings import CorpusSettings


@dataclass(frozen=True)
class RecordRows:
    """Records as they are."""

    rows: tuple[Record, ...]

    def records(self) -> Iterator[Record]:
        yield from self.rows

    def digest(self) -> str:
        described = (asdict(row) | {"place": ""} for row in self.rows)
        return digest(repr(sorted(row.items())).encode("utf-8", "surrogatepass") for row in described)


def read_segmented(address: str, settings: CorpusSettings) -> Iterator[RecordRows]:
    """The segments of a table, a file of annotations or a folder of recordings with either.

    Raises:
        DataError: before the first piece, for times that are reversed or overlap, and what else cannot be read.
    """
    check_segments(address, settings)
    records = read_segments(address, settings)
    while piece := tuple(itertools.islice(records, settings.job_rows)):
        yield RecordRows(piece)
