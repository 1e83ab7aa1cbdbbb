"""Clips cut from recordings: the samples of a record, and the same as FLAC. Knows nothing of texts or of corpora."""

import contextlib
import io
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import soundfile

from .. import storage
from ..audio.cutting import END_TOLERANCE, has_sound, sound_bounds
from ..audio.decoders.temporary import temporary_file
from ..audio.decoding import decode_whole, kept_channel, parts_of, resampled, samples_of
from ..audio.joined import joined_fault
from ..audio.mixing import OUT_OF_PHASE, Mixer
from ..audio.opening import open_audio
from ..audio.sounds import (
    BLOCK_FRAMES,
    SequentialSound,
    check_channels,
    check_has_channel,
    foreign_container,
    mapped,
    unwrapped,
)
from ..audio.undecodable import BeyondRecording, MissingChannel, UndecodableAudio, one_line
from ..corpora.record import Record
from ..utterance import SAMPLING_RATE

CONTEXT = 0.1  # seconds decoded around a clip, so that resampling filters it as in the whole recording
PEAK_LEVEL = -1.0  # dBFS
RMS_LEVEL = -20.0  # dBFS

Normalization = Literal["none", "peak", "rms"]
Blocks = Callable[[int, int | None], Iterator[np.ndarray]]  # a first frame and how many frames: those, in blocks


class RecordingReader(contextlib.AbstractContextManager["RecordingReader"]):
    """Reads parts of recordings and keeps the last recording open: many segments of one follow each other.

    A local file is seeked in, and not read whole but where it has several channels, to see whether they cancel each
    other. A remote one is fetched once and its bytes are kept, one recording at a time. MP3 and OGG are decoded from
    where the last part ended, or from the beginning where a part lies before that, so their segments are best in order.
    What ffmpeg reads is decoded once, into a temporary file of 0.23 GB an hour. One for each process or thread.

    Attributes:
        remarks: what is to be told of the recording that was read last; see :class:`data.audio.decoding.Decoded`.
    """

    def __init__(self) -> None:
        self.remarks: list[str] = []
        self._remarks: list[str] = []  # of the open recording
        self._channel: int | None = None  # that is kept of the open recording; None for the mean
        self._wanted: int | None = None  # the channel that was asked for
        self._channels: dict[str, int | None] = {}  # likewise, of all local and remote files so far
        self._decoded: np.ndarray | None = None  # all of the open recording at 16 kHz, where ffmpeg reads it
        self._audio: Any = None
        self._file: Any = None
        self._sound: SequentialSound | None = None
        self._failure: str | None = None  # to open it: not tried again for each segment
        self._position = 0  # frames of the open recording that were read or seeked past

    def __exit__(self, *error: object) -> None:
        self.close()

    def read(
        self, audio: Any, start: float = 0.0, end: float | None = None, *, channel: int | None = None
    ) -> np.ndarray:
        """Float32 samples [N] at 16 kHz, mono, in [-1, 1]: those that the whole recording has there.

        N is ``round(16000 * end) - round(16000 * start)``, so that adjoining segments share no sample and lose none;
        less where the segment ends up to :data:`END_TOLERANCE` beyond the recording, whose end is then the clip's.

        Args:
            audio: encoded bytes, a path or address, or `datasets`' audio value.
            start: seconds.
            end: seconds; None for the recording's end.
            channel: the one channel to give, from 0; None for the mean of all.

        Raises:
            UndecodableAudio: if there is no such recording, it cannot be decoded, or samples are not finite.
            BeyondRecording: if it is shorter than the segment says.
            MissingChannel: if it lacks the channel.
            StorageError: if a remote recording cannot be fetched though it may be there.
        """
        if end is not None and round(end * SAMPLING_RATE) <= round(start * SAMPLING_RATE):
            raise UndecodableAudio(f"the segment holds no sample: from {start:g} s to {end:g} s")
        try:
            remarks: list[str] = []
            direct = samples_of(audio, remarks, channel)
            if direct is not None:
                self.remarks = remarks
                return self._of_samples(*direct, start, end)
            sound = self._opened(audio, channel)
            self.remarks = self._remarks
            if self._decoded is not None:
                return self._of_samples(self._decoded, SAMPLING_RATE, start, end)
            assert sound is not None
            if sound.knows_length:
                check_within(start, end, sound.frames / sound.samplerate)
            clip = self._part(self._blocks, sound.samplerate, start, end)
            if end is None or len(clip) < round(end * SAMPLING_RATE) - round(start * SAMPLING_RATE):
                check_within(start, end, self._position / sound.samplerate)  # headers err
            return clip
        except (UndecodableAudio, storage.StorageError):
            raise
        except (RuntimeError, TypeError, ValueError, MemoryError) as error:
            self._sound = None  # whatever state it is in
            raise UndecodableAudio(f"not audio that soundfile reads: {one_line(error)}") from None

    def close(self) -> None:
        for opened in (self._sound, self._file):
            if opened is not None:
                opened.close()
        self._audio = self._file = self._sound = self._failure = self._channel = self._wanted = self._decoded = None
        self._remarks = []

    def _of_samples(self, samples: np.ndarray, rate: int, start: float, end: float | None) -> np.ndarray:
        """See :meth:`read`, of a recording's decoded samples [N]."""
        check_within(start, end, len(samples) / rate)
        return self._part(lambda first, count: iter([np.array(samples[first:][:count])]), rate, start, end)

    def _opened(self, audio: Any, channel: int | None) -> SequentialSound | None:
        """The recording, opened; None where all of it was decoded."""
        if isinstance(audio, dict):
            audio = audio.get("bytes") or audio.get("path")
        is_open = audio is self._audio or (isinstance(audio, str) and audio == self._audio)
        if not is_open or channel != self._wanted:
            self.close()
            self._audio, self._wanted = audio, channel
        if self._failure is not None:
            raise UndecodableAudio(self._failure)
        if self._decoded is not None:
            return None
        try:
            if self._file is None:
                is_remote = isinstance(audio, str) and storage.is_remote(audio)
                self._look_at(io.BytesIO(fetched(audio)) if is_remote else open_audio(audio, None))
            return None if self._decoded is not None else self._sound or self._rewound()
        except MissingChannel:
            self.close()
            raise
        except (UndecodableAudio, RuntimeError, TypeError) as error:
            known = isinstance(error, UndecodableAudio)
            self._failure = one_line(error) if known else f"not audio that soundfile reads: {one_line(error)}"
            raise UndecodableAudio(self._failure) from None

    def _look_at(self, file: Any) -> None:
        """Take a recording's file, and find out what must be known of all of it before a part is read."""
        self._file = file
        if foreign_container(file) is not None:
            decoded = decode_whole(file, self._wanted)
            self._remarks = list(decoded.remarks)
            self._decoded = on_disk(decoded.samples)
            return
        if len(list(parts_of(file, search=isinstance(file, io.BytesIO)))) > 1:
            with mapped(file) as content:
                raise UndecodableAudio(joined_fault(content) or "several recordings in one file")
        if self._wanted is not None:
            self._channel = self._wanted
        elif not isinstance(self._audio, str):
            self._channel = kept_channel(file)
        elif self._audio in self._channels:
            self._channel = self._channels[self._audio]
        else:
            self._channel = self._channels[self._audio] = kept_channel(file)
        self._remarks = [] if self._channel == self._wanted else [OUT_OF_PHASE]

    def _rewound(self) -> SequentialSound:
        """The recording, opened anew at its beginning."""
        if self._sound is not None:
            self._sound.close()
        self._sound = SequentialSound(unwrapped(self._file))
        self._position = 0
        check_channels(self._sound.channels)
        check_has_channel(self._sound.channels, self._wanted)
        return self._sound

    def _blocks(self, first: int, count: int | None) -> Iterator[np.ndarray]:
        """Frames ``first`` to ``first + count``, or to the end, of the open recording, channels averaged, in blocks."""
        assert self._sound is not None
        if first != self._position and self._sound.seekable():
            self._position = self._sound.seek(first)
        if first < self._position:
            self._rewound()
        while self._position < first:
            if not len(self._taken(first - self._position)):
                return
        mixer = Mixer(self._channel)
        while len(block := self._taken(BLOCK_FRAMES if count is None else first + count - self._position)):
            yield mixer.mix(block)

    def _taken(self, count: int) -> np.ndarray:
        """The next frames [count or fewer, channels] of the open recording; none at its end."""
        assert self._sound is not None
        block = self._sound.taken(min(BLOCK_FRAMES, count))
        self._position += len(block)
        return block

    @staticmethod
    def _part(blocks: Blocks, rate: int, start: float, end: float | None) -> np.ndarray:
        """See :meth:`read`; shorter, or empty, where ``blocks`` end before."""
        first, last = round(start * SAMPLING_RATE), None if end is None else round(end * SAMPLING_RATE)
        context = 0 if rate == SAMPLING_RATE else round(CONTEXT * SAMPLING_RATE)
        shared = math.gcd(rate, SAMPLING_RATE)  # so many times a second both rates have a sample at the same moment
        moment = max(0, first - context) * shared // SAMPLING_RATE
        begin, skipped = moment * (rate // shared), first - moment * (SAMPLING_RATE // shared)
        count = None if last is None else math.ceil((last + context) * rate / SAMPLING_RATE) - begin
        decoded = np.concatenate([np.zeros(0, np.float32), *resampled(blocks(begin, count), rate)])
        clip = decoded[skipped:] if last is None else decoded[skipped : skipped + last - first]
        return clip.copy() if len(clip) < len(decoded) else clip  # the context may go


def on_disk(samples: np.ndarray) -> np.ndarray:
    """The same samples in a temporary file, which goes when they do."""
    with temporary_file(np.ascontiguousarray(samples)) as file:
        return np.memmap(file, np.float32, "r", shape=samples.shape)


def fetched(address: str) -> bytes:
    """The bytes of a remote recording.

    Raises:
        UndecodableAudio: if there is none.
        StorageError: if it cannot be told whether there is one.
    """
    try:
        return storage.read_bytes(address)
    except storage.StorageError as error:
        if isinstance(error.__cause__, (FileNotFoundError, IsADirectoryError)):
            raise UndecodableAudio(one_line(error)) from None
        raise


def check_within(start: float, end: float | None, seconds: float) -> None:
    """Raise BeyondRecording for a segment that a recording of so many seconds does not have."""
    if not seconds:
        raise UndecodableAudio("no samples")
    # An end that far beyond the recording's is no slip.
    unit = "; are its times milliseconds?" if seconds * 10 < (end or start) <= (seconds + 1) * 1000 else ""
    if round(start * SAMPLING_RATE) >= round(seconds * SAMPLING_RATE):
        raise BeyondRecording(f"the segment starts at {start:.3f} s, the recording ends at {seconds:.3f} s{unit}")
    if end is not None and end > seconds + END_TOLERANCE:
        raise BeyondRecording(f"the segment ends at {end:.3f} s, the recording at {seconds:.3f} s{unit}")


def cut_clip(
    record: Record,
    recordings: RecordingReader | None = None,
    *,
    trim_silence: bool = False,
    normalize: Normalization = "none",
) -> np.ndarray:
    """The samples of a record: float32 [N], 16 kHz, mono, in [-1, 1]. How long they may be is the caller's to judge.

    Args:
        recordings: who reads; pass the same one for many records of few recordings.
        trim_silence: leave out ends that are 35 dB below the loudest, but for 0.1 s of them (`data.audio.cutting`).
        normalize: see :func:`normalized`; after trimming.

    Raises:
        UndecodableAudio, StorageError: see :meth:`RecordingReader.read`.
    """
    if recordings is None:
        with RecordingReader() as once:
            return cut_clip(record, once, trim_silence=trim_silence, normalize=normalize)
    samples = recordings.read(record.audio, record.start, record.end, channel=record.channel)
    if trim_silence:
        begin, end = sound_bounds(samples)
        samples = samples[begin:end].copy()  # not a view: what was cut off may go
    return normalized(samples, normalize)


def normalized(samples: np.ndarray, normalize: Normalization) -> np.ndarray:
    """Samples amplified or attenuated as a whole; digital silence stays what it is.

    ``peak``: the loudest sample at :data:`PEAK_LEVEL`. ``rms``: the root mean square at :data:`RMS_LEVEL`, or as near
    as it comes with no sample above :data:`PEAK_LEVEL`.
    """
    if normalize == "none" or not has_sound(samples):
        return samples
    gain = 10 ** (PEAK_LEVEL / 20) / float(np.abs(samples).max())
    if normalize == "rms":
        level = math.sqrt(float(np.square(samples, dtype=np.float64).mean()))
        gain = min(gain, 10 ** (RMS_LEVEL / 20) / level)
    return (samples * np.float32(gain)).astype(np.float32)


def encode_flac(samples: np.ndarray) -> bytes:
    """Float samples [N] at 16 kHz as 16-bit mono FLAC, rounded to the nearest step and limited to full scale.

    Samples that came of 16-bit audio come back exactly.
    """
    steps = np.clip(np.rint(np.asarray(samples, dtype=np.float64) * 32_768), -32_768, 32_767).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, steps, SAMPLING_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()
