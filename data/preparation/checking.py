"""From a record to a clip fit for training, or to the reason why it is none."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..audio.decoding import digest_id
from ..audio.undecodable import MissingChannel, UndecodableAudio
from ..corpora.record import Record
from ..errors import DataError
from ..sources.languages import whisper_code
from .audio_kept.first import BROKEN_NAME, AudioCheck, path_of
from .audio_kept.second import SecondAudio, SecondCheck
from .measuring import Unusable
from .scores import LABEL, Score
from .settings import ClipSettings
from .special_tokens import complaint, special_token_in
from .splits.groups import speaker_key

LANGUAGE = re.compile(r"[a-z]{2,3}")
# Lone halves of pairs, replacement characters, and controls, which come of bytes decoded as what they are not.
BROKEN_TEXT = re.compile("[\ud800-\udfff\ufffd\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")
NO_CHANNEL = "no second channel"
MAX_REASON = 400  # letters; a path may have thousands
MAX_SPLITS = 64  # of a corpus; with more, the column is not one of splits
MAX_SPLIT_LETTERS = 64  # a split is part of files' names


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip that is kept.

    Attributes:
        audio: encoded bytes; None where the shard shall hold the path alone.
        path: a name with the right suffix, or where the audio lies.
        second: the second recording, if it has one.
        text: empty where there is none and none is needed.
        score: what a model says of it, if one was asked.
        segments: of a window, see :class:`data.corpora.record.Record`; None of a clip by itself.
        previous_text: what is said before a window; None for nothing.
        label: whose its text is, the corpus's (:data:`data.preparation.scores.GIVEN`) or the checkpoint's.
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
    score: Score | None = None
    label: str | None = None
    second: SecondAudio | None = None
    segments: list[dict[str, Any]] | None = None
    previous_text: str | None = None

    @property
    def bytes(self) -> int:
        """Of the audio that is held, both recordings together."""
        return sum(len(audio or b"") for audio in (self.audio, self.second and self.second.audio))

    def score_value(self, column: str) -> Any:
        """Of a column that scoring adds."""
        return self.label if column == LABEL else getattr(self.score, column, None)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that is left out. ``broken``: it is at fault, not the limits that were set."""

    id: str
    place: str
    kind: str
    reason: str
    broken: bool = True


def dropped(record: Record, kind: str, reason: str, broken: bool = True) -> Dropped:
    """A record as a row that is left out; a long reason is shortened."""
    if len(reason) > MAX_REASON:
        reason = f"{reason[: MAX_REASON // 2]} ... {reason[-MAX_REASON // 2 :]}"
    return Dropped(record.id or name_of(record), record.place, kind, reason, broken)


class ClipCheck:
    """Checks records; what it had to put right is counted in ``notices``.

    Args:
        split_of: the split of a clip by its record and id; None for what the corpus says, else ``train``.
        needs_text: leave clips out that have no transcript.
    """

    def __init__(
        self,
        settings: ClipSettings,
        embed_audio: bool,
        split_of: Callable[[Record, str], str] | None,
        needs_text: bool = True,
    ) -> None:
        self.settings, self.embed_audio, self.split_of = settings, embed_audio, split_of
        self.needs_text = needs_text
        self.notices: dict[str, int] = {}
        self.audio = AudioCheck(settings, embed_audio, self.notice)
        self.second = SecondCheck(settings, embed_audio, self.notice)
        self.splits: set[str] = set()

    def __call__(self, record: Record) -> Clip | Dropped:
        """The clip that a record becomes."""
        try:
            return self.clip(record)
        except Unusable as error:
            return dropped(record, error.kind, error.reason, error.broken)
        except MissingChannel as error:
            return dropped(record, NO_CHANNEL, f"{error}; --second channel takes both channels of stereo recordings")
        except UndecodableAudio as error:
            return dropped(record, "undecodable audio", str(error))
        except MemoryError:
            return dropped(record, "undecodable audio", "larger than memory")

    def close(self) -> None:
        self.audio.close()
        self.second.close()

    def clip(self, record: Record) -> Clip:
        """As calling the check, but raises the reason why there is no clip."""
        if record.fault:
            raise Unusable("unusable row", record.fault)
        text = checked_text(record.text) if self.needs_text or (record.text or "").strip() else ""
        language = self.checked_language(record.language)
        for column, value in (("id", record.id), ("speaker", record.speaker), *record.extra.items()):
            broken = BROKEN_NAME.search(value or "")
            if broken:
                raise Unusable("unusable row", f"{column} holds U+{ord(broken.group()):04X}")
        speaker = speaker_key(record.speaker)
        if speaker != (record.speaker or None):
            self.notice("speakers' names with space around them, or in another form of Unicode")
        audio, path, seconds = self.audio(record)
        limits = self.settings
        if not limits.min_seconds <= seconds <= limits.max_seconds:
            kind = "too short" if seconds < limits.min_seconds else "too long"
            kept = f"{limits.min_seconds:g} to {limits.max_seconds:g} s are kept"
            raise Unusable(kind, f"{seconds:.2f} s long; {kept}", broken=False)
        second = self.second(record, audio, seconds, self.audio.bounds)
        name = record.id or name_of(record, audio)
        if self.split_of is not None:
            split = self.split_of(record, name)
        else:
            split = record.split or "train"
            if not split.replace("_", "").isalnum() or len(split) > MAX_SPLIT_LETTERS:
                raise Unusable("unusable row", f"split is {split[:80]!r}, which cannot be part of a file's name")
            self.splits.add(split)
            if len(self.splits) > MAX_SPLITS:
                raise DataError(f"{record.place}: more than {MAX_SPLITS} splits, the last {split!r}; for a column that "
                                "is none of splits say --columns split=")  # fmt: skip
        return Clip(
            id=name,
            audio=audio,
            path=path,
            text=text,
            language=language,
            speaker=speaker,
            duration=seconds,
            split=split,
            extra=record.extra,
            second=second,
            segments=[dict(zip(("start", "end", "text"), one, strict=True)) for one in record.segments] or None,
            previous_text=record.before or None,
        )

    def checked_language(self, language: str | None) -> str | None:
        """A language as Whisper's code: ``zh-CN`` is ``zh``, ``Turkish`` is ``tr``."""
        if not language:
            self.notice("clips without a language: training wants data.language then")
            return None
        code = whisper_code(language.strip())
        if not LANGUAGE.fullmatch(code):
            raise Unusable("unusable row", f"language is {language[:40]!r}; a code of ISO 639-1 is right, such as az")
        if code != language:
            self.notice("languages under Whisper's codes")
        return code

    def notice(self, what: str) -> None:
        """Count something that was put right."""
        self.notices[what] = self.notices.get(what, 0) + 1


def checked_text(text: str | None) -> str:
    """A transcript without surrounding space.

    Raises:
        Unusable: if it is missing, empty, or was decoded wrongly, or holds a special token.
    """
    if text is None:
        raise Unusable("missing text", "the text is null, a missing value")
    words = text.strip()
    if not words:
        raise Unusable("empty text", "the text is empty")
    broken = BROKEN_TEXT.search(words)
    if broken:
        raise Unusable("broken text", f"the text holds U+{ord(broken.group()):04X}: it was not decoded rightly once")
    token = special_token_in(words)
    if token is not None:
        raise Unusable("special token in the text", f"the text holds {complaint(token)}")
    return words


def name_of(record: Record, audio: bytes | None = None) -> str:
    """A stable name for a record without one: of its audio and text, or, where it is unusable, of its place."""
    if audio is not None:
        return BROKEN_NAME.sub("_", digest_id({"bytes": audio, "path": path_of(record)}, record.text or ""))
    return f"row-{hashlib.blake2b(record.place.encode('utf-8', 'replace'), digest_size=6).hexdigest()}"
