"""Clips whose id an earlier clip of the same output has are found in bounded memory; rows are taken out of shards.

Ids are compared by 64-bit digests in parts of bounded size, so that memory does not grow with the corpus.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from ... import storage
from ...corpora.second.names import COLUMN
from ..checking import Dropped
from ..settings import PrepareSettings
from ..shards import SECOND_FILE, Shard, original_of

IDS_AT_ONCE = 2**18
REPEATED = ("duplicate id", "an earlier row has this id: the first was kept")


@dataclass(frozen=True, slots=True)
class RowOut(Dropped):
    """A row of a shard that is left out at the end: its number from 0, seconds, bytes of audio in the shard, and
    whether it has a second recording."""

    row: int = 0
    seconds: float = 0.0
    bytes: int = 0
    with_second: bool = False


RowsOut = dict[str, list[RowOut]]  # by shard, in their order; shards without any are not in it


def take_out(settings: PrepareSettings, shards: Sequence[Shard], found: RowsOut) -> None:
    """Take rows out of shards.

    A shard with such rows is kept as it was beside the one without: what is a duplicate changes with the corpus, what
    limits leave out changes with them, and a kill in between loses nothing.
    """
    if settings.layout == "parquet":
        for shard in shards:
            address, original = storage.join(settings.output, shard.file), original_of(settings.output, shard.file)
            if shard.file not in found:
                if storage.exists(original):
                    storage.move(original, address)
                continue
            if not storage.exists(original):
                storage.move(address, original)
            rows = {row.row for row in found[shard.file]}
            if len(rows) < shard.clips:
                write_without(original, address, rows)
            else:
                storage.remove(address)


def shard_without(shard: Shard, gone: Sequence[RowOut]) -> Shard:
    """The figures of a shard without some of its rows."""
    return replace(
        shard,
        clips=shard.clips - len(gone),
        seconds=shard.seconds - sum(row.seconds for row in gone),
        bytes=shard.bytes - sum(row.bytes for row in gone),
        with_second=shard.with_second - sum(row.with_second for row in gone),
    )


def source_of(settings: PrepareSettings, shard: Shard) -> str:
    """Where a shard is as its job wrote it."""
    original = original_of(settings.output, shard.file)
    return original if storage.exists(original) else storage.join(settings.output, shard.file)


def rows_of(settings: PrepareSettings, shard: Shard, columns: list[str], size: int) -> Iterator[pyarrow.RecordBatch]:
    """The rows of a shard as its job wrote it, ``size`` at a time."""
    address = source_of(settings, shard)
    if settings.layout == "audiofolder":
        yield pyarrow.RecordBatch.from_pylist([json.loads(line) for line in storage.read_bytes(address).splitlines()])
        return
    with storage.open_file(address) as file:
        yield from pyarrow.parquet.ParquetFile(file).iter_batches(size, columns=columns)


def find_duplicates(settings: PrepareSettings, shards: Sequence[Shard]) -> RowsOut:
    """The rows whose id an earlier row has, in the order of the shards."""
    total = sum(shard.clips for shard in shards)
    parts = -(-total // IDS_AT_ONCE)
    with tempfile.TemporaryFile() as file:
        for shard in shards:
            for batch in rows_of(settings, shard, ["id"], 2**16):
                ids = batch.column("id").to_pylist()
                digests = (hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=8).digest() for name in ids)
                file.write(b"".join(digests))
        file.flush()
        repeated: list[np.ndarray] = []
        for part in range(parts):
            file.seek(0)
            repeated.append(repeats_in_part(file, part, parts))
    rows = np.sort(np.concatenate(repeated)) if repeated else np.zeros(0, np.int64)
    found: RowsOut = {}
    begin = 0
    for shard in shards:
        mine = rows[(rows >= begin) & (rows < begin + shard.clips)] - begin
        begin += shard.clips
        if len(mine):
            found[shard.file] = list(details(settings, shard, dict.fromkeys(mine.tolist(), REPEATED)))
    return found


def repeats_in_part(file: Any, part: int, parts: int) -> np.ndarray:
    """Rows whose digest an earlier row has, among the digests of this part of their range."""
    digests, places, begin = [], [], 0
    while content := file.read(8 * 2**16):
        block = np.frombuffer(content, np.uint64)
        mine = np.flatnonzero(block % np.uint64(parts) == part)
        digests.append(block[mine])
        places.append(mine + begin)
        begin += len(block)
    values, rows = np.concatenate(digests or [np.zeros(0, np.uint64)]), np.concatenate(places or [np.zeros(0, int)])
    order = np.argsort(values, kind="stable")
    same = np.flatnonzero(values[order][1:] == values[order][:-1]) + 1
    return rows[order][same]


def details(settings: PrepareSettings, shard: Shard, faults: Mapping[int, tuple[str, str]]) -> Iterator[RowOut]:
    """Some rows of a shard, by their number, as rows that are left out for faults: kind and reason."""
    begin = 0
    columns = ["id", "duration", "audio", *([COLUMN] if settings.corpus.second else [])]
    for batch in rows_of(settings, shard, columns, 256):
        for row in range(batch.num_rows):
            if begin + row in faults:
                values = batch.slice(row, 1).to_pylist()[0]
                audio, second = values.get("audio") or {}, values.get(COLUMN) or {}
                yield RowOut(
                    values["id"],
                    f"{shard.file}: row {begin + row}",
                    *faults[begin + row],
                    row=begin + row,
                    seconds=values["duration"],
                    bytes=len(audio.get("bytes") or b"") + len(second.get("bytes") or b""),
                    with_second=bool(second or values.get(SECOND_FILE)),
                )
        begin += batch.num_rows


def write_without(original: str, address: str, rows: set[int]) -> None:
    """A shard without some of its rows, its row groups as they were."""
    with storage.open_file(original) as file, storage.written_whole(address) as path:
        parquet = pyarrow.parquet.ParquetFile(file)
        options = {"compression": "none", "write_statistics": False, "write_page_checksum": True}
        with pyarrow.parquet.ParquetWriter(path, parquet.schema_arrow, **options) as writer:
            begin = 0
            for group in range(parquet.num_row_groups):
                table = parquet.read_row_group(group)
                keep = [row for row in range(table.num_rows) if begin + row not in rows]
                begin += table.num_rows
                if keep:
                    writer.write_table(table.take(pyarrow.array(keep)), row_group_size=len(keep))
