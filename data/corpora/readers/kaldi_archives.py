"""Recordings inside Kaldi's archives, which wav.scp names as ``wav.ark:12345``, the byte at which one begins.

What stands there is a WAV file, or what kaldiio and ESPnet write: the word AUDIO, the length and an encoded file.
See https://kaldi-asr.org/doc/io.html and https://github.com/nttcslab-sp/kaldiio.
"""

import re
from typing import Literal

from ... import storage
from ...audio.decoding import one_line
from ..format import Fault

ENTRY = re.compile(r"(.+):(\d+)")
RANGE = re.compile(r".+:\d+\[[^\]]*\]")
FETCHED = 2**20  # bytes that are read at first: most recordings are no longer
RIFF: dict[bytes, Literal["little", "big"]] = {b"RIFF": "little", b"RIFX": "big"}
SUFFIXES = {b"RIFF": ".wav", b"RIFX": ".wav", b"fLaC": ".flac"}
OTHERS = {
    b"\0B": "a matrix of features",
    b" [": "a matrix of features",
    b"NPY": "an array of numpy's",
    b"PKL": "a pickle, which is never loaded,",
    b"fLaC": "FLAC without a length",
    b"RF64": "RF64, which archives are not to hold,",
}


def entry_of(path: str) -> tuple[str, int] | None:
    """Archive and byte of an entry; None for any other path."""
    found = ENTRY.fullmatch(path)
    return (found[1], int(found[2])) if found else None


def is_range(path: str) -> bool:
    """Whether an entry asks for some rows or channels of what lies in an archive."""
    return RANGE.fullmatch(path) is not None


def read_entry(archive: str, begin: int) -> bytes | Fault:
    """The recording that begins at a byte of an archive, as an encoded file, or why there is none.

    Raises:
        StorageError: if an archive in a store cannot be read though it may be there.
    """
    try:
        content = storage.read_part(archive, begin, FETCHED)
        skipped, size = extent(content)
        missing = skipped + size - len(content)
        if missing > 0 and len(content) == FETCHED:
            content += storage.read_part(archive, begin + FETCHED, missing)
    except storage.StorageError as error:
        if storage.is_remote(archive) and not isinstance(error.__cause__, FileNotFoundError):
            raise
        return Fault(one_line(error))
    except ValueError as error:
        return Fault(f"no audio: {archive} {error} at byte {begin}")
    if skipped + size > len(content):
        return Fault(
            f"{archive} holds {len(content) - skipped:,} bytes of a recording of {size:,} at byte {begin}: it was cut "
            "off, or the recording's header leaves its length open"
        )
    return content[skipped : skipped + size]


def extent(content: bytes) -> tuple[int, int]:
    """Of what an archive has at some byte: bytes before the encoded file, and its size.

    Raises:
        ValueError: saying what is there, if it is no recording.
    """
    if not content:
        raise ValueError("has no bytes")
    order = RIFF.get(content[:4])
    if order is not None and content[8:12] == b"WAVE":
        return 0, 8 + int.from_bytes(content[4:8], order)
    if content.startswith(b"AUDIO") and len(content) > 6:
        digits = content[5]
        return 6 + digits, int.from_bytes(content[6 : 6 + digits], "little")
    for sign, name in OTHERS.items():
        if content.startswith(sign):
            raise ValueError(f"holds {name}")
    raise ValueError("holds no recording")
