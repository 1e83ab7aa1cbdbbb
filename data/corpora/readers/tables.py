"""JSON, JSON lines, CSV and TSV in pieces of so many rows, read from front to back whatever their size.

A piece is small, goes to whoever prepares it, and gives its records there: parsing is part of the work shared out.
"""

import contextlib
import functools
import io
import json
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from ... import storage
from ...audio.decoding import one_line
from ...errors import DataError
from ..census import Census
from ..columns import Layout, resolve_columns
from ..format import Fault, Format, Listed, Piece, digest, in_pieces
from ..settings import CorpusSettings
from .table_files.dialects import called, dialect_of
from .table_files.json_items import DECODER, MAX_ITEM, list_items
from .table_files.separated import UNDECODED, Lines, rows_of
from .table_files.stems import Stems
from .table_files.text_files import HOW_TO_SAVE, opened, opened_text

__all__ = ["opened"]  # of text_files, for the readers of other texts

LOOKED_AT = 500  # rows of JSON that tell which columns there are
WORDS_FOR_NOTHING = frozenset(("NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "Null", "None", "none", "nil"))

LayoutOf = Callable[[Iterable[str]], Layout]  # how the rows of a file with these columns are read


@dataclass(frozen=True, kw_only=True)
class Objects(Listed, Piece):
    """Rows that are parsed already."""

    @staticmethod
    def parse(row: Any) -> dict[str, Any] | Fault | None:
        """A row as it is, or why it has no columns."""
        return row if isinstance(row, (dict, Fault)) else Fault(f"{type(row).__name__}, not an object with columns")

    @staticmethod
    def paths(rows: Iterable[Any], column: str) -> Iterator[object]:
        """What the rows have in a column, which may be no path."""
        return (row.get(column) for row in rows if isinstance(row, dict))

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
            return Objects.parse(DECODER.decode(row.decode("utf-8-sig")))
        except UnicodeDecodeError as error:
            return Fault(f"not UTF-8: {one_line(error)}")
        except (ValueError, RecursionError) as error:
            return Fault(f"not JSON: {one_line(error)}")

    @staticmethod
    def paths(rows: Iterable[Any], column: str) -> Iterator[object]:
        """What the lines have in a column, found without parsing them, which is not this process's work."""
        cell = re.compile(re.escape(json.dumps(column, ensure_ascii=False)).encode() + rb'\s*:\s*("(?:[^"\\]|\\.)*")')
        for row in rows:
            found = cell.search(row)
            if found:
                with contextlib.suppress(ValueError):
                    yield json.loads(found[1]) if b"\\" in found[1] else found[1][1:-1].decode()

    def digest(self) -> str:
        return digest(self.rows)


@dataclass(frozen=True, kw_only=True)
class TableRows(Listed, Piece):
    """Rows of fields, counted from the header on; not all of them are as long as it. ``advice``: for those."""

    header: tuple[str, ...]
    advice: str

    def parsed(self) -> Iterator[dict[str, Any] | Fault]:
        width = len(self.header)
        for fields in self.rows:
            if len(fields) != width:
                yield Fault(f"{len(fields)} fields where the header has {width}; {self.advice}")
            elif not all(map(str.isprintable, fields)) and any(map(UNDECODED.search, fields)):
                yield Fault(f"not UTF-8: {HOW_TO_SAVE}")
            elif fields[0].strip() == self.header[0] and tuple(map(str.strip, fields)) == self.header:
                yield Fault("the header again: tables were joined here")
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
    suffix = posixpath.splitext(file.lower().removesuffix(".gz"))[1]
    root = root or posixpath.dirname(file) or "."
    census.use(file)
    layout_of = functools.partial(layout.of, file, settings, root=root, split=split)
    if suffix in JSON_SUFFIXES:
        with opened_text(file) as content:
            yield from read_json(file, content, settings.job_rows, layout_of)
    else:
        yield from read_separated(file, settings, layout_of, census)


def has_columns(file: str, settings: CorpusSettings) -> bool:
    """Whether a text file is a table: its header has columns for audio and text."""
    try:
        resolve_columns(settings, filter(None, dialect_of(file, settings).header), file)
    except storage.StorageError:
        raise
    except DataError:
        return False
    return True


JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
TABLE = Format("table", read_table, suffixes=(".csv", ".tsv", ".csv.gz", ".tsv.gz"))
TEXT_TABLE = Format("table", read_table, suffixes=(".txt",), is_file=has_columns)
JSON = Format("json", read_table, suffixes=(*JSON_SUFFIXES, ".json.gz", ".jsonl.gz", ".ndjson.gz"))


def read_separated(file: str, settings: CorpusSettings, layout_of: LayoutOf, census: Census) -> Iterator[TableRows]:
    """A table of separated fields; see :mod:`.table_files.dialects` for how it may be written."""
    dialect = dialect_of(file, settings)
    header = dialect.header
    layout = replace(layout_of(filter(None, header)), decimal_comma=dialect.separator != ",")
    for notice in dialect.notices:
        census.notice(notice)
    words = WordsForNothing(header, layout)
    advice = "quote a text with the separator"
    if dialect.quotes == "none":
        advice = f"a text cannot hold {called(dialect.separator)} here"
    audio, name = (header.index(column) if column else None for column in (layout.names["audio"], layout.names["id"]))
    stems = Stems()

    def path_of(row: tuple[str, ...]) -> str | None:
        """The path that a row's id is made of, if it has none."""
        has_name = name is not None and name < len(row) and row[name]
        return None if audio is None or has_name or audio >= len(row) else row[audio]

    with opened_text(file) as content:
        rows = words.watched(rows_of(Lines(content), dialect, file))
        for first, piece in in_pieces(rows, settings.job_rows):
            own = replace(layout, twins=stems.twins(map(path_of, piece)))
            yield TableRows(file=file, first=first, rows=piece, layout=own, header=header, advice=advice)
    words.tell(file, census)


class WordsForNothing:
    """Cells of a table that hold a word such as nan: it may be a word, or a program's word for a missing value."""

    def __init__(self, header: tuple[str, ...], layout: Layout) -> None:
        watched = {key: layout.names[key] for key in ("text", "speaker", "language", "id")}
        self.places = {key: header.index(column) for key, column in watched.items() if column}
        self.found: dict[tuple[str, str], list[int]] = {}

    def watched(self, rows: Iterable[tuple[int, tuple[str, ...]]]) -> Iterator[tuple[str, ...]]:
        """Rows as they are, without their lines' numbers."""
        for line, fields in rows:
            if not WORDS_FOR_NOTHING.isdisjoint(fields):
                for key, place in self.places.items():
                    if place < len(fields) and fields[place] in WORDS_FOR_NOTHING:
                        self.found.setdefault((key, fields[place]), []).append(line)
            yield fields

    def tell(self, file: str, census: Census) -> None:
        """Tell the census how often each was found, and where first."""
        for (key, word), lines in self.found.items():
            census.notice(
                f"{file}: {key} is {word!r} in {len(lines):,} rows, first in line {lines[0]}: taken as a word, not as "
                "missing"
            )


def read_json(file: str, content: io.BufferedReader, job_rows: int, layout_of: LayoutOf) -> Iterator[Objects]:
    """JSON lines, or one JSON list of objects, of which no more than a piece is held at a time."""
    kind: type[Objects] = JsonLines
    rows: Iterator[Any] = iter(lambda: content.readline(MAX_ITEM), b"")
    if content.peek(1).lstrip()[:1] == b"[":
        kind, rows = Objects, list_items(file, content)
    layout, stems = None, Stems()
    for first, piece in in_pieces(rows, job_rows):
        layout = layout or layout_of(columns_among(file, map(kind.parse, piece)))
        own = layout
        if layout.names["id"] is None:
            own = replace(layout, twins=stems.twins(kind.paths(piece, str(layout.names["audio"]))))
        yield kind(file=file, first=first, rows=piece, layout=own)
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
