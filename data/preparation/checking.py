"""From a record to a clip fit for training, or to the reason why it is none."""

import hashlib
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .. import headers, storage
from ..audio import UndecodableAudio, decode_audio, digest_id, samples_of, seconds_of
from ..utterance import SAMPLING_RATE
from .record import Record
from .settings import ClipSettings

AGREEMENT = 0.05, 0.1  # a claimed duration may be off by this share, or by so many seconds
SAME_SUFFIX = {".wave": ".wav", ".oga": ".ogg", ".opus": ".ogg", ".fla": ".flac"}
LANGUAGE = re.compile(r"[a-z]{2,3}$")
BROKEN_TEXT = re.compile("[\ud800-\udfff\ufffd\0]")


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip that is kept.

    Attributes:
        audio: encoded bytes; None where the shard shall hold the path alone.
        path: a name with the right suffix, or where the audio lies.
    """

    id: str
    audio: bytes | None
    path: str
    text: str
    language: str | None
    speaker: str | None
    duration: float
    split: str
    extra: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that is left out. ``broken``: it is at fault, not the limits that were set."""

    id: str
    place: str
    kind: str
    reason: str
    broken: bool = True


class Unusable(Exception):
    """A row cannot be used: of what kind the fault is, and the reason."""

    def __init__(self, kind: str, reason: str, broken: bool = True) -> None:
        super().__init__(reason)
        self.kind, self.reason, self.broken = kind, reason, broken


class ClipCheck:
    """Checks records; what it had to put right is counted in ``notices``.

    Args:
        split_of: the split of a clip by its id and speaker; None for what the corpus says, else ``train``.
    """

    def __init__(
        self, settings: ClipSettings, embed_audio: bool, split_of: Callable[[str, str | None], str] | None
    ) -> None:
        self.settings, self.embed_audio, self.split_of = settings, embed_audio, split_of
        self.notices: dict[str, int] = {}

    def __call__(self, record: Record) -> Clip | Dropped:
        """The clip that a record becomes."""
        try:
            return self.clip(record)
        except Unusable as error:
            return Dropped(record.id or name_of(record), record.place, error.kind, error.reason, error.broken)
        except UndecodableAudio as error:
            return Dropped(record.id or name_of(record), record.place, "undecodable audio", str(error))

    def clip(self, record: Record) -> Clip:
        if record.fault:
            raise Unusable("unusable row", record.fault)
        text = checked_text(record.text)
        language = self.checked_language(record.language)
        changed = record.is_part or self.settings.changes_audio
        audio, path, seconds = self.cut(record) if changed else self.whole(record)
        limits = self.settings
        if not limits.min_seconds <= seconds <= limits.max_seconds:
            kind = "too short" if seconds < limits.min_seconds else "too long"
            kept = f"{limits.min_seconds:g} to {limits.max_seconds:g} s are kept"
            raise Unusable(kind, f"{seconds:.2f} s long; {kept}", broken=False)
        name = record.id or name_of(record, audio)
        if self.split_of is not None:
            split = self.split_of(name, record.speaker)
        else:
            split = record.split or "train"
            if not split.replace("_", "").isalnum():
                raise Unusable("unusable row", f"split is {split!r}, which cannot be part of a file's name")
        return Clip(name, audio, path, text, language, record.speaker, seconds, split, record.extra)

    def whole(self, record: Record) -> tuple[bytes | None, str, float]:
        """Bytes (None: to be left where they are), name and seconds of a clip that stays as it is."""
        value = record.audio
        if isinstance(value, dict) and value.get("bytes"):
            value, path = value["bytes"], value.get("path") or ""
        elif isinstance(value, str):
            path = value
        else:
            path = ""
        if samples_of(value) is not None:
            return self.cut(record)
        if isinstance(value, str) and (self.embed_audio or self.settings.check == "decode"):
            value = self.content(value)
        seconds = self.measured(value, record)
        self.compare(record, seconds)
        if not self.embed_audio:
            if not isinstance(record.audio, str):
                raise Unusable("unusable row", "the audio has no path, and the shards are to hold paths alone")
            return None, record.audio, seconds
        return bytes(value), self.file_name(path, value), seconds

    def file_name(self, path: str, content: bytes) -> str:
        """The name in a path, with the suffix of what the file really holds."""
        stem, suffix = posixpath.splitext(posixpath.basename(path))
        right = suffix_of(content) or suffix
        if suffix and SAME_SUFFIX.get(suffix.lower(), suffix.lower()) != right:
            self.notice("file names with another format's suffix, put right")
            suffix = right
        return (stem or "clip") + (suffix or right)

    def content(self, path: str) -> bytes:
        try:
            return storage.read_bytes(path)
        except storage.StorageError as error:
            raise UndecodableAudio(str(error)) from None

    def measured(self, value: Any, record: Record) -> float:
        """Seconds of encoded audio, by its header, or by decoding all of it."""
        header = self.header(value)
        if header is not None:
            if header.missing:
                promised = (header.frames + header.missing) / header.sampling_rate
                raise Unusable(
                    "cut off", f"the header promises {promised:.2f} s, of which {header.seconds:.2f} s are there"
                )
            if record.sampling_rate and record.sampling_rate != header.sampling_rate:
                raise Unusable(
                    "contradiction",
                    f"the corpus says {record.sampling_rate} Hz, the header {header.sampling_rate} Hz",
                )
        if self.settings.check == "decode":
            return len(decode_audio(value)) / SAMPLING_RATE
        return header.seconds if header is not None else seconds_of(value)

    def header(self, value: Any) -> headers.Header | None:
        if isinstance(value, str):
            if storage.is_remote(value):
                return None
            try:
                return headers.read_header(value)
            except OSError as error:
                raise UndecodableAudio(f"cannot open {value}: {storage.reason(error)}") from None
        return headers.parse_header(bytes(value[: headers.PREFIX_BYTES]), len(value))

    def cut(self, record: Record) -> tuple[bytes, str, float]:
        """A part of a recording, or a clip that is changed, as FLAC."""
        from .clips import cut_clip, encode_flac

        samples = cut_clip(record, trim_silence=self.settings.trim_silence, normalize=self.settings.normalize)
        if not self.settings.trim_silence:
            self.compare(record, len(samples) / SAMPLING_RATE)
        content = encode_flac(samples)
        stem = posixpath.splitext(posixpath.basename(record.id or "clip"))[0]
        return content, f"{stem}.flac", len(samples) / SAMPLING_RATE

    def compare(self, record: Record, seconds: float) -> None:
        """Refuse audio that is not as long as the corpus says: one of the two is wrong, and so may the text be."""
        claimed = record.duration
        share, least = AGREEMENT
        if claimed is not None and abs(claimed - seconds) > max(least, share * max(claimed, seconds)):
            raise Unusable("contradiction", f"the corpus says {claimed:.2f} s, the audio is {seconds:.2f} s long")

    def checked_language(self, language: str | None) -> str | None:
        """A language's code without its region: ``zh-CN`` is ``zh``."""
        if not language:
            return None
        code = language.replace("_", "-").split("-")[0].lower()
        if not LANGUAGE.match(code):
            raise Unusable("unusable row", f"language is {language!r}; a code of ISO 639-1, such as 'az', is right")
        if code != language:
            self.notice("language codes without their region")
        return code

    def notice(self, what: str) -> None:
        self.notices[what] = self.notices.get(what, 0) + 1


def checked_text(text: str | None) -> str:
    words = (text or "").strip()
    if not words:
        raise Unusable("empty text", "the text is empty")
    broken = BROKEN_TEXT.search(words)
    if broken:
        raise Unusable("broken text", f"the text holds U+{ord(broken.group()):04X}: it was not decoded rightly once")
    return words


def name_of(record: Record, audio: bytes | None = None) -> str:
    """A stable name for a record without one: of its audio and text, or, where it is unusable, of its place."""
    if audio is not None:
        return digest_id({"bytes": audio, "path": path_of(record)}, record.text or "")
    return f"row-{hashlib.blake2b(record.place.encode('utf-8', 'replace'), digest_size=6).hexdigest()}"


def path_of(record: Record) -> str | None:
    path = record.audio.get("path") if isinstance(record.audio, dict) else record.audio
    return path if isinstance(path, str) else None


def suffix_of(content: bytes) -> str | None:
    """The suffix of the commonest encodings, by their first bytes."""
    if content[:4] == b"RIFF":
        return ".wav"
    if content[:3] == b"ID3" or (content[:1] == b"\xff" and content[1:2] >= b"\xe0"):
        return ".mp3"
    return {b"fLaC": ".flac", b"OggS": ".ogg"}.get(content[:4])
