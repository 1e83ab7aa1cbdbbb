"""What a file holds, by its first bytes, whatever it is called: containers that ffmpeg reads and libsndfile does not.

Formats: ISO 14496-12 (MP4, QuickTime), RFC 9559 (Matroska, WebM), Microsoft's Advanced Systems Format 1.2 (WMA),
ISO 13818-7 (ADTS), ISO 13818-1 (transport and program streams), ATSC A/52 (AC-3), RFC 4867 (AMR), Adobe's FLV 10.1,
RFC 3533 (OGG).
"""

import struct
from dataclasses import dataclass

from .headers import CHUNKS, UNKNOWN_SIZES, WAVE_FORMATS
from .mpeg_frames import frame_bytes

PREFIX_BYTES = 4096
OGG_CODINGS = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC")  # that libsndfile reads
CAF_CODINGS = (b"lpcm", b"ulaw", b"alaw", b"alac")  # likewise
QUICKTIME_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
PACKET = 188  # bytes of a transport stream's
ADTS_RATES = 13
MP3_IN_WAV = 0x55


@dataclass(frozen=True)
class Container:
    """A kind of file that ffmpeg reads.

    Attributes:
        demuxer: ffmpeg's name for it; none is ever tried that was not named, so no playlist is taken for a recording.
        name: what messages call it.
        is_timed: whether a length is in its header; of others it is a guess.
        times_tracks: whether each track has a length of its own, so that a film's sound has.
        is_optional: whether libsndfile reads it too, though without noticing damage.
    """

    demuxer: str
    name: str
    is_timed: bool = False
    times_tracks: bool = False
    is_optional: bool = False


MP4 = Container("mov", "MP4 or QuickTime", is_timed=True, times_tracks=True)
MATROSKA = Container("matroska", "Matroska or WebM", is_timed=True)
ASF = Container("asf", "WMA or WMV", is_timed=True)
AVI = Container("avi", "AVI", is_timed=True, times_tracks=True)
FLV = Container("flv", "Flash video", is_timed=True)
ADTS = Container("aac", "AAC without a container (ADTS)")
AC3 = Container("ac3", "AC-3")
TRANSPORT = Container("mpegts", "an MPEG transport stream")
PROGRAM = Container("mpeg", "an MPEG program stream")
OGG = Container("ogg", "OGG with a film, or coded neither as Vorbis nor as Opus nor as FLAC")
CAF = Container("caf", "CAF with compressed sound")
LAYER_2 = Container("mp3", "MPEG audio of layer I or II", is_optional=True)
BY_MAGIC = {
    b"\x1aE\xdf\xa3": MATROSKA,
    b"0&\xb2u\x8ef\xcf\x11": ASF,
    b"FLV\x01": FLV,
    b"#!AMR": Container("amr", "AMR"),
    b"MAC ": Container("ape", "Monkey's Audio", is_timed=True),
    b"wvpk": Container("wv", "WavPack", is_timed=True),
    b".RMF": Container("rm", "RealMedia", is_timed=True),
    b".ra\xfd": Container("rm", "RealAudio"),
    b"\0\0\1\xba": PROGRAM,
    b"\x0bw": AC3,
}


def container_of(prefix: bytes) -> Container | None:
    """The container that these first bytes begin; None where libsndfile is to be asked.

    Args:
        prefix: :data:`PREFIX_BYTES` of the file, from behind ID3 tags.
    """
    if prefix[:4] in (b"fLaC", b"RF64"):
        return None
    if prefix[:4] in CHUNKS:
        return AVI if prefix[8:12] == b"AVI " else None
    if prefix[:1] == b"\xff":
        return mpeg_container(prefix)
    if prefix[:4] == b"OggS":
        return ogg_container(prefix)
    if prefix[4:8] in QUICKTIME_ATOMS:
        return MP4
    for magic, container in BY_MAGIC.items():
        if prefix.startswith(magic):
            return container
    if prefix[:4] == b"caff" and prefix[8:12] == b"desc":
        return None if prefix[28:32] in CAF_CODINGS else CAF
    packets = [prefix[place : place + 1] for place in range(0, min(len(prefix), 5 * PACKET), PACKET)]
    return TRANSPORT if len(packets) == 5 and set(packets) == {b"G"} else None


def mpeg_container(prefix: bytes) -> Container | None:
    """ADTS, or MPEG audio that is not MP3; both begin with the same eleven bits as MP3."""
    if len(prefix) < 7 or prefix[1] & 0xE0 != 0xE0 or frame_bytes(prefix[:4]) is not None:
        return None
    layer = prefix[1] >> 1 & 3
    if layer == 0 and prefix[1] & 0xF0 == 0xF0 and prefix[2] >> 2 & 15 < ADTS_RATES:
        length = (prefix[3] & 3) << 11 | prefix[4] << 3 | prefix[5] >> 5
        following = prefix[length : length + 2]
        same = len(following) < 2 or (following[0] == 0xFF and following[1] & 0xF6 == 0xF0)
        return ADTS if length >= 7 and same else None
    is_header = prefix[1] >> 3 & 3 != 1 and prefix[2] >> 4 not in (0, 15) and prefix[2] >> 2 & 3 != 3
    return LAYER_2 if layer in (2, 3) and is_header else None


def ogg_container(prefix: bytes) -> Container | None:
    """OGG whose first stream libsndfile does not read."""
    if len(prefix) < 28:
        return None
    packet = prefix[27 + prefix[26] :][:8]
    return None if packet.startswith(OGG_CODINGS) or len(packet) < 7 else OGG


def mp3_within_wav(prefix: bytes, size: int) -> tuple[int, int] | None:
    """Where the MP3 stream of a WAV file begins and ends; None where the file holds something else.

    libsndfile reads such a file, but its length is a guess.

    Args:
        size: of the file.
    """
    if prefix[:4] not in CHUNKS or prefix[8:12] != b"WAVE":
        return None
    position, is_mp3 = 12, False
    chunk, wave_format = CHUNKS[prefix[:4]], WAVE_FORMATS[prefix[:4]]
    while position + 8 <= len(prefix):
        name, length = chunk.unpack_from(prefix, position)
        position += 8
        if name == b"fmt " and position + wave_format.size <= len(prefix):
            is_mp3 = wave_format.unpack_from(prefix, position)[0] == MP3_IN_WAV
            if not is_mp3:
                return None
        elif name == b"data":
            end = size if length in UNKNOWN_SIZES else min(size, position + length)
            return (position, end) if is_mp3 else None
        position += length + length % 2
    return None


def size_of_container(prefix: bytes) -> int | None:
    """How many bytes an AVI or ASF file says it has, whose end ffmpeg does not miss; None for all others."""
    if prefix[:4] in CHUNKS and len(prefix) >= 8:
        size = CHUNKS[prefix[:4]].unpack_from(prefix)[1]
        return None if size in UNKNOWN_SIZES or not size else size + 8
    properties = prefix.find(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
    if prefix.startswith(b"0&\xb2u") and 0 < properties < len(prefix) - 96:
        size, flags = struct.unpack_from("<Q", prefix, properties + 40)[0], prefix[properties + 88]
        return None if flags & 1 else size  # 1: broadcast, its length was not known
    return None
