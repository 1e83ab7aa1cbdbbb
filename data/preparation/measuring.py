"""How long the audio of a record is, by its header or by decoding it, and whether it can be believed."""

import io
import mmap
import os
from collections.abc import Callable
from typing import Any, cast

import soundfile

from .. import storage
from ..audio import headers
from ..audio.decoding import MAX_CHANNELS, UndecodableAudio, decode_audio, one_line, open_audio, reading
from ..audio.integrity import fault_of
from ..corpora.record import Record
from ..utterance import SAMPLING_RATE
from .settings import ClipSettings

AGREEMENT = 0.05, 0.1  # a claimed duration may be off by this share, or by so many seconds
ROUNDING = 0.01  # seconds that resampling adds or takes
STREAMED = "files that leave their length open, read to their end"


class Unusable(Exception):
    """A row cannot be used: of what kind the fault is, and the reason."""

    def __init__(self, kind: str, reason: str, broken: bool = True) -> None:
        super().__init__(reason)
        self.kind, self.reason, self.broken = kind, reason, broken


class Measure:
    """Measures audio that stays as it is, and looks recordings through before clips are cut from them.

    Args:
        notice: is told what was put right.
    """

    def __init__(self, settings: ClipSettings, notice: Callable[[str], None]) -> None:
        self.settings, self.notice = settings, notice
        self.last_recording: tuple[str | bytes, headers.Header | None, str | None] | None = None

    def seconds(self, audio: Any, record: Record) -> float:
        """Seconds of encoded bytes, or of a path where headers are believed; decoded only if they may be kept.

        Raises:
            Unusable: if it is damaged, or contradicts what the corpus says.
            UndecodableAudio: if it cannot be read.
        """
        if isinstance(audio, str) and storage.is_remote(audio):
            audio = content_of(audio)
        if not audio:
            raise UndecodableAudio("the file is empty")
        decode = self.settings.check == "decode"
        header = local_header(audio) if isinstance(audio, str) else headers.parse_header(audio, len(audio))
        fault = fault_of(audio) if decode and not isinstance(audio, str) else None
        check_header(header, fault, record)
        header = header or self.other_header(audio, record)
        if header is None:
            seconds = len(decode_audio(audio)) / SAMPLING_RATE
        else:
            seconds = header.seconds
            check_claim(record, seconds)
            if decode and seconds <= self.settings.max_seconds:
                seconds = len(decode_audio(audio)) / SAMPLING_RATE
                check_promise(header, seconds)
        if header is None or header.streamed:
            self.notice(STREAMED)
        check_claim(record, seconds)
        return seconds

    def other_header(self, audio: Any, record: Record) -> headers.Header | None:
        """What libsndfile says of another format; None where it leaves the length open."""
        try:
            info = soundfile.info(audio if isinstance(audio, str) else io.BytesIO(audio))
        except (RuntimeError, TypeError) as error:
            raise UndecodableAudio(f"not audio that soundfile reads: {one_line(error)}") from None
        rate = info.samplerate
        guess, fault = info.format == "MP3", headers.rate_fault(rate)
        header = headers.Header(info.frames, rate, info.channels, estimated=guess, fault=fault)
        check_header(header, None, record if info.subtype != "OPUS" else None)  # which is 48 kHz whatever went in
        return header if 0 < info.frames < 2**62 else None

    def check_recording(self, record: Record) -> headers.Header | None:
        """Look at the recording that a clip is to be cut from; one that was the last record's too is not read again.

        Returns:
            Its header; None where that leaves the length open, or the recording is remote or unencoded.

        Raises:
            Unusable, UndecodableAudio: as :meth:`seconds`.
        """
        audio = record.audio
        if isinstance(audio, dict):
            audio = audio.get("bytes") or audio.get("path")
        if not isinstance(audio, (str, bytes)) or (isinstance(audio, str) and storage.is_remote(audio)):
            return None  # remote ones are read once only, by whoever cuts
        last = self.last_recording
        if last is not None and (last[0] is audio or (isinstance(audio, str) and last[0] == audio)):
            _, header, fault = last
        elif isinstance(audio, bytes):
            header, fault = headers.parse_header(audio, len(audio)), fault_of(audio)
        else:
            header, fault = look_through(audio)
        self.last_recording = audio, header, fault
        check_header(header, fault, record)
        header = header or self.other_header(audio, record)
        if header is None or header.streamed:
            self.notice(STREAMED)
        return header


def local_header(path: str) -> headers.Header | None:
    """As :func:`data.audio.headers.read_header`, but raises UndecodableAudio if the file cannot be read."""
    with reading(path):
        return headers.read_header(path)


def look_through(path: str) -> tuple[headers.Header | None, str | None]:
    """Header and fault of a local file, however long, without holding it in memory."""
    with reading(path):
        header = headers.read_header(path)
        if os.path.getsize(path) == 0:
            raise UndecodableAudio(f"{one_line(path)} is empty")
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return header, fault_of(cast(bytes, content))  # sliced and searched like bytes


def content_of(path: str) -> bytes:
    """The bytes of a file; raises UndecodableAudio if it cannot be read."""
    with reading(path), open_audio(path, None) as file:
        return file.read()


def check_header(header: headers.Header | None, fault: str | None, record: Record | None) -> None:
    """Refuse audio whose header cannot be believed, or contradicts the corpus; ``fault``: of the file as a whole."""
    fault = fault or (header.fault if header is not None else None)
    if fault:
        raise Unusable("cut off" if header is not None and header.missing else "damaged audio", fault)
    if header is None:
        return
    if header.frames == 0:
        raise Unusable("damaged audio", "no samples")
    if header.channels > MAX_CHANNELS:
        raise Unusable("damaged audio", f"{header.channels} channels; the mean of up to {MAX_CHANNELS} is taken")
    if record is not None and record.sampling_rate and record.sampling_rate != header.sampling_rate:
        raise Unusable(
            "contradiction", f"the corpus says {record.sampling_rate} Hz, the header {header.sampling_rate} Hz"
        )


def check_promise(header: headers.Header, seconds: float) -> None:
    """Refuse audio of which not as much could be decoded as its header says."""
    if not header.estimated and abs(seconds - header.seconds) > ROUNDING:
        raise Unusable("cut off", f"the header promises {header.seconds:.2f} s, {seconds:.2f} s are there")


def contradicts(claimed: float | None, seconds: float) -> bool:
    """Whether audio is not as long as the corpus claims: one of the two is wrong, and so may the text be."""
    share, least = AGREEMENT
    return claimed is not None and abs(claimed - seconds) > max(least, share * max(claimed, seconds))


def check_claim(record: Record, seconds: float) -> None:
    """Refuse audio whose length contradicts the corpus."""
    if contradicts(record.duration, seconds):
        raise Unusable("contradiction", f"the corpus says {record.duration:.2f} s, the audio is {seconds:.2f} s long")
