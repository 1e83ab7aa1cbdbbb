"""Which of the known shapes a corpus has, and its rows in pieces that can be prepared apart from each other."""

import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

from .. import storage
from ..errors import DataError
from .archives import is_archive, unpacked
from .folders import metadata_files, read_common_voice, read_recordings, split_of_folder
from .kaldi import read_kaldi
from .parquet import read_parquet, read_streamed
from .record import Record
from .segments import is_segmented, read_segmented
from .settings import CorpusSettings
from .tables import read_table

TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
JSON = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".ndjson")


class Rows(Protocol):
    """A piece of a corpus: small, fit for sending to another process, the same each time it is planned."""

    def records(self) -> Iterator[Record]: ...

    def digest(self) -> str:
        """Changes when the piece's rows change, as far as can be told without reading their audio."""
        ...


@dataclass(frozen=True)
class Job:
    """A piece with its number; job and settings decide what comes out, whoever runs it and when."""

    number: int
    rows: Rows


def plan_jobs(settings: CorpusSettings) -> Iterator[Job]:
    """The jobs of a corpus, in its order, read as they are asked for.

    Raises:
        DataError: if there is nothing, nothing known, or a file that cannot be read.
    """
    number = 0
    left = settings.max_samples
    for rows in pieces(settings):
        if left is not None:
            rows, taken = limited(rows, left)
            left -= taken
        yield Job(number, rows)
        number += 1
        if left == 0:
            return
    if not number:
        raise DataError(f"{settings.input} has no rows")


def limited(rows: Any, limit: int) -> tuple[Any, int]:
    """A piece with no more rows than a limit, and how many it has."""
    for name in ("lines", "rows"):
        if hasattr(rows, name):
            kept = getattr(rows, name)[:limit]
            return replace(rows, **{name: kept}), len(kept)
    if rows.limit is None or rows.limit > limit:
        rows = replace(rows, limit=limit)
    return rows, rows.limit


def pieces(settings: CorpusSettings) -> Iterator[Rows]:
    """The corpus's rows in pieces."""
    kind = settings.kind if settings.kind != "auto" else ""
    if kind == "hub":
        for split in settings.hub_splits:
            origin = {"hub": settings.input, "name": settings.hub_name, "revision": settings.hub_revision}
            yield from read_streamed(origin | {"split": split}, settings, split_of_folder(split) or split)
        return
    address = settings.input.rstrip("/") if settings.input != "/" else settings.input
    if is_archive(address):
        address = unpacked(address, settings.cache)
    if storage.is_folder(address):
        yield from read_found_folder(address, kind or folder_kind(address, settings), settings)
        return
    files = storage.matching(address)
    if not files:
        near = "; for a dataset of the hub say --kind hub" if address.count("/") == 1 and "." not in address else ""
        raise DataError(f"{settings.input} is neither a file nor a folder, and no glob that matches one{near}")
    for file in files:
        yield from read_file(file, kind or file_kind(file, settings), settings, len(files) > 1)


def read_file(file: str, kind: str, settings: CorpusSettings, several: bool) -> Iterator[Rows]:
    """A file of a known kind; among several, one called train-… or dev-… gives its rows that split."""
    split = split_of_name(file) if several else None
    if kind == "parquet":
        yield from read_parquet(file, settings, split)
    elif kind == "arrow":
        yield from read_streamed({"files": file}, settings, split)
    elif kind in ("json", "table"):
        yield from read_table(file, settings, split)
    elif kind == "segments":
        yield from read_segmented(file, settings)
    else:
        raise DataError(f"{file} is a file; a corpus of kind {kind} is a folder")


def split_of_name(file: str) -> str | None:
    stem = posixpath.basename(file).split(".")[0]
    return split_of_folder(stem.replace("_", "-").split("-")[0])


def file_kind(file: str, settings: CorpusSettings) -> str:
    lower = file.lower()
    if lower.endswith(".parquet"):
        return "parquet"
    if lower.endswith(".arrow"):
        return "arrow"
    if lower.endswith(TABLES + JSON):
        if is_segmented(file, settings):
            return "segments"
        return "table" if lower.endswith(TABLES) else "json"
    if lower.endswith((".textgrid", ".eaf")):
        return "segments"
    raise DataError(f"{file} is none of .parquet, .arrow, {', '.join(JSON[:2])}, {', '.join(TABLES[:2])}, .TextGrid, "
                    ".eaf, an archive or a folder; --kind says what it is")  # fmt: skip


def folder_kind(folder: str, settings: CorpusSettings) -> str:
    """What a folder holds, by the files that name it."""
    has: Callable[[str], bool] = lambda name: storage.exists(storage.join(folder, name))  # noqa: E731
    if has("wav.scp"):
        return "kaldi"
    if has("clips") and any(map(has, ("train.tsv", "validated.tsv", "dev.tsv", "test.tsv"))):
        return "common_voice"
    if metadata_files(folder):
        return "folder"
    if storage.matching(storage.join(folder, "**/*.parquet")) or storage.matching(storage.join(folder, "*.parquet")):
        return "parquet"
    if storage.matching(storage.join(folder, "*.arrow")):
        return "arrow"
    return "segments" if is_segmented(folder, settings) else "folder"


def read_found_folder(folder: str, kind: str, settings: CorpusSettings) -> Iterator[Rows]:
    if kind == "kaldi":
        yield from read_kaldi(folder, settings)
    elif kind == "common_voice":
        yield from read_common_voice(folder, settings)
    elif kind == "segments":
        yield from read_segmented(folder, settings)
    elif kind == "folder":
        tables = metadata_files(folder)
        for split, file in tables:
            yield from read_table(file, settings, split, posixpath.dirname(file))
        if not tables:
            yield from read_recordings(folder, settings)
    elif kind in ("parquet", "arrow"):
        for file in storage.files_below(folder):
            if file.endswith(f".{kind}") and not hidden(folder, file):
                yield from read_file(file, kind, settings, True)
    else:
        raise DataError(f"{folder} is a folder; a corpus of kind {kind} is a file")


def hidden(folder: str, file: str) -> bool:
    """Whether a file or a folder between begins with a dot: caches and unfinished work."""
    return any(part.startswith(".") for part in file[len(folder) :].split("/"))
