"""Audio as rows carry it (bytes, a path, samples) to float32, 16 kHz, mono; soundfile decodes, soxr resamples."""

import contextlib
import hashlib
import io
import os
import posixpath
from collections.abc import Iterator
from typing import Any

import numpy as np
import soundfile
import soxr

from .. import storage
from ..errors import DataError
from ..utterance import SAMPLING_RATE
from .headers import open_plain, rate_fault, samples_fault
from .integrity import fault_of

BLOCK_FRAMES = 2**20  # decoded at a time
# Decoded from the middle, these give other samples than from the start; for Vorbis see libsndfile's issue 885.
NO_SEEK = ("OGG", "MP3")
MAX_CHANNELS = 8  # the mean of dozens of microphones gives no usable voice


class UndecodableAudio(DataError):
    """Audio that cannot be used; the message is the reason."""


class SequentialSound(soundfile.SoundFile):
    """A sound file that is read without seeking where that would change samples or fail; soundfile always seeks."""

    @property
    def knows_length(self) -> bool:
        """Whether the header says how many frames there are; FLAC from a pipe does not."""
        return 0 < self.frames < 2**62

    def seekable(self) -> bool:
        return self.format not in NO_SEEK and self.knows_length and super().seekable()


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn what fails while a file is read into an UndecodableAudio that names the path and the reason."""
    try:
        yield
    except UndecodableAudio:
        raise
    except storage.StorageError as error:
        raise UndecodableAudio(one_line(error)) from None
    except (OSError, ValueError) as error:  # the latter for a path that no file can have
        raise UndecodableAudio(f"cannot open {one_line(path)}: {storage.reason(error)}") from None


def open_audio(value: Any, root: str | None, confined: bool = False) -> io.BufferedIOBase:
    """The encoded file behind a row's audio value, from bytes or from a path (any fsspec address).

    Args:
        root: what relative paths are relative to, and may not leave.
        confined: absolute paths and addresses must lie in ``root`` too.
    """
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, (bytes, bytearray)):
        return io.BytesIO(value)
    if not isinstance(value, str) or not value:
        raise UndecodableAudio(f"no audio: neither bytes nor a path nor samples, but {type(value).__name__}")
    path = value
    if root:
        path = storage.join(root, value)
        absolute = path == value
        if (confined or not absolute) and not lies_in(path, root):
            hint = "" if confined else "; set audio_root to a folder with all audio in it, and give paths in that"
            raise UndecodableAudio(f"{one_line(value)} lies outside {root}{hint}")
    with reading(path):
        if storage.is_remote(path):
            return io.BytesIO(storage.read_bytes(path))
        return os.fdopen(open_plain(storage.as_spelt(path)), "rb")


def lies_in(path: str, folder: str) -> bool:
    """Whether a path is below a folder, by its name alone: symbolic links are not resolved."""
    if storage.is_remote(path) != storage.is_remote(folder):
        return False
    if not storage.is_remote(path):
        path, folder = os.path.abspath(path), os.path.abspath(folder)
    return posixpath.normpath(path).startswith(posixpath.normpath(folder).rstrip("/") + "/")


def samples_of(value: Any) -> tuple[np.ndarray, int] | None:
    """Mono samples and rate where the row holds them unencoded ({"array", "sampling_rate"}), else None."""
    if not isinstance(value, dict) or value.get("array") is None:
        return None
    fault = samples_fault(value)
    if fault:
        raise UndecodableAudio(fault)
    try:
        with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, which is refused
            samples = np.asarray(value["array"], dtype=np.float32)
    except (TypeError, ValueError):
        raise UndecodableAudio("samples that are not numbers, or channels of unequal length") from None
    if samples.ndim not in (1, 2):
        raise UndecodableAudio(f"samples with {samples.ndim} dimensions; 1 or 2 (channels) are right")
    if samples.size == 0:
        raise UndecodableAudio("no samples")
    if samples.ndim == 2:  # the shorter dimension is the channels'
        check_channels(min(samples.shape))
        samples = samples.mean(axis=int(np.argmin(samples.shape)))
    return samples, int(value["sampling_rate"])


def check_channels(channels: int) -> None:
    if channels > MAX_CHANNELS:
        raise UndecodableAudio(f"{channels} channels; the mean of up to {MAX_CHANNELS} is taken")


def seconds_of(value: Any, root: str | None = None, confined: bool = False) -> float:
    """Length in seconds, from the header alone; arguments as of :func:`open_audio`.

    Raises:
        UndecodableAudio: if there is no audio or no header that soundfile knows.
    """
    direct = samples_of(value)
    if direct is not None:
        return len(direct[0]) / direct[1]
    with open_audio(value, root, confined) as file:
        try:
            info = soundfile.info(file)
        except (RuntimeError, TypeError) as error:
            raise UndecodableAudio(f"not audio that soundfile reads: {one_line(error)}") from None
    if info.frames <= 0 or info.frames >= 2**62:
        return len(decode_audio(value, root, confined)) / SAMPLING_RATE
    return info.frames / info.samplerate


def decode_audio(value: Any, root: str | None = None, confined: bool = False, whole: bool = False) -> np.ndarray:
    """Samples as float32 [samples], 16 kHz, mono (channels averaged), in [-1, 1]; arguments as of :func:`open_audio`.

    Args:
        whole: refuse a file that was cut off or contradicts itself. libsndfile would read what it can of it without
            an error, and the transcript would not fit.

    Raises:
        UndecodableAudio: if it cannot be decoded, is empty, or holds values that are not finite.
    """
    direct = samples_of(value)
    if direct is not None:
        samples, rate = direct
        decoded = list(resampled(iter([samples]), rate))
    else:
        with open_audio(value, root, confined) as file:
            if whole:
                content = file.read()
                fault = fault_of(content)
                if fault:
                    raise UndecodableAudio(fault)
                file = io.BytesIO(content)
            try:
                with SequentialSound(file) as sound:
                    check_channels(sound.channels)
                    decoded = list(resampled(mono_blocks(sound, whole), sound.samplerate))
            except UndecodableAudio:
                raise
            except (RuntimeError, TypeError, ValueError, MemoryError) as error:  # the last two: a length beyond reason
                raise UndecodableAudio(f"not audio that soundfile reads: {one_line(error)}") from None
    if not sum(map(len, decoded)):  # also where so few were resampled that none is left
        raise UndecodableAudio("no samples")
    return decoded[0] if len(decoded) == 1 else np.concatenate(decoded)


def mono_blocks(sound: soundfile.SoundFile, whole: bool = False) -> Iterator[np.ndarray]:
    """The samples of an open file, float32, channels averaged, block by block: hours in many channels fill memory.

    Raises:
        UndecodableAudio: with ``whole``, if there are fewer than the header says.
    """
    missing = sound.frames
    while missing and len(block := sound.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
        missing -= len(block)
        yield block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
    if whole and 0 < missing < 2**62 and sound.format != "MP3":  # whose length is a guess where no tag says it
        raise UndecodableAudio(f"the header promises {sound.frames} samples; the last {missing} are missing")


def resampled(blocks: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Mono blocks at 16 kHz and within [-1, 1]; together the same samples as if there were one block.

    Raises:
        UndecodableAudio: if samples are not finite.
    """
    stream, fault = None, rate_fault(rate)
    if fault:
        raise UndecodableAudio(fault)
    for block in blocks:
        if not np.isfinite(block).all():
            raise UndecodableAudio("samples that are not finite")
        if rate != SAMPLING_RATE:
            stream = stream or soxr.ResampleStream(rate, SAMPLING_RATE, 1, dtype="float32")
            block = stream.resample_chunk(block)
        yield np.clip(block, -1.0, 1.0)
    if stream is not None:
        yield np.clip(stream.resample_chunk(np.zeros(0, np.float32), last=True), -1.0, 1.0)


def digest_id(value: Any, text: str) -> str:
    """A stable name for a row without one: the file's stem, if any, and a digest of its audio and text."""
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=6)
    stem = "row"
    if isinstance(value, dict):
        if value.get("path"):
            stem = posixpath.splitext(posixpath.basename(value["path"]))[0]
        with contextlib.suppress(UndecodableAudio):
            direct = samples_of(value)
            digest.update(b"" if direct is None else direct[0].tobytes())
        digest.update(value.get("bytes") or (value.get("path") or "").encode(errors="surrogatepass"))
    elif isinstance(value, str):
        stem = posixpath.splitext(posixpath.basename(value))[0]
        digest.update(value.encode(errors="surrogatepass"))
    elif isinstance(value, bytes):
        digest.update(value)
    return f"{stem}-{digest.hexdigest()}"


def one_line(error: Exception | str) -> str:
    """A message without line breaks, and without soundfile's mention of the file object."""
    return " ".join(str(getattr(error, "error_string", error)).split()) or type(error).__name__
