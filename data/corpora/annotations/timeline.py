"""When segments of a recording begin and end: reads times as people write them, and refuses segments that overlap.

Knows no format: readers pass it what stands in their files, and where it stands.
"""

import math
import re
from array import array
from bisect import bisect_right
from collections.abc import Callable
from typing import Any

from ...errors import DataError

ROUNDING = 0.001  # seconds that segments may share: programs round times to milliseconds
LONGEST = 1e7  # seconds, four months: a later time is a sample count or a date
SECONDS = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d{1,2}(?:\.\d*)?)", re.ASCII)


def parse_time(value: Any, what: str) -> float:
    """Seconds of ``12.5``, ``"12.5"``, ``"1:02:03.250"`` (hours, minutes, seconds) or ``"02:03.250"``.

    Args:
        what: which time it is, for messages: ``start``.

    Raises:
        DataError: for anything else, and for times that are negative, not finite, or beyond reason.
    """
    seconds = math.nan
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value) if abs(value) < 1e300 else math.inf * (1 if value > 0 else -1)
    elif isinstance(value, str):
        text = value.strip()
        clock = CLOCK.fullmatch(text)
        if SECONDS.fullmatch(text):
            seconds = float(text)
        elif clock and float(clock[3]) < 60 and (clock[1] is None or int(clock[2]) < 60):
            seconds = int(clock[1] or 0) * 3600.0 + int(clock[2]) * 60.0 + float(clock[3])
    if seconds < 0:
        raise DataError(f"{what} is {value!r}; a time is not negative")
    if not seconds <= LONGEST:
        if value is None or value == "":
            raise DataError(f"{what} is empty; seconds (12.5) or h:mm:ss.mmm are right")
        comma = ", with a point and no comma" if isinstance(value, str) and "," in value else ""
        raise DataError(f"{what} is {value!r}; seconds (12.5) or h:mm:ss.mmm are right{comma}")
    return seconds


def parse_interval(start: Any, end: Any) -> tuple[float, float]:
    """Two times in seconds, of which the second is later.

    Raises:
        DataError: see :func:`parse_time`; or if the second is not later.
    """
    begin, stop = parse_time(start, "start"), parse_time(end, "end")
    if stop <= begin:
        raise DataError(f"ends at {shown(stop)} s, not after its start at {shown(begin)} s")
    return begin, stop


def shown(seconds: float) -> str:
    """Seconds to the millisecond, without zeros that say nothing."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


class Timeline:
    """The segments of one recording so far, in the order of time: 24 bytes each."""

    def __init__(self) -> None:
        self.starts, self.ends, self.rows = array("d"), array("d"), array("q")

    def add(self, start: float, end: float, row: int, label: Callable[[int], str]) -> None:
        """Take a segment in.

        Args:
            row: its number in the file, and ``label`` how that is told: ``row 12``.

        Raises:
            DataError: if it shares more than :data:`ROUNDING` with one that is there.
        """
        # Those that are there share at most the tolerance, so that none but the neighbours can share more.
        place = bisect_right(self.starts, start)
        if place and start < self.ends[place - 1] - ROUNDING:
            before = label(self.rows[place - 1])
            raise DataError(f"starts at {shown(start)} s, before {before} ends ({shown(self.ends[place - 1])} s)")
        if place < len(self.starts) and end > self.starts[place] + ROUNDING:
            after = label(self.rows[place])
            raise DataError(f"ends at {shown(end)} s, after {after} starts ({shown(self.starts[place])} s)")
        self.starts.insert(place, start)
        self.ends.insert(place, end)
        self.rows.insert(place, row)


def segment_id(stem: str, start: float, end: float, speaker: str | None = None) -> str:
    """A name that stays: the recording's path without suffix, milliseconds of start and end, and who speaks if that
    is needed to tell segments apart."""
    name = f"{stem}-{round(start * 1000)}-{round(end * 1000)}"
    return f"{name}-{speaker}" if speaker else name
