"""What is said in a window, and when; and the segments that a row brings along."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ...errors import DataError
from ..collation import text_of

TOLERATED = 0.5  # seconds that a segment may end after its recording: annotators round, encoders drop frames
LONGEST = 30.0  # seconds of a segment: what Whisper hears at once


class Said(NamedTuple):
    """A segment in seconds of its window; its end is None where that lies beyond the window, and its text empty."""

    start: float
    end: float | None
    text: str


@dataclass(frozen=True)
class WindowText:
    """What a window's labels are made of.

    Attributes:
        said: in order, without overlap; nothing where nobody speaks.
        timestamps: whether the text has them.
        before: the prompt's text.
        learns_speech: the language token is learned, and where nobody speaks ``<|nospeech|>`` in its place.
    """

    said: tuple[Said, ...]
    timestamps: bool
    before: str = ""
    learns_speech: bool = False

    @property
    def text(self) -> str:
        """All that is said, on one line."""
        return " ".join(one.text for one in self.said if one.text)

    def slower(self, factor: float) -> "WindowText":
        """The same in a recording that was made longer by a factor."""
        if factor == 1.0:
            return self
        said = [Said(a * factor, None if b is None else b * factor, text) for a, b, text in self.said]
        return replace(self, said=tuple(said))


def segments_of(value: Any, seconds: float) -> tuple[Said, ...]:
    """Segments as a row holds them: a list of ``start``, ``end`` and ``text``.

    An ``end`` of null is that of a segment which goes on after the recording.

    Args:
        seconds: of the recording.

    Raises:
        DataError: naming the first that overlaps, runs backwards, is too long or lies beyond the recording.
    """
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        raise DataError(f"the segments are no list but a {type(value).__name__}")
    found: list[Said] = []
    for number, one in enumerate(value, 1):
        try:
            start, end = float(one["start"]), None if one["end"] is None else float(one["end"])
        except (KeyError, TypeError, ValueError):
            raise DataError(f"segment {number} needs start and end, in seconds, and text") from None
        name = f"segment {number}, {start:g} to {'its end' if end is None else f'{end:g}'} s,"
        if not start >= 0 or (end is not None and not end > start):
            raise DataError(f"{name} runs backwards")
        if found and (found[-1].end is None or start < found[-1].end):
            raise DataError(f"{name} begins before the one before it ends")
        if end is not None and end - start > LONGEST:
            raise DataError(f"{name} is longer than the {LONGEST:g} s that Whisper hears at once")
        if start >= seconds or (end is not None and end > seconds + TOLERATED):
            raise DataError(f"{name} lies beyond the recording's {seconds:.2f} s")
        if end is None:
            found.append(Said(start, None, ""))
            continue
        text = text_of(one["text"]).strip()
        if not text:
            raise DataError(f"{name} has no text")
        found.append(Said(start, min(end, seconds), text))
    return tuple(found)
