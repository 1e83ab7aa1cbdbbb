"""A folder of recordings, or a table of them, as a source of training: what preparation reads, by the same readers."""

import posixpath
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

from .. import storage
from ..errors import DataError
from ..sources.source import Source
from .census import Census
from .format import Listed
from .formats import plan_jobs
from .places import lies_below, normal, relative
from .readers.parquet import StreamedRows
from .readers.webdataset import ShardRows
from .record import Record
from .second.rows import located, unpaired
from .settings import CorpusSettings

TAKEN_AS_THEY_ARE = ("audio", "text", "id", "language", "duration")  # columns that a config may name
PREPARE = "python launch/prepare.py {} --output prepared, and then files: prepared/train-*.parquet"


class FolderSource(Source):
    """The clips of a folder, all of their rows in memory; see :class:`data.sources.source.Source`.

    A row has the columns that the config names, ``id``, ``speaker``, ``split`` and whatever else the corpus has, under
    the corpus's own names too.
    """

    census: Census  # once the rows were read

    @cached_property
    def audio_root(self) -> str:
        """What relative audio paths are relative to: the folder, or that of a table."""
        folder = self.config.folder or ""
        return self.config.audio_root or (folder if storage.is_folder(folder) else posixpath.dirname(folder) or ".")

    @property
    def remarks(self) -> list[str]:
        """What of the folder is not used, and how its rows were understood."""
        self.held_rows  # noqa: B018 - reads the folder
        return self.census.lines()

    @cached_property
    def held_rows(self) -> list[dict[str, Any]]:
        """The rows.

        Raises:
            DataError: if there is no such folder or nothing in it that can be trained on as it is, if a row cannot be
                used, or if there are several splits and ``keep`` chooses none.
        """
        folder = self.config.folder or ""
        if not storage.exists(folder):
            raise DataError(f"{self.name}.folder: there is no {folder}")
        self.census = Census()
        try:
            rows = list(self.read_rows(folder, self.census))
        except DataError as error:
            is_option = " --" in str(error) and "launch/prepare.py" not in str(error)
            hint = "; that is an option of launch/prepare.py: prepare the folder" if is_option else ""
            raise DataError(f"{self.name}.folder: {error}{hint}") from None
        self.check_splits(rows)
        columns = dict.fromkeys(name for row in rows for name in row)
        return [{name: row.get(name) for name in columns} for row in rows]

    def read_rows(self, folder: str, census: Census) -> Iterator[dict[str, Any]]:
        """The rows of the folder's pieces."""
        for job in plan_jobs(self.settings(folder), census):
            if isinstance(unpaired(job.rows), ShardRows):
                raise DataError(
                    f"{folder} holds files with many clips in each, which only preparation reads: "
                    f"{PREPARE.format(folder)}"
                )
            if not isinstance(unpaired(job.rows), Listed):
                if not storage.is_folder(folder):
                    raise DataError(f"{folder} is one file with many clips in it: name it as files: {folder}")
                name = "*.arrow" if isinstance(unpaired(job.rows), StreamedRows) else "train-*.parquet"
                raise DataError(
                    f"{folder} holds files with many clips in each: name them as files, "
                    f"such as {storage.join(folder, name)}, or prepare the folder"
                )
            pieces: Any = unpaired(job.rows)
            layout = getattr(pieces, "layout", None)
            if layout is not None:  # whatever else the corpus has may be named by keep and drop
                pieces = replace(pieces, layout=replace(layout, extra=layout.unused, takes_anything=True))
            for record in pieces.records():
                yield self.row(located(record), folder, {} if layout is None else layout.names)

    def settings(self, folder: str) -> CorpusSettings:
        """How the folder is read, given the config's names of columns."""
        named = self.columns.model_dump()
        wants_text = self.columns.text != self.columns.audio  # noises have none
        columns = {ours: named[ours] for ours in TAKEN_AS_THEY_ARE if named[ours] not in (None, ours)}
        if not wants_text:
            columns = {ours: name for ours, name in columns.items() if ours != "text"}
        root = self.config.audio_root
        return CorpusSettings(
            input=folder,
            columns=columns,
            audio_root=root,
            without_text=not wants_text,
            second=self.columns.second_audio,
            for_training=True,
        )

    def row(self, record: Record, folder: str, names: Any) -> dict[str, Any]:
        """A record as a row; a record at fault is an error, as a row of a small corpus is soon mended."""
        if record.fault:
            raise DataError(f"{record.place}: {record.fault}")
        if isinstance(record.audio, dict) and record.audio.get("bytes"):
            raise DataError(
                f"{record.place}: its audio lies in a file with that of other clips, which only preparation reads: "
                f"{PREPARE.format(folder)}"
            )
        if record.is_part:
            raise DataError(
                f"{record.place} is a part of a recording, and only preparation cuts recordings: "
                f"{PREPARE.format(folder)}"
            )
        audio = self.seen_from_root(record.audio)
        columns = self.columns
        known = {"id": record.id, "language": record.language, "speaker": record.speaker, "split": record.split,
                 "duration": record.duration}  # fmt: skip
        row: dict[str, Any] = dict(record.extra)
        row |= {name: value for ours, name in names.items() if name and (value := known.get(ours)) is not None}
        row |= {ours: value for ours, value in known.items() if value is not None}
        called = columns.model_dump(include=set(known))
        row |= {name: row[ours] for ours, name in called.items() if name and ours in row}
        if columns.second_audio is not None:
            row[columns.second_audio] = self.seen_from_root(record.second)
        return row | {columns.audio: audio} | ({columns.text: record.text} if columns.text != columns.audio else {})

    def seen_from_root(self, audio: Any) -> Any:
        """A path as seen from the root; another relative one would be taken for one below it."""
        root = self.audio_root
        if not isinstance(audio, str):
            return audio
        return relative(audio, root) if lies_below(audio, root) else normal(audio)

    def check_splits(self, rows: list[dict[str, Any]]) -> None:
        """See that a folder with several splits is not read as one: what is held out would be trained on."""
        counts: dict[str, int] = {}
        for row in rows:
            counts[row.get("split") or "none"] = counts.get(row.get("split") or "none", 0) + 1
        if len(counts) > 1 and "split" not in {**self.config.keep, **self.config.drop}:
            told = ", ".join(f"{split} ({count:,} rows)" for split, count in sorted(counts.items()))
            raise DataError(
                f"{self.name}.folder: {self.config.folder} has several splits, {told}: choose with keep: "
                f"{{split: [{'train' if 'train' in counts else min(counts)}]}}"
            )
