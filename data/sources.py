"""Rows from a hub dataset, files or a folder, as one stream that can be split, shuffled by shard and resumed.

The one place that touches the `datasets` library.
"""

import copy
import csv
import glob
import itertools
import json
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .audio import one_line
from .config import DigitSpeech, SourceConfig
from .errors import DataError, nearest

FILE_FORMATS = {".parquet": "parquet", ".arrow": "arrow", ".jsonl": "json", ".json": "json"}
ROWS_READ_AT_ONCE = 100  # from Parquet; by itself `datasets` takes the first row group's, and fails where that is none
AUDIO_SUFFIXES = frozenset((".flac", ".wav", ".mp3", ".ogg", ".opus", ".aiff", ".aif", ".au", ".caf", ".w64"))


class Source:
    """The rows of a :class:`SourceConfig`; checked when opened.

    Raises:
        DataError: where files, folder, dataset or columns are missing, or there is no row.
    """

    def __init__(self, config: SourceConfig, name: str) -> None:
        self.config = config
        self.name = name
        self.columns = config.columns

    @cached_property
    def audio_root(self) -> str | None:
        """The folder that relative audio paths are relative to."""
        if self.config.audio_root:
            return self.config.audio_root
        if self.config.folder:
            return self.config.folder
        if self.config.files or self.config.digits:
            folders = {os.path.dirname(path) for path in self.files}
            return folders.pop() if len(folders) == 1 else None
        return None

    @cached_property
    def files(self) -> list[str]:
        """The files behind the globs, sorted; synthetic speech is made first, by one process at a time."""
        if self.config.digits:
            return synthesize(self.config.digits)
        patterns = (self.config.files,) if isinstance(self.config.files, str) else self.config.files or ()
        found: list[str] = []
        for pattern in patterns:
            matches = sorted(glob.glob(pattern)) if "://" not in pattern else [pattern]
            if not matches:
                raise DataError(f"{self.name}.files: no file matches {pattern!r} (working folder {os.getcwd()})")
            found += matches
        unknown = [path for path in found if Path(path).suffix not in FILE_FORMATS]
        if unknown:
            raise DataError(f"{self.name}.files: {unknown[0]} is none of {', '.join(sorted(FILE_FORMATS))}")
        formats = {FILE_FORMATS[Path(path).suffix] for path in found}
        if len(formats) > 1:
            raise DataError(f"{self.name}.files: one format at a time; these are {', '.join(sorted(formats))}")
        return found

    def row_count(self) -> int | None:
        """Rows, where that is known without reading them all: Parquet footers and folders; else None."""
        if self.config.keep or self.config.drop:
            return None
        rows = None
        if self.config.folder:
            rows = len(self.folder_rows)
        elif not self.config.hub and FILE_FORMATS[Path(self.files[0]).suffix] == "parquet":
            import pyarrow.parquet

            try:
                rows = sum(pyarrow.parquet.read_metadata(path).num_rows for path in self.files)
            except (OSError, pyarrow.ArrowException) as error:
                raise DataError(f"{self.name}: cannot read {self.config.described}: {one_line(error)}") from error
        return rows if rows is None or self.config.max_utterances is None else min(rows, self.config.max_utterances)

    @cached_property
    def folder_rows(self) -> list[dict[str, Any]]:
        return read_folder(Path(self.config.folder or ""), self.name, self.columns.audio, self.columns.text)

    @cached_property
    def dataset(self) -> Any:
        """The `datasets.IterableDataset`, audio undecoded, columns checked."""
        import datasets

        datasets.disable_progress_bars()
        config = self.config
        if config.folder:
            rows = self.folder_rows
            try:
                table = datasets.Dataset.from_list(rows)
            except Exception as error:  # a column of numbers and text
                raise DataError(f"{self.name}: cannot read {config.described}: {one_line(error)}") from error
            stream = table.to_iterable_dataset(num_shards=min(64, len(table)))
        else:
            files = [] if config.hub else self.files
            try:
                if config.hub:
                    stream = datasets.load_dataset(
                        config.hub, config.name, split=config.split, revision=config.revision, streaming=True
                    )
                else:
                    kind = FILE_FORMATS[Path(files[0]).suffix]
                    options = {"batch_size": ROWS_READ_AT_ONCE} if kind == "parquet" else {}
                    stream = datasets.load_dataset(
                        kind, data_files={"train": files}, split="train", streaming=True, **options
                    )
            except Exception as error:  # the library raises many kinds; the reason is in the message
                raise DataError(f"{self.name}: cannot open {config.described}: {one_line(error)}") from error
        for column, feature in (stream.features or {}).items():
            if isinstance(feature, datasets.Audio):
                stream = stream.cast_column(column, datasets.Audio(decode=False))
        self.check_columns(stream)
        return stream

    def check_columns(self, stream: Any) -> None:
        try:
            first = next(iter(stream), None)
        except Exception as error:
            raise DataError(f"{self.name}: cannot read {self.config.described}: {one_line(error)}") from error
        if first is None:
            raise DataError(f"{self.name}: {self.config.described} has no rows")
        wanted = [(f"columns.{key}", value) for key, value in self.columns.model_dump().items() if value]
        wanted += [(f"{key}.{column}", column) for key in ("keep", "drop") for column in getattr(self.config, key)]
        for key, column in wanted:
            if column not in first:
                raise DataError(
                    f"{self.name}.{key}: {self.config.described} has no column {column!r}"
                    f"{nearest(column, first)}; it has {', '.join(sorted(first))}"
                )

    def lane(self, lane: int, lanes: int, shard_seed: int | None) -> Any:
        """The part of the stream that lane ``lane`` of ``lanes`` reads, shards in an order drawn from the seed."""
        from datasets.distributed import split_dataset_by_node

        stream = copy.deepcopy(self.dataset)  # lanes must not share the place they have reached
        if shard_seed is not None:
            # shuffle() would also send rows through a buffer that a state cannot hold, and from 5.x interleave shards.
            generator = np.random.default_rng(shard_seed)
            stream._ex_iterable = stream._ex_iterable.shuffle_data_sources(generator)
        return split_dataset_by_node(stream, rank=lane, world_size=lanes) if lanes > 1 else stream

    def is_kept(self, row: dict[str, Any]) -> bool:
        """Whether ``keep`` and ``drop`` let the row through; values are compared as text."""
        keep, drop = self.config.keep, self.config.drop
        return all(str(row[column]) in map(str, values) for column, values in keep.items()) and not any(
            str(row[column]) in map(str, values) for column, values in drop.items()
        )

    def read(self, stream: Any) -> Iterator[dict[str, Any]]:
        """The rows of a stream, or of a lane of it, that ``keep`` and ``drop`` let through.

        Raises:
            DataError: where the stream cannot be read on; not every file is looked at before.
        """
        try:
            yield from filter(self.is_kept, stream)
        except Exception as error:  # the library raises many kinds; the reason is in the message
            raise DataError(f"{self.name}: cannot read {self.config.described}: {one_line(error)}") from error

    def rows(self) -> Iterator[dict[str, Any]]:
        """All rows in order, filtered and limited: for evaluation."""
        return itertools.islice(self.read(self.dataset), self.config.max_utterances)


def synthesize(config: DigitSpeech) -> list[str]:
    """The Parquet files of synthetic speech, made if they are not there yet."""
    from filelock import FileLock

    from .synthesis import TRAINING_VOICES, UNSEEN_VOICES, synthesize_digit_corpus

    folder = Path(config.folder)
    folder.mkdir(parents=True, exist_ok=True)
    voices = TRAINING_VOICES if config.voices == "training" else UNSEEN_VOICES
    with FileLock(folder / ".lock"):
        paths = synthesize_digit_corpus(
            folder,
            utterances=config.utterances,
            voices=voices,
            seed=config.seed,
            shards=min(4, config.utterances),
            split=config.split,
        )
    return [str(path) for path in paths]


def read_folder(folder: Path, name: str, audio_column: str, text_column: str) -> list[dict[str, Any]]:
    """Rows of a folder of recordings: metadata.jsonl or .csv with file_name, or a .txt beside each recording."""
    if not folder.is_dir():
        raise DataError(f"{name}.folder: {folder} is not a folder")
    rows: list[dict[str, Any]] = []
    for metadata in (folder / "metadata.jsonl", folder / "metadata.csv"):
        if not metadata.exists():
            continue
        try:
            with metadata.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets begin with a byte-order mark
                is_csv = metadata.suffix == ".csv"
                records = csv.DictReader(file) if is_csv else map(json.loads, filter(str.strip, file))
                for number, record in enumerate(records, start=1):
                    rows.append(folder_row(record, f"{metadata}: row {number}", audio_column))
        except (csv.Error, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{metadata}: after row {len(rows)}: {one_line(error)}") from None
        return rows
    for path in sorted(folder.rglob("*")):
        transcript = path.with_suffix(".txt")
        if path.suffix.lower() in AUDIO_SUFFIXES and transcript.exists():
            relative = path.relative_to(folder)
            try:
                text = transcript.read_text(encoding="utf-8-sig").strip()
            except UnicodeDecodeError as error:
                raise DataError(f"{transcript}: {one_line(error)}") from None
            rows.append({audio_column: str(relative), text_column: text, "id": relative.with_suffix("").as_posix()})
    if not rows:
        raise DataError(f"{name}.folder: {folder} has no metadata.jsonl, no metadata.csv and no recording with a .txt")
    return rows


def folder_row(record: Any, place: str, audio_column: str) -> dict[str, Any]:
    """A row from a line of metadata, its ``file_name`` as audio and, without suffix, as id."""
    if not isinstance(record, dict) or not isinstance(record.get("file_name"), str):
        found = ", ".join(map(str, record)) if isinstance(record, dict) else repr(record)
        raise DataError(f"{place} has no file_name; it has {found}")
    if None in record:
        raise DataError(f"{place} has more fields than the header; a text with a comma wants quotes")
    path = record.pop("file_name")
    return {audio_column: path, "id": Path(path).with_suffix("").as_posix()} | record
