"""Transcripts with their times, and their formats: txt, json, srt, vtt."""

import html
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

FORMATS = ("txt", "json", "srt", "vtt")
TimedText = tuple[float, float, list[int]]  # start and end in seconds, and tokens
WRITTEN_WITHOUT_SPACES = frozenset(("zh", "yue", "ja", "th", "lo", "my", "km", "bo"))


@dataclass(frozen=True)
class Segment:
    """What was said from ``start`` to ``end``, seconds of the whole recording, start <= end.

    Attributes:
        share: the first recording's in what was fused, the mean over the tokens; None without fusion.
        no_speech_prob: how likely the model finds it that nobody speaks in the piece that the segment is of; None if it
            cannot tell.
        avg_logprob: the mean natural logarithm of the probabilities of the tokens of the piece or window; None where it
            is not known.
        temperature: at which they were decoded; 0 for the likeliest, None where it is not known.
    """

    start: float
    end: float
    text: str
    share: float | None = None
    no_speech_prob: float | None = None
    avg_logprob: float | None = None
    temperature: float | None = None


@dataclass(frozen=True)
class SecondHeard:
    """A second recording that was heard beside a first one.

    Attributes:
        file: as the user wrote it, with its channel.
        use: ``fused``: their log-probabilities were averaged; ``model``: the model heard both; ``subtracted``: what of
            it was in the first was taken out of that.
        delay: seconds by which it heard the same later and was moved, below 0 earlier; None where it stayed in place.
    """

    file: str
    use: str
    delay: float | None = None


@dataclass(frozen=True)
class Transcript:
    """A recording's text.

    Attributes:
        file: the recording, as the user named it.
        language: ISO 639-1, given or heard in the first pieces with speech; None if none was given and none has sound.
        language_detected: whether it was heard rather than given.
        language_probability: how likely the language is in these pieces, the mean over them; None where it was given.
        duration: seconds.
        text: everything that was said, on one line.
        segments: the same in parts, in order, without overlap.
        left_out: what the model wrote where it finds it likely that nobody speaks; not part of ``text``.
        repeats: parts of it repeat themselves, as in a loop of the decoder.
        remarks: what is to be told of the recording: damage, what was left out of it, that it holds no sound.
        second: what was heard beside it.
    """

    file: str
    language: str | None
    language_detected: bool
    duration: float
    text: str
    segments: tuple[Segment, ...]
    left_out: tuple[Segment, ...] = ()
    language_probability: float | None = None
    repeats: bool = False
    remarks: tuple[str, ...] = ()
    second: SecondHeard | None = None

    @property
    def warnings(self) -> list[str]:
        """What the user should be told beside the text, with the file's name."""
        told = [*self.remarks, *(["parts of the text repeat themselves"] if self.repeats else [])]
        return [f"{self.file}: {remark}" for remark in told]


def join_texts(texts: Sequence[str], language: str | None) -> str:
    """Parts of a text as one line, with spaces between them where the language has spaces."""
    return ("" if language in WRITTEN_WITHOUT_SPACES else " ").join(filter(None, texts))


def written(transcript: Transcript, kind: str, timestamps: bool = False, indent: int | None = None) -> str:
    """The transcript as a ``txt`` (with a line for each segment if ``timestamps``), ``json``, ``srt`` or ``vtt``.

    ``indent`` is of json; None for one line.
    """
    segments = transcript.segments
    if kind == "json":
        return json.dumps(plain(transcript), ensure_ascii=False, indent=indent) + "\n"
    if kind == "srt":
        # SubRip has no escapes, so an arrow of a time line is written as another.
        texts = [segment.text.replace("-->", "→") for segment in segments]
        cues = [f"{n}\n{span(segments[n - 1], ',')}\n{text}\n" for n, text in enumerate(texts, 1)]
        return "\n".join(cues)
    if kind == "vtt":
        return "\n".join(["WEBVTT\n", *(f"{span(s, '.')}\n{html.escape(s.text, quote=False)}\n" for s in segments)])
    if timestamps:
        return "".join(f"[{span(s, '.')}] {s.text}\n" for s in segments)
    return transcript.text + "\n"


def plain(transcript: Transcript) -> dict[str, Any]:
    """A transcript as JSON has it: without a second recording, a share or a probability where there is none."""
    values = asdict(transcript)
    if values["second"] is None:
        del values["second"]
    for segment in (*values["segments"], *values["left_out"]):
        for key in ("share", "no_speech_prob", "avg_logprob", "temperature"):
            if segment[key] is None:
                del segment[key]
    return values


def span(segment: Segment, point: str) -> str:
    """``hh:mm:ss,mmm --> hh:mm:ss,mmm``, at least a millisecond long."""
    start = round(segment.start * 1000)
    end = max(round(segment.end * 1000), start + 1)
    return f"{clock(start, point)} --> {clock(end, point)}"


def clock(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{rest:03d}"


def timed_texts(tokens: Sequence[int], first_timestamp: int, seconds_each: float, duration: float) -> list[TimedText]:
    """Start, end and text tokens of what lies between timestamp tokens.

    Times are limited to the ``duration`` of the piece and kept in order; a text without an end lasts to its end.
    """
    found: list[TimedText] = []
    start, pending = 0.0, list[int]()
    for token in tokens:
        if token < first_timestamp:
            pending.append(token)
            continue
        time = min(max((token - first_timestamp) * seconds_each, start), duration)
        if pending:
            found.append((start, time, pending))
            pending = []
        start = time
    return [*found, (start, duration, pending)] if pending else found
