"""JSON, JSON lines, CSV and TSV in pieces of so many rows, read once from front to back whatever their size.

A piece is small, goes to whoever prepares it, and gives its records there: parsing is part of the work shared out.
"""

import csv
import functools
import gzip
import io
import json
import posixpath
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ... import storage
from ...audio.decoding import one_line
from ...errors import DataError
from ..census import Census
from ..columns import Layout
from ..format import Fault, Format, Listed, Piece, digest, in_pieces
from ..settings import CorpusSettings
from .json_items import DECODER, MAX_ITEM, list_items

MAX_FIELD = 2**24  # characters of a CSV field; what is longer comes of a quote that is never closed
LOOKED_AT = 500  # rows of JSON that tell which columns there are
csv.field_size_limit(MAX_FIELD)

LayoutOf = Callable[[Iterable[str]], Layout]  # how the rows of a file with these columns are read


@dataclass(frozen=True, kw_only=True)
class Objects(Listed, Piece):
    """Rows that are parsed already."""

    @staticmethod
    def parse(row: Any) -> dict[str, Any] | Fault | None:
        """A row as it is, or why it has no columns."""
        return row if isinstance(row, dict) else Fault(f"{type(row).__name__}, not an object with columns")

    def parsed(self) -> Iterable[dict[str, Any] | Fault | None]:
        return map(self.parse, self.rows)

    def digest(self) -> str:
        return digest(json.dumps(row, sort_keys=True, default=repr).encode() for row in self.rows)


@dataclass(frozen=True, kw_only=True)
class JsonLines(Objects):
    """Lines of a file, as bytes."""

    row_word = "line"

    @staticmethod
    def parse(row: bytes) -> dict[str, Any] | Fault | None:
        """The object of a line; None for a blank one."""
        if not row.strip():
            return None
        try:
            return Objects.parse(DECODER.decode(row.decode("utf-8")))
        except UnicodeDecodeError as error:
            return Fault(f"not UTF-8: {one_line(error)}")
        except (ValueError, RecursionError) as error:
            return Fault(f"not JSON: {one_line(error)}")

    def digest(self) -> str:
        return digest(self.rows)


@dataclass(frozen=True, kw_only=True)
class TableRows(Listed, Piece):
    """Rows of fields, counted from the header on; not all of them are as long as it."""

    header: tuple[str, ...]

    def parsed(self) -> Iterator[dict[str, Any] | Fault]:
        width = len(self.header)
        for fields in self.rows:
            if len(fields) != width:
                yield Fault(f"{len(fields)} fields where the header has {width}; quote a text with the separator")
            elif not all(map(str.isprintable, fields)) and any("\udc80" <= c <= "\udcff" for f in fields for c in f):
                yield Fault("not UTF-8")
            else:
                yield dict(zip(self.header, fields, strict=True))

    def digest(self) -> str:
        return digest("\x1f".join(row).encode("utf-8", "surrogateescape") for row in (self.header, *self.rows))


def read_table(
    file: str,
    settings: CorpusSettings,
    split: str | None,
    census: Census,
    *,
    root: str | None = None,
    layout: type[Layout] = Layout,
) -> Iterator[Objects | TableRows]:
    """A table in pieces of ``settings.job_rows`` rows.

    Args:
        split: of rows that do not name theirs.
        census: is told that the table is used.
        root: what audio paths are relative to where the settings do not say; else the file's folder.
        layout: how rows become records.

    Raises:
        DataError: if the file cannot be read as what its suffix says, or lacks columns.
    """
    suffix = posixpath.splitext(file.removesuffix(".gz"))[1].lower()
    read = read_separated if suffix in (".csv", ".tsv") else read_json
    root = root or posixpath.dirname(file) or "."
    census.use(file)
    with opened(file) as content:
        try:
            if content.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise DataError(f"{file} is UTF-16; save it as UTF-8")
            if content.peek(3)[:3] == b"\xef\xbb\xbf":  # spreadsheets begin with a byte-order mark
                content.read(3)
            layout_of = functools.partial(layout.of, file, settings, root=root, split=split)
            yield from read(file, content, settings.job_rows, layout_of)
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"{file} cannot be read to its end: {one_line(error)}") from None


TABLE = Format("table", read_table, suffixes=(".csv", ".tsv", ".csv.gz", ".tsv.gz"))
JSON = Format("json", read_table, suffixes=(".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".ndjson.gz"))


def opened(file: str) -> io.BufferedReader:
    """A file, unpacked where it is gzip's, with room to look ahead."""
    raw: Any = storage.open_file(file)
    if file.endswith(".gz"):
        raw = gzip.GzipFile(fileobj=raw)
    return io.BufferedReader(raw, 2**20)


def read_separated(file: str, content: io.BufferedReader, job_rows: int, layout_of: LayoutOf) -> Iterator[TableRows]:
    """CSV with quotes as RFC 4180 has them; TSV without any, as its texts hold quotes that are just that."""
    text = io.TextIOWrapper(content, encoding="utf-8", errors="surrogateescape", newline="")
    tabs = ".tsv" in posixpath.basename(file).lower()
    reader = csv.reader(text, csv.excel_tab, quoting=csv.QUOTE_NONE) if tabs else csv.reader(text, strict=True)
    number = -1  # of the row that was read last; the header is 0

    def rows() -> Iterator[tuple[str, ...]]:
        nonlocal number
        for fields in filter(None, reader):
            number += 1
            yield tuple(map(unquoted, fields) if tabs else fields)

    filled = rows()
    try:
        header = tuple(field.strip() for field in next(filled, ()))
        check_header(file, header)
        layout = layout_of(header)
        for first, piece in in_pieces(filled, job_rows):
            yield TableRows(file=file, first=first, rows=piece, layout=layout, header=header)
    except csv.Error as error:
        raise DataError(f"{file}: after row {max(number, 0)} (line {reader.line_num}): {one_line(error)}") from None


def unquoted(field: str) -> str:
    """A field of a TSV file without the quotes around it, if it has them."""
    if len(field) > 1 and field[0] == field[-1] == '"':
        return field[1:-1].replace('""', '"')
    return field


def check_header(file: str, header: tuple[str, ...]) -> None:
    """Raises: DataError: if a table's columns have no names, or one twice."""
    if not header:
        raise DataError(f"{file} is empty: a first line with the columns' names is missing")
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise DataError(f"{file}: the header has {sorted(twice)[0]!r} twice")
    if any("\udc80" <= letter <= "\udcff" for name in header for letter in name):
        raise DataError(f"{file}: the header is not UTF-8")


def read_json(file: str, content: io.BufferedReader, job_rows: int, layout_of: LayoutOf) -> Iterator[Objects]:
    """JSON lines, or one JSON list of objects, of which no more than a piece is held at a time."""
    kind: type[Objects] = JsonLines
    rows: Iterator[Any] = iter(lambda: content.readline(MAX_ITEM), b"")
    if content.peek(1).lstrip()[:1] == b"[":
        kind, rows = Objects, list_items(file, content)
    layout = None
    for first, piece in in_pieces(rows, job_rows):
        layout = layout or layout_of(columns_among(file, map(kind.parse, piece)))
        yield kind(file=file, first=first, rows=piece, layout=layout)
    if layout is None:
        raise DataError(f"{file} is empty: JSON lines or a JSON list of objects are right")


def columns_among(file: str, rows: Iterable[dict[str, Any] | Fault | None]) -> list[str]:
    """The columns of the first objects among these rows, in the order in which they come.

    Raises:
        DataError: if there is none.
    """
    columns: dict[str, None] = {}
    fault = "it is empty"
    for row in islice(rows, LOOKED_AT):
        if isinstance(row, Fault):
            fault = row
        elif row is not None:
            columns |= dict.fromkeys(row)
    if not columns:
        raise DataError(f"{file} is neither JSON lines nor a JSON list of objects: {fault}")
    return list(columns)
