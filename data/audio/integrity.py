"""Faults of encoded files that decoders pass over in silence: cut off, parts missing, numbers that contradict others.

libsndfile reads what is there of a WAV, AIFF, MP3 or OGG file that was cut off and says nothing, leaves damaged pages
of OGG out, and believes a header's rate. What lies within frames and pages is for decoders to see. Formats: RFC 9639
(FLAC), RFC 3533 (OGG), ISO 11172-3 and 13818-3 (MP3) with LAME's tag, Apple's AIFF 1.3, Sun's AU, Sony's W64, EBU 3306
(RF64), Apple's CAF.
"""

import struct
import zlib

from .containers import OGG, PREFIX_BYTES, Container, container_of, mp3_within_wav, size_of_container
from .decoders import ffmpeg
from .flac_frames import frames_fault
from .headers import CHUNKS, UNKNOWN_SIZES, parse_header
from .joined import joined_fault, joined_films_fault
from .mpeg_frames import mpeg_fault

OGG_PAGE = struct.Struct("<4sBBqIIIB")
REVERSED_BITS = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def fault_of(content: bytes) -> str | None:
    """What is wrong with an encoded file as a whole, in words; None where nothing is found or the format is unknown."""
    header = parse_header(content, len(content))
    if header is not None and header.fault:
        return header.fault
    begin = after_id3(content)
    container = container_of(content[begin : begin + PREFIX_BYTES])
    if container is not None and container.is_optional:
        return None if ffmpeg.is_installed() else ffmpeg.missing(container)
    if container is not None:
        return ogg_fault(content) if container is OGG else container_fault(content, container)
    joined = joined_fault(content)
    if joined:
        return joined
    magic = content[begin : begin + 4]
    if magic in CHUNKS:
        return riff_fault(content[begin:] if begin else content)
    if magic == b"fLaC":
        return frames_fault(content[begin:] if begin else content)
    if magic == b"OggS":
        return ogg_fault(content)
    if magic[:1] == b"\xff" and magic[1:2] >= b"\xe0":
        return mpeg_fault(content, begin)
    return size_fault(content)


def container_fault(content: bytes, container: Container) -> str | None:
    """What ffmpeg does not notice when it decodes: some cuts, and films behind the first."""
    joined = joined_films_fault(content, container)
    if joined:
        return joined
    promised = size_of_container(content[: 16 * PREFIX_BYTES])
    return cut_off(promised, len(content)) if promised is not None and promised > len(content) else None


def after_id3(content: bytes) -> int:
    """Where ID3v2 tags before the audio end."""
    begin = 0
    while content[begin : begin + 3] == b"ID3" and len(content) >= begin + 10:
        size = content[begin + 6 : begin + 10]
        footer = 10 if content[begin + 5] & 0x10 else 0
        begin += 10 + footer + (size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3])
    return begin


def riff_fault(content: bytes) -> str | None:
    """Sound beyond the data chunk, or a data chunk beyond the file."""
    bounds = mp3_within_wav(content[:PREFIX_BYTES], len(content))
    chunk = CHUNKS[content[:4]]
    end_of_riff = min(len(content), chunk.unpack_from(content)[1] + 8) if len(content) >= 8 else 0
    position = 12
    while position + 8 <= len(content):
        name, length = chunk.unpack_from(content, position)
        position += 8
        if name == b"data":
            if bounds is not None and bounds[1] >= position + (0 if length in UNKNOWN_SIZES else length):
                return mpeg_fault(content[bounds[0] : bounds[1]], 0)
            if length in UNKNOWN_SIZES:
                return None
            if position + length > len(content):
                return cut_off(position + length, len(content))
            end = position + length
            if end + 8 <= end_of_riff and not any(is_chunk(content, place, chunk) for place in (end, end + 1)):
                return f"{end_of_riff - end} bytes lie behind the end of the sound that the header says"
            return None
        position += length + length % 2
    return "the WAV file has no data chunk"


def is_chunk(content: bytes, position: int, chunk: struct.Struct) -> bool:
    """Whether a chunk with a readable name begins there and ends within the file."""
    if position + 8 > len(content):
        return False
    name, length = chunk.unpack_from(content, position)
    return name.isascii() and name.decode("ascii").isprintable() and position + 8 + length <= len(content)


def ogg_fault(content: bytes) -> str | None:
    """Pages that are missing, damaged, or do not end the stream; what follows its end is not looked at."""
    position = 0
    streams: dict[int, tuple[int, bool]] = {}  # by serial number, of the last page
    while content[position : position + 4] == b"OggS" and len(content) >= position + OGG_PAGE.size:
        _, _, flags, _, serial, number, checksum, segments = OGG_PAGE.unpack_from(content, position)
        table = content[position + OGG_PAGE.size : position + OGG_PAGE.size + segments]
        end = position + OGG_PAGE.size + segments + sum(table)
        if end > len(content):
            return cut_off(end, len(content))
        if ogg_checksum(content[position : position + 22] + b"\0\0\0\0" + content[position + 26 : end]) != checksum:
            return f"the OGG page at byte {position} is damaged: its checksum is another"
        if serial in streams and number != streams[serial][0] + 1:
            return f"OGG pages are missing before byte {position}"
        streams[serial] = number, bool(flags & 4)
        position = end
    unfinished = not all(ended for _, ended in streams.values())
    if unfinished and position < len(content):
        return f"the OGG file is damaged at byte {position}: no page begins there"
    return "the OGG file was cut off: no page ends the stream" if unfinished else None


def ogg_checksum(page: bytes) -> int:
    """OGG's CRC-32: zlib's with the bits of each byte, and of the result, the other way round, and nothing inverted."""
    reflected = zlib.crc32(page.translate(REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)


def size_fault(content: bytes) -> str | None:
    """A size other than the file's, in formats whose header states it."""
    promised, exact = 0, True
    if content[:4] == b"FORM" and content[8:12] in (b"AIFF", b"AIFC") and len(content) >= 12:
        promised, exact = int.from_bytes(content[4:8], "big") + 8, False
    elif content[:4] == b".snd" and len(content) >= 24:
        offset, size = struct.unpack_from(">II", content, 4)
        promised, exact = (offset, False) if size == 0xFFFFFFFF else (offset + size, True)
    elif content[:4] == b"RF64" and content[12:16] == b"ds64" and len(content) >= 28:
        promised = struct.unpack_from("<Q", content, 20)[0] + 8
    elif content[:4] == b"riff" and len(content) >= 24:
        promised = struct.unpack_from("<Q", content, 16)[0]
    elif content[:4] == b"caff":
        promised, exact = 8, False
        while promised + 12 <= len(content):
            promised += 12 + max(0, struct.unpack_from(">q", content, promised + 4)[0])  # -1: to the end
    if 0 < promised < len(content) and exact:
        return f"the header says {promised} bytes, {len(content)} are there"
    return cut_off(promised, len(content)) if promised > len(content) else None


def cut_off(promised: int, there: int) -> str:
    return f"the file was cut off: by what it says it has {promised} bytes or more, {there} are there"
