"""Lengths and rates read from the first bytes are libsndfile's."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.audio.headers import parse_header, read_header

SAMPLES = np.random.default_rng(0).normal(0, 0.1, (4321, 2)).astype(np.float32)


def encoded(channels: int = 1, rate: int = 16_000, **values: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, SAMPLES[:, :channels], rate, **values)
    return file.getvalue()


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("format", "subtype"),
    [("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "PCM_U8"), ("WAV", "FLOAT"),
     ("WAV", "DOUBLE"), ("WAV", "ULAW"), ("WAV", "ALAW"), ("WAVEX", "PCM_16")],
)  # fmt: skip
def test_equal_to_libsndfile(format: str, subtype: str, channels: int, rate: int, tmp_path: Path) -> None:
    content = encoded(channels, rate, format=format, subtype=subtype)
    path = tmp_path / "clip"
    path.write_bytes(content)
    info = soundfile.info(path)
    for header in (parse_header(content[:4096], len(content)), read_header(str(path))):
        assert header is not None
        assert (header.frames, header.sampling_rate, header.channels, header.missing) == (
            info.frames, info.samplerate, info.channels, 0
        )  # fmt: skip
        assert header.seconds == info.frames / info.samplerate


@pytest.mark.parametrize("values", [{"format": "OGG"}, {"format": "MP3"}, {"format": "AIFF"},
                                    {"format": "WAV", "subtype": "IMA_ADPCM"}])  # fmt: skip
def test_other_formats_are_left_to_libsndfile(values: dict[str, str]) -> None:
    content = encoded(**values)
    assert parse_header(content[:4096], len(content)) is None


def test_what_is_missing_of_a_wav_file_is_told() -> None:
    content = encoded(format="WAV", subtype="PCM_16")
    header = parse_header(content[:4096], len(content) - 2000)
    assert header is not None and (header.frames, header.missing) == (4321 - 1000, 1000)


def test_a_wav_file_of_a_program_that_streams() -> None:
    content = bytearray(encoded(format="WAV", subtype="PCM_16"))
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", 0xFFFFFFFF)
    header = parse_header(bytes(content[:4096]), len(content))
    assert header is not None and (header.frames, header.missing) == (4321, 0)


def test_flac_of_unknown_length_is_left_to_libsndfile() -> None:
    content = bytearray(encoded(format="FLAC"))
    content[21] &= 0xF0
    content[22:26] = b"\0\0\0\0"
    assert parse_header(bytes(content), len(content)) is None


@pytest.mark.parametrize("content", [b"", b"fLaC", b"RIFF", b"RIFF....WAVE", b"RIFF....WAVEfmt ", b"RIFF....WAVEdata\0\0\0\0"])  # fmt: skip # noqa: E501
def test_stumps_are_left_to_libsndfile(content: bytes) -> None:
    assert parse_header(content, len(content)) is None
