"""Where a stream comes from: standard input or a microphone. 16 kHz, one channel, 16 bit, little-endian."""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator

import numpy as np

from data.utterance import SAMPLING_RATE

from ...config.reading import ConfigError
from ...errors import CommandFailed

BYTES_EACH_SECOND = 2 * SAMPLING_RATE
MOST_AHEAD = 30 * BYTES_EACH_SECOND  # read and not yet taken; then whoever writes has to wait
MOST_AT_ONCE = 5 * BYTES_EACH_SECOND
MICROPHONES = {"linux": ("pulse", "default"), "darwin": ("avfoundation", ":0"), "win32": ("dshow", "audio=default")}


class PcmStream:
    """Samples that a thread reads from a file descriptor as they come.

    Attributes:
        is_torn: the stream ended within a sample.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.changed = descriptor, threading.Condition()
        self.parts: deque[bytes] = deque()
        self.waiting = self.received = 0  # bytes
        self.has_ended = self.is_torn = False
        self.rest = b""
        threading.Thread(target=self.read_on, daemon=True, name="stream").start()

    def read_on(self) -> None:
        """In a thread: read until the end."""
        while True:
            try:
                part = os.read(self.descriptor, 65_536)
            except OSError:
                part = b""
            with self.changed:
                self.parts.append(part)
                self.waiting += len(part)
                self.received += len(part)
                self.has_ended = not part
                self.changed.notify_all()
                if self.has_ended:
                    return
                self.changed.wait_for(lambda: self.waiting < MOST_AHEAD)

    @property
    def seconds(self) -> float:
        """Of the stream, received so far: where the speaker is."""
        return self.received / BYTES_EACH_SECOND

    def take(self, wait: float) -> np.ndarray | None:
        """What has come since, float32 [N], at most 5 s; None at the end.

        Args:
            wait: seconds that it waits at most until something is there; then nothing is, [0].
        """
        with self.changed:
            self.changed.wait_for(lambda: self.parts, wait)
            found = self.rest
            while self.parts and len(found) < MOST_AT_ONCE:
                part = self.parts.popleft()
                self.waiting -= len(part)
                found += part
            over = self.has_ended and not self.parts
            self.changed.notify_all()
        whole = len(found) // 2 * 2
        self.rest = found[whole:]
        if over and not whole:
            self.is_torn = bool(self.rest)
            return None
        return np.frombuffer(found[:whole], "<i2").astype(np.float32) / 32_768


@contextlib.contextmanager
def standard_input() -> Iterator[PcmStream]:
    """The stream on standard input.

    Raises:
        ConfigError: if that is a terminal.
    """
    if sys.stdin.isatty():
        raise ConfigError(
            "--live - takes 16 kHz samples of 16 bit from standard input, and nothing is piped into it; microphone "
            "takes them from there"
        )
    yield PcmStream(sys.stdin.fileno())


@contextlib.contextmanager
def microphone() -> Iterator[PcmStream]:
    """The default microphone, through ffmpeg.

    Raises:
        ConfigError: if ffmpeg is not installed.
        CommandFailed: if it ends without sound.
    """
    command = microphone_command(sys.platform)
    recorder = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    assert recorder.stdout is not None and recorder.stderr is not None
    stream = PcmStream(recorder.stdout.fileno())
    try:
        yield stream
    finally:
        ended_itself = stream.has_ended or recorder.poll() is not None
        if not ended_itself:
            recorder.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            recorder.wait(2)
        if recorder.poll() is None:
            recorder.kill()
    if ended_itself and not stream.received:
        why = recorder.stderr.read().decode(errors="replace").strip().splitlines() or ["it says nothing"]
        raise CommandFailed(f"ffmpeg records no microphone: {why[-1]}")


def microphone_command(platform: str) -> list[str]:
    """How ffmpeg records on a platform, as ``sys.platform`` names it. Raises ConfigError if it is not installed."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise ConfigError("--live microphone needs ffmpeg (apt install ffmpeg, brew install ffmpeg)")
    kind, device = MICROPHONES.get(platform, MICROPHONES["linux"])
    if platform == "linux" and not has_pulse():
        kind = "alsa"
    given = ["-hide_banner", "-loglevel", "error", "-nostdin", "-f", kind, "-i", device]
    return [ffmpeg, *given, "-ac", "1", "-ar", str(SAMPLING_RATE), "-f", "s16le", "-flush_packets", "1", "pipe:1"]


def has_pulse() -> bool:
    """Whether a PulseAudio or PipeWire server seems to run."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}" if hasattr(os, "getuid") else "")
    return "PULSE_SERVER" in os.environ or os.path.exists(os.path.join(runtime, "pulse", "native"))
