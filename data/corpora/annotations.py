"""What is said when in a recording, from files that people annotate with: timestamped text and Praat's TextGrid.

Reads the content of one file; which recording it belongs to is decided elsewhere. ELAN's files: :mod:`.elan`.
Format: https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

from ..errors import DataError, nearest
from .timeline import parse_interval

# Tiers with these names say what they hold, not who speaks.
NOT_SPEAKERS = frozenset(
    ("annotation", "annotations", "default", "ipa", "label", "labels", "orthography", "phone", "phoneme", "phonemes",
     "phones", "segment", "segments", "sentence", "sentences", "silence", "silences", "syllable", "syllables", "text",
     "tier", "transcript", "transcription", "transcriptions", "transcripts", "utterance", "utterances", "word", "words")
)  # fmt: skip


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
        chosen = [tier for tier in tiers if (tier.name in self.names if self.names else tier.usual)]
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


def content_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines and their numbers, but for blank ones, comments, and Audacity's second lines with frequencies."""
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if stripped and stripped[0] not in "#\\":
            yield number, stripped


ARROW_LINE = re.compile(r"\[?\s*(\S+)\s*-->\s*([^\s\]]+)\s*\]?\s*(.*)")


def timed_fields(line: str) -> tuple[str, str, str]:
    """Start, end and text of a line, the times as they stand there.

    Raises:
        DataError: if there are no two words before the text.
    """
    arrow = ARROW_LINE.fullmatch(line)
    if arrow:
        return arrow[1], arrow[2], arrow[3]
    words = line.split(None, 2)
    if len(words) < 2:
        raise DataError(f"{line[:60]!r} is no segment; start, end and text are right, with tabs or spaces between")
    return words[0], words[1], words[2] if len(words) > 2 else ""


def is_timed_text(content: bytes, address: str) -> bool | None:
    """Whether a text's first line begins with two times; None for a text without lines."""
    for _, line in content_lines(decoded_text(content, address)):
        try:
            start, end, _ = timed_fields(line)
            parse_interval(start, end)
        except DataError:
            return False
        return True
    return None


def read_timed_text(content: bytes, address: str) -> Iterator[Segment]:
    """Lines ``start end text``, ``[start --> end] text``, or as Audacity exports labels.

    Raises:
        DataError: naming file and line, for a line that is none, and for times that cannot be.
    """
    for number, line in content_lines(decoded_text(content, address)):
        try:
            start, end, text = timed_fields(line)
            times = parse_interval(start, end)
        except DataError as error:
            raise DataError(f"{address}: line {number}: {error}") from None
        yield Segment(f"line {number}", *times, text)


TOKEN = re.compile(r'"((?:[^"]|"")*+)"|(?<!\S)(![^\n]*)|([^\s"]+)|(")')
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


class PraatText:
    """The strings, numbers and flags that stand free in one of Praat's text files; all else is there for people.

    So the long format and the short one, which leaves all else out, are read alike, as Praat does.
    """

    def __init__(self, text: str, address: str) -> None:
        self.text, self.address = text, address
        self.position = 0

    def fail(self, message: str) -> DataError:
        return DataError(f"{self.address}: line {self.text.count(chr(10), 0, self.position) + 1}: {message}")

    def next(self, kind: type, what: str) -> Any:
        """The next value: str, float, or bool for a flag; None where ``kind`` is NoneType and the text has ended.

        Raises:
            DataError: if it is of another kind, or the text ends.
        """
        for token in TOKEN.finditer(self.text, self.position):
            self.position = token.start()
            if token[4]:
                raise self.fail("a quote that is never closed")
            value: Any = None
            if token[1] is not None:
                value = token[1].replace('""', '"')
            elif token[3] in ("<exists>", "<absent>"):
                value = token[3] == "<exists>"
            elif token[3] and NUMBER.fullmatch(token[3]):
                value = float(token[3])
            elif token[3] and token[3][0].isdigit():
                raise self.fail(f"{token[3]!r} is no number")
            if value is not None:
                if type(value) is not kind:
                    raise self.fail(f"{' '.join(token[0].split())[:40]} stands where {what} should")
                self.position = token.end()
                return value
        if kind is not NoneType:
            raise self.fail(f"the file ends where {what} should stand")

    def count(self, what: str) -> int:
        number = self.next(float, what)
        if not 0 <= number < 1e9 or number != int(number):
            raise self.fail(f"{what} is {number:g}")
        return int(number)


def read_text_grid(content: bytes, address: str) -> list[Tier]:
    """The tiers of a TextGrid in Praat's long or short text format. An interval without text is silence.

    Raises:
        DataError: naming file and line, or tier and interval, for what is not such a file or breaks off, and for times
            that cannot be.
    """
    if content.startswith(b"ooBinaryFile"):
        raise DataError(f"{address} is a binary TextGrid; save it as a text file")
    file = PraatText(decoded_text(content, address), address)
    kind, what = file.next(str, "the file's type"), file.next(str, "the object's class")
    if not kind.startswith("ooTextFile") or what != "TextGrid":
        raise DataError(f"{address} is {kind!r} with {what!r}, not 'ooTextFile' with 'TextGrid'")
    file.next(float, "the beginning"), file.next(float, "the end")
    if not file.next(bool, "whether there are tiers"):
        return []
    tiers = [read_tier(file, number) for number in range(1, file.count("the number of tiers") + 1)]
    file.next(NoneType, "the file's end")
    return tiers


def read_tier(file: PraatText, number: int) -> Tier:
    """The next tier of a TextGrid."""
    kind, name = file.next(str, f"the class of tier {number}"), file.next(str, f"the name of tier {number}")
    file.next(float, f"the beginning of tier {name!r}"), file.next(float, f"the end of tier {name!r}")
    size = file.count(f"the size of tier {name!r}")
    if kind == "TextTier":
        for point in range(1, size + 1):
            file.next(float, f"the time of point {point} of tier {name!r}")
            file.next(str, f"the mark of point {point} of tier {name!r}")
        return Tier(name, usual=False, unusable="that tier holds points, not intervals")
    if kind != "IntervalTier":
        raise file.fail(f"tier {name!r} is {kind!r}; 'IntervalTier' and 'TextTier' are known")
    speaker = name.strip() if name.strip().lower() not in NOT_SPEAKERS else ""
    segments = []
    for interval in range(1, size + 1):
        label = f"tier {name!r}, interval {interval}"
        start, end = file.next(float, f"the beginning of {label}"), file.next(float, f"the end of {label}")
        text = " ".join(file.next(str, f"the text of {label}").split())
        if text:
            try:
                segments.append(Segment(label, *parse_interval(start, end), text, speaker or None))
            except DataError as error:
                raise DataError(f"{file.address}: {label}: {error}") from None
    return Tier(name, tuple(segments))
