"""What a command wrote for known recordings: the JSON files of ``launch/transcribe.py``, or of their form."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.errors import some_of

from ...errors import CommandFailed
from .known import KnownRecording, Unit
from .measures import Written


def read_written(folder: Path, known: Sequence[KnownRecording]) -> list[Written]:
    """The transcripts below a folder, in the order of the recordings, which they name in ``file``.

    Raises:
        CommandFailed: if a recording has none.
    """
    transcripts = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.json"))]
    by_file = {transcript["file"]: written_of(transcript) for transcript in transcripts}
    files = [str(one.path) for one in known]
    lacking = [file for file in files if file not in by_file]
    if lacking:
        raise CommandFailed(f"without a transcript nothing is scored, and these have none: {some_of(lacking)}")
    return [by_file[file] for file in files]


def written_of(transcript: dict[str, Any]) -> Written:
    """A transcript's segments and words."""
    segments = transcript["segments"]
    words = [word for segment in segments for word in segment.get("words") or ()]
    return Written(
        segments=tuple(Unit(one["start"], one["end"], one["text"]) for one in segments),
        words=tuple(Unit(one["start"], one["end"], one["word"].strip()) for one in words),
        language=transcript.get("language"),
    )
