"""Recordings of which it is known what is said when, read by the same readers as ``launch/prepare.py``'s.

Every time is checked before anything is decoded.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from data import storage
from data.audio.cutting import END_TOLERANCE, WINDOW_SECONDS
from data.audio.decoding import seconds_of
from data.audio.undecodable import UndecodableAudio
from data.corpora.annotations.timeline import parse_interval, shown
from data.corpora.census import Census
from data.corpora.readers.segments import read_segments
from data.corpora.record import Record
from data.corpora.settings import CorpusSettings
from data.errors import DataError, placed

OVERLAP_HINT = re.compile(r"; (--tiers chooses, )?--allow-overlaps reads (all|both)$")


@dataclass(frozen=True)
class Unit:
    """What is said or written from ``start`` to ``end``, seconds of the recording: a segment or a word."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class KnownRecording:
    """A recording and what is said in it.

    Attributes:
        segments: in order of time, without overlap.
        words: each word with its time, in order; empty where a segment of the recording has none.
        language: ISO 639-1; None where it is not known.
        seconds: by the header.
    """

    path: Path
    segments: tuple[Unit, ...]
    words: tuple[Unit, ...]
    language: str | None
    seconds: float


@dataclass(frozen=True)
class Known:
    """Recordings in the order of their paths, and what is to be told of how they were read."""

    recordings: tuple[KnownRecording, ...]
    remarks: tuple[str, ...]

    @property
    def language(self) -> str | None:
        """The language of all recordings; None if they have several, or if it is not known."""
        languages = {one.language for one in self.recordings}
        return languages.pop() if len(languages) == 1 else None


def read_known(address: str, audio_root: str | None = None) -> Known:
    """The recordings of a folder, a table of segments or an annotation file.

    Raises:
        DataError: naming file and segment, for what cannot be read, and for segments that overlap, run backwards, are
            longer than 30 s, or end more than half a second after their recording.
    """
    census = Census()
    by_audio: dict[str, list[Record]] = defaultdict(list)
    settings = CorpusSettings(input=address, audio_root=audio_root)
    for record in without_hint(read_segments(address, settings, census)):
        if record.fault:
            raise DataError(f"{record.place}: {record.fault}")
        by_audio[local_path(record)].append(record)
    if not by_audio:
        raise DataError(f"{address}: no recording with segments")
    found = tuple(known_recording(audio, by_audio[audio]) for audio in sorted(by_audio))
    return Known(found, tuple(census.lines()))


def without_hint(records: Iterator[Record]) -> Iterator[Record]:
    """The same; errors of overlaps do not name an option that preparation alone has."""
    try:
        yield from records
    except DataError as error:
        raise DataError(OVERLAP_HINT.sub("", str(error))) from None


def local_path(record: Record) -> str:
    """The recording's path. Raises DataError if it is none of this machine, or all of it is one text."""
    if not isinstance(record.audio, str) or "://" in record.audio:
        raise DataError(f"{record.place}: its recording is no file of this machine")
    if record.end is None:
        raise DataError(f"{record.place}: a text without times; segments with start and end are right")
    return record.audio


def known_recording(audio: str, records: Sequence[Record]) -> KnownRecording:
    """One recording; its segments are put in order and checked."""
    ordered = sorted(records, key=lambda record: record.start)
    try:
        seconds = seconds_of(audio)
    except UndecodableAudio as error:
        raise DataError(f"{audio}: {error}") from None
    segments, words = [], []
    for record in ordered:
        assert record.end is not None
        with placed(record.place):
            check_segment(record.start, record.end, seconds)
            words.append(words_of(record))
        segments.append(Unit(record.start, record.end, record.text or ""))
    languages = {record.language for record in ordered}
    if len(languages) > 1:
        told = ", ".join(sorted(map(str, languages)))
        raise DataError(f"{audio}: its segments are of several languages ({told}); one is right")
    has_words = all(own for own, segment in zip(words, segments, strict=True) if segment.text)
    return KnownRecording(
        path=Path(audio),
        segments=tuple(segments),
        words=tuple(word for own in words for word in own) if has_words else (),
        language=languages.pop(),
        seconds=seconds,
    )


def check_segment(start: float, end: float, seconds: float) -> None:
    """Raises: DataError: for a segment that no model hears at once, or that ends after its recording of ``seconds``."""
    if end - start > WINDOW_SECONDS:
        raise DataError(f"{shown(end - start)} s long; at most {WINDOW_SECONDS:g} s are right")
    if end > seconds + END_TOLERANCE:
        raise DataError(f"ends at {shown(end)} s, but its recording at {shown(seconds)} s")


def words_of(record: Record) -> list[Unit]:
    """The words that a segment in a JSON file has times of, as ``launch/transcribe.py --words`` writes them.

    Raises:
        DataError: for words without text or times, and for times that are not in order.
    """
    file, _, label = record.place.rpartition(": ")
    if not file.endswith(".json"):
        return []
    listed = segments_in(file)[int(label.rpartition(" ")[2]) - 1].get("words") or []
    found: list[Unit] = []
    for number, word in enumerate(listed, start=1):
        with placed(f"word {number}"):
            if not isinstance(word, dict) or not isinstance(word.get("word"), str):
                raise DataError("word, start and end are right")
            start, end = parse_interval(word.get("start"), word.get("end"))
            if found and start < found[-1].start:
                raise DataError(f"starts at {shown(start)} s, before the word that precedes it")
            found.append(Unit(start, end, word["word"].strip()))
    return found


@cache
def segments_in(file: str) -> list[dict[str, Any]]:
    """The segments of a JSON file that was read before."""
    found: list[dict[str, Any]] = json.loads(storage.read_bytes(file).decode("utf-8-sig"))["segments"]
    return found
