"""What is said when in a recording, as files of annotations have it: segments in tiers.

The formats are read by :mod:`.timed_text`, :mod:`.subtitles`, :mod:`.transcript_json`, :mod:`.textgrid` and
:mod:`.elan`.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from ...errors import DataError, nearest, some_of
from .timeline import parse_interval, parse_time, shown

SHOWN = 8  # tiers in a line


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a recording and what is said in it.

    Attributes:
        label: where the file says so: ``line 12``.
        start, end: seconds; both 0 where there is a fault that hides them.
        text: what is said; empty where nothing is written.
        speaker: who says it, or None.
        fault: why it cannot be used, or None.
    """

    label: str
    start: float
    end: float
    text: str
    speaker: str | None = None
    fault: str | None = None

    @classmethod
    def between(cls, label: str, start: Any, end: Any, text: str, speaker: str | None = None) -> Self:
        """What is said between two times, as :func:`.timeline.parse_time` reads them; at fault where they are the same.

        Raises:
            DataError: see :func:`.timeline.parse_interval`.
        """
        begin = parse_time(start, "start")
        if begin == parse_time(end, "end"):
            return cls(label, 0.0, 0.0, text, speaker, fault=f"it ends where it starts, at {shown(begin)} s")
        return cls(label, *parse_interval(start, end), text, speaker)


@dataclass(frozen=True, slots=True)
class Tier:
    """A layer of annotations.

    Attributes:
        usual: whether it is read where no tiers are named.
        unusable: why it cannot be read, or None.
        size: how many annotations it has that are not empty.
    """

    name: str
    segments: tuple[Segment, ...] = ()
    usual: bool = True
    unusable: str | None = None
    size: int = 0

    @property
    def annotations(self) -> int:
        """How many annotations it has that are not empty."""
        return self.size or sum(bool(segment.text) for segment in self.segments)


@dataclass(frozen=True, slots=True)
class Annotations:
    """What a file of annotations holds.

    Attributes:
        tiers: in the file's order; those of formats without tiers have no name.
        media: of each recording that the file names, the relative and the absolute URL; either may be empty.
        language: ISO 639-1 code that the file names, or None.
    """

    tiers: Sequence[Tier]
    media: Sequence[tuple[str, str]] = ()
    language: str | None = None

    @classmethod
    def untiered(cls, segments: Iterable[Segment], language: str | None = None) -> Self:
        """Those of a format without tiers."""
        return cls([Tier("", tuple(segments))], language=language)


@dataclass
class TierChoice:
    """The tiers to read, over all files of a corpus; none named: the usual ones of each file.

    Attributes:
        unread: by why they were not read, annotations and files of each tier, by name.
    """

    names: Sequence[str] = ()
    seen: set[str] = field(default_factory=set)
    unread: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)

    def choose(self, tiers: Sequence[Tier], address: str) -> list[Segment]:
        """The segments of the chosen tiers of a file.

        Raises:
            DataError: if the file has none of them, or one that cannot be read.
        """
        chosen = [tier for tier in tiers if (tier.name in self.names if self.names and tier.name else tier.usual)]
        self.seen.update(tier.name for tier in chosen)
        for tier in tiers:
            if tier.annotations and not any(tier is one for one in chosen):
                counts = self.unread.setdefault(self.why_unread(tier), {})
                annotations, files = counts.get(tier.name, (0, 0))
                counts[tier.name] = (annotations + tier.annotations, files + 1)
        if self.names and not chosen:
            there = [tier.name for tier in tiers]
            wanted = ", ".join(map(repr, self.names))
            raise DataError(
                f"{address}: --tiers names {wanted}{nearest(self.names[0], there)}; it has {', '.join(there) or 'none'}"
            )
        for tier in chosen:
            if tier.unusable and self.names:
                raise DataError(f"{address}: --tiers names {tier.name!r}, but {tier.unusable}")
        segments = [segment for tier in chosen for segment in tier.segments]
        others = [repr(tier.name) for tier in tiers if tier.annotations and not any(tier is one for one in chosen)]
        if others and not any(segment.text for segment in segments):  # the tiers with times have no words
            fault = f"no text in the tiers that are read; --tiers reads others: {', '.join(others[:SHOWN])}"
            segments = [replace(segment, fault=segment.fault or fault) for segment in segments]
        return segments

    def nothing(self, tiers: Sequence[Tier]) -> str:
        """What to say of a file whose chosen tiers hold nothing."""
        others = [repr(tier.name) for tier in tiers if tier.annotations]
        return (
            f"no segments in the tiers that are read; not read: {', '.join(others)}" if others else "no segments in it"
        )

    def why_unread(self, tier: Tier) -> str:
        """What the tiers are that were left out as this one was."""
        if tier.unusable:
            return "that hold points in time, which have no end"
        return "that --tiers does not name" if self.names else "that depend on other tiers (--tiers NAME reads them)"

    def notices(self) -> Iterator[str]:
        """A line for each kind of tiers that were not read, with their annotations and files."""
        for why, counts in self.unread.items():
            told = [
                f"{name!r} ({annotations:,} annotation{'s' * (annotations > 1)} in {files:,} file{'s' * (files > 1)})"
                for name, (annotations, files) in counts.items()
            ]
            yield f"not read: tiers {why}: {some_of(told, SHOWN)}"

    def check_all_seen(self, place: str) -> None:
        """Raise a DataError for a tier that no file had."""
        for name in self.names:
            if name not in self.seen:
                raise DataError(f"{place}: --tiers names {name!r}{nearest(name, self.seen)}, but no file has that tier")


def decoded_text(content: bytes, address: str) -> str:
    """Text in UTF-8, or in UTF-16 with a byte-order mark.

    Raises:
        DataError: for other encodings. Latin-1 and its kin cannot be told apart, and a wrong guess would put wrong
            letters into transcripts.
    """
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{address}: line {line}: byte {error.start} is neither UTF-8 nor, with a byte-order mark, UTF-16; "
            "save it as UTF-8"
        ) from None
    if "\0" in text:
        raise DataError(
            f"{address}: line {text.count(chr(10), 0, text.index(chr(0))) + 1} holds a NUL: not a text file"
        )
    return text


def text_lines(text: str) -> list[str]:
    """The lines of a text, whichever system wrote it."""
    return re.split(r"\r\n|\r|\n", text)
