"""A remote file that pyarrow can read: by ranges, each tried again where the network fails."""

from .. import storage


class RemoteBytes:
    """A remote file with the methods that pyarrow's readers call.

    Args:
        place: what messages call it.
        size: of the file.
        begin, end: bytes that are read together when the first of them is wanted, and kept.
    """

    closed = False

    def __init__(self, address: str, place: str, size: int, begin: int, end: int) -> None:
        self.address, self.place, self.size_in_bytes, self.begin, self.end = address, place, size, begin, end
        self.position = 0
        self.kept: memoryview | None = None

    def fetch(self, begin: int, end: int) -> bytes:
        """These bytes of the file, read now."""

        def read() -> bytes:
            content = storage.file_system(self.address).cat_file(self.address, start=begin, end=end)
            if len(content) != end - begin:
                raise EOFError(f"{len(content)} of {end - begin} bytes came")
            return content

        return storage.retried(read, self.place)

    def read(self, count: int = -1) -> bytes | memoryview:
        begin = self.position
        self.position = end = self.size_in_bytes if count < 0 else min(begin + count, self.size_in_bytes)
        if not self.begin <= begin <= end <= self.end:
            return self.fetch(begin, end) if begin < end else b""
        if self.kept is None:
            self.kept = memoryview(self.fetch(self.begin, self.end))
        return self.kept[begin - self.begin : end - self.begin]

    def seek(self, offset: int, whence: int = 0) -> int:
        self.position = offset + (0, self.position, self.size_in_bytes)[whence]
        return self.position

    def tell(self) -> int:
        return self.position

    def close(self) -> None:
        self.closed, self.kept = True, None
