"""The members of a tar file one after the other, read forwards: nothing is unpacked, and damage has a place.

Python's own reader ends in silence at a header that is damaged, and seeks backwards, which in a compressed file means
to begin anew. The format: https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html (ustar and pax) and
https://www.gnu.org/software/tar/manual/html_node/Standard.html (GNU's long names).
"""

import contextlib
import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from .. import storage
from ..audio.decoding import one_line
from ..errors import DataError

BLOCK = 512
AT_ONCE = 2**23  # bytes of a range that is fetched from a store
MAX_HEADER = 2**20  # bytes of a long name or of pax's fields
FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
LINKS = {tarfile.LNKTYPE: "a link", tarfile.SYMTYPE: "a link", tarfile.GNUTYPE_SPARSE: "a file with holes"}
COMPRESSED = (".gz", ".tgz")


class DamagedTar(Exception):
    """A tar file that is cut off or damaged; the message says where."""


class SpoiltTar(Exception):
    """A compressed tar file that does not fit its checksum: what came before that place may be wrong, too."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a tar file.

    Attributes:
        name: as it stands there, without ``./`` before it; never to be used as a path.
        begin: the byte at which its first header begins.
        size: of its content, in bytes.
        is_folder: it has no content, and is none.
        fault: why its content cannot be read; None where it can.
    """

    name: str
    begin: int
    size: int
    is_folder: bool = False
    fault: str | None = None


class TarMembers:
    """Iterates over the members of a tar file; the content of the last one can be asked for until the next is.

    Several tar files joined into one are read as one.

    Args:
        content: of the file, read forwards; sought in, forwards, where it can be.
        position: the byte of the file at which ``content`` stands, where a member begins.

    Attributes:
        position: the byte of the file, unpacked, that is read next.
        first: the first member.
        header: the byte at which the header begins that was read last, or is being read.
        inside: whether damage, if there is any, is in the content of the member that was given last.
    """

    def __init__(self, content: IO[bytes], position: int = 0) -> None:
        self.file, self.position = content, position
        self.left = 0  # bytes of the last member's content that were not read
        self.padding = 0
        self.first: Member | None = None
        self.header, self.inside = position, False

    def __iter__(self) -> Iterator[Member]:
        """The members.

        Raises:
            DamagedTar: where the file is cut off or damaged.
            SpoiltTar: if nothing of it can be believed.
        """
        begin, fields = None, dict[str, str]()
        is_end = False
        while True:
            self._skip(self.left + self.padding)
            self.left = self.padding = 0
            self.inside = False
            start = self.header = self.position
            block = self._read(BLOCK)
            if not block:
                if not is_end:
                    raise DamagedTar(f"it has no end at byte {start}: it was cut off")
                return
            is_end = begin is None and not block.strip(b"\0")
            if is_end:
                continue
            try:
                header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            except tarfile.HeaderError:
                while isinstance(self.file, gzip.GzipFile) and self._read(
                    2**20
                ):  # to the checksum, which it may not fit
                    pass
                raise DamagedTar(f"no member and no end at byte {start}: it is damaged or was cut off") from None
            if header.size < 0:
                raise DamagedTar(f"a member of {header.size} bytes at byte {start}: it is damaged")
            begin = start if begin is None else begin
            if header.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME):
                self._take(header.size)
                if header.size > MAX_HEADER:
                    raise DamagedTar(f"a name of {header.size:,} bytes at byte {start}: it is damaged")
                content = self.content()
                if header.type == tarfile.GNUTYPE_LONGNAME:
                    fields["path"] = content.partition(b"\0")[0].decode("utf-8", "surrogateescape")
                else:
                    fields |= pax_fields(content, start)
                continue
            if header.type in (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK):
                self._take(header.size)
                begin = begin if fields else None
                continue
            is_file = header.type in FILES and not header.name.endswith("/")
            size = int(fields.get("size", header.size)) if header.type != tarfile.LNKTYPE else 0
            self._take(size)
            name = fields.get("path", header.name)
            while name.startswith("./"):
                name = name[2:]
            fault = None if is_file else f"is {LINKS.get(header.type, 'no plain file')}, not a file"
            is_folder = header.isdir() or header.name.endswith("/")
            member = Member(name, begin, size, is_folder, None if is_folder else fault)
            self.first, self.inside = self.first or member, True
            yield member
            begin, fields = None, {}

    def content(self) -> bytes:
        """The content of the member that was given last.

        Raises:
            DamagedTar: if it is cut off.
        """
        size, self.left = self.left, 0
        content = self._read(size)
        if len(content) < size:
            raise DamagedTar(f"it ends at byte {self.position}, in the middle of a member: it was cut off")
        return content

    def _take(self, size: int) -> None:
        self.left, self.padding = size, -size % BLOCK

    def _read(self, size: int) -> bytes:
        try:
            content = self.file.read(size)
        except EOFError:
            raise DamagedTar(f"it ends behind byte {self.position} of what is packed: it was cut off") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise SpoiltTar(f"it cannot be unpacked behind byte {self.position}: {one_line(error)}") from None
        self.position += len(content)
        return content

    def _skip(self, size: int) -> None:
        """Go past bytes that nobody wants, the last of which must be there."""
        if not size:
            return
        if not isinstance(self.file, gzip.GzipFile) and self.file.seekable():
            self.file.seek(size - 1, io.SEEK_CUR)
            self.position += size - 1
            size = 1
        while size:
            skipped = len(self._read(min(size, 2**20)))
            if not skipped:
                raise DamagedTar(f"it ends before byte {self.position + size}, in a member: it was cut off")
            size -= skipped


def pax_fields(content: bytes, start: int) -> dict[str, str]:
    """Name and size among the records ``length key=value`` of an extended header, which begins at byte ``start``.

    Raises:
        DamagedTar: if they are none.
    """
    fields = {}
    while content.strip(b"\0"):
        length, _, _ = content.partition(b" ")
        if not length.isdigit() or not len(length) + 3 < int(length) <= len(content):
            raise DamagedTar(f"an extended header at byte {start} that is none: it is damaged")
        key, _, value = content[len(length) + 1 : int(length) - 1].partition(b"=")
        if key == b"path" or (key == b"size" and value.isdigit()):
            fields[key.decode()] = value.decode("utf-8", "surrogateescape")
        content = content[int(length) :]
    return fields


class Ranges(io.RawIOBase):
    """A file of a store, read in ranges of which each is tried again by itself where the network fails."""

    def __init__(self, address: str) -> None:
        self.address, self.position = address, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            raise io.UnsupportedOperation("from the end")
        self.position = offset + (self.position if whence == io.SEEK_CUR else 0)
        return self.position

    def tell(self) -> int:
        return self.position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        content = storage.read_part(self.address, self.position, len(buffer))
        buffer[: len(content)] = content
        self.position += len(content)
        return len(content)


def is_compressed(address: str) -> bool:
    """Whether a tar file is gzip's, by its suffix."""
    return address.lower().endswith(COMPRESSED)


@contextlib.contextmanager
def opened_tar(address: str, begin: int = 0) -> Iterator[TarMembers]:
    """The members of a tar file from byte ``begin`` on, which must be 0 where it is compressed.

    Raises:
        DataError: on leaving, if nothing of it can be believed.
    """
    raw: IO[bytes] = storage.open_file(address) if not storage.is_remote(address) else in_ranges(address)
    with raw:
        if is_compressed(address):
            raw = gzip.GzipFile(fileobj=raw)  # type: ignore[assignment]
        elif begin:
            raw.seek(begin)
        try:
            yield TarMembers(raw, begin)
        except SpoiltTar as error:
            raise DataError(f"{address} is damaged: {error}; fetch or make it anew") from None


def in_ranges(address: str) -> IO[bytes]:
    """A file of a store, buffered."""
    return io.BufferedReader(Ranges(address), AT_ONCE)
