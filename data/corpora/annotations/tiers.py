"""What is said when in a recording, as files of annotations have it: segments in tiers.

The formats are read by :mod:`.timed_text`, :mod:`.textgrid` and :mod:`.elan`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...errors import DataError, nearest


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


@dataclass(frozen=True, slots=True)
class Tier:
    """A layer of annotations.

    Attributes:
        usual: whether it is read where no tiers are named.
        unusable: why it cannot be read, or None.
    """

    name: str
    segments: tuple[Segment, ...] = ()
    usual: bool = True
    unusable: str | None = None


@dataclass(frozen=True, slots=True)
class Annotations:
    """What a file of annotations holds.

    Attributes:
        tiers: in the file's order; those of formats without tiers have no name.
        media: of each recording that the file names, the relative and the absolute URL; either may be empty.
    """

    tiers: Sequence[Tier]
    media: Sequence[tuple[str, str]] = ()


@dataclass
class TierChoice:
    """The tiers to read, over all files of a corpus; none named: the usual ones of each file."""

    names: Sequence[str] = ()
    seen: set[str] = field(default_factory=set)

    def choose(self, tiers: Sequence[Tier], address: str) -> list[Segment]:
        """The segments of the chosen tiers of a file.

        Raises:
            DataError: if the file has none of them, or one that cannot be read.
        """
        chosen = [tier for tier in tiers if (tier.name in self.names if self.names and tier.name else tier.usual)]
        self.seen.update(tier.name for tier in chosen)
        if self.names and not chosen:
            there = [tier.name for tier in tiers]
            wanted = ", ".join(map(repr, self.names))
            raise DataError(
                f"{address}: --tiers names {wanted}{nearest(self.names[0], there)}; it has {', '.join(there) or 'none'}"
            )
        for tier in chosen:
            if tier.unusable and self.names:
                raise DataError(f"{address}: --tiers names {tier.name!r}, but {tier.unusable}")
        return [segment for tier in chosen for segment in tier.segments]

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
