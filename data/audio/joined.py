"""Several recordings one after the other in one file, as of ``cat a.mp3 b.mp3``: where each lies.

libsndfile reads the first and passes over the others, or takes their headers for sound; ffmpeg does so with films.
Formats: as :mod:`data.audio.integrity` and :mod:`data.audio.containers`; chained OGG is RFC 3533, section 4; tags of
MP3 files are ID3v1, ID3v2, APEv2 and Lyrics3.
"""

import re
import struct
from collections.abc import Iterator
from typing import Any

from .containers import ASF, AVI, FLV, MATROSKA, MP4, Container
from .headers import CHUNKS, UNKNOWN_SIZES
from .mpeg_frames import announced_frames, frame_bytes, kind, tag_of_frame

WAVE_BEGIN = re.compile(rb"RIF[FX].{4}WAVE", re.DOTALL)
FLAC_BEGIN = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
OGG_BEGIN = re.compile(rb"OggS\x00[\x02\x03\x06\x07]")
BEGIN = re.compile(
    rb"(?:RIF[FX]|RF64).{4}WAVE|fLaC[\x00\x80]\x00\x00\x22|OggS\x00[\x02\x03\x06\x07]|FORM.{4}AIF[FC]|"
    rb"\.snd\x00\x00|riff\x2e\x91\xcf\x11|caff\x00\x01",
    re.DOTALL,
)
FILM_BEGINS = {  # long enough that none is met within a film
    MATROSKA: re.compile(rb"\x1aE\xdf\xa3.{1,40}?\x42\x82.(?:webm|matroska)", re.DOTALL),
    ASF: re.compile(re.escape(bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"))),
    FLV: re.compile(rb"FLV\x01[\x01\x04\x05]\0\0\0\x09\0\0\0\0"),
    AVI: re.compile(rb"RIFF.{4}AVI LIST.{4}hdrl", re.DOTALL),
}
OGG_SEGMENTS = 26  # of a page's header
MP4_BOX = struct.Struct(">I4s")
APE_TAG = struct.Struct("<8sIIII")
MOST_PARTS = 100_000


def parts_of(content: Any) -> list[tuple[int, int]]:
    """Begin and end of each recording of a file, without tags between them; for nearly all files all of it.

    Args:
        content: bytes, or a mapped file.
    """
    parts: list[tuple[int, int]] = []
    position = after_tags(content, 0)
    while is_begin(content, position) and len(parts) < MOST_PARTS:
        end = end_of(content, position)
        parts.append((position, end))
        position = after_tags(content, end)
    if len(parts) < 2:
        return [(0, len(content))]
    if position < len(content):  # something is behind the last: it is for the decoder to see
        parts[-1] = parts[-1][0], len(content)
    return parts


def joined_fault(content: Any) -> str | None:
    """What is wrong with a file of several recordings; None for a file of one."""
    parts = parts_of(content)
    if len(parts) < 2:
        return None
    return (
        f"{len(parts)} recordings in one file, one after the other, the second from byte {parts[1][0]}; "
        "split it, or encode it anew as one recording"
    )


def joined_films_fault(content: Any, container: Container) -> str | None:
    """As :func:`joined_fault`, of a file that ffmpeg reads."""
    form = FILM_BEGINS.get(container)
    begins = [found.start() for found in form.finditer(content)] if form else []
    if container is MP4:
        begins = list(begins_of_mp4(content))
    if len(begins) < 2:
        return None
    return (
        f"{len(begins)} recordings in one file, one after the other, the second from byte {begins[1]}, and ffmpeg "
        "may not read all; split it, or encode it anew as one recording"
    )


def begins_of_mp4(content: Any) -> Iterator[int]:
    """Where films begin among a file's boxes: with a box of their kind, or with what a film has once."""
    position, size = 0, 8
    seen: set[bytes] = set()
    while size >= 8 and position + 8 <= len(content):
        size, name = MP4_BOX.unpack_from(content, position)
        if size == 1 and position + 16 <= len(content):  # its size comes after its name
            size = int.from_bytes(content[position + 8 : position + 16], "big")
        if not seen or (name in (b"ftyp", b"moov") and name in seen):
            yield position
            seen = set()
        seen.add(name)
        position += size  # 0: it goes on to the file's end


def is_begin(content: Any, position: int) -> bool:
    """Whether a recording begins there; of MP3 two frames must, since four bytes may look like one by chance."""
    if BEGIN.match(content[position : position + 12]):
        return True
    length = frame_bytes(content[position : position + 4])
    if length is None:
        return False
    behind = position + length
    return frame_bytes(content[behind : behind + 4]) is not None


def end_of(content: Any, begin: int) -> int:
    """Where the recording that begins there ends; the file's end where that is not known."""
    magic = content[begin : begin + 4]
    if magic == b"fLaC":
        found = FLAC_BEGIN.search(content, begin + 4)
        return found.start() if found else len(content)
    if magic == b"OggS":
        return end_of_ogg(content, begin)
    if magic[:1] == b"\xff":
        return end_of_mpeg(content, begin)
    return min(len(content), end_of_sized(content, begin, magic))


def end_of_sized(content: Any, begin: int, magic: bytes) -> int:
    """The end that a header states."""
    header = content[begin : begin + 32]
    if len(header) < 32:
        return len(content)
    if magic in CHUNKS:
        size = CHUNKS[magic].unpack_from(header)[1]
        if size in UNKNOWN_SIZES or size + 8 > len(content) - begin:
            found = WAVE_BEGIN.search(content, begin + 4)
            return found.start() if found else len(content)
        return begin + 8 + size + size % 2
    if magic == b"FORM":
        size = int.from_bytes(header[4:8], "big")
        return begin + 8 + size + size % 2
    if magic == b"RF64":
        return begin + 8 + struct.unpack_from("<Q", header, 20)[0] if header[12:16] == b"ds64" else len(content)
    if magic == b"riff":
        return begin + struct.unpack_from("<Q", header, 16)[0]
    if magic == b".snd":
        offset, size = struct.unpack_from(">II", header, 4)
        return len(content) if size == 0xFFFFFFFF else begin + offset + size
    position = begin + 8  # CAF, which is chunks
    while position + 12 <= len(content) and content[position : position + 4] != b"caff":
        size = struct.unpack(">q", content[position + 4 : position + 12])[0]
        if size < 0:
            return len(content)
        position += 12 + size
    return position


def end_of_ogg(content: Any, begin: int) -> int:
    """Where a page begins a stream anew after pages that did not; streams side by side begin together."""
    position, has_begun = begin, False
    while content[position : position + 4] == b"OggS":
        header = content[position : position + OGG_SEGMENTS + 1]
        if len(header) <= OGG_SEGMENTS:
            return len(content)
        begins = bool(header[5] & 2)
        if begins and has_begun:
            return position
        has_begun = has_begun or not begins
        segments = header[OGG_SEGMENTS]
        table = position + OGG_SEGMENTS + 1
        position = table + segments + sum(content[table : table + segments])
    found = OGG_BEGIN.search(content, min(position, len(content))) if has_begun else None
    return found.start() if found else len(content)


def end_of_mpeg(content: Any, begin: int) -> int:
    """Where a second recording's frames begin: of another kind, with their own tag, or beyond the first's length."""
    first = content[begin : begin + 4]
    announced = announced_frames(content, begin)
    size = announced and announced.size
    if size and after_tags(content, begin + size) == len(content):
        return len(content)  # by far the most files
    position, end, count = begin, begin, 0
    while position < len(content):
        header = content[position : position + 4]
        length = frame_bytes(header)
        if length is None:
            behind = after_tags(content, position)
            if behind == position or frame_bytes(content[behind : behind + 4]) is None:
                return end
            position = behind
            continue
        if count and (
            kind(header) != kind(first)
            or (tag_of_frame(content, position) is not None and not (count == 1 and announced))  # tagged twice
            or (announced and announced.frames and count > announced.frames)
        ):
            return end
        position = end = position + length
        count += 1
    return len(content)


def after_tags(content: Any, position: int) -> int:
    """Where the tags of MP3 files, and zero bytes, that begin there end."""
    before = -1
    while before != position < len(content):
        before = position
        start = content[position : position + 32]
        if start[:3] == b"ID3" and len(start) >= 10:
            size = start[6] << 21 | start[7] << 14 | start[8] << 7 | start[9]
            position += 10 + (10 if start[5] & 0x10 else 0) + size
        elif start[:8] == b"APETAGEX" and len(start) == 32:
            _, _, size, _, flags = APE_TAG.unpack_from(start)
            position += 32 + (size if flags & 1 << 29 else 0)  # a header, whose size is that of what follows it
        elif start[:11] == b"LYRICSBEGIN":
            found = re.compile(rb"LYRICS200|LYRICSEND").search(content, position, position + 2**20)
            position = found.end() if found else position
        elif start[:3] == b"TAG":
            position += 128
        elif start[:1] == b"\0":
            found = re.compile(rb"[^\0]").search(content, position)
            position = found.start() if found else len(content)
    return min(position, len(content))
