"""Finds how a table of separated fields is written, or refuses it with what is unclear; :mod:`.separated` reads it."""

import contextlib
import functools
import posixpath
from collections.abc import Collection
from dataclasses import replace

from .... import storage
from ....errors import DataError
from ...columns import plain_name
from ...settings import KNOWN_NAMES, CorpusSettings
from .separated import (
    OFTEN_UNQUOTED,
    SEPARATORS,
    Dialect,
    Lines,
    Quotes,
    QuotesSeen,
    Tally,
    check_header,
    header_of,
    is_quoted,
    quoted,
    rows_of,
    shortened,
)
from .text_files import HOW_TO_SAVE, opened_text


def dialect_of(file: str, settings: CorpusSettings) -> Dialect:
    """How a table is written; the same table is looked through once.

    Raises:
        DataError: naming file and line, for what cannot be read, has no header, or can be read in two ways.
    """
    known = {plain_name(name) for names in KNOWN_NAMES.values() for name in names}
    known.update(plain_name(name) for name in settings.columns.values() if name)
    return found_dialect(file, storage.version(file), own_separator(file), frozenset(known))


def own_separator(file: str) -> str:
    """The separator that a file's suffix says: tabs of .tsv, and of the .txt that Excel calls Unicode text."""
    suffix = posixpath.splitext(file.lower().removesuffix(".gz"))[1]
    return "\t" if suffix in (".tsv", ".txt") else ","


@functools.lru_cache(maxsize=256)
def found_dialect(file: str, version: str, own: str, known: Collection[str]) -> Dialect:
    """See :func:`dialect_of`; ``version``: of the file, so that another is looked through anew."""
    with opened_text(file) as content:
        lines = Lines(content)
        separator, header = header_of(iter(lines), own, known)
        check_header(file, lines.number, header, known)
        quotes: Quotes = "none" if separator in OFTEN_UNQUOTED else "standard"
        if any("\n" in name or "\r" in name for name in header) or (lines.last.count('"') % 2 and quotes == "standard"):
            raise DataError(f"{file}: line {lines.number}: a quote of the header is never closed: it is one line")
        dialect = Dialect(separator, quotes, header, lines.number)
        seen = QuotesSeen()
        if any(map(is_quoted, lines.last.strip().split(separator))):
            seen.sure = lines.number
        tally = tally_of(lines, dialect, file, seen)
    if tally.spaced and separator not in OFTEN_UNQUOTED:
        dialect = replace(dialect, spaced=True)
        tally = standard_tally(file, dialect)
    notices = []
    if separator != own:
        if tally.rows and not tally.fitting and not tally.common_surplus:
            raise DataError(f"{file}: the header looks separated by {called(separator)}, but no row has its "
                            f"{len(header)} fields")  # fmt: skip
        notices.append(f"{file} is separated by {called(separator)}")
    if lines.undecoded:
        notices.append(f"{file}: {lines.undecoded:,} lines are not UTF-8, the first is line {lines.first_undecoded}: "
                       f"{HOW_TO_SAVE}")  # fmt: skip
    if quotes == "none":
        dialect, tally, notice = with_quotes(file, dialect, tally, seen)
        notices += notice
    if tally.unnamed:
        notices.append(f"{file}: a column without a name in the header was not used")
    return replace(dialect, surplus=tally.common_surplus, notices=tuple(notices))


def called(separator: str) -> str:
    """A separator in words."""
    return SEPARATORS.get(separator, repr(separator))


def tally_of(lines: Lines, dialect: Dialect, file: str, seen: QuotesSeen | None = None) -> Tally:
    """Look through the rows of a table that is open behind its header; quotes in them are told to ``seen``."""
    tally = Tally()
    blank_names = [place for place, name in enumerate(dialect.header) if not name]
    seen = seen if dialect.quotes == "none" else None
    for line, fields in rows_of(lines, dialect, file):
        tally.add(fields, dialect.header, blank_names)
        if seen is not None and '"' in lines.last:
            seen.add(line, fields)
        elif seen is None and ' "' in lines.last:
            tally.spaced = tally.spaced or any(cell[:1] == " " and cell.lstrip()[:1] == '"' for cell in fields)
    return tally


def with_quotes(file: str, dialect: Dialect, tally: Tally, seen: QuotesSeen) -> tuple[Dialect, Tally, tuple[str, ...]]:
    """The dialect of a table with tabs or pipes, as far as its quotes tell; its tally, and what is to be told.

    Raises:
        DataError: if fields in quotes are quoted in one line and texts in another.
    """
    by_field = replace(dialect, quotes="by field")
    if not seen.never:
        notice: tuple[str, ...] = ()
        if seen.maybe and not seen.sure:
            notice = (f"{file}: quotes around whole fields were taken off, first in line {seen.maybe}; if they are "
                      "the text's own, double them and put quotes around it",)  # fmt: skip
        return by_field if seen.sure or seen.maybe else dialect, tally, notice
    if tally.fitting < tally.rows:
        standard = replace(dialect, quotes="standard")
        with contextlib.suppress(DataError):
            other = standard_tally(file, standard)
            if other.fitting == other.rows:
                return standard, other, ()
    if seen.sure and seen.opening:
        right = f"{shortened(seen.example)} with its quotes doubled, {shortened(quoted(seen.example))}"
        raise DataError(f"{file}: line {seen.sure} is quoted by the rules of CSV, line {seen.opening} is not: "
                        f"write {right}")  # fmt: skip
    if seen.sure:
        return by_field, tally, ()
    remark: tuple[str, ...] = ()
    if seen.maybe:
        remark = (f"{file}: quotes around whole texts, first in line {seen.maybe}, were taken for the texts' own, as "
                  f"line {seen.never} has quotes that are",)  # fmt: skip
    return dialect, tally, remark


def standard_tally(file: str, dialect: Dialect) -> Tally:
    """The rows of a table whose quotes are RFC 4180's.

    Raises:
        DataError: if they break its rules.
    """
    with opened_text(file) as content:
        return tally_of(Lines(content), dialect, file)
