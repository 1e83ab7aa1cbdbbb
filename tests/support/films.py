"""Recordings that ffmpeg encodes, as users have them; tests with them are skipped where it is not installed."""

import functools
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.audio.decoders.ffmpeg import is_installed

needs_ffmpeg = pytest.mark.skipif(not is_installed(), reason="ffmpeg is not installed")
SECONDS, RATE = 3.0, 44_100
PICTURE = ("-f", "lavfi", "-i", f"testsrc=s=32x32:r=5:d={SECONDS + 1}")
KINDS: dict[str, tuple[str, ...]] = {
    "m4a": ("-c:a", "aac"),
    "fragmented.mp4": ("-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"),
    "aac": ("-c:a", "aac"),
    "webm": ("-c:a", "libopus"),
    "live.webm": ("-c:a", "libopus", "-live", "1"),
    "wma": ("-c:a", "wmav2"),
    "mka": ("-c:a", "flac"),
    "ts": ("-c:a", "aac"),
    "avi": ("-c:a", "mp2"),
    "flv": ("-c:a", "aac"),
    "mp2": ("-c:a", "mp2"),
    "wv": ("-c:a", "wavpack"),
    "ac3": ("-c:a", "ac3"),
    "film.mp4": ("-c:v", "mpeg4", "-c:a", "aac"),
    "film.wmv": ("-c:v", "wmv2", "-c:a", "wmav2"),
    "mp3.wav": ("-c:a", "libmp3lame"),
}


def spoken(seconds: float = SECONDS, rate: int = RATE) -> np.ndarray:
    """A tone that comes and goes, with a little noise, float32 [N]."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).normal(0, 0.01, len(time))
    return (0.3 * np.sin(2 * np.pi * 300 * time) * (1 + np.sin(2 * np.pi * 3 * time)) / 2 + noise).astype(np.float32)


def converted(samples: np.ndarray, rate: int, name: str, *options: str, picture: bool = False) -> bytes:
    """Samples [N] or [N, channels] as ffmpeg encodes them into a file of that name."""
    with tempfile.TemporaryDirectory() as folder:
        soundfile.write(f"{folder}/sound.wav", samples, rate, subtype="FLOAT")
        line = ["ffmpeg", "-v", "error", *(PICTURE if picture else ()), "-i", "sound.wav", *options, name]
        subprocess.run(line, cwd=folder, check=True, stdin=subprocess.DEVNULL)
        return Path(folder, name).read_bytes()


@functools.cache
def film(kind: str) -> bytes:
    """The spoken tone as a file of a kind; those called films have a picture that is a second longer."""
    return converted(spoken(), RATE, f"a.{kind}", *KINDS[kind], picture=kind.startswith("film"))


def noise(seconds: float, rate: int = 16_000, channels: int = 1) -> np.ndarray:
    """The same for the same length, float32 [N] or [N, channels]."""
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (round(seconds * rate), channels)).astype(np.float32)
    return samples.squeeze(1) if channels == 1 else samples
