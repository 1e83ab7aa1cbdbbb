"""The frames of an MP3 file (ISO 11172-3, 13818-3) and the tag in its first, by which gaps and cuts are found.

libmpg123 skips what it does not understand, and believes the tag's number of frames.
"""

import struct
from dataclasses import dataclass

BITRATES = {  # kbit/s by the header's code; MPEG 1, then 2 and 2.5; layer III alone, which speech corpora have
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8000)}
ENCODER = b"LAME"  # whose tag ends with a checksum of all that is before it; FFmpeg's tag has another there
TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3")  # behind the last frame


def frame_bytes(header: bytes) -> int | None:
    """Length of the frame that a 4-byte header begins; None where it is no header of layer III with a fixed bitrate."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, bitrate, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or bitrate in (0, 15) or rate == 3:
        return None
    of_first_kind = version == 3
    slots = 144_000 if of_first_kind else 72_000
    return slots * BITRATES[of_first_kind][bitrate] // RATES[version][rate] + (header[2] >> 1 & 1)


def kind(header: bytes) -> tuple[int, int, bool]:
    """What does not change from frame to frame: version, rate, and whether there is one channel."""
    return header[1] >> 3 & 3, header[2] >> 2 & 3, header[3] >> 6 == 3


def mpeg_fault(content: bytes, begin: int) -> str | None:
    """What is wrong with the chain of frames from ``begin`` on; None where nothing."""
    if frame_bytes(content[begin : begin + 4]) is None:
        return "the MP3 file is damaged at its beginning, or MPEG audio of another kind than layer III"
    first, position, count = kind(content[begin : begin + 4]), begin, 0
    bitrates = set()
    while position + 4 <= len(content):
        header = content[position : position + 4]
        length = frame_bytes(header)
        if length is None or kind(header) != first:
            break
        position, count = position + length, count + 1
        bitrates.add(header[2] >> 4)
    if position > len(content):
        return f"the MP3 file was cut off: {position - len(content)} bytes of its last frame are missing"
    rest = content[position:]
    if rest.strip(b"\0") and not rest.startswith(TAGS):
        return f"the MP3 file is damaged at byte {position}: no frame begins there"
    return tag_fault(content, begin, count, len(bitrates) > 1)


@dataclass(frozen=True)
class Announced:
    """What the tag of Xing and LAME says of the stream whose first frame it is; None where it leaves that open."""

    frames: int | None
    size: int | None


def tag_of_frame(content: bytes, begin: int) -> int | None:
    """Where the tag of Xing or LAME lies in the frame that begins there; None where there is none."""
    version, _, mono = kind(content[begin : begin + 4])
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    tag = begin + 4 + side + (0 if content[begin + 1] & 1 else 2)
    return tag if content[tag : tag + 4] in (b"Xing", b"Info") else None


def announced_frames(content: bytes, begin: int) -> Announced | None:
    """What the tag in the first frame says; None where there is no tag."""
    tag = tag_of_frame(content, begin)
    if tag is None or tag + 16 > len(content):
        return None
    flags, first, second = struct.unpack(">III", content[tag + 4 : tag + 16])
    size = (second if flags & 1 else first) if flags & 2 else None
    return Announced(first if flags & 1 else None, size)


def tag_fault(content: bytes, begin: int, count: int, bitrate_varies: bool) -> str | None:
    """What the tag of Xing and LAME in the first of ``count`` frames says against them, or that it is missing."""
    tag = tag_of_frame(content, begin)
    if tag is None:
        reason = "the MP3 file has no tag with its length, which libsndfile guesses wrong where the bitrate varies"
        return reason if bitrate_varies else None
    if tag + 156 > len(content):
        return "the MP3 file was cut off within its first frame"
    flags, promised = struct.unpack_from(">II", content, tag + 4)
    if flags & 1 and promised not in (count - 1, count):  # some count the tag's own frame
        return f"the MP3 file was cut off or damaged: its tag says {promised} frames, {count - 1} are there"
    if content[tag + 120 : tag + 124] == ENCODER:
        said = int.from_bytes(content[tag + 154 : tag + 156], "big")
        if said and said != crc16(content[begin : tag + 154]):
            return "the MP3 file's first frame is damaged: its checksum is another"
    return None


def crc16(content: bytes) -> int:
    """CRC-16 with the polynomial x^16 + x^15 + x^2 + 1, lowest bit first."""
    checksum = 0
    for byte in content:
        checksum ^= byte
        for _ in range(8):
            checksum = checksum >> 1 ^ (0xA001 if checksum & 1 else 0)
    return checksum
