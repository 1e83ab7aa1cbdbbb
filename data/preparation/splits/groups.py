"""What must not be in two splits: clips of one id, of one speaker, or of one recording."""

import posixpath
import re
import unicodedata
from collections.abc import Callable
from typing import Any, Literal

from ... import storage
from ...audio.decoding import digest_id
from ...corpora.formats import place_of
from ...corpora.places import relative
from ...corpora.record import Record
from ...corpora.settings import CorpusSettings
from ..measuring import Unusable

By = Literal["id", "speaker", "recording"]
NO_SPEAKER = "no speaker"
PATTERN = re.compile(r"[*?\[]")


def speaker_key(speaker: str | None) -> str | None:
    """One spelling of a speaker's name, by Unicode's form NFC and without space around it; None where it is empty."""
    return unicodedata.normalize("NFC", speaker or "").strip() or None


def corpus_folder(corpus: CorpusSettings) -> str:
    """The folder that recordings' names are relative to, so that a corpus may be moved."""
    if corpus.audio_root:
        return corpus.audio_root
    if corpus.kind == "hub":
        return ""
    address = place_of(corpus)
    if storage.is_folder(address):
        return address
    return posixpath.dirname(PATTERN.split(address, maxsplit=1)[0]) or "."


def recording_path(record: Record, folder: str) -> str | None:
    """The path of the file that a record's audio lies in, as seen from a folder; None where the row holds the audio."""
    audio = record.audio
    if isinstance(audio, dict) and not audio.get("bytes") and audio.get("array") is None:
        audio = audio.get("path")
    if not isinstance(audio, str):
        return None
    return relative(audio, folder) if folder else audio


def group_of(record: Record, by: By, folder: str) -> str | None:
    """What a record is shared out with, known before its audio is decoded; None for a record without a speaker.

    Args:
        folder: of the corpus; see :func:`corpus_folder`.
    """
    if by == "speaker":
        return speaker_key(record.speaker)
    if by == "recording":
        return recording_path(record, folder) or digest_id(without_name(record.audio), "")
    if record.id:
        return record.id
    return digest_id(record.audio, f"{record.start}-{record.end} {record.text}")


def without_name(audio: Any) -> Any:
    """Audio that a row holds, without the name that it goes by there: the same bytes are one recording."""
    return audio | {"path": None} if isinstance(audio, dict) else audio


class Splits:
    """The split of a clip.

    Args:
        by: what is not to be in two splits.
        of_group: the split of an id, speaker or recording.
        folder: of the corpus.
        by_final_id: ids are those that clips get in the end, of cut audio, too.
    """

    def __init__(self, by: By, of_group: Callable[[str], str], folder: str, by_final_id: bool) -> None:
        self.by, self.of_group, self.folder = by, of_group, folder
        self.by_final_id = by_final_id and by == "id"

    def __call__(self, record: Record, name: str) -> str:
        """The split of the clip of that id.

        Raises:
            Unusable: if it belongs to nobody, and splits are by speaker.
        """
        group = name if self.by_final_id else group_of(record, self.by, self.folder)
        if group is None:
            reason = "the row has no speaker, and splits by speaker promise that nobody is heard in two"
            raise Unusable(NO_SPEAKER, reason)
        return self.of_group(group)


class Heard:
    """Speakers and recordings by the splits that they are in; some 200 bytes each.

    Attributes:
        speakers: by one spelling of their names.
        recordings: those that parts were cut from, or all where splits are by recording.
    """

    def __init__(self) -> None:
        self.speakers: dict[str, set[str]] = {}
        self.recordings: dict[str, set[str]] = {}

    def add(self, record: Record, split: str, by: By, folder: str) -> None:
        """A clip that is kept."""
        speaker = speaker_key(record.speaker)
        if speaker is not None:
            self.speakers.setdefault(speaker, set()).add(split)
        recording = group_of(record, by, folder) if by == "recording" else None
        if recording is None and record.is_part:
            recording = recording_path(record, folder)
        if recording is not None:
            self.recordings.setdefault(recording, set()).add(split)

    def to_json(self) -> dict[str, dict[str, list[str]]]:
        """Names with their splits, all in order."""
        return {
            kind: {name: sorted(splits) for name, splits in sorted(found.items())} for kind, found in vars(self).items()
        }

    def merge(self, other: dict[str, dict[str, list[str]]]) -> None:
        """Take in what :meth:`to_json` gave."""
        for kind, found in other.items():
            mine = vars(self)[kind]
            for name, splits in found.items():
                mine.setdefault(name, set()).update(splits)
