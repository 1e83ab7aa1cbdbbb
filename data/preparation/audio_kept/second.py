"""The second recordings of clips: kept beside the first, or the reason why the clip cannot be used."""

import posixpath
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from ...audio.undecodable import BeyondRecording, MissingChannel, UndecodableAudio
from ...corpora.record import Record
from ..measuring import NO_SOUND, Unusable
from ..settings import ClipSettings
from .first import AudioCheck

ABSENT = "second recordings that are not there: the clips are kept without"
BEYOND = "segments that lie outside their second recording: kept without"
SILENT = "channels or parts of second recordings that are silent: the clips are kept without"
COPIED = "second recordings that are copies of the first"
FAR = "second recordings more than twice, or less than half, as long as the first"
KIND = "second recording: "  # before the kind of a fault
FAR_SHARE, FAR_SECONDS = 2.0, 2.0  # lengths differ that much
WITH_A_TEXT = ", with a text"  # what digital silence of a first recording has


class SecondAudio(NamedTuple):
    """A second recording that is kept.

    Attributes:
        audio: encoded bytes; None where the shard shall hold the path alone.
        path: a name with the right suffix, or where the audio lies.
    """

    audio: bytes | None
    path: str


class SecondCheck:
    """Checks and cuts the second recordings of clips that are kept.

    A part is cut at the first one's times. Silence at the ends is left where it is, as the two need not be
    synchronised, but for channels of one file, of which both are cut alike.

    Args:
        embed_audio: whether bytes are wanted; else the path alone.
        notice: is told what is worth knowing.

    Attributes:
        absent: the first second recording that was looked for and is not there.
    """

    def __init__(self, settings: ClipSettings, embed_audio: bool, notice: Callable[[str], None]) -> None:
        self.settings, self.notice = settings, notice
        self.absent = ""
        self.audio = AudioCheck(settings.model_copy(update={"trim_silence": False}), embed_audio, notice)

    def close(self) -> None:
        self.audio.close()

    def __call__(
        self, record: Record, first: bytes | None, seconds: float, bounds: tuple[int, int]
    ) -> SecondAudio | None:
        """The second recording of a clip; None where it has none.

        Args:
            first: the first one's bytes as they are kept.
            seconds: its length.
            bounds: of what was kept of its samples.

        Raises:
            Unusable: if the second recording is at fault.
            MissingChannel: if it is a channel that the file does not have.
        """
        if record.second is None:
            if record.second_place is not None:
                self.absent = self.absent or record.second_place
                self.notice(ABSENT)
            return None
        name = record.id and f"{posixpath.splitext(posixpath.basename(record.id))[0]}-second"
        own = replace(record, audio=record.second, channel=record.second_channel, id=name, text="not silent",
                      duration=None, sampling_rate=None)  # fmt: skip
        where = f"the second recording, {record.second_place}" if record.second_place else "the second recording"
        try:
            audio, path, length = self.audio(own, None if own.channel is None else bounds)
        except MissingChannel:
            raise
        except BeyondRecording:
            self.notice(BEYOND)
            return None
        except Unusable as error:
            if error.kind == NO_SOUND and (own.is_part or own.channel is not None):  # the other party says nothing
                self.notice(SILENT)
                return None
            reason = error.reason.removesuffix(WITH_A_TEXT)
            raise Unusable(f"{KIND}{error.kind}", f"{where}: {reason}", error.broken) from None
        except UndecodableAudio as error:
            raise Unusable(f"{KIND}undecodable audio", f"{where}: {error}") from None
        limits = self.settings
        if not limits.min_seconds <= length <= limits.max_seconds:
            kind = "too short" if length < limits.min_seconds else "too long"
            kept = f"{limits.min_seconds:g} to {limits.max_seconds:g} s are kept"
            raise Unusable(f"{KIND}{kind}", f"{where}: {length:.2f} s long; {kept}", broken=False)
        if are_far(seconds, length):
            self.notice(FAR)
        if audio is not None and audio == first:
            self.notice(COPIED)
        return SecondAudio(audio, path)


def are_far(first: float, second: float) -> bool:
    """Whether two lengths in seconds are so different that one of the recordings is perhaps another's."""
    shorter, longer = sorted((first, second))
    return longer - shorter > FAR_SECONDS and longer > FAR_SHARE * shorter
