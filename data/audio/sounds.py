"""An encoded file opened for decoding, by whoever reads what it holds: libsndfile, or ffmpeg."""

import contextlib
import io
import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
import soundfile

from .containers import PREFIX_BYTES, Container, container_of, mp3_within_wav
from .decoders import ffmpeg
from .decoders.library_messages import collected
from .mixing import SIDES
from .undecodable import MissingChannel, UndecodableAudio, one_line

BLOCK_FRAMES = 2**20  # decoded at a time
# Decoded from the middle, these give other samples than from the start; for Vorbis see libsndfile's issue 885.
NO_SEEK = ("OGG", "MP3")
MAX_CHANNELS = 8  # the mean of dozens of microphones gives no usable voice


class SequentialSound(soundfile.SoundFile):
    """A sound file that is read without seeking where that would change samples or fail; soundfile always seeks.

    Attributes:
        said: what libmpg123 would have written to the terminal.
        remarks: none; see :class:`data.audio.decoders.ffmpeg.FfmpegSound`.
    """

    def __init__(self, file: Any) -> None:
        self.said: list[str] = []
        self.remarks: list[str] = []
        with collected(self.said):
            super().__init__(file)

    @property
    def knows_length(self) -> bool:
        """Whether the header says how many frames there are; FLAC from a pipe does not."""
        return 0 < self.frames < 2**62

    def seekable(self) -> bool:
        return self.format not in NO_SEEK and self.knows_length and super().seekable()

    def taken(self, frames: int) -> np.ndarray:
        """The next frames, float32 [frames or fewer, channels]; none at the end."""
        if self.format != "MP3":
            return self.read(min(BLOCK_FRAMES, frames), dtype="float32", always_2d=True)
        with collected(self.said):
            return self.read(min(BLOCK_FRAMES, frames), dtype="float32", always_2d=True)

    def blocks(self, whole: bool = False) -> Iterator[np.ndarray]:
        """Float32 samples [N, channels], to the end, block by block: hours in many channels fill memory.

        Raises:
            UndecodableAudio: with ``whole``, if there are fewer than the header says.
        """
        missing = self.frames
        while missing and len(block := self.taken(BLOCK_FRAMES)):
            missing -= len(block)
            yield block
        if whole and 0 < missing < 2**62 and self.format != "MP3":  # whose length is a guess where no tag says it
            raise UndecodableAudio(f"the header promises {self.frames} samples; the last {missing} are missing")


class Window(io.RawIOBase):
    """A part of a file, read as if it were one."""

    def __init__(self, file: Any, begin: int, end: int) -> None:
        self.file, self.begin, self.size, self.position = file, begin, end - begin, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence]
        self.position = max(0, start + offset)
        return self.position

    def readinto(self, buffer: Any) -> int:
        self.file.seek(self.begin + self.position)
        view = memoryview(buffer).cast("B")
        count = self.file.readinto(view[: max(0, self.size - self.position)])
        self.position += count
        return count


def prefix_of(file: Any) -> bytes:
    """The first bytes of a file behind ID3 tags; the file is then at its beginning again."""
    return tags_and_prefix(file)[1]


def tags_and_prefix(file: Any) -> tuple[int, bytes]:
    """How many bytes of ID3 tags a file begins with, and :func:`prefix_of` it."""
    position = file.seek(0)
    prefix = file.read(PREFIX_BYTES)
    while prefix[:3] == b"ID3" and len(prefix) >= 10:
        position = file.seek(position + end_of_tag(prefix))
        prefix = file.read(PREFIX_BYTES)
    file.seek(0)
    return position, prefix


def end_of_tag(prefix: bytes) -> int:
    """Where the ID3v2 tag that these bytes begin with ends."""
    return 10 + (10 if prefix[5] & 0x10 else 0) + (prefix[6] << 21 | prefix[7] << 14 | prefix[8] << 7 | prefix[9])


def foreign_container(file: Any, prefix: bytes | None = None) -> Container | None:
    """The container of a file that ffmpeg is to read; None for one that libsndfile reads.

    Args:
        prefix: :func:`prefix_of` the file, where that was read already.
    """
    container = container_of(prefix_of(file) if prefix is None else prefix)
    return None if container is not None and container.is_optional and not ffmpeg.is_installed() else container


@contextlib.contextmanager
def mapped(file: Any) -> Iterator[Any]:
    """A file's bytes, of which only those are read that are looked at."""
    if isinstance(file, io.BytesIO):
        yield file.getvalue()
        return
    file.seek(0, io.SEEK_END)
    if not file.tell():
        yield b""
        return
    try:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError:  # a file system that cannot, as some network disks
        file.seek(0)
        yield file.read()
        return
    with content:
        yield content


def unwrapped(file: Any, prefix: bytes | None = None) -> Any:
    """The MP3 stream of a WAV file that holds one, or a WAV file without the ID3 tag before it; others as they are.

    libsndfile leaves out as many bytes of a WAV file's end as a tag before it has. ``prefix``: see above.
    """
    if prefix is not None and prefix[:3] != b"RIF":
        return file
    begin, prefix = tags_and_prefix(file)
    if prefix[:3] != b"RIF":
        return file
    size = file.seek(0, io.SEEK_END) - begin
    bounds = mp3_within_wav(prefix, size)
    file.seek(0)
    if bounds is None:
        return Window(file, begin, begin + size) if begin else file
    return Window(file, begin + bounds[0], begin + bounds[1])


def open_sound(file: Any, whole: bool = False) -> SequentialSound | ffmpeg.FfmpegSound:
    """A file opened for decoding; close it after use.

    Args:
        whole: see :class:`data.audio.decoders.ffmpeg.FfmpegSound`.

    Raises:
        UndecodableAudio: if nothing here reads it, or it has too many channels.
    """
    prefix = prefix_of(file)
    if not prefix and not file.read(1):
        raise UndecodableAudio("the file is empty")
    container = foreign_container(file, prefix)
    if container is not None:
        sound: SequentialSound | ffmpeg.FfmpegSound = ffmpeg.FfmpegSound(file, container, whole)
    else:
        with understood():
            sound = SequentialSound(unwrapped(file, prefix))
    try:
        check_channels(sound.channels)
    except UndecodableAudio:
        sound.close()
        raise
    return sound


@contextlib.contextmanager
def understood() -> Iterator[None]:
    """Turn what soundfile raises of a file into an UndecodableAudio with the reason."""
    try:
        yield
    except UndecodableAudio:
        raise
    except (RuntimeError, TypeError, ValueError, MemoryError) as error:  # the last two: a length beyond reason
        raise UndecodableAudio(f"not audio that soundfile reads: {one_line(error)}") from None


def check_channels(channels: int) -> None:
    if channels > MAX_CHANNELS:
        raise UndecodableAudio(f"{channels} channels; the mean of up to {MAX_CHANNELS} is taken")


def check_has_channel(channels: int, wanted: int | None) -> None:
    """Raise MissingChannel where a recording lacks the channel that is wanted, from 0; None wants none."""
    if wanted is not None and wanted >= channels:
        has = "one channel" if channels == 1 else f"{channels} channels"
        which = f"{SIDES[wanted]} channel" if wanted < len(SIDES) else f"channel {wanted + 1}"
        raise MissingChannel(f"the recording has {has}, so no {which}")
