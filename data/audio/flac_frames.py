"""The frames of a FLAC file, by their headers (RFC 9639, section 9.1): what STREAMINFO says is compared with them.

libsndfile believes STREAMINFO's rate and length, whatever the frames say, and puts silence where frames are missing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

RATES = {1: 88_200, 2: 176_400, 3: 192_000, 4: 8000, 5: 16_000, 6: 22_050, 7: 24_000, 8: 32_000, 9: 44_100,
         10: 48_000, 11: 96_000}  # fmt: skip
BITS = {1: 8, 2: 12, 4: 16, 5: 20, 6: 24, 7: 32}
SYNC = re.compile(rb"\xff[\xf8\xf9]")
LONGEST_HEADER = 16


def crc8_table() -> bytes:
    """CRC-8 with the polynomial x^8 + x^2 + x + 1."""
    table = bytearray()
    for value in range(256):
        for _ in range(8):
            value = value << 1 ^ (0x107 if value & 0x80 else 0)
        table.append(value)
    return bytes(table)


CRC8 = crc8_table()


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame's header.

    Attributes:
        number: of its first sample where ``counts_samples``, else its own.
        samples: of each channel.
        rate, bits: None where the frame leaves them to STREAMINFO.
    """

    number: int
    counts_samples: bool
    samples: int
    rate: int | None
    channels: int
    bits: int | None


def parse_frame(header: bytes) -> Frame | None:
    """The frame whose header these bytes begin with; None where they do not, by its checksum."""
    if len(header) < 6 or header[0] != 0xFF or header[1] & 0xFE != 0xF8 or header[3] & 1:
        return None
    samples_code, rate_code = header[2] >> 4, header[2] & 15
    channel_code, bits_code = header[3] >> 4, header[3] >> 1 & 7
    if samples_code == 0 or rate_code == 15 or channel_code > 10:
        return None
    lead, position = header[4], 5
    more = 0  # further bytes of the number, coded as in UTF-8
    while lead & 0x80 >> more and more < 8:
        more += 1
    if more == 1 or more > 7:
        return None
    number = lead & (0x7F >> more)
    for byte in header[5 : 4 + more]:
        number, position = number << 6 | byte & 0x3F, position + 1
    if samples_code in (6, 7):
        width = samples_code - 5
        samples = int.from_bytes(header[position : position + width], "big") + 1
        position += width
    elif samples_code < 6:
        samples = 192 if samples_code == 1 else 576 << samples_code - 2
    else:
        samples = 256 << samples_code - 8
    rate = RATES.get(rate_code)
    if rate_code > 11:
        width = 1 if rate_code == 12 else 2
        rate = int.from_bytes(header[position : position + width], "big") * {12: 1000, 13: 1, 14: 10}[rate_code]
        position += width
    checksum = 0
    for byte in header[:position]:
        checksum = CRC8[checksum ^ byte]
    if position >= len(header) or checksum != header[position]:
        return None
    channels = channel_code + 1 if channel_code < 8 else 2
    return Frame(number, bool(header[1] & 1), samples, rate, channels=channels, bits=BITS.get(bits_code))


def first_frame(content: bytes) -> int | None:
    """Where the metadata ends; None where that is beyond ``content``."""
    position = 4
    while position + 4 <= len(content):
        last, length = content[position] & 0x80, int.from_bytes(content[position + 1 : position + 4], "big")
        position += 4 + length
        if last:
            return position if position < len(content) else None
    return None


def frame_fault(content: bytes, rate: int, channels: int, bits: int) -> str | None:
    """How the first frame contradicts STREAMINFO; None where it agrees or lies beyond ``content``."""
    begin = first_frame(content)
    if begin is None:
        return None
    header = content[begin : begin + LONGEST_HEADER]
    if len(header) > 5 and header[2] & 15 in RATES:  # by far the most: what it says is in two bytes
        return contradiction(RATES[header[2] & 15], header[3], rate, channels, bits)
    frame = parse_frame(header)
    return None if frame is None else contradiction(frame.rate, header[3], rate, channels, bits)


@lru_cache
def contradiction(frame_rate: int | None, codes: int, rate: int, channels: int, bits: int) -> str | None:
    """How a frame's rate, and its byte of codes for channels and bits, contradict STREAMINFO."""
    frame_channels = (codes >> 4) + 1 if codes >> 4 < 8 else 2
    for name, said, is_said in (
        ("Hz", rate, frame_rate),
        ("channels", channels, frame_channels),
        ("bits", bits, BITS.get(codes >> 1 & 7)),
    ):
        if is_said not in (None, said):
            return f"the FLAC header says {said} {name}, its frames say {is_said}"
    return None


def frames_fault(content: bytes) -> str | None:
    """Why the frames of a whole file are not the stream that STREAMINFO promises; None where they are.

    Where it leaves the length open, as of a program that wrote to a pipe, nothing says which frame is the last.
    That what is between their headers is right is for the decoder to see: frames end with checksums.
    """
    packed = int.from_bytes(content[18:26], "big")
    rate, total = packed >> 44, packed & 0xF_FFFF_FFFF
    begin = first_frame(content)
    if begin is None or not rate:
        return None
    samples = number = 0
    for frame in frames(content, begin):
        if samples and frame.number == number:
            return f"the FLAC frame at {samples / rate:.2f} s comes twice"
        if frame.number != (samples if frame.counts_samples else number + 1 if samples else 0):
            continue  # bytes within a frame that look like a header, or a frame behind one that is missing
        number, samples = frame.number, samples + frame.samples
    if samples < total:
        return f"the FLAC header promises {total / rate:.2f} s; frames are missing after {samples / rate:.2f} s"
    if samples > total > 0:
        return f"the FLAC header promises {total} samples, its frames have {samples}"
    return None


def frames(content: bytes, begin: int) -> Iterator[Frame]:
    """The headers of frames from ``begin`` on that agree with the first in what must not change."""
    first = parse_frame(content[begin : begin + LONGEST_HEADER])
    for found in SYNC.finditer(content, begin):
        frame = parse_frame(content[found.start() : found.start() + LONGEST_HEADER])
        if frame and first and (frame.rate, frame.channels, frame.bits) == (first.rate, first.channels, first.bits):
            yield frame
