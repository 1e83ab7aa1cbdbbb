"""Windows of consecutive segments of long recordings, for training with timestamps (arXiv 2212.04356, 2.3)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from ...corpora.record import Record
from ..checking import checked_text
from ..measuring import Unusable

LEAD_SECONDS = 0.2  # heard before a window's first segment at most, where nothing else is said
BEFORE_LETTERS = 1500  # of what is said before a window; a prompt holds 223 tokens


@dataclass
class Recording:
    """The usable segments of a recording that follow each other; ``begin``: what lies before it has other words."""

    begin: float = 0.0
    segments: list[Record] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


def in_windows(records: Iterable[Record], seconds: float, one_speaker: bool = False) -> Iterator[Record]:
    """Segments of one recording that follow each other as windows; all other records as they are.

    A segment that cannot be used ends a window, since it is heard and its text would be missing; so do one that is too
    long, another language, and another speaker if ``one_speaker``. Such a segment comes as a record by itself, whose
    check names it.

    Args:
        seconds: the longest window.
    """
    run, last = Recording(), None
    for record in records:
        text = usable_text(record, seconds)
        if run.segments and (text is None or not follows(run.segments[-1], record, one_speaker)):
            yield from windows_of(run, seconds)
            run = Recording()
        if text is None:
            yield record
        else:
            if not run.segments:
                run.begin = 0.0 if last is None else end_of(last, record)
            run.segments.append(record)
            run.texts.append(text)
        last = record
    yield from windows_of(run, seconds)


def usable_text(record: Record, seconds: float) -> str | None:
    """The text of a segment that can be part of a window; None of any other record."""
    if record.fault or not record.is_part or record.end is None or record.end - record.start > seconds:
        return None
    try:
        return checked_text(record.text)
    except Unusable:
        return None


def end_of(last: Record, record: Record) -> float:
    """Where a segment ends in the recording of another, before that one; 0 of another recording."""
    same = last.audio == record.audio and last.end is not None and last.end <= record.start
    return (last.end or 0.0) if same else 0.0


def follows(last: Record, record: Record, one_speaker: bool) -> bool:
    """Whether two segments may share a window."""
    assert last.end is not None
    alike = ["audio", "channel", "language", "split", *(["speaker"] if one_speaker else [])]
    return all(getattr(last, key) == getattr(record, key) for key in alike) and record.start >= last.end


def windows_of(run: Recording, seconds: float) -> Iterator[Record]:
    """The windows of segments that follow each other.

    A window begins where the last segment of the one before it ends, as decoding goes on from there, or shortly before
    its first segment where that would lie beyond the window. It keeps all of its length if more is said later; of a
    segment that ends beyond it the start alone is kept.
    """
    segments, at, begin = run.segments, 0, run.begin
    said = ""
    while at < len(segments):
        first = segments[at]
        assert first.end is not None
        lead = min(LEAD_SECONDS, max(0.0, first.start - begin), seconds - (first.end - first.start))
        start = begin if at and first.end <= begin + seconds else first.start - max(0.0, lead)
        stop, parts, end = start + seconds, list[tuple[float, float | None, str]](), at
        while end < len(segments) and (segments[end].end or 0.0) <= stop:
            own = segments[end]
            assert own.end is not None
            parts.append((own.start - start, own.end - start, run.texts[end]))
            begin, end = own.end, end + 1
        if end == len(segments):
            stop = begin
        elif segments[end].start < stop:
            parts.append((segments[end].start - start, None, ""))
        inside = segments[at:end]
        text = " ".join(run.texts[at:end])
        speakers = {one.speaker for one in inside}
        yield replace(
            first,
            text=text,
            start=start,
            end=stop,
            duration=None,
            speaker=speakers.pop() if len(speakers) == 1 else None,
            segments=tuple((round(a, 3), None if b is None else round(b, 3), words) for a, b, words in parts),
            before=said[-BEFORE_LETTERS:].partition(" ")[2] if len(said) > BEFORE_LETTERS else said,
        )
        said = f"{said} {text}".strip()
        at = end
