"""Segments of long recordings in pieces, each a job of its own."""

import itertools
import posixpath
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from .. import storage
from .record import Record
from .settings import CorpusSettings
from .tables import digest, opened


@dataclass(frozen=True)
class RecordRows:
    """Records as they are."""

    rows: tuple[Record, ...]

    def records(self) -> Iterator[Record]:
        yield from self.rows

    def digest(self) -> str:
        return digest(repr(sorted((asdict(row) | {"place": "", "audio": ""}).items())).encode() for row in self.rows)


def read_segmented(address: str, settings: CorpusSettings) -> Iterator[RecordRows]:
    """The segments of a table, a file of annotations or a folder of recordings with either.

    Raises:
        DataError: for times that are reversed or overlap, and what else cannot be read.
    """
    from .segments import read_segments

    records = read_segments(address, settings)
    while piece := tuple(itertools.islice(records, settings.job_rows)):
        yield RecordRows(piece)


def is_segment_table(file: str, settings: CorpusSettings) -> bool:
    """Whether a table has columns for where segments start and where they end."""
    if settings.columns.get("start") and settings.columns.get("end"):
        return True
    with opened(file) as content:
        first = content.readline(2**20).decode("utf-8", "replace")
    return "start" in first and "end" in first and all(f'"{name}"' in first for name in ("start", "end"))


def is_segmented_folder(folder: str, settings: CorpusSettings) -> bool:
    return any(posixpath.splitext(file)[1].lower() in (".textgrid", ".eaf") for file in storage.files_below(folder))
