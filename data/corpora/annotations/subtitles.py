"""Reads subtitles: SubRip (.srt), WebVTT (.vtt) and YouTube's .sbv.

Formats: https://www.matroska.org/technical/subtitles.html (SubRip), https://www.w3.org/TR/webvtt1/ (WebVTT),
https://support.google.com/youtube/answer/2734698 (.sbv).
"""

import html
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from ...errors import DataError, placed
from .tiers import Annotations, Segment, decoded_text, text_lines

ARROW = re.compile(r"\s*(\d\S*)\s*-->\s*(\S+)(?:\s+(\S.*))?")
SBV_TIMES = re.compile(r"\s*(\d+:\d{2}:\d{2}\.\d+)\s*,\s*(\d+:\d{2}:\d{2}\.\d+)\s*()")
LOOKS_TIMED = re.compile(r"\s*\d+:\d{2}(?::\d{2})?[.,]\d|\s*\d+:\d{2}:\d{2}\s*-+>|.*-->\s*\d")
SPEAKER = re.compile(r"\[(SPEAKER_\d+)\]:\s*")  # as programs that tell speakers apart write it
SETTINGS = re.compile(r"(?:[XY][12]|[a-z]+):\S++(?:\s++(?:[XY][12]|[a-z]+):\S++)*+")  # after the times
SRT_TAGS = re.compile(r"</?(?:[ibus]|font)(?:\s[^<>]*+)?>|\{\\[^{}]*+\}|\{/?[ibus]\}", re.IGNORECASE)
VTT_TAGS = re.compile(r"<rt\b[^<>]*+>[^<]*+</rt>|</?(?:[bciuv]|lang|ruby|rt)(?:[.\s][^<>]*+)?>|<\d[\d:.]*+>")
VTT_VOICE = re.compile(r"<v(?:\.[^\s<>]*+)?[ \t]++([^<>]*+)>")
VTT_LANGUAGE = re.compile(r"Language:\s*([a-z]{2,3})\b")
VTT_BLOCKS = re.compile(r"(?:NOTE|STYLE|REGION)(?:\s.*)?")


@dataclass
class Cue:
    """The times of a cue as they stand there, and the lines below them with their numbers."""

    number: int
    start: str
    end: str
    lines: list[tuple[int, str]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The lines as one."""
        return "\n".join(line for _, line in self.lines)


def read_subtitles(content: bytes, address: str) -> Annotations:
    """The cues of a file of subtitles, whichever of the three it is; the lines of a cue become one.

    Tags of style and position are left out. What is written in brackets or with notes (``[MUSIC]``) stays. A voice of
    WebVTT's is the speaker; a cue of several voices has none. A cue without text is a segment without text. Of captions
    that roll, as YouTube's automatic ones do, each line is read once.

    Raises:
        DataError: naming file and line, for times that cannot be, and what is no part of such a file.
    """
    lines = list(enumerate(text_lines(decoded_text(content, address)), start=1))
    first = next((line.strip() for _, line in lines if line.strip()), "")
    if first.split(None, 1)[:1] == ["WEBVTT"]:
        header, rest = split_header(lines)
        language = next((found[1] for line in header if (found := VTT_LANGUAGE.match(line))), None)
        return Annotations.untiered(segments(without_blocks(rest), address, ARROW, vtt_text), language)
    if first and address.lower().endswith(".vtt"):
        raise DataError(f"{address}: line 1: {first[:60]!r} stands where 'WEBVTT' should")
    times = SBV_TIMES if SBV_TIMES.fullmatch(first) else ARROW
    return Annotations.untiered(segments(lines, address, times, srt_text))


def are_subtitles(text: str) -> bool:
    """Whether a text is subtitles, and not lines with times and text: its first times stand alone."""
    lines = [line.strip() for line in text_lines(text) if line.strip()]
    if lines and (lines[0].split(None, 1)[0] == "WEBVTT" or SBV_TIMES.fullmatch(lines[0])):
        return True
    for line, following in pairwise([*lines, ""]):
        found = ARROW.fullmatch(line)
        if found:
            return (not found[3] or bool(SETTINGS.fullmatch(found[3]))) and "-->" not in following
        if "-->" in line:
            return False
    return False


def segments(
    lines: Iterable[tuple[int, str]],
    address: str,
    times: re.Pattern[str],
    text_of: Callable[[str], tuple[str, str | None]],
) -> Iterator[Segment]:
    """The cues as segments.

    Args:
        times: what a line with the times of a cue is: start, end, and what may follow them.
        text_of: text and speaker of a cue's lines.
    """
    found = cues(lines, address, times, has_names=text_of is vtt_text)
    for cue in unrolled(found, lambda line: " ".join(text_of(line)[0].split())):
        text, speaker = text_of(cue.text)
        told = SPEAKER.match(text)
        if told:
            text, speaker = text[told.end() :], told[1]
        with placed(f"{address}: line {cue.number}"):
            start, end = cue.start.replace(",", "."), cue.end.replace(",", ".")
            segment = Segment.between(f"line {cue.number}", start, end, " ".join(text.split()), speaker)
        yield segment


def cues(lines: Iterable[tuple[int, str]], address: str, times: re.Pattern[str], *, has_names: bool) -> list[Cue]:
    """The cues, each with the lines below its times up to the next one's, but for that one's number or name.

    Args:
        has_names: a cue may have a name, and not only a number.

    Raises:
        DataError: naming file and line, for a line that is part of none.
    """
    found: list[Cue] = []
    above: list[tuple[int, str]] = []  # the first cue
    for number, line in lines:
        matched = times.fullmatch(line)
        if matched:
            lead = found[-1].lines if found else [(0, ""), *above]
            without_name(lead, len(found), has_names)
            if not found and len(lead) > 1:
                raise DataError(f"{address}: line {above[0][0]}: {above[0][1].strip()[:60]!r} stands before any times")
            found.append(Cue(number, matched[1], matched[2]))
            if matched[3] and not SETTINGS.fullmatch(matched[3].strip()):
                raise DataError(f"{address}: line {number}: {matched[3].strip()[:60]!r} stands after the times")
        elif LOOKS_TIMED.match(line):
            raise DataError(f"{address}: line {number}: {line.strip()[:60]!r} looks like times, but is none of a cue")
        elif found:
            found[-1].lines.append((number, line.strip()))
        elif line.strip() or above:
            above.append((number, line))
    if not found and above:
        raise DataError(f"{address}: line {above[0][0]}: {above[0][1].strip()[:60]!r} is no subtitle, and none follows")
    return found


def unrolled(cues: Sequence[Cue], text_of: Callable[[str], str]) -> list[Cue]:
    """The cues without lines that were shown before: automatic captions roll, so that a line stays while the next one
    is spoken, and between them stand cues of a moment that only show it again.

    Captions roll if most cues of two lines, and at least three, begin with the line that the cue before ended with.
    """
    shown = [[text for _, line in cue.lines if (text := text_of(line))] for cue in cues]
    again = [bool(before and now) and now[0] == before[-1] for before, now in pairwise([[], *shown])]
    double = [repeats for repeats, lines in zip(again, shown, strict=True) if len(lines) > 1]
    if sum(double) < 3 or sum(double) * 2 <= len(double):
        return list(cues)
    kept = []
    for cue, lines, repeats in zip(cues, shown, again, strict=True):
        if repeats and len(lines) > 1:
            kept.append(replace(cue, lines=[(number, line) for number, line in cue.lines if text_of(line)][1:]))
        elif not repeats and lines:
            kept.append(cue)
    return kept


def without_name(lines: list[tuple[int, str]], cue: int, has_names: bool) -> None:
    """Take away what belongs to the next cue: its number or name, which stands right above its times.

    It stands below a blank line. Where that was forgotten, it is the number that is next.

    Args:
        cue: how many cues came before.
    """
    if not lines or not lines[-1][1].strip():
        return
    name = lines[-1][1].strip()
    below_blank = len(lines) > 1 and not lines[-2][1].strip()
    if (below_blank and (has_names or name.isdecimal())) or (name.isdecimal() and int(name) in (cue, cue + 1)):
        lines.pop()


def srt_text(text: str) -> tuple[str, str | None]:
    """The text of a SubRip cue; the format names no speakers."""
    return SRT_TAGS.sub("", text), None


def vtt_text(text: str) -> tuple[str, str | None]:
    """Text and speaker of a WebVTT cue."""
    voices = list(dict.fromkeys(" ".join(html.unescape(name).split()) for name in VTT_VOICE.findall(text)))
    return html.unescape(VTT_TAGS.sub("", text)), (voices[0] or None) if len(voices) == 1 else None


def split_header(lines: Sequence[tuple[int, str]]) -> tuple[list[str], list[tuple[int, str]]]:
    """The lines of a WebVTT file up to the first blank one or the first times, and the others."""
    begin = next(place for place, (_, line) in enumerate(lines) if line.strip())
    for place in range(begin + 1, len(lines)):
        if not lines[place][1].strip() or "-->" in lines[place][1]:
            return [line.strip() for _, line in lines[begin:place]], list(lines[place:])
    return [line.strip() for _, line in lines[begin:]], []


def without_blocks(lines: Sequence[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """The lines of a WebVTT file without its comments, styles and regions, which end at a blank line."""
    inside, before = False, ""
    for number, line in lines:
        if not line.strip() or "-->" in line:
            inside = False
        elif not before and VTT_BLOCKS.fullmatch(line.strip()):
            inside = True
        before = line.strip()
        if not inside:
            yield number, line
