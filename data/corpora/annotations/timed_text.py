"""Reads timestamped text: a line for each segment of a recording, as Audacity exports labels, too.

Audacity's labels: https://manual.audacityteam.org/man/importing_and_exporting_labels.html
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

from ...errors import DataError, placed
from .tiers import Segment, decoded_text, text_lines
from .timeline import parse_interval, parse_time, shown

CLOCK = r"(?:\d+:)?\d+:\d{2}(?:[.,]\d+)?"
DECIMAL = rf"(?:{CLOCK}|\d+[.,]\d+)"  # a clock, or seconds with decimals
TIME = rf"(?:{CLOCK}|\d+(?:[.,]\d+)?)"

ARROW_LINE = re.compile(r"\[?\s*(\S+)\s*-->\s*([^\s\]]+)\s*\]?\s*(.*)")
BRACKETED_LINE = re.compile(rf"[\[(]\s*({TIME})\s*(?:[-–—,;]|\s)\s*({TIME})\s*[\])]\s*:?\s*(.*)")
DASHED_LINE = re.compile(rf"({DECIMAL})(?:\s+[-–—]\s+|[-–—])({DECIMAL})(?![\w.,:])\s*(.*)")
TABBED_LINE = re.compile(rf"({TIME})[ ]*\t[ ]*({TIME})[ ]*(?:\t.*)?")
START_ALONE = re.compile(rf"[\[(<]\s*(?:{DECIMAL})\s*[\])>]|{CLOCK}(?![\w.,:])")


def content_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines and their numbers, but for blank ones, comments, and Audacity's second lines with frequencies."""
    for number, line in enumerate(text_lines(text), start=1):
        stripped = line.strip()
        if stripped and stripped[0] not in "#\\":
            yield number, stripped


def timed_fields(line: str) -> tuple[str, str, str]:
    """Start, end and text of a line, the times as they stand there.

    Raises:
        DataError: if there are no two words before the text, or a start without an end.
    """
    for form in (ARROW_LINE, BRACKETED_LINE, DASHED_LINE):
        matched = form.fullmatch(line)
        if matched:
            return matched[1], matched[2], matched[3]
    words = line.split(None, 2)
    if len(words) < 2:
        raise DataError(f"{line[:60]!r} is no segment; start, end and text are right, with tabs or spaces between")
    if START_ALONE.match(line) and not re.match(TIME, words[1]):
        raise DataError(f"{line[:60]!r} has a start and no end; start, end and text are right")
    return words[0], words[1], words[2] if len(words) > 2 else ""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of timestamped text, its times as they stand there; Audacity's labels may be points."""

    number: int
    start: str
    end: str
    text: str
    is_label: bool

    def with_points(self) -> Self:
        """The line with decimal points for commas."""
        return replace(self, start=self.start.replace(",", "."), end=self.end.replace(",", "."))


def read_timed_text(content: bytes, address: str) -> Iterator[Segment]:
    """Lines ``start end text``, ``[start --> end] text``, ``(start - end) text``, or as Audacity exports labels.

    Times have a decimal comma where every time of the file has one. A label of Audacity's that ends where it starts is
    at fault.

    Raises:
        DataError: naming file and line, for a line that is none, and for times that cannot be.
    """
    lines = []
    for number, content_line in content_lines(decoded_text(content, address)):
        with placed(f"{address}: line {number}"):
            fields = timed_fields(content_line)
        lines.append(Line(number, *fields, is_label=TABBED_LINE.fullmatch(content_line) is not None))
    if all("," in line.start and "," in line.end for line in lines):
        lines = [line.with_points() for line in lines]
    check_order(lines, address)
    for line in lines:
        with placed(f"{address}: line {line.number}"):
            if line.is_label:
                segment = Segment.between(f"line {line.number}", line.start, line.end, line.text)
            else:
                segment = Segment(f"line {line.number}", *parse_interval(line.start, line.end), line.text)
        yield segment


def check_order(lines: Sequence[Line], address: str) -> None:
    """Raises: DataError: where the first time of every line is later than the second."""
    try:
        times = [(parse_time(line.start, "start"), parse_time(line.end, "end")) for line in lines]
    except DataError:  # the reader says which line it is
        return
    if len(times) > 1 and all(end < start for start, end in times):
        start, end = times[0]
        raise DataError(
            f"{address}: line {lines[0].number}: ends at {shown(end)} s, not after its start at {shown(start)} s, and "
            f"so in all {len(lines):,} lines: start and end have changed places"
        )
