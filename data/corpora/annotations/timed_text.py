"""Reads timestamped text: a line for each segment of a recording, as Audacity exports labels, too."""

import re
from collections.abc import Iterator

from ...errors import DataError, placed
from .tiers import Segment, decoded_text
from .timeline import parse_interval

ARROW_LINE = re.compile(r"\[?\s*(\S+)\s*-->\s*([^\s\]]+)\s*\]?\s*(.*)")


def content_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines and their numbers, but for blank ones, comments, and Audacity's second lines with frequencies."""
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if stripped and stripped[0] not in "#\\":
            yield number, stripped


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
        with placed(f"{address}: line {number}"):
            start, end, text = timed_fields(line)
            times = parse_interval(start, end)
        yield Segment(f"line {number}", *times, text)
