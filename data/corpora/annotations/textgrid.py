"""Reads Praat's TextGrid files.

Format: https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html
"""

import re
from types import NoneType
from typing import Any

from ...errors import DataError, placed
from .tiers import Segment, Tier, decoded_text
from .timeline import parse_interval

TOKEN = re.compile(r'"((?:[^"]|"")*+)"|(?<!\S)(![^\n]*)|([^\s"]+)|(")')
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
# Tiers with these names say what they hold, not who speaks.
NOT_SPEAKERS = frozenset(
    ("annotation", "annotations", "default", "ipa", "label", "labels", "orthography", "phone", "phoneme", "phonemes",
     "phones", "segment", "segments", "sentence", "sentences", "silence", "silences", "syllable", "syllables", "text",
     "tier", "transcript", "transcription", "transcriptions", "transcripts", "utterance", "utterances", "word", "words")
)  # fmt: skip


class PraatText:
    """The strings, numbers and flags of one of Praat's text files.

    All else in a file of the long format is for people; the short format leaves it out. So both are read alike, as
    Praat reads them.
    """

    def __init__(self, text: str, address: str) -> None:
        self.text, self.address = text, address
        self.position = 0

    def fail(self, message: str) -> DataError:
        """An error with the file and the line that is being read."""
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
        """The next value, which must be a whole number that is not negative."""
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
        marked = 0
        for point in range(1, size + 1):
            file.next(float, f"the time of point {point} of tier {name!r}")
            marked += bool(file.next(str, f"the mark of point {point} of tier {name!r}").strip())
        return Tier(name, usual=False, unusable="that tier holds points, not intervals", size=marked)
    if kind != "IntervalTier":
        raise file.fail(f"tier {name!r} is {kind!r}; 'IntervalTier' and 'TextTier' are known")
    speaker = name.strip() if name.strip().lower() not in NOT_SPEAKERS else ""
    segments = []
    for interval in range(1, size + 1):
        label = f"tier {name!r}, interval {interval}"
        start, end = file.next(float, f"the beginning of {label}"), file.next(float, f"the end of {label}")
        text = " ".join(file.next(str, f"the text of {label}").split())
        if text:
            with placed(f"{file.address}: {label}"):
                segments.append(Segment(label, *parse_interval(start, end), text, speaker or None))
    return Tier(name, tuple(segments))
