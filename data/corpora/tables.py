"""JSON, JSON lines, CSV and TSV in pieces of so many rows, read once from front to back whatever their size.

A piece is small, goes to whoever prepares it, and gives its records there: parsing is part of the work shared out.
"""

import csv
import hashlib
import io
import json
import posixpath
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .. import storage
from ..audio.decoding import one_line
from ..errors import DataError
from .columns import Layout, resolve_columns
from .json_items import DECODER, MAX_ITEM, list_items
from .record import Record
from .settings import CorpusSettings

MAX_FIELD = 2**24  # characters of a CSV field; what is longer comes of a quote that is never closed
LOOKED_AT = 50  # rows of JSON lines that tell which columns there are
csv.field_size_limit(MAX_FIELD)


@dataclass(frozen=True)
class JsonLines:
    """Lines of a file, the first of them line ``first``."""

    file: str
    first: int
    lines: tuple[bytes, ...]
    layout: Layout

    def records(self) -> Iterator[Record]:
        for number, line in enumerate(self.lines, start=self.first):
            if not line.strip():
                continue
            place = f"{self.file}: line {number}"
            try:
                row = DECODER.decode(line.decode("utf-8"))
            except UnicodeDecodeError as error:
                yield Record(place, fault=f"not UTF-8: {one_line(error)}")
            except (ValueError, RecursionError) as error:
                yield Record(place, fault=f"not JSON: {one_line(error)}")
            else:
                if isinstance(row, dict):
                    yield self.layout.record(row, place)
                else:
                    yield Record(place, fault=f"{type(row).__name__}, not an object with columns")

    def digest(self) -> str:
        return digest(self.lines)


@dataclass(frozen=True)
class TableRows:
    """Rows of fields, the first of them row ``first`` after the header; not all of them as long as the header."""

    file: str
    first: int
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    layout: Layout

    def records(self) -> Iterator[Record]:
        width = len(self.header)
        for number, fields in enumerate(self.rows, start=self.first):
            place = f"{self.file}: row {number}"
            if len(fields) != width:
                fault = f"{len(fields)} fields where the header has {width}; a text with the separator wants quotes"
                yield Record(place, fault=fault)
            elif not all(map(str.isprintable, fields)) and any("\udc80" <= c <= "\udcff" for f in fields for c in f):
                yield Record(place, fault="not UTF-8")
            else:
                yield self.layout.record(dict(zip(self.header, fields, strict=True)), place)

    def digest(self) -> str:
        return digest("\x1f".join(row).encode("utf-8", "surrogateescape") for row in (self.header, *self.rows))


@dataclass(frozen=True)
class Objects:
    """Rows that are parsed already, the first of them row ``first``."""

    file: str
    first: int
    rows: tuple[Any, ...]
    layout: Layout

    def records(self) -> Iterator[Record]:
        for number, row in enumerate(self.rows, start=self.first):
            place = f"{self.file}: row {number}"
            if isinstance(row, dict):
                yield self.layout.record(row, place)
            else:
                yield Record(place, fault=f"{type(row).__name__}, not an object with columns")

    def digest(self) -> str:
        return digest(json.dumps(row, sort_keys=True, default=repr).encode() for row in self.rows)


Rows = JsonLines | TableRows | Objects


def digest(parts: Iterable[bytes]) -> str:
    """One digest of several byte strings."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        hasher.update(len(part).to_bytes(8, "little"))
        hasher.update(part)
    return hasher.hexdigest()


def read_table(
    file: str, settings: CorpusSettings, split: str | None = None, root: str | None = None
) -> Iterator[Rows]:
    """A table in pieces of ``settings.job_rows`` rows.

    Args:
        split: of rows that do not name theirs.
        root: what audio paths are relative to where the settings do not say; else the file's folder.

    Raises:
        DataError: if the file cannot be read as what its suffix says, or has not the columns.
    """
    suffix = posixpath.splitext(file.removesuffix(".gz"))[1].lower()
    read = read_separated if suffix in (".csv", ".tsv") else read_json
    with opened(file) as content:
        try:
            if content.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise DataError(f"{file} is UTF-16; save it as UTF-8")
            if content.peek(3)[:3] == b"\xef\xbb\xbf":  # spreadsheets begin with a byte-order mark
                content.read(3)
            yield from read(file, content, settings, split, root)
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"{file} cannot be read to its end: {one_line(error)}") from None


def opened(file: str) -> io.BufferedReader:
    """A file, unpacked where it is gzip's, with room to look ahead."""
    raw: Any = storage.open_file(file)
    if file.endswith(".gz"):
        import gzip

        raw = gzip.GzipFile(fileobj=raw)
    return io.BufferedReader(raw, 2**20)


def layout_for(
    file: str, settings: CorpusSettings, columns: Iterable[str], split: str | None, root: str | None
) -> Layout:
    """How the rows of this file are read; see :func:`read_table`."""
    return Layout(
        names=resolve_columns(settings, columns, file),
        root=settings.audio_root or root or posixpath.dirname(file) or ".",
        confined=settings.audio_root is not None,
        extra=settings.carried,
        split=split,
        language=settings.language,
    )


def read_separated(
    file: str, content: io.BufferedReader, settings: CorpusSettings, split: str | None, root: str | None
) -> Iterator[TableRows]:
    """CSV with quotes as RFC 4180 has them; TSV without any, as its texts hold quotes that are just that."""
    text = io.TextIOWrapper(content, encoding="utf-8", errors="surrogateescape", newline="")
    tabs = ".tsv" in posixpath.basename(file).lower()
    rows = csv.reader(text, csv.excel_tab, quoting=csv.QUOTE_NONE) if tabs else csv.reader(text, strict=True)
    batch: list[tuple[str, ...]] = []
    first = number = 0
    layout, header = None, tuple[str, ...]()
    try:
        for fields in rows:
            if not fields:
                continue
            if layout is None:
                header = tuple(field.strip() for field in fields)
                check_header(file, header)
                layout = layout_for(file, settings, header, split, root)
                first = 1
                continue
            number += 1
            batch.append(tuple(map(unquoted, fields) if tabs else fields))
            if len(batch) == settings.job_rows:
                yield TableRows(file, first, header, tuple(batch), layout)
                batch, first = [], number + 1
    except csv.Error as error:
        raise DataError(f"{file}: after row {number} (line {rows.line_num}): {one_line(error)}") from None
    if layout is None:
        raise DataError(f"{file} is empty: a first line with the columns' names is missing")
    if batch:
        yield TableRows(file, first, header, tuple(batch), layout)


def unquoted(field: str) -> str:
    """A field of a TSV file without the quotes around it, if it has them."""
    if len(field) > 1 and field[0] == field[-1] == '"':
        return field[1:-1].replace('""', '"')
    return field


def check_header(file: str, header: tuple[str, ...]) -> None:
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise DataError(f"{file}: the header has {sorted(twice)[0]!r} twice")
    if any("\udc80" <= letter <= "\udcff" for name in header for letter in name):
        raise DataError(f"{file}: the header is not UTF-8")


def read_json(
    file: str, content: io.BufferedReader, settings: CorpusSettings, split: str | None, root: str | None
) -> Iterator[Rows]:
    """JSON lines, or one JSON list of objects."""
    if content.peek(1).lstrip()[:1] == b"[":
        yield from read_json_list(file, content, settings, split, root)
        return
    batch: list[bytes] = []
    first, layout = 1, None
    for number, line in enumerate(iter(lambda: content.readline(MAX_ITEM), b""), start=1):
        batch.append(line)
        if len(batch) == settings.job_rows:
            layout = layout or layout_for(file, settings, columns_of(file, batch), split, root)
            yield JsonLines(file, first, tuple(batch), layout)
            batch, first = [], number + 1
    if batch or layout is None:
        yield JsonLines(
            file, first, tuple(batch), layout or layout_for(file, settings, columns_of(file, batch), split, root)
        )


def columns_of(file: str, lines: list[bytes]) -> list[str]:
    """The columns of the first objects among these lines, in the order in which they come.

    Raises:
        DataError: if there is none.
    """
    columns: dict[str, None] = {}
    problem = "it is empty"
    for line in filter(bytes.strip, lines[: LOOKED_AT * 10]):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            problem = one_line(error)
            continue
        if isinstance(row, dict):
            columns |= dict.fromkeys(row)
        else:
            problem = f"a line holds {type(row).__name__}, not an object"
    if not columns:
        raise DataError(f"{file} is neither JSON lines nor a JSON list of objects: {problem}")
    return list(columns)


def read_json_list(
    file: str, content: io.BufferedReader, settings: CorpusSettings, split: str | None, root: str | None
) -> Iterator[Objects]:
    """A list of objects, of which no more than a piece is held at a time."""
    batch: list[Any] = []
    first, layout, number = 1, None, 0
    for number, row in enumerate(list_items(file, content), start=1):
        batch.append(row)
        if len(batch) == settings.job_rows:
            layout = layout or layout_for(file, settings, object_columns(file, batch), split, root)
            yield Objects(file, first, tuple(batch), layout)
            batch, first = [], number + 1
    if batch:
        layout = layout or layout_for(file, settings, object_columns(file, batch), split, root)
        yield Objects(file, first, tuple(batch), layout)
    if not number:
        raise DataError(f"{file} is an empty list")


def object_columns(file: str, rows: list[Any]) -> list[str]:
    columns: dict[str, None] = {}
    for row in rows[:LOOKED_AT]:
        columns |= dict.fromkeys(row) if isinstance(row, dict) else {}
    if not columns:
        raise DataError(f"{file} is a list without objects")
    return list(columns)
