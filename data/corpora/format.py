"""What a format of corpora is: how it is recognised, and how it is read in pieces.

Each format is defined beside its reader. A new one is a module here, an entry in :mod:`.formats`, a corpus in
``tests/support/corpora_on_disk.py`` and a row of ``docs/preparing.md``.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, ClassVar, Protocol, Self, TypeVar

from .census import Census
from .columns import Layout
from .record import Record
from .settings import CorpusSettings

Row = TypeVar("Row")


class Rows(Protocol):
    """A piece of a corpus: small, fit for sending to another process, the same each time it is planned."""

    def records(self) -> Iterator[Record]:
        """The rows as records. A row that cannot be used carries a ``fault``; it does not raise."""
        ...

    def digest(self) -> str:
        """Changes when the piece's rows change, as far as can be told without reading their audio."""
        ...

    def limited(self, limit: int) -> tuple[Self, int]:
        """The piece with no more rows than a limit, and how many it has then."""
        ...


Reader = Callable[[str, CorpusSettings, str | None, Census], Iterator[Rows]]  # see :attr:`Format.read`


@dataclass(frozen=True)
class Format:
    """One way in which corpora are published.

    Attributes:
        kind: its name for ``--kind``. Formats may share one.
        read: reads what lies at an address, given the settings, the split of rows that name none, and the census,
            which is told of files that were read beside the recordings, and of what the user should know.
        suffixes: in lower case, of the files that may be of this format. Without any, it is never a file.
        is_file: whether a file with such a suffix is of this format.
        sign: what tells a folder of this format, for messages. Without one, it is never a folder; a format that is
            neither file nor folder is a name on the hub.
        is_folder: whether a folder is of this format.
    """

    kind: str
    read: Reader
    suffixes: tuple[str, ...] = ()
    is_file: Callable[[str, CorpusSettings], bool] = lambda file, settings: True
    sign: str = ""
    is_folder: Callable[[str, CorpusSettings], bool] = lambda folder, settings: False


class Fault(str):
    """Why a row has no columns and values."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Rows that follow each other in a file.

    Attributes:
        file: as messages call it.
        first: number of the first row.
        layout: how a row becomes a record.
    """

    row_word: ClassVar[str] = "row"
    file: str
    first: int = 1
    layout: Layout

    def parsed(self) -> Iterable[dict[str, Any] | Fault | None]:
        """The rows: columns and values, or why there are none; None for one that does not count."""
        raise NotImplementedError

    def place(self, number: int) -> str:
        """Where the row of that number is, for messages."""
        return f"{self.file}: {self.row_word} {number}"

    def records(self) -> Iterator[Record]:
        for number, row in enumerate(self.parsed(), start=self.first):
            place = self.place(number)
            if isinstance(row, Fault):
                yield Record(place, fault=str(row))
            elif row is not None:
                yield self.layout.record(row, place)


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A piece that holds its rows."""

    rows: tuple[Any, ...]

    def limited(self, limit: int) -> tuple[Self, int]:
        """The piece with its first rows alone, and how many they are."""
        rows = self.rows[:limit]
        return replace(self, rows=rows), len(rows)


def in_pieces(rows: Iterable[Row], size: int) -> Iterator[tuple[int, tuple[Row, ...]]]:
    """Rows, ``size`` at a time, each time after the number of the first of them, from 1."""
    first, rows = 1, iter(rows)
    while piece := tuple(islice(rows, size)):
        yield first, piece
        first += len(piece)


def digest(parts: Iterable[bytes]) -> str:
    """One digest of several byte strings."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        hasher.update(len(part).to_bytes(8, "little"))
        hasher.update(part)
    return hasher.hexdigest()
