"""Rows from a hub dataset or files, as one stream that can be split, shuffled by shard and resumed.

Parquet files are read by :mod:`data.sources.parquet_rows`; this is the one place that touches the `datasets` library.
"""

import contextlib
import copy
import itertools
import os
import threading
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .. import storage
from ..audio.decoding import one_line
from ..errors import DataError, check_column
from . import hub
from .class_labels import ClassNames, UnnamedLabel, named, names_among, wanted_names
from .config import SourceConfig
from .parquet_rows import ParquetFiles, ParquetRows

FILE_FORMATS = {".parquet": "parquet", ".arrow": "arrow", ".jsonl": "json", ".json": "json"}


class Source:
    """The rows of a :class:`SourceConfig`, opened when first wanted; :func:`data.opening.source_of` makes them.

    Raises:
        DataError: then, where files, folder, dataset or columns are missing, or there is no row.
    """

    def __init__(self, config: SourceConfig, name: str) -> None:
        self.config = config
        self.name = name
        self.columns = config.columns

    @cached_property
    def audio_root(self) -> str:
        """The folder that relative audio paths are relative to."""
        if self.config.audio_root:
            return self.config.audio_root
        folders = set() if self.config.hub else {os.path.dirname(path) for path in self.files}
        return (folders.pop() or ".") if len(folders) == 1 else "."

    @cached_property
    def files(self) -> list[str]:
        """The files behind the globs, sorted; of synthetic speech those that :mod:`data.opening` has made."""
        given = self.config.digits.shards if self.config.digits else self.config.files or ()
        patterns = (given,) if isinstance(given, str) else given
        found: list[str] = []
        for pattern in patterns:
            try:
                matches = storage.matching(pattern)
            except storage.StorageError as error:
                raise DataError(f"{self.name}.files: {error}") from error
            if not matches:
                place = "" if storage.is_remote(pattern) else f" (working folder {os.getcwd()})"
                raise DataError(f"{self.name}.files: no file matches {pattern!r}{place}")
            found += matches
        unknown = [path for path in found if Path(path).suffix not in FILE_FORMATS]
        if unknown:
            raise DataError(
                f"{self.name}.files: {unknown[0]} is none of {', '.join(sorted(FILE_FORMATS))}; launch/prepare.py "
                "makes Parquet of other corpora, and folder takes recordings and tables"
            )
        formats = {FILE_FORMATS[Path(path).suffix] for path in found}
        if len(formats) > 1:
            raise DataError(f"{self.name}.files: one format at a time; these are {', '.join(sorted(formats))}")
        return found

    def row_count(self) -> int | None:
        """Rows, where that is known without reading them all: of folders, and of Parquet files that nothing filters."""
        rows = None
        if self.held_rows is not None:
            rows = sum(map(self.is_kept, self.held_rows))
        elif self.config.keep or self.config.drop:
            return None
        elif self.parquet is not None:
            rows = self.parquet.row_count
        return rows if rows is None or self.config.max_utterances is None else min(rows, self.config.max_utterances)

    @cached_property
    def parquet(self) -> ParquetFiles | None:
        """The row groups, where the source is Parquet files."""
        if self.config.hub or self.held_rows is not None or FILE_FORMATS[Path(self.files[0]).suffix] != "parquet":
            return None
        return ParquetFiles(self.files, self.name)

    @property
    def held_rows(self) -> list[dict[str, Any]] | None:
        """All rows, of a source that holds them; else None."""
        return None

    @property
    def remarks(self) -> list[str]:
        """What a user should know of how the source was read, a line each."""
        return []

    @contextlib.contextmanager
    def explain_failures(self, doing: str) -> Iterator[None]:
        """Turn the many kinds of errors that the library raises into a DataError that names the source."""
        try:
            yield
        except DataError:
            raise
        except Exception as error:
            raise DataError(f"{self.name}: cannot {doing} {self.config.described}: {one_line(error)}") from error

    @cached_property
    def stream(self) -> Any:
        """The `datasets.IterableDataset` of what is not Parquet files, audio undecoded."""
        import datasets

        datasets.disable_progress_bars()
        datasets.utils.tqdm.set_lock(threading.RLock())  # its own is a semaphore, which a killed worker leaks
        config = self.config
        rows = self.held_rows
        if rows is not None:
            with self.explain_failures("read"):  # such as a column of numbers and text
                table = datasets.Dataset.from_list(rows)
            stream = table.to_iterable_dataset(num_shards=min(64, len(table)))
        elif config.hub:
            wanted = {"name": config.name, "split": config.split, "revision": config.revision}
            stream = hub.open_stream(config.hub, wanted, self.name)
        else:
            kind = FILE_FORMATS[Path(self.files[0]).suffix]
            with self.explain_failures("open"):
                stream = datasets.load_dataset(kind, data_files={"train": self.files}, split="train", streaming=True)
        for column, feature in (stream.features or {}).items():
            if isinstance(feature, datasets.Audio):
                stream = stream.cast_column(column, datasets.Audio(decode=False))
        return stream

    def at_commit(self) -> "Source":
        """The same source, pinned to its revision's present commit, so that later reads give the same rows."""
        config = self.config
        if not config.hub or os.path.isdir(config.hub) or hub.is_offline():
            return self
        commit = hub.commit_of(config.hub, config.revision, self.name)
        return Source(config.model_copy(update={"revision": commit}), self.name)

    def first_row(self) -> dict[str, Any]:
        """The stream's first row.

        Raises:
            DataError: where there is none.
        """
        stream = self.stream
        with self.explain_failures("read"):
            first = next(iter(stream), None)
        if first is None:
            raise DataError(f"{self.name}: {self.config.described} has no rows")
        return first

    @cached_property
    def column_names(self) -> list[str]:
        """The columns: those of every Parquet file with rows; of the first row where the format does not say."""
        if self.parquet is not None:
            files = zip(self.parquet.columns, self.parquet.has_rows, strict=True)
            return sorted(set.intersection(*(set(columns) for columns, has_rows in files if has_rows)))
        return list(self.stream.features or self.first_row())

    @cached_property
    def dataset(self) -> Any:
        """The stream, columns checked."""
        for key, column in self.named_columns:
            check_column(column, self.column_names, f"{self.name}.{key}: {self.config.described}")
        return self.stream

    @property
    def named_columns(self) -> list[tuple[str, str]]:
        """The columns that the config names, each after its key."""
        named = [(f"columns.{key}", value) for key, value in self.columns.model_dump().items() if value]
        return named + [(f"{key}.{name}", name) for key in ("keep", "drop") for name in getattr(self.config, key)]

    def check_columns(self) -> None:
        """Open the source, and see that it has rows and the columns that the config names."""
        if self.parquet is None:
            self.first_row()
            self.dataset  # noqa: B018 - checks them
        elif self.parquet.row_count == 0:
            raise DataError(f"{self.name}: {self.config.described} has no rows")
        else:
            self.parquet.check_columns(self.named_columns)

    def lane(self, lane: int, lanes: int, shard_seed: int | None) -> Any:
        """The part of the stream that lane ``lane`` of ``lanes`` reads, shards in an order drawn from the seed.

        With ``max_utterances`` it is the same utterances whatever the seed. The part's ``state_dict()`` is its
        position, once a row was taken; its ``load_state_dict()`` goes there.
        """
        limit, filtered = self.config.max_utterances, bool(self.config.keep or self.config.drop)
        if self.parquet is not None:
            # What a filter leaves is not known beforehand: each lane takes its share of every lanes-th row.
            spread = limit is not None and filtered
            pieces = self.parquet.pieces(lane, lanes, shard_seed, None if filtered else limit, spread)
            return ParquetRows(self.parquet, pieces, sorted({column for _, column in self.named_columns}))
        from datasets.distributed import split_dataset_by_node

        stream = copy.deepcopy(self.dataset)  # lanes must not share the place they have reached
        if shard_seed is not None and limit is None:
            # shuffle() would also send rows through a buffer that a state cannot hold, and from 5.x interleave shards.
            generator = np.random.default_rng(shard_seed)
            stream._ex_iterable = stream._ex_iterable.shuffle_data_sources(generator)
        return split_dataset_by_node(stream, rank=lane, world_size=lanes) if lanes > 1 else stream

    @cached_property
    def classes(self) -> ClassNames:
        """The class names of each ClassLabel column (:mod:`.class_labels`), by the first file that has them."""
        if self.parquet is None:
            return dict(names_among((self.stream.features or {}).items()))
        return {column: names for found in reversed(self.parquet.classes) for column, names in found.items()}

    @cached_property
    def chosen(self) -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]]]:
        """What ``keep`` and ``drop`` name, as text; a number in a column of classes as the name of its class.

        Raises:
            DataError: where a number has other names in other files.
        """
        if not self.config.keep and not self.config.drop:
            return {}, {}
        files = [] if self.parquet is None else self.parquet.classes

        def as_names(key: str, column: str, values: tuple) -> frozenset[str]:
            found = wanted_names(values, self.classes.get(column, ()))
            for names in (of.get(column) for of in files):
                if names is not None and wanted_names(values, names) != found:
                    raise DataError(f"{self.name}.{key}.{column}: {self.config.described} name the numbers of this "
                                    "column in different ways: give names")  # fmt: skip
            return found

        keep = {column: as_names("keep", column, values) for column, values in self.config.keep.items()}
        return keep, {column: as_names("drop", column, values) for column, values in self.config.drop.items()}

    def is_kept(self, row: dict[str, Any]) -> bool:
        """Whether ``keep`` and ``drop`` let the row through; values are compared as text."""
        keep, drop = self.chosen
        return all(as_text(row[column]) in values for column, values in keep.items()) and not any(
            as_text(row[column]) in values for column, values in drop.items()
        )

    def read(self, stream: Any) -> Iterator[dict[str, Any]]:
        """The rows of a stream, or of a lane of it, that ``keep`` and ``drop`` let through; classes by their names.

        Raises:
            DataError: where the stream cannot be read on; not every file is looked at before.
        """
        with self.explain_failures("read"):
            rows = stream if self.parquet is not None else (named(row, self.classes) for row in stream)
            yield from filter(self.is_kept, rows)

    def rows(self) -> Iterator[dict[str, Any]]:
        """All rows in order, filtered and limited: for evaluation."""
        stream = self.dataset if self.parquet is None else ParquetRows(self.parquet, self.parquet.pieces())
        return itertools.islice(self.read(stream), self.config.max_utterances)


def as_text(value: Any) -> str:
    """A cell as ``keep`` and ``drop`` compare it."""
    return str(value.number if isinstance(value, UnnamedLabel) else value)
