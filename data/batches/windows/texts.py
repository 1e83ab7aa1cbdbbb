"""The segments that a row of a long recording brings along."""

from collections.abc import Sequence
from typing import Any

from ...audio.cutting import END_TOLERANCE, WINDOW_SECONDS
from ...errors import DataError
from ...sources.source import Source
from ..collation import text_of
from ..spoken import Said


def own_segments(row: dict[str, Any], source: Source, seconds: float) -> tuple[tuple[Said, ...], str]:
    """The segments of a row that is a window by itself, and what is said before it.

    Args:
        seconds: of its recording.

    Raises:
        DataError: as :func:`segments_of`, and for a text before that is none.
    """
    columns = source.columns
    value = row[columns.segments] if columns.segments else None
    before = row[columns.previous_text] if columns.previous_text else None
    if before is not None and not isinstance(before, str):
        raise DataError(f"the text before is no text but a {type(before).__name__}")
    return () if value is None else segments_of(value, seconds), (before or "").strip()


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
        if end is not None and end - start > WINDOW_SECONDS:
            raise DataError(f"{name} is longer than the {WINDOW_SECONDS:g} s that Whisper hears at once")
        if start >= seconds or (end is not None and end > seconds + END_TOLERANCE):
            raise DataError(f"{name} lies beyond the recording's {seconds:.2f} s")
        if end is None:
            found.append(Said(start, None, ""))
            continue
        text = text_of(one["text"]).strip()
        if not text:
            raise DataError(f"{name} has no text")
        found.append(Said(start, min(end, seconds), text))
    return tuple(found)
