"""Reads transcripts in JSON, as Whisper's own command, others of its kind, and ``launch/transcribe.py`` write them.

An object with ``segments``, a list of objects with ``start`` and ``end`` in seconds and ``text``.
"""

import json
from typing import Any

from ...audio.decoding import one_line
from ...errors import DataError, placed
from .tiers import Annotations, Segment, decoded_text

KEYS = frozenset(("start", "end", "text"))


def is_transcript(content: bytes) -> bool:
    """Whether a .json file is such a transcript, or was to be one; there are many other kinds."""
    if b'"segments"' not in content:
        return False
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{" and b'"start"' in content
    found = value.get("segments") if isinstance(value, dict) else None
    return isinstance(found, list) and all(isinstance(one, dict) and one.keys() >= KEYS for one in found[:1])


def read_transcript(content: bytes, address: str) -> Annotations:
    """The segments of a transcript; a segment that ends where it starts is at fault.

    Raises:
        DataError: naming file and segment, for what is not such a file, and for times that cannot be.
    """
    try:
        value = json.loads(decoded_text(content, address))
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{address}: not JSON: {one_line(error)}") from None
    found = value.get("segments") if isinstance(value, dict) else None
    if not isinstance(found, list):
        raise DataError(f"{address}: no list of segments in it")
    language = value.get("language")
    if not (isinstance(language, str) and 2 <= len(language) <= 3):
        language = None
    segments = [segment_of(one, number, address) for number, one in enumerate(found, start=1)]
    return Annotations.untiered(segments, language)


def segment_of(value: Any, number: int, address: str) -> Segment:
    """A segment of the list."""
    with placed(f"{address}: segment {number}"):
        if not isinstance(value, dict) or not value.keys() >= KEYS or not isinstance(value["text"], str):
            raise DataError("start, end and text are right")
        speaker = value.get("speaker")
        text = " ".join(value["text"].split())
        label = f"segment {number}"
        return Segment.between(label, value["start"], value["end"], text, speaker if isinstance(speaker, str) else None)
