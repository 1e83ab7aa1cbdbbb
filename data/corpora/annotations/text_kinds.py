"""Whether a text beside a recording is its transcript, or has times.

Judges the lines of one file. What many files together are is for :mod:`..readers.beside` to judge.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from ...errors import DataError
from .elan import read_elan
from .subtitles import SBV_TIMES, are_subtitles, read_subtitles
from .textgrid import read_text_grid
from .tiers import Annotations, decoded_text
from .timed_text import CLOCK, DECIMAL, TIME, content_lines, read_timed_text, timed_fields
from .timeline import parse_interval, parse_time
from .transcript_json import is_transcript, read_transcript

BEYOND = 0.5  # seconds that a segment may end after its recording

UNITS = r"(?:\d{1,3}[ ]?h[ ]?)?(?:\d{1,4}[ ]?m(?:in)?[ ]?)?\d{1,6}(?:[.,]\d+)?[ ]?s(?:ec)?"

# What begins so, or holds this, says when; nobody writes it into a transcript.
SURELY_TIMED = re.compile(
    rf"""
    [\[(<]?\s*{TIME}\s*-->                          # 1.5 --> 3
    | .*-->\s*{CLOCK}
    | {TIME}[ ]*\t[ ]*{TIME}[ ]*(?:\t.*)?$            # Audacity's labels
    | [\[(<]\s*{TIME}\s*(?:[-–—,;]|->|\s)\s*{DECIMAL}\s*[\])>]     # (1.5-3.2)
    | [\[(<]\s*{DECIMAL}\s*(?:[-–—,;]|->|\s)\s*{TIME}\s*[\])>]
    | \[\s*{DECIMAL}\s*s?\s*\]                      # [1.5]
    | .*[\[<]\s*{CLOCK}\s*[\]>]                     # [0:01], anywhere
    | \d+:\d{{2}}[.,]\d                             # 00:01.5
    | \d+:\d{{2}}:\d{{2}}(?![\d:])                  # 00:00:01
    | {DECIMAL}\s*(?:->|→)\s*{DECIMAL}
    | {UNITS}\s*(?:->|→|[-–—,;]|\s)\s*{UNITS}(?!\w)   # 0m0s - 0m1.5s
    | .*?(?<![\d:;])\d\d(?:[:;]\d\d){{3}}(?![\d:;])    # 00:00:01:12, the last of them frames
    | \[Script[ ]Info\] | Dialogue:\s*\d+,\s*{CLOCK},   # Advanced SubStation Alpha
    | SPEAKER\s+\S+\s+\d+\s+\d+(?:\.\d+)?\s+\d+(?:\.\d+)?\s+<NA>      # RTTM
    | [\[{{,\s]*"(?:start|end|begin|from|offset|time)\w*"\s*:            # JSON
    | [\[{{][\[{{\s]*".*"(?:start|end|begin|from|offset|time)\w*"\s*:
    """,
    re.VERBOSE,
)
START = re.compile(rf"\(?\s*({CLOCK})\s*\)?(?=\s|-|$)")
END = re.compile(rf".{{0,60}}?\s[(]?({CLOCK})[)]?")
SEPARATED = re.compile(rf"({DECIMAL})\s*[,;|]\s*({DECIMAL})\s*[,;|]")
CELL_ENDS = re.compile(r"\t|\||;(?! )")  # of tables
CELL = re.compile(rf"\s*{DECIMAL}\s*")
OTHER_FORMATS = re.compile(r"(?:File type = )?\"ooTextFile|<\?xml\b|<ANNOTATION_DOCUMENT\b")
NUMBER_FIRST = re.compile(r"(\d+[.,]\d+)\s")
WITHIN = re.compile(
    rf"""
    (\d+[.,]\d+)[ ]*\t                                                   # a start and a tab
    | \S+\s+(?:\d|[AB])\s+(?:\S+\s+)?(\d+\.\d+)\s+\d+\.\d+(?:\s|$)   # NIST's CTM and STM
    | .*?\(\s*({CLOCK})\s*[-–—]\s*{CLOCK}\s*\)
    | .*?(?<![\d:.,])(\d{{1,3}}:\d{{2}}:\d{{2}}(?:[.,]\d+)?)(?![\d:])
    """,
    re.VERBOSE,
)

Kind = Literal["nothing", "plain", "timed", "numbers", "beyond", "unsure"]


@dataclass(frozen=True, slots=True)
class Appearance:
    """What a text looks like.

    Attributes:
        kind: ``nothing``: no lines. ``plain``: a transcript. ``timed``: all of it says when. ``numbers``: it may say
            when, or be a transcript that begins with numbers. ``beyond``: it is a line that begins with two numbers,
            which are no times of its recording. ``unsure``: part of it may say when.
        line: number of the line that shows it.
        shown: that line's beginning.
        decimals: whether all times have decimals or colons, which makes numbers rather times.
        from_zero: whether the first time is 0, which makes a text rather timed.
    """

    kind: Kind
    line: int = 0
    shown: str = ""
    decimals: bool = False
    from_zero: bool = False


def read_text(content: bytes, address: str) -> Annotations:
    """The segments of a .txt: lines with times, or subtitles, a TextGrid and the like under a wrong suffix.

    Raises:
        DataError: naming file and line, for what cannot be read as such.
    """
    other = OTHER_FORMATS.match(decoded_text(content, address).lstrip())
    if other:
        is_grid = "ooTextFile" in other[0]
        return Annotations(read_text_grid(content, address)) if is_grid else read_elan(content, address)
    if is_transcript(content):
        return read_transcript(content, address)
    if are_subtitles(decoded_text(content, address)):
        return read_subtitles(content, address)
    return Annotations.untiered(read_timed_text(content, address))


def surely_timed(text: str) -> tuple[int, str] | None:
    """Number and beginning of the first line that surely has times; None where there is none."""
    if OTHER_FORMATS.match(text.lstrip()) or is_transcript(text.encode("utf-8", "replace")):
        return 1, text.lstrip()[:60].split("\n")[0]
    for number, line in content_lines(text):
        if sum(CELL.fullmatch(cell) is not None for cell in CELL_ENDS.split(line)) > 1:
            return number, line[:60]
        if SURELY_TIMED.match(line) or SBV_TIMES.fullmatch(line) or (number == 1 and line.split()[0] == "WEBVTT"):
            return number, line[:60]
    return None


def check_plain(text: str | bytes, address: str) -> None:
    """Raises: DataError: for a transcript with times in it, naming file and line; bytes are not judged."""
    found = surely_timed(text) if isinstance(text, str) else None
    if found:
        raise DataError(
            f"{address}: line {found[0]}: {found[1]!r} says when, so this is no transcript of a whole recording; "
            "--kind segments reads it, or take out the times"
        )


def appearance(content: bytes, seconds: Callable[[], float | None]) -> Appearance:
    """What a text beside a recording looks like.

    Args:
        content: in UTF-8, or UTF-16 with its mark; times are found in other encodings, too, which are refused later.
        seconds: the recording's length; None where it cannot be known. Asked for only where numbers may be times.
    """
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    lines = list(content_lines(text))
    if not lines:
        return Appearance("nothing")
    sure = surely_timed(text)
    if sure:
        return Appearance("timed", *sure)
    pairs = {number: times for number, line in lines if (times := two_times(line))}
    starts = {number: time for number, line in lines if number not in pairs and (time := one_time(line)) is not None}
    starts |= only_several(number_and_time(lines, END, starts.keys() | pairs.keys()), 2)
    if len(starts) + len(pairs) == 0:
        starts = only_several(number_and_time(lines, NUMBER_FIRST, ()), max(3, len(lines)))
    if not pairs and not starts:
        return Appearance("plain", lines[0][0], lines[0][1][:60])
    whole = len(pairs) == len(lines) and all(begins_with_times(line) for _, line in lines)
    if whole and len(lines) > 2:
        return Appearance("timed", lines[0][0], lines[0][1][:60])
    end = seconds()
    inside = {number for number, times in pairs.items() if end is None or times[1] <= end + BEYOND}
    inside |= {number for number, time in starts.items() if end is None or time <= end}
    in_order = all(one[1] <= other[0] for one, other in pairwise(pairs.values()))
    number, line = next(((number, line) for number, line in lines if number in inside), lines[0])
    decimals = all(re.match(DECIMAL, line) for _, line in lines)
    if whole and len(lines) > 1 and in_order and len(inside) == len(lines):
        return Appearance("timed", lines[0][0], lines[0][1][:60])
    if whole and (inside or len(lines) > 1):
        return Appearance("numbers", number, line[:60], decimals)
    if inside:
        return Appearance("unsure", number, line[:60])
    from_zero = any(start == 0 for start, _ in pairs.values())
    return Appearance("beyond" if whole else "plain", number, line[:60], from_zero=from_zero)


def begins_with_times(line: str) -> bool:
    """Whether a line can be read as a segment."""
    try:
        timed_fields(line)
    except DataError:
        return False
    return not SEPARATED.match(line)


def two_times(line: str) -> tuple[float, float] | None:
    """The times with which a line may begin, of which the second is later."""
    separated = SEPARATED.match(line)
    try:
        start, end = separated.groups() if separated else timed_fields(line)[:2]
        return parse_interval(start.replace(",", "."), end.replace(",", "."))
    except DataError:
        return None


def one_time(line: str) -> float | None:
    """The clock time with which a line may begin, or that it holds in a form that is rarely anything else."""
    return time_in(START.match(line) or WITHIN.match(line))


def time_in(matched: re.Match[str] | None) -> float | None:
    """What a pattern found, in seconds; None where it is nothing or no time."""
    try:
        return parse_time(next(filter(None, matched.groups())).replace(",", "."), "start") if matched else None
    except DataError:
        return None


def number_and_time(
    lines: Iterable[tuple[int, str]], form: re.Pattern[str], but: Iterable[int]
) -> Iterator[tuple[int, float]]:
    """Number and time of the lines that have one in this form, but for lines that are known already."""
    known = set(but)
    for number, line in lines:
        matched = form.match(line) if form is NUMBER_FIRST else form.fullmatch(line)
        time = time_in(matched)
        if time is not None and number not in known:
            yield number, time


def only_several(found: Iterable[tuple[int, float]], least: int) -> dict[int, float]:
    """The times, if there are so many, each later than the one before; one such line proves nothing."""
    times = dict(found)
    rising = all(one < other for one, other in pairwise(times.values()))
    return times if len(times) >= least and rising else {}
