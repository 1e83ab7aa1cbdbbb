"""Rows of Parquet files: shared out over lanes, read a row group at a time, and resumed at any row.

Knows Parquet and addresses; it must not know of audio, batches or configs.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .. import storage
from ..errors import DataError, check_column
from .class_labels import ClassNames, class_names, named
from .remote_bytes import RemoteBytes

WHOLE_GROUP_BYTES = 64 * 2**20  # uncompressed; larger row groups are read in parts
PART_BYTES = 4 * 2**20  # turned into Python rows at a time; of larger row groups also what is read at a time
FOOTER_THREADS = 16
FOOTER_BYTES_KEPT = 32 * 2**20
UNREADABLE = (ValueError, ArithmeticError, ImportError)  # what pyarrow raises for cells that Python cannot hold


@dataclass(frozen=True)
class Piece:
    """Rows ``start``, ``start + step``, ... below ``stop`` of row group ``group`` of all files' row groups."""

    group: int
    start: int
    stop: int
    step: int = 1


class ParquetFiles:
    """The row groups of Parquet files, local or remote. Of the files only footers are read here, once.

    Args:
        addresses: the files.
        name: what messages call them.
    """

    def __init__(self, addresses: Sequence[str], name: str) -> None:
        self.addresses, self.name = list(addresses), name
        self.kept: OrderedDict[int, tuple[pq.FileMetaData, int]] = OrderedDict()
        self.lock = threading.Lock()  # lanes read in threads
        with ThreadPoolExecutor(FOOTER_THREADS) as threads:
            footers = list(threads.map(self.read_footer, range(len(self.addresses))))
        names = {columns: columns for columns, _, _ in footers}  # equal ones kept once
        self.columns = [names[columns] for columns, _, _ in footers]
        classes: dict[tuple, ClassNames] = {}
        self.classes = [classes.setdefault(tuple(sorted(found.items())), found) for _, found, _ in footers]
        self.has_rows = [any(rows for rows, _ in groups) for _, _, groups in footers]
        filled = [
            (file, number, rows, size)
            for file, (_, _, groups) in enumerate(footers)
            for number, (rows, size) in enumerate(groups)
            if rows
        ]
        # Arrays: a million row groups as objects would fill memory.
        self.file, self.number, self.rows, self.size = np.array(filled, dtype=np.int64).reshape(-1, 4).T.copy()

    def __getstate__(self) -> dict[str, Any]:
        """For another process: without the lock, and without the footers that were kept."""
        return vars(self) | {"lock": None, "kept": OrderedDict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.lock = threading.Lock()

    def read_metadata(self, file: int) -> tuple[pq.FileMetaData, int]:
        """A file's footer, and its size in bytes."""
        address = self.addresses[file]

        def read() -> tuple[pq.FileMetaData, int]:
            with storage.open_file(address) as opened:
                return pq.read_metadata(opened), opened.seek(0, 2)

        try:
            return storage.retried(read, address)
        except storage.StorageError as error:
            raise DataError(f"{self.name}: {error}") from error
        except pa.ArrowException as error:
            raise DataError(f"{self.name}: cannot read {address}: {storage.reason(error)}") from error

    def metadata(self, file: int) -> tuple[pq.FileMetaData, int]:
        """As :meth:`read_metadata`; the last used are kept, some megabytes of them."""
        with self.lock:
            if file in self.kept:
                self.kept.move_to_end(file)
                return self.kept[file]
        found = self.read_metadata(file)
        with self.lock:
            self.kept[file] = found
            while len(self.kept) > 1 and sum(one.serialized_size for one, _ in self.kept.values()) > FOOTER_BYTES_KEPT:
                self.kept.popitem(last=False)
        return found

    def read_footer(self, file: int) -> tuple[tuple[str, ...], ClassNames, list[tuple[int, int]]]:
        """What is kept of a file's footer: its columns, the names of its classes, and rows and uncompressed bytes of
        each row group."""
        metadata, _ = self.read_metadata(file)
        groups = map(metadata.row_group, range(metadata.num_row_groups))  # one at a time: they take much memory
        schema = metadata.schema.to_arrow_schema()
        return tuple(schema.names), class_names(schema), [(group.num_rows, group.total_byte_size) for group in groups]

    @property
    def row_count(self) -> int:
        """Rows of all files."""
        return int(self.rows.sum())

    def check_columns(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Every file with rows must have every column; ``wanted`` has the config's key for each.

        Raises:
            DataError: naming the first file that lacks one.
        """
        for key, column in wanted:
            for address, columns, has_rows in zip(self.addresses, self.columns, self.has_rows, strict=True):
                if has_rows:
                    check_column(column, columns, f"{self.name}.{key}: {address}")

    def pieces(
        self, lane: int = 0, lanes: int = 1, seed: int | None = None, limit: int | None = None, spread: bool = False
    ) -> "Pieces":
        """A lane's part of the rows. The parts of all lanes together are all rows, each once.

        The row groups, in an order drawn from ``seed`` (None: as they lie), are one line, cut into ``lanes`` parts
        whose lengths differ by a row at most: they are even however few files or row groups there are.

        Args:
            limit: only the first so many rows as they lie.
            spread: every ``lanes``-th row as they lie instead of a part of the line.
        """
        before = np.cumsum(self.rows) - self.rows
        if spread:
            return Pieces(np.arange(len(self.rows)), (lane - before) % lanes, self.rows, lanes)
        rows = self.rows if limit is None else np.clip(limit - before, 0, self.rows)
        order = np.flatnonzero(rows)
        if seed is not None:
            order = np.random.default_rng(seed).permutation(order)
        ends = np.cumsum(rows[order])
        each, more = divmod(int(ends[-1]) if len(ends) else 0, lanes)
        begin = lane * each + min(lane, more)
        end = begin + each + (lane < more)
        first, last = np.searchsorted(ends, [begin, end - 1], side="right") if end > begin else (0, -1)
        own = order[first : last + 1]
        starts, stops = np.zeros_like(own), rows[own]
        if len(own):
            starts[0] = begin - (ends[first] - rows[own[0]])
            stops[-1] -= ends[last] - end
        return Pieces(own, starts, stops, 1)

    def read(self, piece: Piece, skip: int, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """The rows of a piece after the first ``skip``.

        Raises:
            DataError: naming file and row group, where it cannot be read.
        """
        first = piece.start + skip * piece.step
        begin = 0  # of the part within the row group
        classes = self.classes[int(self.file[piece.group])]
        for part in self.parts(piece.group, columns):
            if begin >= piece.stop:
                return
            end = min(begin + len(part), piece.stop)
            start = first if first >= begin else begin + (first - begin) % piece.step
            if start < end:
                chosen = part.slice(start - begin, end - start)
                if piece.step > 1:
                    chosen = chosen.take(pa.array(range(0, len(chosen), piece.step)))
                yield from (named(row, classes) for row in to_rows(chosen))
            begin += len(part)

    def parts(self, group: int, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """A row group from its beginning, some megabytes at a time."""
        file, number, size = int(self.file[group]), int(self.number[group]), int(self.size[group])
        address = self.addresses[file]
        place = f"{address}, row group {number}"
        rows_at_once = max(1, min(4096, int(self.rows[group]) * PART_BYTES // max(size, 1)))
        whole = size <= WHOLE_GROUP_BYTES
        try:
            metadata, file_size = self.metadata(file)
            opened: Any = address
            if storage.is_remote(address):
                kept = group_range(metadata.row_group(number), columns) if whole else (0, 0)
                opened = pa.PythonFile(RemoteBytes(address, place, file_size, *kept), mode="r")
            parquet = pq.ParquetFile(
                opened,
                metadata=metadata,
                buffer_size=0 if whole else PART_BYTES,
                pre_buffer=False,
                page_checksum_verification=True,
            )
            yield from parquet.iter_batches(rows_at_once, row_groups=[number], columns=columns, use_threads=False)
        except storage.StorageError as error:
            raise DataError(f"{self.name}: {error}") from error
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self.name}: cannot read {place}: {storage.reason(error)}") from error


def group_range(group: pq.RowGroupMetaData, columns: Sequence[str] | None) -> tuple[int, int]:
    """First and past-the-last byte of the wanted columns of a row group."""
    chunks = [group.column(i) for i in range(group.num_columns)]
    if columns is not None:
        prefixes = tuple(f"{column}." for column in columns)
        chunks = [chunk for chunk in chunks if f"{chunk.path_in_schema}.".startswith(prefixes)]
    starts = [chunk.dictionary_page_offset or chunk.data_page_offset for chunk in chunks]
    ends = [start + chunk.total_compressed_size for start, chunk in zip(starts, chunks, strict=True)]
    return min(starts, default=0), max(ends, default=0)


def to_rows(part: pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows as dicts. A cell that Python cannot hold (:func:`readable`) is the fault of its row alone."""
    try:
        return part.to_pylist()
    except UNREADABLE:
        columns = zip(part.schema.names, part.columns, strict=True)
        values = {name: [readable(value) for value in column] for name, column in columns}
        return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def readable(value: pa.Scalar) -> Any:
    """A cell's value; a text that is not UTF-8 as bytes, and as a list, which is no text, a time beyond Python's."""
    try:
        return value.as_py()
    except UNREADABLE:
        return value.as_buffer().to_pybytes() if hasattr(value, "as_buffer") else [str(value.type)]


class Pieces:
    """A lane's pieces, in order, kept as arrays."""

    def __init__(self, groups: np.ndarray, starts: np.ndarray, stops: np.ndarray, step: int) -> None:
        self.groups, self.starts, self.stops, self.step = groups, starts, stops, step

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> Piece:
        return Piece(int(self.groups[index]), int(self.starts[index]), int(self.stops[index]), self.step)


class ParquetRows:
    """A lane's rows in order; its position is a few numbers."""

    def __init__(self, files: ParquetFiles, pieces: Pieces, columns: Sequence[str] | None = None) -> None:
        self.files, self.pieces, self.columns = files, pieces, columns
        self.piece = self.row = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while self.piece < len(self.pieces):
            for row in self.files.read(self.pieces[self.piece], self.row, self.columns):
                self.row += 1
                yield row
            self.piece, self.row = self.piece + 1, 0

    def state_dict(self) -> dict[str, int]:
        """Where the rows given so far end; ``of`` is the number of rows of all files."""
        return {"piece": self.piece, "row": self.row, "of": self.files.row_count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a state of :meth:`state_dict`.

        Raises:
            DataError: where the files have other rows than then.
        """
        if state["of"] != self.files.row_count:
            raise DataError(
                f"{self.files.name}: the files have {self.files.row_count:,} rows; when the checkpoint was written "
                f"they had {state['of']:,}: an epoch cannot go on in other data. Begin a run from that model"
            )
        self.piece, self.row = state["piece"], state["row"]
