"""The end of a preparation: rows are taken out, what is stale is removed, and the manifest is written."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .. import storage
from ..errors import DataError
from .leaving_out.duplicates import RowsOut, find_duplicates, shard_without, take_out
from .leaving_out.misfits import judge
from .settings import PrepareSettings
from .shards import SECOND_FILE, Shard, original_of
from .splits.groups import Heard
from .splits.repeated import audio_in_several_splits
from .splits.told import shares_got, shares_told, split_warnings
from .summary import MIN_ROWS_TO_JUDGE, Summary
from .work import JobResult, result_file

ORIGINALS = ".jobs/originals/"
SCORES_PAGE = "scores.html"
UNFINISHED = re.compile(r"\.part-\d+$")
OWN_SHARD = re.compile(r"\w+-(?P<number>\d{5})(-\d{3})?\.parquet")
OWN_PIECE = re.compile(r"(\.jobs/(\w+-)?|\w+/)(?P<number>\d{5})(\.jsonl?|/.+)")


def finish_output(settings: PrepareSettings, jobs: Sequence[int], summary: Summary) -> None:
    """Take rows out, remove what earlier runs left and no job accounts for, write quarantine and manifest.

    Rows are taken out for an id that an earlier row has, and for scores beyond the limits.

    Raises:
        DataError: if no clip is left.
    """
    output = settings.output
    written: list[Shard] = []
    heard = Heard()
    for number in jobs:
        result = read_result(output, number)
        written += result.shards
        heard.merge(result.heard)
    gone = find_duplicates(settings, written)
    if settings.score is not None:
        summary.scores = judge(settings, written, gone)
    take_out(settings, written, gone)
    summary.dropped += Counter(row.kind for rows in gone.values() for row in rows)
    if summary.dropped["duplicate id"]:
        judge_duplicates(settings, gone, summary)
    write_quarantine(output, jobs, gone)
    if settings.layout == "audiofolder":
        join_metadata(output, written, gone)
    shards = [shard_without(shard, gone.get(shard.file, [])) for shard in written]
    shards = [shard for shard in shards if shard.clips]
    for shard in shards:
        clips, seconds = summary.splits.get(shard.split, (0, 0.0))
        summary.splits[shard.split] = clips + shard.clips, seconds + shard.seconds
        summary.bytes += shard.bytes
    summary.shards = len(shards)
    got = shares_got(settings, summary.splits, heard)
    summary.shares = shares_told(settings, got, summary.splits)
    summary.warnings += split_warnings(settings, summary.splits, heard)
    if len(summary.splits) > 1:
        repeated = audio_in_several_splits(read_result(output, number).audio for number in jobs)
        if repeated:
            summary.warnings.append(
                f"audio that is the same to the byte is in more than one split, under several ids ({repeated:,} such): "
                "--inspect on the output's folder names the clips"
            )
    remove_stale(output, {shard.file for shard in shards}, jobs, {shard.file for shard in written})
    if shards and settings.corpus.second is not None:
        summary.with_second = sum(shard.with_second for shard in shards)
        summary.check_seconds(settings.corpus.second, summary.clips)
    if not shards:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in summary.dropped.most_common(3))
        example = summary.example
        first = f"; {example.place}: {example.reason}" if example else ""
        raise DataError(f"{settings.corpus.input}: not one of {summary.rows} rows can be used: {kinds}{first}")
    storage.write_bytes(storage.join(output, "manifest.json"), manifest(settings, shards, summary, got))


def judge_duplicates(settings: PrepareSettings, gone: RowsOut, summary: Summary) -> None:
    """Raises: DataError: if so many clips share an id that what was taken for one is none, as of FLEURS' sentences."""
    count, share = summary.dropped["duplicate id"], settings.max_skipped_share
    if count > share * max(summary.rows, MIN_ROWS_TO_JUDGE):
        example = next(row for rows in gone.values() for row in rows if row.kind == "duplicate id")
        raise DataError(
            f"{count} of {summary.rows} rows have the id of an earlier row (--max-skipped-share is {share:g}); one is "
            f"{example.place}, {example.id!r}. If the column of ids numbers something else than clips, --columns id= "
            "leaves it out"
        )


def write_quarantine(output: str, jobs: Sequence[int], gone: RowsOut) -> None:
    """Write ``quarantine.jsonl``: each row that was dropped, with the reason."""
    address = storage.join(output, "quarantine.jsonl")
    with storage.written_whole(address) as path, open(path, "w", encoding="utf-8", errors="replace") as file:
        for number in jobs:
            result = read_result(output, number)
            taken = (row for shard in result.shards for row in gone.get(shard.file, []))
            for row in itertools.chain(result.dropped, taken):
                told = {key: getattr(row, key) for key in ("id", "place", "kind", "reason")}
                file.write(json.dumps(told, ensure_ascii=False) + "\n")


def read_result(output: str, number: int) -> JobResult:
    """What a job has written of itself."""
    return JobResult.from_json(storage.read_bytes(result_file(output, number)))


def join_metadata(output: str, shards: Sequence[Shard], gone: RowsOut) -> None:
    """One metadata.jsonl for each split, of the jobs' pieces, without the rows taken out; their audio is put aside."""
    for split in {shard.split for shard in shards}:
        folder = storage.join(output, split)
        with storage.written_whole(storage.join(folder, "metadata.jsonl")) as path, open(path, "wb") as file:
            for shard in shards:
                if shard.split != split:
                    continue
                taken = {row.row for row in gone.get(shard.file, [])}
                lines = storage.read_bytes(storage.join(output, shard.file)).splitlines()
                kept = [line for number, line in enumerate(lines) if number not in taken]
                file.writelines(line + b"\n" for line in kept)
                job = shard.file.removesuffix(".jsonl").rpartition("-")[2]
                named = (set(files_of(some)) for some in (kept, lines))
                put_audio(output, split, job, *named)


def files_of(lines: Sequence[bytes]) -> Iterator[str]:
    """The audio files that lines of metadata name."""
    for row in map(json.loads, lines):
        yield from (row[key] for key in ("file_name", SECOND_FILE) if row.get(key))


def put_audio(output: str, split: str, job: str, kept: set[str], written: set[str]) -> None:
    """A job's audio files where they belong: those of rows taken out aside, and back if they are none any more."""
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
        everything: what jobs wrote, shards that rows taken out have emptied too.
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
    return bool(known) or name in ("manifest.json", "quarantine.jsonl", SCORES_PAGE) or name.startswith(".jobs/")


def manifest(
    settings: PrepareSettings, shards: Sequence[Shard], summary: Summary, got: Mapping[str, Mapping[str, Any]]
) -> bytes:
    """What the output holds, as JSON: the same for the same corpus and settings, whoever prepared it.

    Args:
        got: shares as asked for and as they came out; see :func:`.splits.told.shares_got`.
    """
    splits: dict[str, Any] = {}
    for split, (clips, seconds) in sorted(summary.splits.items()):
        mine = [shard for shard in shards if shard.split == split]
        splits[split] = {
            "clips": clips,
            "seconds": round(seconds, 3),
            "bytes": sum(shard.bytes for shard in mine),
            **({"with_second": sum(shard.with_second for shard in mine)} if settings.corpus.second else {}),
            "shards": [
                {"file": shard.file, "clips": shard.clips, "seconds": round(shard.seconds, 3), "bytes": shard.bytes}
                for shard in mine
            ],
        }
    content = {
        "format": 1,
        "splits": splits,
        **({"shares": got} if got else {}),
        "rows": summary.rows,
        "dropped": dict(sorted(summary.dropped.items())),
        "notices": dict(sorted(summary.notices.items())),
        "corpus": summary.census.to_json(),
        "settings": json.loads(settings.fingerprint()),
    }
    if settings.score is not None:
        content["limits"] = settings.limits.model_dump(mode="json")
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
