"""From a row as a corpus has it to a record: which column is which, and where its audio lies."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import unquote

from .. import storage
from ..audio.headers import samples_fault
from ..errors import DataError, check_column, nearest
from .cells import as_seconds, as_text, decoded_twice
from .places import normal, split_of_folder, stem_of
from .record import Record
from .settings import KNOWN_NAMES, CorpusSettings

SPREADSHEET = re.compile(r"#(NAME\?|REF!|VALUE!|N/A|DIV/0!|NUM!|NULL!|SPILL!)|=[A-Z][A-Z.]*\(.*\)", re.DOTALL)
WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\[^\\]")
ONE_SPELLING = re.compile(r"[\w./-]+(?: +[\w./-]+)*(?::\d+)?", re.ASCII)  # of a path or a place in an archive
HEADED = (".csv", ".tsv", ".txt")  # files whose first line has the columns' names
DECIMAL_COMMA = re.compile(r"\s*[\d:]*\d,\d+\s*")


def plain_name(name: str) -> str:
    """A column's name by its letters alone, in small ones: ``Speaker-ID`` is ``speakerid``."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def usual_column(key: str, columns: list[str], settings: CorpusSettings, place: str) -> str | None:
    """The column that has a usual name of ours: spelt so, else with other capitals and signs; None without.

    Of several such columns none is the speaker's, which is asked for where it is needed.

    Raises:
        DataError: if two have another name of ours in other spellings.
    """
    exact = next((name for name in KNOWN_NAMES[key] if name in columns), None)
    if exact is not None:
        return exact
    places = {plain_name(name): place for place, name in enumerate(KNOWN_NAMES[key])}
    spelt = [column for column in columns if plain_name(column) in places]
    spelt.sort(key=lambda column: places[plain_name(column)])
    if len(spelt) > 1 and (key == "speaker" or plain_name(spelt[0]) == plain_name(spelt[1])):
        if key == "speaker":
            return None
        raise DataError(f"{place} has the columns {spelt[0]!r} and {spelt[1]!r}: say which is meant, as in "
                        f"{settings.names_column(key, spelt[0])}")  # fmt: skip
    return spelt[0] if spelt else None


def resolve_columns(settings: CorpusSettings, found: Iterable[str], place: str) -> dict[str, str | None]:
    """The corpus's name of each of our columns; None where it has none.

    Raises:
        DataError: if a column that was named is not there, or audio or text is not found by a usual name;
            text may lack where ``settings.without_text`` says so.
    """
    columns = list(found)
    names: dict[str, str | None] = {}
    for key in KNOWN_NAMES:
        if key in settings.columns:
            names[key] = given = settings.columns[key]
            if given is not None:
                if given not in columns:
                    check_not_joined(columns, place)
                check_column(given, columns, f"{place}: {settings.names_column(key, given)}, but it")
        else:
            names[key] = usual_column(key, columns, settings, place)
    for key in ("audio", "text"):
        if names[key] is None and not (key == "text" and settings.without_text):
            check_not_joined(columns, place)
            row = place.lower().removesuffix(".gz").endswith(HEADED) and names["audio"] is names["text"] is None
            hint = "; if line 1 is a row, the columns' names are missing before it" if row else ""
            raise DataError(f"{place} has no column for {key} by a usual name{nearest(key, columns)}: say "
                            f"{settings.names_column(key)}, one of {', '.join(columns) or 'none'}{hint}")  # fmt: skip
    for name in settings.extra_columns:
        check_column(name, columns, f"{place}: --keep-columns {name}, but it")
    if settings.second_column is not None:
        option = "columns.second_audio" if settings.for_training else "--second"
        named = f"{place}: {option} {settings.second_column}, but it"
        check_column(settings.second_column, columns, named)
    return names


def check_not_joined(columns: list[str], place: str) -> None:
    """Raises: DataError: if a table's only column looks like several that something else separates."""
    if len(columns) == 1 and not columns[0].isidentifier():
        raise DataError(f"{place}: the header is one column, {columns[0][:80]!r}: commas, semicolons, tabs or pipes "
                        "separate columns")  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """How the rows of a corpus are read.

    Attributes:
        names: the corpus's name of each of our columns.
        root: what relative audio paths are relative to.
        confined: absolute paths may not leave the root either: the user named it.
        extra: columns to carry along.
        second: the column of second recordings, if one was named.
        split: of rows that do not name theirs.
        unused: columns that the corpus has and nobody takes.
        decimal_comma: ``1,5`` is a number, as in tables of Excel that semicolons separate.
        twins: audio paths whose ids keep their suffix, as an earlier row has the same path with another.
        takes_anything: an extra column may hold lists, objects and the like, too.
        names_its_columns: whether the corpus names columns at all, so that it is worth saying which was taken.
    """

    names: Mapping[str, str | None]
    root: str | None = None
    confined: bool = False
    extra: tuple[str, ...] = ()
    split: str | None = None
    language: str | None = None
    decimal_comma: bool = False
    twins: tuple[str, ...] = ()
    second: str | None = field(default=None, repr=False)
    takes_anything: bool = field(default=False, compare=False, repr=False)
    unused: tuple[str, ...] = field(default=(), compare=False, repr=False)
    names_its_columns: bool = field(default=True, compare=False, repr=False)
    seen_roots: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(
        cls, place: str, settings: CorpusSettings, columns: Iterable[str], *, root: str, split: str | None = None
    ) -> Self:
        """How the rows of a file or folder with these columns are read.

        Args:
            place: the file or folder, for messages.
            root: what audio paths are relative to where the settings do not say.
            split: of rows that do not name theirs.

        Raises:
            DataError: see :func:`resolve_columns`.
        """
        columns = list(columns)
        names = resolve_columns(settings, columns, place)
        return cls(
            names=names,
            root=settings.audio_root or root,
            confined=settings.audio_root is not None,
            extra=settings.carried,
            split=split,
            language=settings.language,
            second=settings.second_column,
            unused=tuple(
                name for name in columns if name not in (*names.values(), *settings.carried, settings.second_column)
            ),
        )

    def record(self, row: Mapping[str, Any], place: str) -> Record:
        """The row as a record; what is wrong with it, if anything, is its fault."""
        get = row.get
        names = self.names
        value = {key: get(name) if name is not None else None for key, name in names.items()}
        faults: list[str] = []
        audio, stem = self.audio(value["audio"], faults)
        text = as_text(value["text"], "text", faults)
        if text is not None and text[:1] in "#=" and SPREADSHEET.fullmatch(text.strip()):
            faults.append(f"text is {text[:80]!r}, a spreadsheet's error or formula")
        if text is not None and not text.isascii() and (meant := decoded_twice(text)):
            faults.append(f"text is UTF-8 that was read as Windows-1252: {text[:40]!r} for {meant[:40]!r}")
        start = as_seconds(self.number(value["start"]), "start", faults) or 0.0
        end = as_seconds(self.number(value["end"]), "end", faults)
        duration = as_seconds(self.number(value["duration"]), "duration", faults)
        if end is None and duration is not None and value["start"] not in (None, ""):
            end = start + duration  # NeMo's offset and duration
        if end is not None and end <= start:
            faults.append(f"ends at {end:g} s, before it starts at {start:g} s")
        if start or end is not None:
            duration = None
        rate = as_seconds(self.number(value["sampling_rate"]), "sampling_rate", faults)
        name = as_text(value["id"], "id", faults) or None
        if name is None and stem is not None:
            name = f"{stem}-{round(start * 1000)}-{'' if end is None else round(end * 1000)}" if start or end else stem
        split = as_text(value["split"], "split", faults) or self.split
        language = as_text(value["language"], "language", faults) or self.language
        speaker = as_text(value["speaker"], "speaker", faults) or None
        second = self.second_audio(get(self.second), faults) if self.second else None
        extra = {name: self.carried(get(name), name, faults) for name in self.extra}
        return Record(
            place=place,
            audio=audio,
            text=text,
            id=name,
            language=language,
            speaker=speaker,
            split=(split_of_folder(split.strip().lower()) or split) if split else None,
            start=start,
            end=end,
            duration=duration,
            sampling_rate=None if rate is None else int(rate),
            fault="; ".join(faults) or None,
            extra=extra,
            second=second,
        )

    def carried(self, value: Any, column: str, faults: list[str]) -> str:
        """A cell of an extra column as text; empty where it is."""
        if self.takes_anything and isinstance(value, (bool, list, dict, bytes)):
            return str(value)
        return as_text(value, column, faults) or ""

    def number(self, value: Any) -> Any:
        """A cell with a point for a decimal comma, where the table writes one."""
        if self.decimal_comma and isinstance(value, str) and DECIMAL_COMMA.fullmatch(value):
            return value.replace(",", ".")
        return value

    def audio(self, value: Any, faults: list[str]) -> tuple[Any, str | None]:
        """The audio with its path joined to the root, and the path without suffix, as a name, where it is one."""
        if isinstance(value, dict):
            if value.get("array") is not None:
                faults += filter(None, [samples_fault(value)])
                return value, None
            if value.get("bytes") and not isinstance(value["bytes"], bytes):
                faults.append(f"the audio's bytes are {type(value['bytes']).__name__}")
                return None, None
            if not value.get("bytes"):
                value = value.get("path")
            elif not isinstance(value.get("path"), (str, type(None))):
                faults.append(f"the audio's path is {type(value['path']).__name__}")
                return None, None
        if not isinstance(value, str):
            if value is None or value == b"":
                faults.append("no audio")
            elif not isinstance(value, (bytes, dict)):
                faults.append(f"audio is {type(value).__name__}, neither bytes nor a path")
            return value, None
        if not value.strip() or "\0" in value:
            faults.append("no audio: the path is empty" if not value.strip() else "the audio's path holds a NUL")
            return None, None
        address, fault = self.address(value)
        if fault:
            faults.append(fault)
        return address, value.lstrip("/") if value in self.twins else stem_of(value)

    def second_audio(self, value: Any, faults: list[str]) -> Any:
        """A second recording with its path joined to the root; None for an empty cell."""
        if isinstance(value, dict) and not any(value.get(key) is not None for key in ("bytes", "path", "array")):
            value = None
        if value is None or value == b"" or (isinstance(value, str) and not value.strip()):
            return None
        own: list[str] = []
        audio, _ = self.audio(value, own)
        faults += [f"second recording: {fault}" for fault in own]
        return audio

    def address(self, path: str) -> tuple[str, str | None]:
        """Where a path leads, and what is wrong with it: it leaves the root, or no machine but another can read it.

        A local file that is not there is looked for in the other spellings of its path, if it may have any: the disk is
        asked for no others.
        """
        path = path.removeprefix("file://localhost") if path.startswith("file://localhost/") else path
        path = path.removeprefix("file://")
        address, fault = self.joined(path)
        if fault or storage.is_remote(address):
            return address, fault
        if (ONE_SPELLING.fullmatch(path) and address.isascii()) or os.path.exists(address):
            return address, None
        for other in other_spellings(path):
            found, wrong = self.joined(other)
            found = storage.as_spelt(found)
            if not wrong and not storage.is_remote(found) and os.path.exists(found):
                return found, None
        if WINDOWS.match(path.lstrip("/")) or WINDOWS.match(path):
            return address, f"the audio's path, {path[:80]!r}, is one of Windows: write it as seen from the table"
        if SPREADSHEET.fullmatch(path.strip()):
            return address, f"the audio's path is {path[:80]!r}, a spreadsheet's error or formula"
        return address, None

    def joined(self, path: str) -> tuple[str, str | None]:
        """A path joined to the root, and what is wrong with it if it leaves the root."""
        absolute = "://" in path or path.startswith("/")
        address = path if absolute or not self.root else f"{self.root.rstrip('/')}/{path}"
        if ".." in path or (absolute and self.confined):
            root = self.seen_roots.get("root")
            if root is None:
                root = self.seen_roots["root"] = normal(self.root or ".")
            if (not absolute or self.confined) and not f"{normal(address)}/".startswith(f"{root.rstrip('/')}/"):
                return address, f"the audio's path leaves {self.root or 'the working folder'}; --audio-root allows more"
        return address, None


def other_spellings(path: str) -> Iterator[str]:
    """A path as it is without what other programs add: spaces around it, backslashes, percent signs."""
    spellings = (path, path.strip(), path.replace("\\", "/"), unquote(path), unquote(path.replace("\\", "/")))
    yield from dict.fromkeys(spelling for spelling in spellings if "\0" not in spelling)
