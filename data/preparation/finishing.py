"""The end of a preparation: rows with an id that another row has are taken out, and the manifest is written.

Ids are compared by 64-bit digests in parts of bounded size, so that memory does not grow with the corpus.
"""

import dataclasses
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from .. import storage
from ..errors import DataError
from .checking import Dropped
from .settings import PrepareSettings
from .shards import Shard, original_of, place, scratch_folder
from .summary import Summary
from .work import JobResult, result_file

IDS_AT_ONCE = 2**18
ORIGINALS = ".jobs/originals/"
UNFINISHED = re.compile(r"\.part-\d+$")
OWN_SHARD = re.compile(r"\w+-(?P<number>\d{5})(-\d{3})?\.parquet")
OWN_PIECE = re.compile(r"(\.jobs/(\w+-)?|\w+/)(?P<number>\d{5})(\.jsonl?|/.+)")


def finish_output(settings: PrepareSettings, jobs: Sequence[int], summary: Summary) -> None:
    """Take duplicates out, remove what earlier runs left and no job accounts for, write quarantine and manifest.

    Raises:
        DataError: if no clip is left.
    """
    output = settings.output
    duplicates = remove_duplicates(settings, jobs)
    summary.dropped["duplicate id"] += sum(map(len, duplicates.values()))
    if not summary.dropped["duplicate id"]:
        del summary.dropped["duplicate id"]
    shards = []
    with tempfile.TemporaryDirectory(prefix="finish-", dir=scratch_folder(output)) as scratch:
        quarantine = os.path.join(scratch, "quarantine.jsonl")
        with open(quarantine, "w", encoding="utf-8", errors="replace") as file:
            for number in jobs:
                result = read_result(output, number)
                for row in result.dropped:
                    file.write(json.dumps(quarantined(row), ensure_ascii=False) + "\n")
                for shard in result.shards:
                    gone = duplicates.get(shard.file, [])
                    for repeated in gone:
                        told = {key: repeated[key] for key in ("id", "place", "kind", "reason")}
                        file.write(json.dumps(told, ensure_ascii=False) + "\n")
                    shards.append(shard_without(shard, gone))
        place(quarantine, storage.join(output, "quarantine.jsonl"))
    everything = {shard.file for shard in shards}
    if settings.layout == "audiofolder":
        join_metadata(output, shards, duplicates)
    shards = [shard for shard in shards if shard.clips]
    for shard in shards:
        clips, seconds = summary.splits.get(shard.split, (0, 0.0))
        summary.splits[shard.split] = clips + shard.clips, seconds + shard.seconds
        summary.bytes += shard.bytes
    summary.shards = len(shards)
    remove_stale(output, {shard.file for shard in shards}, jobs, everything)
    if not shards:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in summary.dropped.most_common(3))
        example = summary.example
        first = f"; {example.place}: {example.reason}" if example else ""
        raise DataError(f"{settings.corpus.input}: not one of {summary.rows} rows can be used: {kinds}{first}")
    storage.write_bytes(storage.join(output, "manifest.json"), manifest(settings, shards, summary))


def read_result(output: str, number: int) -> JobResult:
    return JobResult.from_json(storage.read_bytes(result_file(output, number)))


def quarantined(row: Dropped) -> dict[str, Any]:
    return {"id": row.id, "place": row.place, "kind": row.kind, "reason": row.reason}


def shard_without(shard: Shard, gone: list[dict[str, Any]]) -> Shard:
    if not gone:
        return shard
    seconds, size = (sum(row[key] for row in gone) for key in ("seconds", "bytes"))
    left = {"clips": shard.clips - len(gone), "seconds": shard.seconds - seconds, "bytes": shard.bytes - size}
    return dataclasses.replace(shard, **left)


def remove_duplicates(settings: PrepareSettings, jobs: Sequence[int]) -> dict[str, list[dict[str, Any]]]:
    """By shard, the rows whose id an earlier row has; they are taken out of the shards.

    A shard with such rows is kept as it was beside the one without: what is a duplicate changes with the corpus, and a
    kill in between loses nothing.
    """
    shards = [shard for number in jobs for shard in read_result(settings.output, number).shards]
    found = find_duplicates(settings, shards)
    if settings.layout == "parquet":
        for shard in shards:
            address, original = storage.join(settings.output, shard.file), original_of(settings.output, shard.file)
            if shard.file not in found:
                if storage.exists(original):
                    storage.move(original, address)
                continue
            if not storage.exists(original):
                storage.move(address, original)
            rows = {row["row"] for row in found[shard.file]}
            if len(rows) < shard.clips:
                write_without(original, address, rows)
            else:
                storage.remove(address)
    return found


def source_of(settings: PrepareSettings, shard: Shard) -> str:
    """Where a shard is as its job wrote it."""
    original = original_of(settings.output, shard.file)
    return original if storage.exists(original) else storage.join(settings.output, shard.file)


def shard_ids(settings: PrepareSettings, shard: Shard) -> Iterator[list[str]]:
    """A shard's ids, some at a time."""
    if settings.layout == "audiofolder":
        lines = storage.read_bytes(storage.join(settings.output, shard.file)).splitlines()
        yield [json.loads(line)["id"] for line in lines]
        return
    with storage.open_file(source_of(settings, shard)) as file:
        for batch in pyarrow.parquet.ParquetFile(file).iter_batches(2**16, columns=["id"]):
            yield batch.column(0).to_pylist()


def find_duplicates(settings: PrepareSettings, shards: Sequence[Shard]) -> dict[str, list[dict[str, Any]]]:
    total = sum(shard.clips for shard in shards)
    parts = -(-total // IDS_AT_ONCE)
    with tempfile.TemporaryFile() as file:
        for shard in shards:
            for ids in shard_ids(settings, shard):
                digests = (hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=8).digest() for name in ids)
                file.write(b"".join(digests))
        file.flush()
        repeated: list[np.ndarray] = []
        for part in range(parts):
            file.seek(0)
            repeated += [repeats_in_part(file, part, parts)]
    rows = np.sort(np.concatenate(repeated)) if repeated else np.zeros(0, np.int64)
    return named_rows(settings, shards, rows) if len(rows) else {}


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


def named_rows(settings: PrepareSettings, shards: Sequence[Shard], rows: np.ndarray) -> dict[str, list[dict[str, Any]]]:
    """The rows of these numbers over all shards, by shard, with what the quarantine and the totals need."""
    found: dict[str, list[dict[str, Any]]] = {}
    begin = 0
    for shard in shards:
        count = sum(map(len, shard_ids(settings, shard)))
        mine = [int(row) - begin for row in rows[(rows >= begin) & (rows < begin + count)]]
        begin += count
        if not mine:
            continue
        found[shard.file] = [
            {"id": name, "place": f"{shard.file}: row {row}", "kind": "duplicate id",
             "reason": "an earlier row has this id: the first was kept", "row": row, "seconds": seconds, "bytes": size}
            for row, name, seconds, size in details(settings, shard, mine)
        ]  # fmt: skip
    return found


def details(settings: PrepareSettings, shard: Shard, rows: list[int]) -> Iterator[tuple[int, str, float, int]]:
    """Number, id, seconds and bytes of some rows of a shard."""
    address = source_of(settings, shard)
    if settings.layout == "audiofolder":
        lines = storage.read_bytes(address).splitlines()
        for row in rows:
            values = json.loads(lines[row])
            yield row, values["id"], values["duration"], 0
        return
    wanted, begin = set(rows), 0
    with storage.open_file(address) as file:
        for batch in pyarrow.parquet.ParquetFile(file).iter_batches(256, columns=["id", "duration", "audio"]):
            for row in range(batch.num_rows):
                if begin + row in wanted:
                    values = batch.slice(row, 1).to_pylist()[0]
                    yield begin + row, values["id"], values["duration"], len(values["audio"]["bytes"] or b"")
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


def join_metadata(output: str, shards: Sequence[Shard], duplicates: dict[str, list[dict[str, Any]]]) -> None:
    """One metadata.jsonl a split, of the jobs' pieces, without the duplicates; audio that no line names is removed."""
    for split in {shard.split for shard in shards}:
        folder = storage.join(output, split)
        with storage.written_whole(storage.join(folder, "metadata.jsonl")) as path, open(path, "wb") as file:
            for shard in shards:
                if shard.split != split:
                    continue
                gone = {row["row"] for row in duplicates.get(shard.file, [])}
                lines = storage.read_bytes(storage.join(output, shard.file)).splitlines()
                kept = [line for number, line in enumerate(lines) if number not in gone]
                file.writelines(line + b"\n" for line in kept)
                job = shard.file.removesuffix(".jsonl").rpartition("-")[2]
                put_audio(output, split, job, *({name_in(line) for line in some} for some in (kept, lines)))


def name_in(line: bytes) -> str:
    return str(json.loads(line)["file_name"])


def put_audio(output: str, split: str, job: str, kept: set[str], written: set[str]) -> None:
    """A job's audio files where they belong: those of duplicates aside, and back if they are none any more."""
    folder = storage.join(output, split)
    here, aside = (
        {file[len(root) + 1 :] for file in storage.files_below(storage.join(root, job))}
        for root in (folder, original_of(output, split))
    )
    for name in here - kept:
        if name in written:
            storage.move(storage.join(folder, name), original_of(output, f"{split}/{name}"))
        else:
            storage.remove(storage.join(folder, name))
    for name in (kept & aside) - here:
        storage.move(original_of(output, f"{split}/{name}"), storage.join(folder, name))


def remove_stale(output: str, shards: set[str], jobs: Sequence[int], everything: set[str]) -> None:
    """Remove files of ours that belong to no job any more: the corpus has shrunk, or its rows have moved.

    Args:
        shards: with clips in them.
        everything: what jobs wrote, shards that duplicates have emptied too.
    """
    prefix = len(output.rstrip("/")) + 1
    current = set(jobs)
    for file in storage.files_below(output):
        name = file[prefix:]
        if UNFINISHED.search(name) and is_own(UNFINISHED.sub("", name)):  # a run was killed while it wrote
            storage.remove(file)
            continue
        is_original = name.startswith(ORIGINALS)
        name = name.removeprefix(ORIGINALS)
        shard, piece = OWN_SHARD.fullmatch(name), OWN_PIECE.fullmatch(name)
        found = shard or piece
        gone = found is not None and int(found.group("number")) not in current
        if gone or (shard and name not in (everything if is_original else shards)):
            storage.remove(file)


def is_own(name: str) -> bool:
    """Whether a file of an output, by its name in it, is a preparation's."""
    name = name.removeprefix(ORIGINALS)
    known = OWN_SHARD.fullmatch(name) or OWN_PIECE.fullmatch(name) or re.fullmatch(r"\w+/metadata\.jsonl", name)
    return bool(known) or name in ("manifest.json", "quarantine.jsonl") or name.startswith(".jobs/")


def manifest(settings: PrepareSettings, shards: Sequence[Shard], summary: Summary) -> bytes:
    """What the output holds, as JSON: the same for the same corpus and settings, whoever prepared it."""
    splits: dict[str, Any] = {}
    for split in sorted({shard.split for shard in shards}):
        mine = [shard for shard in shards if shard.split == split]
        splits[split] = {
            "clips": sum(shard.clips for shard in mine),
            "seconds": round(sum(shard.seconds for shard in mine), 3),
            "bytes": sum(shard.bytes for shard in mine),
            "shards": [
                {"file": shard.file, "clips": shard.clips, "seconds": round(shard.seconds, 3), "bytes": shard.bytes}
                for shard in mine
            ],
        }
    content = {
        "format": 1,
        "splits": splits,
        "rows": summary.rows,
        "dropped": dict(sorted(summary.dropped.items())),
        "notices": dict(sorted(summary.notices.items())),
        "settings": json.loads(settings.fingerprint()),
    }
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
