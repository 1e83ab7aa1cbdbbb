"""What libmpg123 writes to the terminal of an MP3 file, kept for whoever knows the file's name.

libsndfile opens libmpg123 without its option to be quiet, and offers no way to set it. The library prints by way of the
C library's variable ``stderr``. While it works, that variable names a file in memory. File descriptor 2, which other
threads and child processes write to, stays what it is. Other C libraries' lines that come meanwhile are passed on.
"""

import contextlib
import ctypes
import os
import platform
import re
import tempfile
import threading
from collections.abc import Iterator

OF_MPG123 = re.compile(r"\s*(\[src/libmpg123/|Note: |Warning: )|\s*$")
UNBUFFERED = 2


class CapturedMessages:
    """What the C library's ``stderr`` points to while libmpg123 works; one for each process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.file: int | None = None
        self.variable: ctypes.c_void_p | None = None
        self.terminal: int | None = None
        if platform.libc_ver()[0] != "glibc":  # elsewhere the variable may be constant
            return
        library = ctypes.CDLL(None)
        library.fdopen.restype = ctypes.c_void_p
        library.fdopen.argtypes = (ctypes.c_int, ctypes.c_char_p)
        library.setvbuf.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t)
        with tempfile.TemporaryFile() as file:
            self.file = os.dup(file.fileno())
        self.stream = library.fdopen(self.file, b"a")
        if self.stream:
            library.setvbuf(self.stream, None, UNBUFFERED, 0)
            self.variable = ctypes.c_void_p.in_dll(library, "stderr")
            self.terminal = self.variable.value

    @contextlib.contextmanager
    def collect(self, said: list[str]) -> Iterator[None]:
        """Add to ``said`` the lines that libmpg123 writes meanwhile, without those that were there already."""
        if self.variable is None or self.file is None:
            yield
            return
        with self.lock:
            self.variable.value = self.stream
            try:
                yield
            finally:
                self.variable.value = self.terminal
                size = os.fstat(self.file).st_size
                if size:
                    self.sort(os.pread(self.file, size, 0), said)
                    os.ftruncate(self.file, 0)

    @staticmethod
    def sort(written: bytes, said: list[str]) -> None:
        """Lines of libmpg123 to ``said``, the others to where they would have gone."""
        for line in written.decode("utf-8", "replace").splitlines():
            if not OF_MPG123.match(line):
                with contextlib.suppress(OSError):
                    os.write(2, f"{line}\n".encode())
            elif (words := line.split("libmpg123/")[-1].strip()) and words not in said:
                said.append(words)

    def restore(self) -> None:
        if self.variable is not None:
            self.variable.value = self.terminal


class Captured:
    """The process's own capture, made when it is first needed."""

    messages: CapturedMessages | None = None
    making = threading.Lock()

    @classmethod
    def begin_anew(cls) -> None:
        """In a child process: its parent may have been at work, and the file is the parent's."""
        if cls.messages is not None:
            cls.messages.restore()
        cls.messages, cls.making = None, threading.Lock()


os.register_at_fork(after_in_child=Captured.begin_anew)


@contextlib.contextmanager
def collected(said: list[str]) -> Iterator[None]:
    """See :meth:`CapturedMessages.collect`."""
    messages = Captured.messages
    if messages is None:
        with Captured.making:  # a second one would take the first's file for the terminal
            messages = Captured.messages = Captured.messages or CapturedMessages()
    with messages.collect(said):
        yield
