"""Text files as they lie: packed by gzip or not, in UTF-8 or, where a byte-order mark says so, in UTF-16."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .... import storage
from ....audio.decoding import one_line
from ....errors import DataError

UTF_8_MARK = b"\xef\xbb\xbf"
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
HOW_TO_SAVE = 'save the table as UTF-8 ("CSV UTF-8" in Excel; iconv -f WINDOWS-1252 -t UTF-8 if that is what it is)'


def opened(file: str) -> io.BufferedReader:
    """A file, unpacked where it is gzip's, with room to look ahead."""
    raw: Any = storage.open_file(file)
    if file.endswith(".gz"):
        raw = gzip.GzipFile(fileobj=raw)
    return io.BufferedReader(raw, 2**20)


@contextmanager
def opened_text(file: str) -> Iterator[io.BufferedReader]:
    """A text file as UTF-8, behind its byte-order mark; see :func:`opened`.

    Raises:
        DataError: if it cannot be read to its end, also while the block reads it.
    """
    with opened(file) as content:
        try:
            if content.peek(2)[:2] in UTF_16_MARKS:
                yield io.BufferedReader(FromUTF16(content), 2**20)
                return
            if content.peek(3)[:3] == UTF_8_MARK:
                content.read(3)
            yield content
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"{file} cannot be read to its end: {one_line(error)}") from None
        except BrokenUTF16 as error:
            raise DataError(f"{file} is not UTF-16 to its end: {error}") from None


class BrokenUTF16(Exception):
    """Bytes that are no UTF-16, though a byte-order mark says so."""


class FromUTF16(io.RawIOBase):
    """UTF-16 as UTF-8."""

    def __init__(self, content: io.BufferedReader) -> None:
        self.content, self.decoder, self.rest = content, codecs.getincrementaldecoder("utf-16")(), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.rest:
            block = self.content.read(2**16)
            try:
                self.rest = self.decoder.decode(block, final=not block).encode()
            except UnicodeDecodeError as error:
                raise BrokenUTF16(one_line(error)) from None
            if not block:
                break
        taken = self.rest[: len(buffer)]
        buffer[: len(taken)], self.rest = taken, self.rest[len(taken) :]
        return len(taken)
