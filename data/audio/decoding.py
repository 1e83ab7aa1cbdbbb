"""Audio as rows carry it (bytes, a path, samples) to float32, 16 kHz, mono.

soundfile decodes, or ffmpeg what that does not read; soxr resamples.
"""

import contextlib
import hashlib
import io
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import soxr

from ..utterance import SAMPLING_RATE
from . import joined
from .decoders.ffmpeg import probe
from .headers import rate_fault, samples_fault
from .integrity import fault_of
from .mixing import OUT_OF_PHASE, Mixer, mixed
from .opening import open_audio
from .sounds import (
    SequentialSound,
    Window,
    check_channels,
    check_has_channel,
    foreign_container,
    mapped,
    open_sound,
    prefix_of,
    understood,
    unwrapped,
)
from .undecodable import UndecodableAudio, one_line

__all__ = ["Decoded", "UndecodableAudio", "decode", "decode_audio", "digest_id", "one_line", "samples_of", "seconds_of"]
OPENED_AT_ONCE = (b"fLaC", b"RIFF", b"RIFX")  # by far the most files


@dataclass(frozen=True)
class Decoded:
    """A recording's samples, and what is to be told of them.

    Attributes:
        samples: float32 [N], 16 kHz, mono, in [-1, 1].
        remarks: what was done to them or left out, each in the same words for every recording that it happens to,
            but for numbers.
        said: what the decoder complained of, in its own words.
    """

    samples: np.ndarray
    remarks: tuple[str, ...] = ()
    said: tuple[str, ...] = ()


def channels_of(value: Any) -> tuple[np.ndarray, int] | None:
    """Samples, one- or two-dimensional, and rate where the row holds them unencoded ({"array", "sampling_rate"})."""
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
    return samples, int(value["sampling_rate"])


def samples_of(
    value: Any, remarks: list[str] | None = None, channel: int | None = None
) -> tuple[np.ndarray, int] | None:
    """Mono samples and rate where the row holds them unencoded, else None.

    Args:
        remarks: takes what is to be told.
        channel: as of :func:`decode`.
    """
    direct = channels_of(value)
    if direct is None:
        return None
    samples, rate = direct
    check_has_channel(1 if samples.ndim == 1 else min(samples.shape), channel)
    if samples.ndim == 1:
        return direct
    check_channels(min(samples.shape))
    axis = int(np.argmin(samples.shape))  # the shorter dimension is the channels'
    if channel is not None:
        return np.take(samples, channel, axis=axis), rate
    mono, kept = mixed(samples, axis)
    if kept is not None and remarks is not None:
        remarks.append(OUT_OF_PHASE)
    return mono, rate


def seconds_of(value: Any, root: str | None = None, confined: bool = False) -> float:
    """Length in seconds, from headers alone; arguments as of :func:`open_audio`.

    Raises:
        UndecodableAudio: if there is no audio or no header that can be read.
    """
    direct = samples_of(value)
    if direct is not None:
        return len(direct[0]) / direct[1]
    with open_audio(value, root, confined) as file:
        seconds = header_seconds(file)
    return len(decode_audio(value, root, confined)) / SAMPLING_RATE if seconds is None else seconds


def header_seconds(file: Any) -> float | None:
    """Length of an open file by its headers; None where they leave it open.

    Of FLAC files one after the other it is that of the first: the others are found by reading all of it.
    """
    prefix = prefix_of(file)
    container = foreign_container(file, prefix)
    if container is not None:
        return probe(file, container).seconds
    if prefix[:4] in OPENED_AT_ONCE:
        with contextlib.suppress(UndecodableAudio):  # libsndfile refuses WAV files one after the other
            return sound_seconds(unwrapped(file, prefix))
    lengths = [sound_seconds(unwrapped(part)) for part in parts_of(file)]
    known = [length for length in lengths if length is not None]
    return sum(known) if len(known) == len(lengths) else None


def sound_seconds(file: Any) -> float | None:
    """Length of one recording that libsndfile reads, by its header; None where that leaves it open."""
    with understood(), SequentialSound(file) as sound:
        return sound.frames / sound.samplerate if sound.knows_length else None


def parts_of(file: Any, search: bool = True) -> Iterator[Any]:
    """The recordings that lie one after the other in an open file: nearly always one, the file itself.

    Args:
        search: look for them even where that means to read all of the file.
    """
    file.seek(0)
    parts: list[tuple[int, int]] = []
    if search or file.read(4) != b"fLaC":
        with mapped(file) as content:
            parts = joined.parts_of(content)
    file.seek(0)
    if len(parts) < 2:
        yield file
    else:
        yield from (Window(file, begin, end) for begin, end in parts)


def decode_audio(
    value: Any, root: str | None = None, confined: bool = False, whole: bool = False, channel: int | None = None
) -> np.ndarray:
    """As :func:`decode`, the samples alone: float32 [samples], 16 kHz, mono, in [-1, 1]."""
    return decode(value, root, confined, whole=whole, channel=channel).samples


def decode(
    value: Any,
    root: str | None = None,
    confined: bool = False,
    *,
    whole: bool = False,
    tell: bool = False,
    channel: int | None = None,
) -> Decoded:
    """A recording's samples at 16 kHz, of its channels' mean, or of one where they cancel each other.

    Arguments as of :func:`open_audio`, and:

    Args:
        whole: refuse a file that was cut off, contradicts itself, or is several recordings one after the other.
            libsndfile would read what it can of it without an error, and the transcript would not fit. Otherwise what
            can be read is, of all recordings in the file.
        tell: look through the file, and remark on what ``whole`` would refuse.
        channel: the one channel to give, from 0, the left one of stereo; None for the mean of all.

    Raises:
        UndecodableAudio: if it cannot be decoded, is empty, lacks the channel, or holds values that are not finite.
    """
    remarks: list[str] = []
    direct = samples_of(value, remarks, channel)
    if direct is not None:
        return checked(list(resampled(iter([direct[0]]), direct[1])), remarks, [])
    with open_audio(value, root, confined) as file:
        if whole:
            return decode_whole(file, channel)
        found = [decode_part(part, tell, channel) for part in parts_of(file)]
    if len(found) == 1:
        return found[0]
    remarks = [f"{len(found)} recordings in one file, one after the other: all of them were read"]
    remarks += dict.fromkeys(remark for part in found for remark in part.remarks)
    return checked([part.samples for part in found], remarks, [line for part in found for line in part.said])


def decode_whole(file: Any, channel: int | None = None) -> Decoded:
    """See :func:`decode` of the same arguments. A film is not read into memory for it."""
    if foreign_container(file) is None and not isinstance(file, io.BytesIO):
        file = io.BytesIO(file.read())  # is looked at and decoded
    with mapped(file) as content:
        fault = fault_of(content)
    if fault:
        raise UndecodableAudio(fault)
    file.seek(0)
    return decode_file(file, whole=True, channel=channel)


def decode_part(file: Any, tell: bool, channel: int | None = None) -> Decoded:
    """One recording of a file, or as much of it as can be read.

    Args:
        tell, channel: see :func:`decode`.
    """
    fault = None
    if tell and isinstance(file, Window):
        fault = fault_of(file.read())
    elif tell:
        with mapped(file) as content:
            fault = fault_of(content)
    file.seek(0)
    decoded = decode_file(file, whole=False, channel=channel)
    return replace(decoded, remarks=(*([fault] if fault else ()), *decoded.remarks))


def decode_file(file: Any, whole: bool, channel: int | None = None) -> Decoded:
    """The one recording that an open file holds; arguments and errors as of :func:`decode`."""
    kept = channel
    while True:
        with open_sound(file, whole) as sound, understood():
            check_has_channel(sound.channels, channel)
            mixer = Mixer(kept)
            blocks = list(resampled(map(mixer.mix, sound.blocks(whole)), sound.samplerate))
        if kept is not None or mixer.kept is None:
            break
        kept, blocks = mixer.kept, []  # decoded once more, since hours are not held in all channels
    remarks = [*sound.remarks, *([] if kept == channel else [OUT_OF_PHASE])]
    return checked(blocks, remarks, sound.said)


def checked(blocks: list[np.ndarray], remarks: Sequence[str], said: Sequence[str]) -> Decoded:
    """Blocks as one array, which must hold a sample; resampling may leave nothing of very few.

    The list is emptied on the way, so that hours are not in memory twice.
    """
    total = sum(map(len, blocks))
    if not total:
        raise UndecodableAudio("no samples")
    if len(blocks) == 1:
        return Decoded(blocks[0], tuple(remarks), tuple(said))
    samples, end = np.empty(total, np.float32), total
    while blocks:
        block = blocks.pop()
        samples[end - len(block) : end] = block
        end -= len(block)
    return Decoded(samples, tuple(remarks), tuple(said))


def kept_channel(file: Any) -> int | None:
    """The channel that decoding keeps of an open file that libsndfile reads; None where it takes the mean.

    All of a file with several channels is decoded for that.
    """
    mixer = Mixer()
    with open_sound(file) as sound, understood():
        if sound.channels > 1:
            for block in sound.blocks():
                mixer.mix(block)
    return mixer.kept


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
