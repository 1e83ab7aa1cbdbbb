"""Rows that hold their audio: Parquet by row groups, and whatever `datasets` streams, by shards."""

import hashlib
import itertools
import json
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .. import storage
from ..audio.decoding import one_line
from ..errors import DataError
from ..sources.config import ColumnNames, SourceConfig
from ..sources.source import Source
from .columns import Layout
from .record import Record
from .settings import CorpusSettings
from .tables import layout_for

ROWS_AT_ONCE = 64  # clips of half a minute fill some 60 MB


@dataclass(frozen=True)
class ParquetRows:
    """Row groups ``begin`` to ``end`` of a file, of which at most ``limit`` rows; ``version``: see storage."""

    file: str
    version: str
    begin: int
    end: int
    first: int
    limit: int
    layout: Layout

    def records(self) -> Iterator[Record]:
        """The rows; of a row group that is damaged those that come before the damage, the others with that fault."""
        everything = enumerate(self.rows_or_faults(), start=self.first)
        for number, row in itertools.islice(everything, self.limit):
            place = f"{self.file}: row {number}"
            yield Record(place, fault=row) if isinstance(row, str) else self.layout.record(row, place)

    def rows_or_faults(self) -> Iterator[dict[str, Any] | str]:
        """The rows, or why they cannot be read."""
        import pyarrow
        import pyarrow.parquet

        with storage.open_file(self.file) as content:
            try:
                parquet = pyarrow.parquet.ParquetFile(content, pre_buffer=False, page_checksum_verification=True)
            except (pyarrow.ArrowException, OSError) as error:  # it has changed since its rows were shared out
                raise DataError(f"{self.file} is not a whole Parquet file: {one_line(error)}") from error
            for group in range(self.begin, self.end):
                given = 0
                try:
                    for row in read_row_group(parquet, group, columns_wanted(self.layout), self.file):
                        given += 1
                        yield row
                except (pyarrow.ArrowException, storage.StorageError) as error:
                    if getattr(error.__cause__, "errno", None) is not None or storage.is_remote(self.file):
                        raise  # the disk's or the network's
                    fault = f"row group {group} is damaged: {one_line(error)}"
                    yield from itertools.repeat(fault, parquet.metadata.row_group(group).num_rows - given)

    def digest(self) -> str:
        described = repr((posixpath.basename(self.file), self.version, self.begin, self.end, self.limit))
        return hashlib.blake2b(described.encode(), digest_size=16).hexdigest()


def read_row_group(parquet: Any, group: int, columns: list[str], file: str) -> Iterator[dict[str, Any]]:
    """Rows of a row group, few of them held at a time; see :func:`row_of` for cells that Python cannot hold."""
    batches = parquet.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=columns)
    while (batch := storage.retried(lambda: next(batches, None), file)) is not None:
        try:
            rows = batch.to_pylist()
        except (ValueError, ArithmeticError, ImportError):
            rows = [row_of(batch, number) for number in range(batch.num_rows)]
        yield from rows


def row_of(batch: Any, number: int) -> dict[str, Any]:
    """A row, with a list, which no column may be, in place of a text that is not UTF-8 or a time beyond Python's."""
    row = {}
    for name in batch.schema.names:
        try:
            row[name] = batch.column(name)[number].as_py()
        except (ValueError, ArithmeticError, ImportError):
            row[name] = ["bytes that are not UTF-8"]
    return row


def columns_wanted(layout: Layout) -> list[str]:
    return sorted({name for name in layout.names.values() if name} | set(layout.extra))


def read_parquet(file: str, settings: CorpusSettings, split: str | None = None) -> Iterator[ParquetRows]:
    """A file in pieces of about ``settings.job_rows`` rows, row groups whole.

    Raises:
        DataError: if it is no Parquet file, or lacks columns.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with storage.open_file(file) as content:
            metadata = pyarrow.parquet.read_metadata(content)
            version = storage.version(file)
        columns = metadata.schema.to_arrow_schema().names
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{file} is not a whole Parquet file: {one_line(error)}") from error
    layout = layout_for(file, settings, columns, split, None)
    begin = first = 0
    rows = 0
    for group in range(metadata.num_row_groups):
        rows += metadata.row_group(group).num_rows
        if rows >= settings.job_rows or group == metadata.num_row_groups - 1:
            yield ParquetRows(file, version, begin, group + 1, first + 1, rows, layout)
            begin, first, rows = group + 1, first + rows, 0


@dataclass(frozen=True)
class StreamedRows:
    """Shard ``shard`` of ``shards`` of what `datasets` streams, of which at most ``limit`` rows."""

    source: SourceConfig
    shard: int
    shards: int
    limit: int | None
    layout: Layout
    versions: tuple[str, ...] = ()

    def records(self) -> Iterator[Record]:
        source = Source(self.source, "input")
        rows = source.read(source.lane(self.shard, self.shards, None))
        place = f"{self.source.described}, shard {self.shard}"
        for number, row in enumerate(rows, start=1):
            if self.limit is not None and number > self.limit:
                return
            yield self.layout.record(row, f"{place}: row {number}")

    def digest(self) -> str:
        source = self.source.model_dump(mode="json")
        described = json.dumps([source, self.shard, self.shards, self.limit, self.versions])
        return hashlib.blake2b(described.encode(), digest_size=16).hexdigest()


def read_streamed(origin: dict[str, Any], settings: CorpusSettings, split: str | None) -> Iterator[StreamedRows]:
    """A hub dataset (one split of it) or Arrow files by their shards; one piece where only some rows are wanted."""
    source = Source(SourceConfig(**origin), "input").at_commit()
    source.first_row()
    layout = layout_for(source.config.described, settings, source.column_names, split, "")
    columns = ColumnNames(audio=str(layout.names["audio"]), text=str(layout.names["text"]))
    config = source.config.model_copy(update={"columns": columns})
    versions = () if config.hub else tuple(map(storage.version, source.files))
    if settings.max_samples:  # counted, since what is left of the limit is for the next split or file
        count = sum(1 for _ in itertools.islice(source.read(source.lane(0, 1, None)), settings.max_samples))
        yield StreamedRows(config, 0, 1, count, layout, versions)
        return
    shards = max(1, source.stream.num_shards)
    for shard in range(shards):
        yield StreamedRows(config, shard, shards, None, layout, versions)
