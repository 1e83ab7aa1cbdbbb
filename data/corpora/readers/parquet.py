"""Rows that hold their audio: Parquet by row groups, and whatever `datasets` streams, by shards."""

import hashlib
import itertools
import json
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import pyarrow
import pyarrow.parquet

from ... import storage
from ...audio.decoding import one_line
from ...errors import DataError
from ...sources.class_labels import class_names, named
from ...sources.config import ColumnNames, SourceConfig
from ...sources.parquet_rows import to_rows
from ...sources.source import Source
from ..census import Census
from ..columns import Layout
from ..format import Fault, Format, Piece, Reader, Rows
from ..places import is_hidden, split_of_file, split_of_folder
from ..record import Record
from ..settings import CorpusSettings

ROWS_AT_ONCE = 64  # clips of half a minute fill some 60 MB


@dataclass(frozen=True, kw_only=True)
class Counted(Piece):
    """A piece that is read when its records are wanted, of which at most ``limit`` rows."""

    limit: int | None

    def records(self) -> Iterator[Record]:
        return itertools.islice(super().records(), self.limit)

    def limited(self, limit: int) -> tuple[Self, int]:
        limit = limit if self.limit is None else min(limit, self.limit)
        return replace(self, limit=limit), limit


@dataclass(frozen=True, kw_only=True)
class ParquetRows(Counted):
    """Row groups ``begin`` to ``end`` of a file; ``version``: see :func:`data.storage.version`."""

    version: str
    begin: int
    end: int

    def parsed(self) -> Iterator[dict[str, Any] | Fault]:
        """The rows. Of a damaged row group the rows before the damage, and a fault for each other."""
        columns = sorted(
            {name for name in self.layout.names.values() if name}
            | set(self.layout.extra)
            | set(filter(None, [self.layout.second]))
        )
        with storage.open_file(self.file) as content:
            try:
                parquet = pyarrow.parquet.ParquetFile(content, pre_buffer=False, page_checksum_verification=True)
            except (pyarrow.ArrowException, OSError) as error:  # it has changed since its rows were shared out
                raise DataError(f"{self.file} is not a whole Parquet file: {one_line(error)}") from error
            classes = class_names(parquet.schema_arrow)
            for group in range(self.begin, self.end):
                given = 0
                batches = parquet.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=columns)
                try:
                    while (batch := storage.retried(lambda: next(batches, None), self.file)) is not None:  # noqa: B023
                        for row in to_rows(batch):
                            given += 1
                            yield named(row, classes)
                except (pyarrow.ArrowException, storage.StorageError) as error:
                    if getattr(error.__cause__, "errno", None) is not None or storage.is_remote(self.file):
                        raise  # the disk's or the network's
                    fault = Fault(f"row group {group} is damaged: {one_line(error)}")
                    yield from itertools.repeat(fault, parquet.metadata.row_group(group).num_rows - given)

    def digest(self) -> str:
        described = repr((posixpath.basename(self.file), self.version, self.begin, self.end, self.limit))
        return hashlib.blake2b(described.encode(), digest_size=16).hexdigest()


def read_parquet(file: str, settings: CorpusSettings, split: str | None, census: Census) -> Iterator[ParquetRows]:
    """A file in pieces of about ``settings.job_rows`` rows, row groups whole.

    Raises:
        DataError: if it is no Parquet file, or lacks columns.
    """
    try:
        with storage.open_file(file) as content:
            metadata = pyarrow.parquet.read_metadata(content)
            version = storage.version(file)
        columns = metadata.schema.to_arrow_schema().names
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{file} is not a whole Parquet file: {one_line(error)}") from error
    layout = Layout.of(file, settings, columns, root=posixpath.dirname(file) or ".", split=split)
    begin = first = 0
    rows = 0
    for group in range(metadata.num_row_groups):
        rows += metadata.row_group(group).num_rows
        if rows >= settings.job_rows or group == metadata.num_row_groups - 1:
            yield ParquetRows(
                file=file, first=first + 1, layout=layout, limit=rows, version=version, begin=begin, end=group + 1
            )
            begin, first, rows = group + 1, first + rows, 0


@dataclass(frozen=True, kw_only=True)
class StreamedRows(Counted):
    """Shard ``shard`` of ``shards`` of what `datasets` streams; ``versions``: of its local files."""

    source: SourceConfig
    shard: int
    shards: int
    versions: tuple[str, ...]

    def parsed(self) -> Iterator[dict[str, Any]]:
        source = Source(self.source, "input")
        return source.read(source.lane(self.shard, self.shards, None))

    def digest(self) -> str:
        source = self.source.model_dump(mode="json")
        described = json.dumps([source, self.shard, self.shards, self.limit, self.versions])
        return hashlib.blake2b(described.encode(), digest_size=16).hexdigest()


def read_streamed(
    origin: SourceConfig, settings: CorpusSettings, split: str | None, root: str = ""
) -> Iterator[StreamedRows]:
    """What `datasets` streams, by its shards; one piece where only some rows are wanted.

    Args:
        root: what audio paths are relative to where the settings do not say.
    """
    source = Source(origin, "input").at_commit()
    source.first_row()
    layout = Layout.of(source.config.described, settings, source.column_names, root=root, split=split)
    audio, text = str(layout.names["audio"]), str(layout.names["text"])
    columns = ColumnNames(audio=audio, text=text, second_audio=layout.second)
    config = source.config.model_copy(update={"columns": columns})
    versions = () if config.hub else tuple(map(storage.version, source.files))
    shards, limit = max(1, source.stream.num_shards), None
    if settings.max_samples:  # counted, since what is left of the limit is for the next split or file
        shards = 1
        limit = sum(1 for _ in itertools.islice(source.read(source.lane(0, 1, None)), settings.max_samples))
    for shard in range(shards):
        yield StreamedRows(
            file=f"{config.described}, shard {shard}",
            layout=layout,
            limit=limit,
            source=config,
            shard=shard,
            shards=shards,
            versions=versions,
        )


def read_arrow(file: str, settings: CorpusSettings, split: str | None, census: Census) -> Iterator[StreamedRows]:
    """An Arrow file; see :func:`read_streamed`."""
    return read_streamed(SourceConfig(files=file), settings, split, posixpath.dirname(file))


def read_hub(name: str, settings: CorpusSettings, split: str | None, census: Census) -> Iterator[StreamedRows]:
    """The chosen splits of a hub dataset; see :func:`read_streamed`."""
    for chosen in settings.hub_splits:
        origin = SourceConfig(hub=name, name=settings.hub_name, revision=settings.hub_revision, split=chosen)
        yield from read_streamed(origin, settings, split_of_folder(chosen) or chosen)


def format_of_files(kind: str, read: Reader) -> Format:
    """A format whose files end in its name. A folder with such files is of it; hidden files and folders do not count,
    which are caches and unfinished work."""
    suffix = f".{kind}"

    def shown(folder: str) -> Iterator[str]:
        return (file for file in storage.files_below(folder) if file.endswith(suffix) and not is_hidden(file, folder))

    def read_any(address: str, settings: CorpusSettings, split: str | None, census: Census) -> Iterator[Rows]:
        if not storage.is_folder(address):
            yield from read(address, settings, split, census)
            return
        for file in shown(address):
            yield from read(file, settings, split_of_file(file), census)

    return Format(
        kind, read_any, suffixes=(suffix,), sign=f"{suffix} file", is_folder=lambda folder, _: any(shown(folder))
    )


PARQUET = format_of_files("parquet", read_parquet)
ARROW = format_of_files("arrow", read_arrow)
HUB = Format("hub", read_hub)
