"""How a table of separated fields is written: found by one pass over it, before a second one reads its rows.

With commas and semicolons quotes are RFC 4180's (https://www.rfc-editor.org/rfc/rfc4180), but for spaces before them.
With tabs and pipes most programs write no quotes, and some do: the table itself tells which.
"""

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from ....audio.decoding import one_line
from ....audio.suffixes import is_sound
from ....errors import DataError
from ...columns import plain_name
from .text_files import HOW_TO_SAVE

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}
OFTEN_UNQUOTED = "\t|"
NAMED_SEPARATOR = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)  # Excel's first line
UNDECODED = re.compile("[\udc80-\udcff]")
MAX_FIELD = 2**24  # characters of a field; what is longer comes of a quote that is never closed
csv.field_size_limit(MAX_FIELD)

Fields = tuple[str, ...]
Quotes = Literal["standard", "by field", "none"]


@dataclass(frozen=True)
class Dialect:
    """How a table is written.

    Attributes:
        quotes: ``standard``: RFC 4180's. ``by field``: taken off a field that is quoted by its rules, where no field
            goes over lines. ``none``: quotes are text.
        header: the columns' names; blank ones too.
        begins: lines before the first row.
        spaced: spaces before a field are none of it, as there are some before quotes.
        surplus: fields of every row beyond the header, all of them blank.
        notices: what the user should know.
    """

    separator: str
    quotes: Quotes = "standard"
    header: Fields = ()
    begins: int = 1
    spaced: bool = False
    surplus: int = 0
    notices: tuple[str, ...] = field(default=(), compare=False)


class Lines:
    """The lines of a table; byte-order marks at their beginnings, which come of joining tables, are left out."""

    def __init__(self, content: io.BufferedReader) -> None:
        # newline="": a line break within quotes stays what it is.
        self.text = io.TextIOWrapper(content, encoding="utf-8", errors="surrogateescape", newline="")
        self.last, self.number, self.undecoded, self.first_undecoded = "", 0, 0, 0

    def __iter__(self) -> Iterator[str]:
        for line in self.text:
            self.number += 1
            if not line.isascii():
                line = line.removeprefix("\ufeff")
                try:
                    line.encode()
                except UnicodeEncodeError:
                    self.undecoded += 1
                    self.first_undecoded = self.first_undecoded or self.number
            self.last = line
            yield line


def rows_of(lines: Lines, dialect: Dialect, file: str) -> Iterator[tuple[int, Fields]]:
    """Number of the last line, and fields, of each row behind the header; rows of blank fields are passed over.

    Raises:
        DataError: naming file and line, for quotes that break the rules.
    """
    sep = dialect.separator
    if dialect.quotes == "standard":
        reader = csv.reader(lines, delimiter=sep, strict=True, skipinitialspace=dialect.spaced)
    else:
        reader = csv.reader(lines, delimiter=sep, quoting=csv.QUOTE_NONE)
    take = len(dialect.header) if dialect.surplus else None
    number, before, begins = 0, dialect.begins, dialect.begins
    standard, by_field = dialect.quotes == "standard", dialect.quotes == "by field"
    try:
        for fields in reader:
            line = lines.number
            if line > begins and fields and (not (fields[0] or " ").isspace() or any(map(str.strip, fields))):
                number += 1
                if standard and line > before + 1:
                    check_closed(file, before + 1, fields, sep)
                if by_field and '"' in lines.last:
                    fields = list(map(unquoted, fields))
                yield line, tuple(fields[:take])
            before = line
    except csv.Error as error:
        hint = ""
        quote = lines.last.find(f'{sep}"')
        if "expected after" in str(error) and quote >= 0:
            text = lines.last[quote + 1 :].strip()
            hint = ": a quote within a text is doubled, and all of it is in quotes, as in " + shortened(quoted(text))
        raise DataError(f"{file}: after row {number} (line {lines.number}): {one_line(error)}{hint}") from None


def check_closed(file: str, line: int, fields: Iterable[str], separator: str) -> None:
    """Raises: DataError: if a field over several lines holds what looks like a row, which names a recording."""
    for cell in fields:
        for part in re.split("[\r\n]+", cell)[1:]:
            sound = next((name for name in map(bare, part.split(separator)) if is_sound(name)), None)
            if sound is not None:
                raise DataError(f"{file}: line {line}: a quote is never closed: its field goes on to {sound!r} of a "
                                'later line; write a quote that is text as """"')  # fmt: skip


def bare(cell: str) -> str:
    """A field without spaces and quotes around it."""
    return cell.strip().strip('"')


def quoted(text: str) -> str:
    """A text as RFC 4180 quotes it."""
    return '"' + text.replace('"', '""') + '"'


def shortened(text: str, letters: int = 60) -> str:
    """A text of at most so many letters."""
    return text if len(text) <= letters else f"{text[:letters]}..."


def is_quoted(cell: str) -> bool:
    """Whether a field is in quotes by the rules: those within it are doubled."""
    return len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', "")


def unquoted(cell: str) -> str:
    """A field without the quotes around it, if it is quoted by the rules."""
    return cell[1:-1].replace('""', '"') if is_quoted(cell) else cell


def header_of(lines: Iterator[str], own: str, known: Collection[str]) -> tuple[str, Fields]:
    """Separator and fields of the first line that is not blank; of the second if the first names the separator.

    It is the separator that gives most usual names, else the suffix's own if it separates anything, else what gives
    most fields.
    """
    first = next(filter(str.strip, lines), "")
    named = NAMED_SEPARATOR.fullmatch(first)
    if named:
        line = next(filter(str.strip, lines), "")
        return named[1], fields_of(line, named[1])
    best, best_score = own, (-1, False, 0)
    for separator in (own, *(other for other in SEPARATORS if other != own)):
        names = fields_of(first, separator)
        score = sum(plain_name(name) in known for name in names), separator == own and len(names) > 1, len(names)
        if score > best_score:
            best, best_score = separator, score
    return best, fields_of(first, best)


def fields_of(line: str, separator: str) -> Fields:
    """The fields of a header."""
    row = next(csv.reader([line], delimiter=separator, skipinitialspace=separator not in OFTEN_UNQUOTED), [])
    return tuple(cell.strip() for cell in row)


def check_header(file: str, line: int, header: Fields, known: Collection[str]) -> None:
    """Raises: DataError: if a table's columns have no names, one twice, or the first line is a row already."""
    if not any(header):
        raise DataError(f"{file} is empty: a first line with the columns' names is missing")
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise DataError(f"{file}: the header has {twice[0]!r} twice")
    if any(map(UNDECODED.search, header)):
        raise DataError(f"{file}: line {line} is not UTF-8: {HOW_TO_SAVE}")
    if any("\0" in name for name in header):
        raise DataError(f"{file}: line {line} holds NUL characters, as UTF-16 without a byte-order mark has: save the "
                        "table as UTF-8")  # fmt: skip
    sound = next(filter(is_sound, header), None)
    if sound is not None and not any(plain_name(name) in known for name in header):
        raise DataError(f"{file}: line {line} is a row, of {sound!r}: a first line with the columns' names is missing, "
                        "such as audio, text")  # fmt: skip


@dataclass
class Tally:
    """What a pass over a table's rows found: rows, those as long as the header, and what makes others longer."""

    rows: int = 0
    fitting: int = 0
    surplus: set[int] = field(default_factory=set)
    unnamed: int = 0
    spaced: bool = False

    def add(self, fields: Fields, header: Fields, blank_names: Collection[int]) -> None:
        """Take in a row."""
        self.rows += 1
        if len(fields) == len(header):
            self.fitting += 1
        else:
            more = len(fields) - len(header)
            self.surplus.add(more if more > 0 and not any(map(str.strip, fields[len(header) :])) else -1)
        if blank_names and any(place < len(fields) and fields[place].strip() for place in blank_names):
            self.unnamed += 1

    @property
    def common_surplus(self) -> int:
        """How many blank fields every row has beyond the header; 0 where not all have as many."""
        return max(0, *self.surplus) if len(self.surplus) == 1 and not self.fitting else 0


@dataclass
class QuotesSeen:
    """Where quotes are in a table read without quoting: the first line of each kind.

    Attributes:
        sure: of a field that is quoted by the rules and holds doubled quotes, or of a header in quotes.
        maybe: of a field that is quoted by the rules, but may be a text that is quoted speech.
        never: of a field with quotes that are none of the rules'.
        opening: of such a field that begins with a quote.
    """

    sure: int = 0
    maybe: int = 0
    never: int = 0
    opening: int = 0
    example: str = ""

    def add(self, line: int, fields: Iterable[str]) -> None:
        """Take in a row."""
        for cell in fields:
            if '"' not in cell or cell == '""':
                continue
            if not is_quoted(cell):
                self.never = self.never or line
                if cell[0] == '"' and not self.opening:
                    self.opening, self.example = line, cell
            elif '"' in cell[1:-1]:
                self.sure = self.sure or line
            else:
                self.maybe = self.maybe or line
