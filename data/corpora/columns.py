"""From a row as a corpus has it to a record: which column is which, and where its audio lies."""

import math
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from ..audio.headers import samples_fault
from ..errors import DataError, check_column
from .places import SPLIT_NAMES, normal
from .record import Record
from .settings import KNOWN_NAMES, CorpusSettings


def resolve_columns(settings: CorpusSettings, found: Iterable[str], place: str) -> dict[str, str | None]:
    """The corpus's name of each of our columns; None where it has none.

    Raises:
        DataError: if a column that was named is not there, or audio or text is not found by a usual name;
            text may lack where ``settings.without_text`` says so.
    """
    columns = list(found)
    names: dict[str, str | None] = {}
    for key, usual in KNOWN_NAMES.items():
        if key in settings.columns:
            names[key] = given = settings.columns[key]
            if given is not None:
                check_column(given, columns, f"{place}: --columns {key}={given}, but it")
        else:
            names[key] = next((name for name in usual if name in columns), None)
    for key in ("audio", "text"):
        if names[key] is None and not (key == "text" and settings.without_text):
            raise DataError(f"{place} has no column for {key} by a usual name: say --columns {key}=NAME, one of "
                            f"{', '.join(columns) or 'none'}")  # fmt: skip
    for name in settings.extra_columns:
        check_column(name, columns, f"{place}: --keep-columns {name}, but it")
    return names


@dataclass(frozen=True)
class Layout:
    """How the rows of a corpus are read.

    Attributes:
        names: the corpus's name of each of our columns.
        root: what relative audio paths are relative to.
        confined: absolute paths may not leave the root either: the user named it.
        extra: columns to carry along.
        split: of rows that do not name theirs.
        unused: columns that the corpus has and nobody takes.
        names_its_columns: whether the corpus names columns at all, so that it is worth saying which was taken.
    """

    names: Mapping[str, str | None]
    root: str | None = None
    confined: bool = False
    extra: tuple[str, ...] = ()
    split: str | None = None
    language: str | None = None
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
            unused=tuple(name for name in columns if name not in (*names.values(), *settings.carried)),
        )

    def record(self, row: Mapping[str, Any], place: str) -> Record:
        """The row as a record; what is wrong with it, if anything, is its fault."""
        get = row.get
        names = self.names
        value = {key: get(name) if name is not None else None for key, name in names.items()}
        faults: list[str] = []
        audio, stem = self.audio(value["audio"], faults)
        text = as_text(value["text"], "text", faults)
        start = as_seconds(value["start"], "start", faults) or 0.0
        end = as_seconds(value["end"], "end", faults)
        duration = as_seconds(value["duration"], "duration", faults)
        if end is None and duration is not None and value["start"] not in (None, ""):
            end = start + duration  # NeMo's offset and duration
        if end is not None and end <= start:
            faults.append(f"ends at {end:g} s, before it starts at {start:g} s")
        if start or end is not None:
            duration = None
        rate = as_seconds(value["sampling_rate"], "sampling_rate", faults)
        name = as_text(value["id"], "id", faults) or None
        if name is None and stem is not None:
            name = f"{stem}-{round(start * 1000)}-{'' if end is None else round(end * 1000)}" if start or end else stem
        split = as_text(value["split"], "split", faults) or self.split
        language = as_text(value["language"], "language", faults) or self.language
        speaker = as_text(value["speaker"], "speaker", faults) or None
        extra = {name: as_text(get(name), name, faults) or "" for name in self.extra}
        return Record(
            place=place,
            audio=audio,
            text=text,
            id=name,
            language=language,
            speaker=speaker,
            split=SPLIT_NAMES.get(split, split) if split else None,
            start=start,
            end=end,
            duration=duration,
            sampling_rate=None if rate is None else int(rate),
            fault="; ".join(faults) or None,
            extra=extra,
        )

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
        return address, posixpath.splitext(value.lstrip("/"))[0]

    def address(self, path: str) -> tuple[str, str | None]:
        """Where a path leads, and what is wrong with it if it leaves the root."""
        absolute = "://" in path or path.startswith("/")
        address = path if absolute or not self.root else f"{self.root.rstrip('/')}/{path}"
        if ".." in path or (absolute and self.confined):
            root = self.seen_roots.get("root")
            if root is None:
                root = self.seen_roots["root"] = normal(self.root or ".")
            if (not absolute or self.confined) and not f"{normal(address)}/".startswith(f"{root.rstrip('/')}/"):
                return address, f"the audio's path leaves {self.root or 'the working folder'}; --audio-root allows more"
        return address, None


def as_text(value: Any, column: str, faults: list[str]) -> str | None:
    """A cell as text; None where it is empty. Lists and objects are no text."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) != math.inf:
        return str(value)
    hint = " in UTF-8" if isinstance(value, bytes) else ""
    faults.append(f"{column} is {type(value).__name__}, not text{hint}")
    return None


def as_seconds(value: Any, column: str, faults: list[str]) -> float | None:
    """A cell as a number that is not negative; None where it is empty."""
    if value is None or value == "":
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 <= number < 1e9:
        said = "beyond reason" if isinstance(value, int) and abs(value) > 2**63 else repr(value)[:80]
        faults.append(f"{column} is {said}, not a number of at least 0")
        return None
    return number
