"""Whole files have no fault, whatever encoded them; the frames and pages of damaged ones are looked at one by one.

What damage must be found is in :mod:`tests.data.preparation.test_broken_inputs`.
"""

import io
import struct

import numpy as np
import pytest
import soundfile

from data.audio.flac_frames import parse_frame
from data.audio.headers import parse_header
from data.audio.integrity import fault_of, ogg_checksum
from data.audio.mpeg_frames import crc16, frame_bytes

from ...support.broken_audio import fmt, ogg_pages, sixteen_bit, speech, wav, whole

FORMS = [
    ("WAV", "PCM_U8"), ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "PCM_32"), ("WAV", "FLOAT"), ("WAV", "DOUBLE"),
    ("WAV", "ULAW"), ("WAV", "ALAW"), ("WAV", "IMA_ADPCM"), ("WAV", "MS_ADPCM"), ("WAV", "GSM610"), ("WAVEX", "PCM_16"),
    ("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_16"), ("AU", "PCM_16"), ("CAF", "PCM_16"), ("FLAC", "PCM_S8"),
    ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"),
]  # fmt: skip


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 44_100, 48_000])
@pytest.mark.parametrize(("format", "subtype"), FORMS)
def test_whole_files_have_no_fault(format: str, subtype: str, rate: int, channels: int) -> None:
    samples = np.stack([speech(1.3)] * channels, axis=1)
    samples[4000:9000] = 0  # silence is coded in other ways
    file = io.BytesIO()
    try:
        soundfile.write(file, samples, rate, format=format, subtype=subtype)
    except (ValueError, RuntimeError) as error:
        pytest.skip(f"libsndfile does not write it: {error}")
    assert fault_of(file.getvalue()) is None


@pytest.mark.parametrize("kind", ["wav", "rifx"])
def test_chunks_behind_the_sound_are_no_fault(kind: str) -> None:
    order = ">" if kind == "rifx" else "<"
    for sound in (2, 3):  # an odd length is followed by a byte of nothing, which some programs forget
        for pad in (b"", b"\0") if sound % 2 else (b"",):
            content = whole(kind)[:40] + struct.pack(f"{order}I", sound) + bytes(sound) + pad
            content += b"LIST" + struct.pack(f"{order}I", 8) + b"INFOabcd"
            assert fault_of(content[:4] + struct.pack(f"{order}I", len(content) - 8) + content[8:]) is None


def test_a_byte_rate_of_0_is_no_fault() -> None:
    content = bytearray(whole("wav"))
    content[28:32] = bytes(4)
    assert fault_of(bytes(content)) is None


def test_a_header_that_was_never_completed() -> None:
    content = wav(fmt(), sixteen_bit(speech()), size=0)
    header = parse_header(content, len(content))
    assert header is not None and header.fault is not None and "never completed" in header.fault


def test_ogg_s_checksum_is_that_of_libogg() -> None:
    pages = ogg_pages(whole("vorbis"))
    assert len(pages) > 2
    for begin, end in pages:
        page = bytearray(whole("vorbis")[begin:end])
        said = int.from_bytes(page[22:26], "little")
        page[22:26] = bytes(4)
        assert ogg_checksum(bytes(page)) == said


def test_checksums_of_their_catalogues() -> None:
    """CRC-16/ARC's check value; a FLAC frame's header from RFC 9639, appendix D.2."""
    assert crc16(b"123456789") == 0xBB3D
    frame = parse_frame(bytes.fromhex("fff86998000f99 0000000000".replace(" ", "")))
    assert frame is not None
    assert (frame.number, frame.samples, frame.rate, frame.channels, frame.bits) == (0, 16, 44_100, 2, 16)


@pytest.mark.parametrize(
    ("number", "counts_samples"), [(0, False), (127, False), (128, False), (70_000, False), (2**31 - 1, False),
    (2**36 - 1, True)]
)  # fmt: skip
def test_frame_numbers_of_all_lengths(number: int, counts_samples: bool) -> None:
    """Numbers are coded as UTF-8 codes letters, up to seven bytes."""
    if number < 128:
        coded = bytes([number])
    else:
        length = next(n for n in range(2, 8) if number < 1 << (5 * n + 1))
        lead = (0xFF << (8 - length)) & 0xFF | number >> 6 * (length - 1)
        coded = bytes([lead, *(0x80 | number >> 6 * i & 0x3F for i in reversed(range(length - 1)))])
    header = b"\xff" + (b"\xf9" if counts_samples else b"\xf8") + b"\xc5\x08" + coded
    found = [frame for byte in range(256) if (frame := parse_frame(header + bytes([byte]) + bytes(8)))]
    assert [(frame.number, frame.counts_samples, frame.samples, frame.rate) for frame in found] == [
        (number, counts_samples, 4096, 16_000)
    ]


def test_lengths_of_mp3_frames() -> None:
    """By the formula of ISO 11172-3: 144 x bitrate / rate, and a byte more where it is padded."""
    assert frame_bytes(bytes.fromhex("fffb9064")) == 144 * 128_000 // 44_100
    assert frame_bytes(bytes.fromhex("fffb9264")) == 144 * 128_000 // 44_100 + 1
    assert frame_bytes(bytes.fromhex("fff388c4")) == 72 * 64_000 // 16_000
    for header in ("fffb0064", "fffbf064", "fffd9064", "fffb9c64", "ffeb9064", "fe", ""):
        assert frame_bytes(bytes.fromhex(header)) is None
