"""What a corpus says of one clip, before anybody looked at its audio."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """One clip.

    Attributes:
        place: where the corpus says so, for messages: ``train.tsv: row 12``.
        audio: encoded bytes, a path or address (joined with its root already), or `datasets`' audio value; None where
            there is none.
        text: the transcript; None where there is none.
        id: the corpus's own unique name, or None.
        language, speaker, split: as the corpus says; None where it does not.
        start, end: seconds of the recording that are the clip; all of it from 0 to None.
        duration: seconds that the corpus claims the clip has, or None.
        sampling_rate: hertz that the corpus claims the audio has, or None.
        fault: why the row cannot be used at all, whatever its audio is; None where it can.
        extra: columns to carry along, as text.
        channel: the one of the audio's channels that is the clip, from 0; None for the mean of all.
        second: the second recording, as ``audio``; None where there is none. A part of it is cut at the same times.
        second_channel: likewise, of the second recording.
        second_place: where the second recording lies or should lie, if it is a file.
        segments: of a clip that is a window of several: start, end and text of each, in seconds of the clip; the end is
            None where a segment goes on after the clip, and its text empty.
        before: what is said before such a clip.
    """

    place: str
    audio: Any = None
    text: str | None = None
    id: str | None = None
    language: str | None = None
    speaker: str | None = None
    split: str | None = None
    start: float = 0.0
    end: float | None = None
    duration: float | None = None
    sampling_rate: int | None = None
    fault: str | None = None
    extra: dict[str, str] = field(default_factory=dict)
    channel: int | None = None
    second: Any = None
    second_channel: int | None = None
    second_place: str | None = None
    segments: tuple[tuple[float, float | None, str], ...] = ()
    before: str = ""

    @property
    def is_part(self) -> bool:
        """Whether the clip is a part of a longer recording."""
        return self.start > 0 or self.end is not None
