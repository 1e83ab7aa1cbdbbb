"""The audio of a record as it is kept: its own bytes, or FLAC where it is a part or is changed; or why it is not."""

import os
import posixpath
import re
from collections.abc import Callable

from ... import storage
from ...audio.cutting import sound_bounds
from ...audio.decoding import samples_of
from ...audio.integrity import after_id3
from ...corpora.record import Record
from ...utterance import SAMPLING_RATE
from ..clips import RecordingReader, cut_clip, encode_flac, normalized
from ..measuring import Measure, Unusable, check_claim, check_promise, container_of_audio, content_of
from ..settings import ClipSettings

SAME_SUFFIX = {".wave": ".wav", ".oga": ".ogg", ".opus": ".ogg", ".fla": ".flac", ".aif": ".aiff", ".aifc": ".aiff"}
SUFFIXES = {b"RIFF": ".wav", b"RIFX": ".wav", b"RF64": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"FORM": ".aiff"}
BROKEN_NAME = re.compile("[\ud800-\udfff\0-\x1f\x7f]")
CONVERTED = "recordings that ffmpeg reads, written as FLAC, so that training needs no ffmpeg"


class AudioCheck:
    """Checks and cuts the audio of records.

    Args:
        embed_audio: whether bytes are wanted; else the path alone.
        notice: is told what was put right.

    Attributes:
        bounds: of the clip that was cut last, the first sample that was kept and the first after it.
    """

    def __init__(self, settings: ClipSettings, embed_audio: bool, notice: Callable[[str], None]) -> None:
        self.settings, self.embed_audio, self.notice = settings, embed_audio, notice
        self.measure = Measure(settings, notice)
        self.recordings = RecordingReader()
        self.bounds = (0, 0)

    def close(self) -> None:
        self.recordings.close()

    def __call__(self, record: Record, bounds: tuple[int, int] | None = None) -> tuple[bytes | None, str, float]:
        """Bytes (None: to be left where they are), name and seconds of a clip.

        Args:
            bounds: see :meth:`cut`; only of a clip that is cut.

        Raises:
            Unusable, UndecodableAudio: if it cannot be used.
        """
        is_cut = record.is_part or record.channel is not None or self.settings.changes_audio
        return self.cut(record, bounds) if is_cut else self.whole(record)

    def whole(self, record: Record) -> tuple[bytes | None, str, float]:
        """Bytes (None: to be left where they are), name and seconds of a clip that stays as it is."""
        value, path = record.audio, path_of(record) or ""
        if samples_of(value) is not None:
            return self.cut(record)
        if isinstance(value, dict):
            value = value.get("bytes")
        if isinstance(value, str) and (self.embed_audio or self.settings.check == "decode"):
            value = content_of(value)
        if self.embed_audio and value and container_of_audio(value) is not None:
            converted = self.cut(record)
            self.notice(CONVERTED)
            return converted
        seconds = self.measure.seconds(value, record)
        if not self.embed_audio:
            if not isinstance(record.audio, str):
                raise Unusable("unusable row", "the audio has no path, and the shards are to hold paths alone")
            if BROKEN_NAME.search(record.audio):
                raise Unusable("unusable row", "the audio's path is not UTF-8, or holds a line break")
            return None, record.audio if storage.is_remote(record.audio) else os.path.abspath(record.audio), seconds
        return bytes(value), self.file_name(path, value), seconds

    def file_name(self, path: str, content: bytes) -> str:
        """The name in a path, with the suffix of what the file really holds."""
        stem, suffix = posixpath.splitext(BROKEN_NAME.sub("_", posixpath.basename(path)))
        right = suffix_of(content) or suffix
        if suffix and SAME_SUFFIX.get(suffix.lower(), suffix.lower()) != right:
            self.notice("file names with another format's suffix, put right")
            suffix = right
        return (stem or "clip") + (suffix or right)

    def cut(self, record: Record, bounds: tuple[int, int] | None = None) -> tuple[bytes, str, float]:
        """A part of a recording, or a clip that is changed, as FLAC.

        Args:
            bounds: the first sample that is kept and the first after it; all of them if None.
        """
        header = self.measure.check_recording(record)
        settings = self.settings
        samples = cut_clip(record, self.recordings)
        if settings.trim_silence:
            bounds = sound_bounds(samples)
        self.bounds = (0, len(samples)) if bounds is None else bounds
        is_whole = self.bounds == (0, len(samples)) and not settings.trim_silence
        if not is_whole:
            samples = samples[slice(*self.bounds)].copy()  # not a view: what was cut off may go
        samples = normalized(samples, settings.normalize)
        for remark in self.recordings.remarks:
            self.notice(remark)
        self.measure.check_sound(samples, record)
        if is_whole:
            check_claim(record, len(samples) / SAMPLING_RATE)
            if header is not None and not record.is_part:
                check_promise(header, len(samples) / SAMPLING_RATE)
        content = encode_flac(samples)
        stem = posixpath.splitext(posixpath.basename(record.id or "clip"))[0]
        return content, f"{stem}.flac", len(samples) / SAMPLING_RATE


def path_of(record: Record) -> str | None:
    """The path of a record's audio, if it has one."""
    path = record.audio.get("path") if isinstance(record.audio, dict) else record.audio
    return path if isinstance(path, str) else None


def suffix_of(content: bytes) -> str | None:
    """The suffix of the commonest encodings, by their first bytes."""
    begin = after_id3(content)
    magic = content[begin : begin + 4]
    if magic[:1] == b"\xff" and magic[1:2] >= b"\xe0":
        return ".mp3"
    return SUFFIXES.get(magic)
