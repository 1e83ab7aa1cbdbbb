"""How long the audio of a record is, by its header or by decoding it, and whether it can be believed."""

import os
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from .. import storage
from ..audio import headers
from ..audio.containers import Container
from ..audio.cutting import has_sound
from ..audio.decoders import ffmpeg
from ..audio.decoding import decode
from ..audio.integrity import fault_of
from ..audio.opening import open_audio, reading
from ..audio.sounds import MAX_CHANNELS, SequentialSound, foreign_container, mapped, understood, unwrapped
from ..audio.undecodable import UndecodableAudio, one_line
from ..corpora.record import Record
from ..utterance import SAMPLING_RATE
from .settings import ClipSettings

AGREEMENT = 0.05, 0.1  # a claimed duration may be off by this share, or by so many seconds
ROUNDING = 0.01  # seconds that resampling adds or takes
NO_SOUND = "no sound"  # a kind of fault
STREAMED = "files that leave their length open, read to their end"
NEEDS_FFMPEG = "recordings that ffmpeg reads, left as they are: training on them needs ffmpeg, too"
COMPLAINED = "recordings of which the decoder complained"


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
        self.last_probe: tuple[Any, ffmpeg.Probe] | None = None  # of many segments of a recording, one process

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
        is_foreign = header is None and container_of_audio(audio) is not None
        if is_foreign:
            self.notice(NEEDS_FFMPEG)
        header = header or self.other_header(audio, record)
        if header is None:
            seconds = self.decoded_seconds(audio, record, is_foreign)
        else:
            seconds = header.seconds
            check_claim(record, seconds)
            if decode and seconds <= self.settings.max_seconds:
                seconds = self.decoded_seconds(audio, record, is_foreign)
                check_promise(header, seconds)
        if header is None or header.streamed:
            self.notice(STREAMED)
        check_claim(record, seconds)
        return seconds

    def decoded_seconds(self, audio: Any, record: Record, whole: bool) -> float:
        """Seconds of audio that is decoded.

        Args:
            whole: look for damage, which was not done before.

        Raises:
            Unusable: if there is no sound in it.
        """
        decoded = decode(audio, whole=whole)
        for remark in (*decoded.remarks, *([COMPLAINED] if decoded.said else [])):
            self.notice(remark)
        self.check_sound(decoded.samples, record)
        return len(decoded.samples) / SAMPLING_RATE

    def check_sound(self, samples: np.ndarray, record: Record) -> None:
        """Refuse digital silence with a text; what is too short is refused for that."""
        seconds = len(samples) / SAMPLING_RATE
        if seconds >= self.settings.min_seconds and (record.text or "").strip() and not has_sound(samples):
            raise Unusable(NO_SOUND, f"{seconds:.2f} s of digital silence, with a text")

    def other_header(self, audio: Any, record: Record) -> headers.Header | None:
        """What libsndfile or ffmpeg says of another format; None where it leaves the length open."""
        with open_audio(audio, None) as file:
            container = foreign_container(file)
            if container is not None:
                if self.last_probe is None or self.last_probe[0] != audio:
                    self.last_probe = audio, ffmpeg.probe(file, container)
                probed = self.last_probe[1]
                rate, channels, fault = probed.sampling_rate, probed.channels, headers.rate_fault(probed.sampling_rate)
                frames = None if probed.seconds is None else round(probed.seconds * rate)
                header = headers.Header(1 if frames is None else frames, rate, channels, estimated=True, fault=fault)
                check_header(header, None, record if probed.coding != "opus" else None)
                return None if frames is None else header
            with understood(), SequentialSound(unwrapped(file)) as info:
                rate = info.samplerate
                guess, fault = info.format == "MP3", headers.rate_fault(rate)
                header = headers.Header(info.frames, rate, info.channels, estimated=guess, fault=fault)
                is_opus, knows_length = info.subtype == "OPUS", info.knows_length
        check_header(header, None, None if is_opus else record)  # which is 48 kHz whatever went in
        return header if knows_length else None

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


def container_of_audio(audio: Any) -> Container | None:
    """What holds audio that ffmpeg is to read; None for all other audio."""
    with open_audio(audio, None) as file:
        return foreign_container(file)


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
        with open(path, "rb") as file, mapped(file) as content:
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
