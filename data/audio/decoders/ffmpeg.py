"""ffmpeg, where it is installed, for containers that libsndfile does not read: films, MP4, WebM, WMA, AAC.

It runs as a process of its own, without a shell, with a time limit. It is given an open file, never a name, so that no
name is taken for an option or an address. It is told the demuxer, which is chosen by the file's first bytes, so that no
playlist in disguise is followed. It may open no address (https://ffmpeg.org/ffmpeg-protocols.html,
-protocol_whitelist). It decodes, and neither mixes nor resamples.
"""

import contextlib
import functools
import io
import json
import os
import re
import select
import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..containers import Container
from ..undecodable import UndecodableAudio
from .temporary import temporary_file

INSTALL = "apt install ffmpeg, or brew install ffmpeg"
STALL_SECONDS = 60.0  # without a sample; a film of hours takes longer in all
BLOCK_SAMPLES = 2**18  # of all channels, taken from the pipe together
LATE, LATEST = 0.05, 3600.0  # seconds; less than that is an encoder's delay, more than that is damage
SHORTER = 0.2  # seconds that encoders' delays and the last frame make of a header's length
STRICT = ("-xerror", "-err_detect", "explode")
ADDRESSES = re.compile(r"\[([\w,]+) @ 0x[0-9a-f]+\] ?|(file:)?/dev/fd/\d+: ?")
# Whose complaints are none of the sound's: films are often recorded from the middle of a picture on.
PICTURES = re.compile(
    r"\[(h26\d|hevc|av1|libdav1d|mpeg[124]\w*video|mpeg4|msmpeg4\w*|vp\d|vc1|wmv\d|theora|mjpeg|png) @ "
)
HEADER = struct.Struct("<4sI")
FORMAT = struct.Struct("<HHI")


@dataclass(frozen=True)
class Probe:
    """What a container says of its first sound.

    Attributes:
        coding: as ffmpeg calls it, such as ``aac``.
        seconds: from the container's beginning; None where nothing says it, or what says it is a guess.
        tracks: how many sounds there are, such as languages of a film.
        begins: seconds from the container's beginning, where its picture begins earlier.
    """

    coding: str
    sampling_rate: int
    channels: int
    seconds: float | None
    tracks: int
    begins: float = 0.0


def is_installed() -> bool:
    """Whether ffmpeg and ffprobe, which comes with it, can be run."""
    return (
        program("ffmpeg", os.environ.get("PATH")) is not None and program("ffprobe", os.environ.get("PATH")) is not None
    )


@functools.lru_cache
def program(name: str, path: str | None) -> str | None:
    return shutil.which(name, path=path)


def missing(container: Container) -> str:
    """What to do where a file wants ffmpeg and it is not installed."""
    what = "whose damage ffmpeg alone sees" if container.is_optional else "which ffmpeg reads and soundfile does not"
    return f"{container.name}, {what}: install ffmpeg ({INSTALL})"


def required(name: str, container: Container) -> str:
    """Where a program lies. Raises UndecodableAudio, which says how to get it, if it is not installed."""
    found = program(name, os.environ.get("PATH"))
    if found is None:
        raise UndecodableAudio(missing(container))
    return found


@contextlib.contextmanager
def descriptor(file: io.BufferedIOBase) -> Iterator[int]:
    """A descriptor of a file's content; bytes in memory are written to a temporary file first."""
    if not isinstance(file, io.BytesIO):
        file.seek(0)
        yield file.fileno()
        return
    with temporary_file(file.getbuffer()) as copy:
        yield copy.fileno()


def command(name: str, container: Container, opened: int, options: Sequence[str]) -> list[str]:
    """A command line that reads an open file as what it is, and nothing else."""
    given = ("-protocol_whitelist", "file", "-f", container.demuxer, "-i", f"file:/dev/fd/{opened}")
    return [required(name, container), "-v", "error", *given, *options]


def surroundings() -> dict[str, str]:
    """The environment without what makes ffmpeg write reports and colours."""
    return {key: value for key, value in os.environ.items() if key != "FFREPORT"} | {"AV_LOG_FORCE_NOCOLOR": "1"}


def probe(file: io.BufferedIOBase, container: Container) -> Probe:
    """What the header says.

    Raises:
        UndecodableAudio: if ffmpeg is missing, does not read it, or there is no sound in it.
    """
    entries = (
        "format=duration,start_time,nb_streams:stream=codec_type,codec_name,sample_rate,channels,duration,start_time"
    )
    with descriptor(file) as opened:
        line = command("ffprobe", container, opened, ("-show_entries", entries, "-of", "json"))
        try:
            answer = subprocess.run(
                line, stdin=subprocess.DEVNULL, capture_output=True, pass_fds=[opened], env=surroundings(),
                timeout=STALL_SECONDS, check=False
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise UndecodableAudio(f"ffprobe said nothing of it for {STALL_SECONDS:g} s") from None
    try:
        found: dict[str, Any] = json.loads(answer.stdout or b"{}")
    except ValueError:
        found = {}
    sounds = [stream for stream in found.get("streams", ()) if stream.get("codec_type") == "audio"]
    if not sounds:
        raise UndecodableAudio(f"{container.name}, but {said_first(answer.stderr) or 'there is no sound in it'}")
    sound, whole = sounds[0], found.get("format", {})
    seconds = sound.get("duration")
    if whole.get("nb_streams") == 1:
        seconds = seconds or whole.get("duration")
    elif not container.times_tracks:
        seconds = None  # it may be a picture's
    begins = float(sound.get("start_time", 0)) - float(whole.get("start_time", 0))
    begins = begins if LATE < begins < LATEST else 0.0
    return Probe(
        coding=str(sound.get("codec_name", "unknown")),
        sampling_rate=int(sound.get("sample_rate", 0)),
        channels=int(sound.get("channels", 0)),
        seconds=float(seconds) + begins if seconds and container.is_timed else None,
        tracks=len(sounds),
        begins=begins,
    )


def said_first(errors: bytes) -> str:
    """The first line that ffmpeg wrote of the sound, without what changes from run to run."""
    said = (line for line in errors.decode("utf-8", "replace").splitlines() if not PICTURES.match(line))
    lines = (ADDRESSES.sub("", line).strip() for line in said if "Last message repeated" not in line)
    return next(filter(None, lines), "")[:200]


class FfmpegSound(contextlib.AbstractContextManager["FfmpegSound"]):
    """A recording that ffmpeg decodes, from its beginning to its end, in its own rate and channels.

    Args:
        whole: refuse one that is damaged or was cut off; else what can be read of it is, and ``said`` says the rest.

    Attributes:
        said: what ffmpeg complained of, once all was read.
        remarks: what else is to be told.

    Raises:
        UndecodableAudio: if ffmpeg is missing, or reads nothing of it.
    """

    def __init__(self, file: io.BufferedIOBase, container: Container, whole: bool = False) -> None:
        self.container, self.whole = container, whole
        self.said: list[str] = []
        self.probed = probe(file, container)
        tracks = self.probed.tracks
        self.remarks = [f"{tracks} sound tracks, the first of which was read"] if tracks > 1 else []
        self.opened = contextlib.ExitStack()
        self.errors = self.opened.enter_context(temporary_file())
        opened = self.opened.enter_context(descriptor(file))
        options = ("-map", "0:a:0", "-map_metadata", "-1", "-c:a", "pcm_f32le", "-f", "wav", "-")
        line = command("ffmpeg", container, opened, options)
        line[1:1] = ["-nostdin", "-threads", "1", *(STRICT if whole else ())]
        self.process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.errors, pass_fds=[opened],
            env=surroundings(), bufsize=0
        )  # fmt: skip
        try:
            self.samplerate, self.channels = self.header()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End ffmpeg, whether or not it is done."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.opened.close()

    def taken(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer at the end."""
        assert self.process.stdout is not None
        pipe = self.process.stdout.fileno()
        ready, taken = select.poll(), bytearray()
        ready.register(pipe, select.POLLIN | select.POLLHUP)
        while len(taken) < size:
            if not ready.poll(1000 * STALL_SECONDS):
                raise UndecodableAudio(f"ffmpeg gave no sample of it for {STALL_SECONDS:g} s")
            part = os.read(pipe, size - len(taken))
            if not part:
                break
            taken += part
        return bytes(taken)

    def wait(self) -> None:
        """Until ffmpeg has ended, which it does as soon as all was read."""
        try:
            self.process.wait(STALL_SECONDS)
        except subprocess.TimeoutExpired:
            raise UndecodableAudio(f"ffmpeg did not end for {STALL_SECONDS:g} s after the last sample") from None

    def header(self) -> tuple[int, int]:
        """Rate and channels, by the header of the WAV file that ffmpeg writes to the pipe."""
        self.taken(12)
        shape = None
        while len(chunk := self.taken(8)) == 8:
            name, size = HEADER.unpack(chunk)
            if name == b"data":
                break
            content = self.taken(size + size % 2)
            if name == b"fmt " and len(content) >= 8:
                _, channels, rate = FORMAT.unpack_from(content)
                shape = rate, channels
        if shape is None or not all(shape):
            self.wait()
            raise UndecodableAudio(
                f"{self.container.name} that ffmpeg does not read: {self.complaint() or 'no samples'}"
            )
        return shape

    def blocks(self, whole: bool = False) -> Iterator[np.ndarray]:
        """Float32 samples [N, channels], to the end; silence where the picture begins before the sound.

        Raises:
            UndecodableAudio: where it is to be whole and is not, or ffmpeg hangs.
        """
        frame, frames = 4 * self.channels, 0
        late = round(self.probed.begins * self.samplerate)
        while frames < late:
            frames += (count := min(BLOCK_SAMPLES // self.channels, late - frames))
            yield np.zeros((count, self.channels), np.float32)
        while content := self.taken(BLOCK_SAMPLES // self.channels * frame):
            block = np.frombuffer(content, "<f4", len(content) // frame * self.channels).reshape(-1, self.channels)
            frames += len(block)
            yield block.astype(np.float32, copy=False)
        self.wait()
        complaint = self.complaint()
        if complaint and not self.whole:
            self.said.append(f"ffmpeg: {complaint}")
        seconds, promised = frames / self.samplerate, self.probed.seconds
        if self.whole and (complaint or self.process.returncode):
            raise UndecodableAudio(
                f"{self.container.name} that was damaged or cut off: ffmpeg reads {seconds:.2f} s of it and says: "
                f"{complaint or 'nothing'}"
            )
        if promised is not None and promised - seconds > SHORTER:
            fault = f"the header promises {promised:.2f} s, {seconds:.2f} s are there"
            if self.whole:
                raise UndecodableAudio(fault)
            self.remarks.append(fault)

    def complaint(self) -> str:
        self.errors.seek(0)
        return said_first(self.errors.read(2**16))
