"""Audio files damaged in every way known to happen, each with what must become of it."""

import functools
import io
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import soundfile

from data.audio.flac_frames import parse_frame
from data.audio.integrity import ogg_checksum
from data.audio.mpeg_frames import frame_bytes

RATE = 16_000
STREAMED = "leave their length open"
RENAMED = "another format's suffix"


@dataclass(frozen=True)
class AudioCase:
    """A file.

    Attributes:
        reason: a pattern that the reason for leaving it out must have; None where it is kept.
        notice: of a file that is kept because it was put right: part of the notice.
        samples: what a file that is kept must decode to.
    """

    name: str
    content: bytes
    suffix: str
    reason: str | None = ""
    notice: str | None = None
    samples: np.ndarray | None = None


@functools.cache
def speech(seconds: float = 0.5) -> np.ndarray:
    """A gliding tone in noise, float32, of 16-bit steps: what has no long runs of equal samples."""
    time = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(7).normal(0, 0.02, len(time))
    signal = 0.3 * np.sin(2 * np.pi * (200 + 300 * time) * time) + noise
    return (np.rint(signal * 32_768) / 32_768).astype(np.float32)


def encode(samples: np.ndarray | None = None, rate: int = RATE, **form: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, speech() if samples is None else samples, rate, **form)
    return file.getvalue()


@functools.cache
def whole(kind: str) -> bytes:
    """An undamaged file of a kind; those of more than one frame or page are longer."""
    long = speech(1.5)
    return {
        "wav": lambda: encode(format="WAV", subtype="PCM_16"),
        "float": lambda: encode(format="WAV", subtype="FLOAT"),
        "adpcm": lambda: encode(format="WAV", subtype="IMA_ADPCM"),
        "rifx": lambda: encode(format="WAV", subtype="PCM_16", endian="BIG"),
        "wavex": lambda: encode(format="WAVEX", subtype="PCM_24"),
        "flac": lambda: encode(long, format="FLAC", subtype="PCM_16"),
        "vorbis": lambda: encode(long, format="OGG", subtype="VORBIS"),
        "opus": lambda: encode(long, format="OGG", subtype="OPUS"),
        "mp3": lambda: encode(long, format="MP3"),
        "aiff": lambda: encode(format="AIFF", subtype="PCM_16"),
        "au": lambda: encode(format="AU", subtype="PCM_16"),
        "w64": lambda: encode(format="W64", subtype="PCM_16"),
        "rf64": lambda: encode(format="RF64", subtype="PCM_16"),
        "caf": lambda: encode(format="CAF", subtype="PCM_16"),
    }[kind]()


def decoded(content: bytes) -> np.ndarray:
    """What a whole file holds, by libsndfile alone."""
    return soundfile.read(io.BytesIO(content), dtype="float32")[0]


def flipped(content: bytes, byte: int, bit: int) -> bytes:
    damaged = bytearray(content)
    damaged[byte] ^= 1 << bit
    return bytes(damaged)


def patched(content: bytes, at: int, *parts: bytes) -> bytes:
    new = b"".join(parts)
    return content[:at] + new + content[at + len(new) :]


def wav(fmt: bytes, data: bytes, size: int | None = None, before: bytes = b"") -> bytes:
    """A WAV file of a format chunk and a data chunk as they are."""
    chunks = before + b"fmt " + struct.pack("<I", len(fmt)) + fmt
    chunks += b"data" + struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks


def fmt(encoding: int = 1, channels: int = 1, rate: int = RATE, block: int | None = None, bits: int = 16) -> bytes:
    block = channels * bits // 8 if block is None else block
    return struct.pack("<HHIIHH", encoding, channels, rate, rate * block % 2**32, block, bits)


def sixteen_bit(samples: np.ndarray) -> bytes:
    return (samples * 32_768).astype("<i2").tobytes()


# WAV


def wav_cases() -> Iterator[AudioCase]:
    good, sound = whole("wav"), sixteen_bit(speech())
    for byte in range(44):
        bit = 3 if byte == 40 else (byte * 5 + 1) % 8
        kept = {"reason": None, "samples": speech()} if 4 <= byte < 8 else {"reason": "."}  # the RIFF chunk's size
        yield AudioCase(f"wav header byte {byte} bit {bit} flipped", flipped(good, byte, bit), ".wav", **kept)
    for byte, bits in ((22, (1, 2)), (24, (0, 7)), (25, (2, 7)), (26, (0, 7)), (34, (0, 3)), (41, (0, 6))):
        for bit in bits:
            yield AudioCase(f"wav header byte {byte} bit {bit} flipped too", flipped(good, byte, bit), ".wav", ".")
    for size in (1, 4, 12, 20, 36, 43, 44, 45, 100, 8000, len(good) - 2, len(good) - 1):
        yield AudioCase(f"wav cut after {size} bytes", good[:size], ".wav", ".")
    for size in (0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000):
        streamed = patched(good, 40, struct.pack("<I", size))
        for name, content in (("data", streamed), ("riff and data", patched(streamed, 4, struct.pack("<I", size)))):
            yield AudioCase(f"wav {name} size {size:#x}", content, ".wav", None, STREAMED, speech())
    yield AudioCase("wav data size 0", patched(good, 40, bytes(4)), ".wav", "never completed|no samples")
    for channels in (9, 50, 1024):
        frames = np.tile(speech(0.2)[:, None], (1, channels))
        yield AudioCase(f"wav of {channels} channels", wav(fmt(channels=channels), sixteen_bit(frames)), ".wav", "channels")  # fmt: skip # noqa: E501
    for rate in (0, 1, 100, 4_000_000_000, 2**32 - 1):
        yield AudioCase(f"wav of {rate} Hz", wav(fmt(rate=rate), sound), ".wav", "Hz|not audio")
    odd = {
        "channels 0": fmt(channels=0),
        "block align 0": fmt(block=0),
        "block align 1": fmt(block=1),
        "block align 65535": fmt(block=65_535),
        "bits 0": fmt(bits=0, block=2),
        "bits 7": fmt(bits=7, block=2),
        "bits 65535": fmt(bits=65_535, block=2),
        "encoding 0x1234": fmt(encoding=0x1234),
        "encoding MP3 but samples": fmt(encoding=0x55),
        "format chunk of 2 bytes": b"\1\0",
        "format chunk empty": b"",
    }
    for name, chunk in odd.items():
        yield AudioCase(f"wav {name}", wav(chunk, sound), ".wav", ".")
    yield AudioCase("wav without format", good[:12] + good[36:], ".wav", ".")
    yield AudioCase("wav without data", good[:36], ".wav", ".")
    yield AudioCase("wav data empty", wav(fmt(), b""), ".wav", "no samples")
    yield AudioCase("wav format chunk of 2 GB", patched(good, 16, struct.pack("<I", 2**31)), ".wav", ".")
    yield AudioCase("wav data chunk of 2 GB", patched(good, 40, struct.pack("<I", 2**31)), ".wav", "promises")
    yield AudioCase("wav chunk of 4 GB before the data", wav(fmt(), sound, before=b"junk\xf0\xff\xff\xff"), ".wav", ".")
    for kind in ("float", "rifx", "wavex", "adpcm"):
        content = whole(kind)
        yield AudioCase(f"{kind} wav cut in half", content[: len(content) // 2], ".wav", "promises|cut off")
    yield AudioCase("rifx wav rate flipped", flipped(whole("rifx"), 26, 4), ".wav", "contradicts")
    for name, value in (("NaN", np.nan), ("infinite", np.inf), ("minus infinite", -np.inf)):
        samples = speech().copy()
        samples[1234] = value
        yield AudioCase(f"wav one sample {name}", encode(samples, format="WAV", subtype="FLOAT"), ".wav", "not finite")
    nothing = np.full(8000, np.nan, np.float32)
    yield AudioCase("wav all samples NaN", encode(nothing, format="WAV", subtype="FLOAT"), ".wav", "not finite")
    beyond = encode(np.full(8000, 1e300), format="WAV", subtype="DOUBLE")
    yield AudioCase("wav doubles beyond floats", beyond, ".wav", "not finite")


# FLAC


@functools.cache
def flac_frames() -> tuple[int, ...]:
    """Where the frames of the whole file begin."""
    content = whole("flac")
    found = [match.start() for match in re.finditer(rb"\xff\xf8", content)]
    return tuple(place for place in found if parse_frame(content[place : place + 16]))


def flac_cases() -> Iterator[AudioCase]:
    good, frames = whole("flac"), flac_frames()
    samples = decoded(good)
    random = np.random.default_rng(11)
    assert len(frames) == 6
    for size in (3, 4, 8, 20, 41, 42, frames[0] - 1, 500, 5000, len(good) - 100, len(good) - 1):
        yield AudioCase(f"flac cut after {size} bytes", good[:size], ".flac", ".")
    for number, place in enumerate(frames):
        yield AudioCase(f"flac cut before frame {number}", good[:place], ".flac", ".")
    for number in range(30):
        place, bit = int(random.integers(frames[0], len(good))), int(random.integers(8))
        yield AudioCase(f"flac data flip {number}", flipped(good, place, bit), ".flac", ".")
    for byte, bit in ((0, 5), (3, 0), (4, 0), (4, 7), (5, 6), (7, 1), (18, 3), (18, 7), (19, 0), (19, 7), (20, 0),
                      (20, 1), (20, 3), (20, 5), (20, 7), (21, 2), (21, 4), (22, 0), (23, 4), (24, 2), (24, 3), (24, 5),
                      (25, 0), (25, 6), (42, 0), (43, 7), (45, 2)):  # fmt: skip
        yield AudioCase(f"flac header byte {byte} bit {bit} flipped", flipped(good, byte, bit), ".flac", ".")
    for byte in (9, 13, 16, 26, 33, 41):  # sizes of blocks and frames, and the digest: nobody reads them
        yield AudioCase(f"flac header byte {byte} flipped", flipped(good, byte, 4), ".flac", None, samples=samples)
    packed = int.from_bytes(good[18:26], "big")
    for name, total in (("half", len(samples) // 2), ("one less", len(samples) - 1),
                        ("one more", len(samples) + 1), ("2^36 - 1", 2**36 - 1)):  # fmt: skip
        changed = (packed >> 36 << 36 | total).to_bytes(8, "big")
        yield AudioCase(f"flac total samples {name}", patched(good, 18, changed), ".flac", "promises")
    unknown = patched(good, 18, (packed >> 36 << 36).to_bytes(8, "big"))
    yield AudioCase("flac of open length", unknown, ".flac", None, STREAMED, samples)
    for size in (frames[0] + 3, frames[2] + 500, len(good) - 1):
        yield AudioCase(f"flac of open length cut after {size} bytes", unknown[:size], ".flac", ".")
    flip = flipped(unknown, frames[3] + 900, 4)
    yield AudioCase("flac of open length, data flipped", flip, ".flac", ".")
    yield AudioCase("flac without its frame 2", good[: frames[2]] + good[frames[3] :], ".flac", "frames are missing")
    yield AudioCase("flac with frame 2 twice", good[: frames[3]] + good[frames[2] :], ".flac", "comes twice")
    zeros = patched(good, frames[2] + 100, bytes(2000))
    yield AudioCase("flac with zeros in its middle", zeros, ".flac", ".")
    yield AudioCase("flac frames of another rate", good[: frames[0]] + encode(speech(1.5), 8000, format="FLAC")[frames[0] :], ".flac", "its frames say 8000")  # fmt: skip # noqa: E501
    yield AudioCase("flac metadata of 16 MB", patched(good, 43, b"\xff\xff\xff"), ".flac", ".")
    yield AudioCase("flac with bytes behind", good + b"TAG" + b" " * 125, ".flac", None, samples=samples)
    yield AudioCase("flac behind an ID3 tag", b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + good, ".flac", None, samples=samples)


# OGG


def ogg_pages(content: bytes) -> list[tuple[int, int]]:
    """Begin and end of each page."""
    pages, position = [], 0
    while position < len(content):
        segments = content[position + 26]
        end = position + 27 + segments + sum(content[position + 27 : position + 27 + segments])
        pages.append((position, end))
        position = end
    return pages


def ogg_cases(kind: str, suffix: str) -> Iterator[AudioCase]:
    good = whole(kind)
    pages = ogg_pages(good)
    begin, end = pages[-1]
    random = np.random.default_rng(13)
    for number, size in enumerate(np.linspace(10, len(good) - 1, 8).astype(int)):
        yield AudioCase(f"{kind} cut at {number} of 7", good[:size], suffix, ".")
    for number, (place, _) in enumerate(pages[1:], start=1):
        yield AudioCase(f"{kind} cut before page {number}", good[:place], suffix, ".")
    for number in range(8):
        place, bit = int(random.integers(len(good))), int(random.integers(8))
        yield AudioCase(f"{kind} flip {number}", flipped(good, place, bit), suffix, ".")
    last = bytearray(good[begin:end])
    last[5] &= ~4
    last[22:26] = bytes(4)
    last[22:26] = ogg_checksum(bytes(last)).to_bytes(4, "little")
    yield AudioCase(f"{kind} without an end of stream", good[:begin] + bytes(last), suffix, "no page ends the stream")
    first, second = pages[2]
    yield AudioCase(f"{kind} without its page 2", good[:first] + good[second:], suffix, "pages are missing|.")
    yield AudioCase(
        f"{kind} with zeros between pages", good[:begin] + bytes(50) + good[begin:], suffix, "no page begins"
    )
    yield AudioCase(f"{kind} with bytes behind", good + b"TAG" + b" " * 125, suffix, None, samples=decoded(good))


# MP3


def mp3_frames(content: bytes) -> list[int]:
    places, position = [], 0
    while position < len(content):
        places.append(position)
        length = frame_bytes(content[position : position + 4])
        assert length is not None
        position += length
    return places


def mp3_cases() -> Iterator[AudioCase]:
    good = whole("mp3")
    frames, tag = mp3_frames(good), good.index(b"Xing")
    samples = decoded(good)
    for size in (1, 3, 4, 100, frames[1], frames[2] + 1, len(good) // 2, frames[-2], len(good) - 10, len(good) - 1):
        yield AudioCase(f"mp3 cut after {size} bytes", good[:size], ".mp3", ".")
    for byte, bit in ((0, 3), (1, 0), (1, 3), (2, 2), (2, 5), (3, 6), (tag, 0), (tag + 7, 0), (tag + 8, 3), (tag + 10,
    4),
                      (tag + 11, 5), (tag + 140, 3), (tag + 150, 2)):  # fmt: skip
        yield AudioCase(f"mp3 first frame byte {byte} bit {bit} flipped", flipped(good, byte, bit), ".mp3", ".")
    for number in (5, 20, len(frames) - 1):
        place = frames[number]
        yield AudioCase(f"mp3 header of frame {number} flipped", flipped(good, place + 2, 5), ".mp3", "damaged|cut off")
        yield AudioCase(f"mp3 without frames {number} and before", good[: frames[number - 2]] + good[place:], ".mp3", "tag says|cut off")  # fmt: skip # noqa: E501
    yield AudioCase(
        "mp3 with zeros in its middle", good[: frames[9]] + bytes(77) + good[frames[9] :], ".mp3", "damaged"
    )
    yield AudioCase("mp3 of varying bitrate without its tag", good[frames[1] :], ".mp3", "no tag with its length")
    yield AudioCase("mp3 behind an ID3 tag", b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + good, ".mp3", None, samples=samples)
    yield AudioCase("mp3 before an ID3 tag", good + b"TAG" + b" " * 125, ".mp3", None, samples=samples)
    yield AudioCase("mp3 ID3 tag beyond its end", b"ID3\4\0\0\x7f\x7f\x7f\x7f" + good, ".mp3", ".")


# What is something else


def other_cases() -> Iterator[AudioCase]:
    for kind in ("aiff", "au", "w64", "rf64", "caf"):
        content = whole(kind)
        for share in (0.2, 0.9):
            yield AudioCase(f"{kind} cut to {share:.0%}", content[: int(len(content) * share)], f".{kind}", ".")
    yield AudioCase("aiff of 1 Hz", patched(whole("aiff"), 28, b"\x3f\xff\x80" + bytes(7)), ".aiff", "Hz")
    yield AudioCase("au of 1 Hz", patched(whole("au"), 16, struct.pack(">I", 1)), ".au", "Hz")
    yield AudioCase("au of 50 channels", encode(np.tile(speech(0.2)[:, None], (1, 50)), format="AU"), ".au", "channels")
    for kind, suffix in (("mp3", ".flac"), ("flac", ".wav"), ("vorbis", ".mp3"), ("wav", ".flac"), ("flac", ".txt")):
        content = whole(kind)
        yield AudioCase(f"{kind} called {suffix}", content, suffix, None, RENAMED, decoded(content))
    page = b"<!DOCTYPE html><html><head><title>404 Not Found</title></head><body>nginx</body></html>\n"
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 12345\n"
    nothing: dict[str, tuple[bytes, str]] = {
        "an empty file": (b"", ".wav"),
        "one byte": (b"R", ".wav"),
        "a text": ("bir iki üç\n".encode(), ".wav"),
        "a web page": (page, ".mp3"),
        "a pointer to large file storage": (pointer, ".flac"),
        "JSON": (b'{"error": "quota exceeded"}', ".flac"),
        "zeros": (bytes(20_000), ".wav"),
        "ones": (b"\xff" * 20_000, ".mp3"),
        "noise": (np.random.default_rng(5).bytes(20_000), ".mp3"),
        "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(3000), ".wav"),
        "gzip": (b"\x1f\x8b\x08" + np.random.default_rng(6).bytes(3000), ".wav"),
        "an archive": (b"PK\3\4" + bytes(3000), ".flac"),
        "only magic bytes of OGG": (b"OggS", ".ogg"),
        "only magic bytes of WAV": (b"RIFF\xff\xff\xff\xffWAVE", ".wav"),
        "only magic bytes of AIFF": (b"FORM\0\0\0\x04AIFF", ".aiff"),
    }
    for name, (content, suffix) in nothing.items():
        yield AudioCase(f"{name} called {suffix}", content, suffix, ".")


def audio_cases() -> list[AudioCase]:
    makers: tuple[Callable[[], Iterator[AudioCase]], ...] = (
        wav_cases, flac_cases, lambda: ogg_cases("vorbis", ".ogg"), lambda: ogg_cases("opus", ".opus"), mp3_cases,
        other_cases
    )  # fmt: skip
    cases = [case for make in makers for case in make()]
    assert len({case.name for case in cases}) == len(cases)
    return cases
