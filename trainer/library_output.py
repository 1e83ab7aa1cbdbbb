"""What libraries print while a command runs: kept from the terminal, and written to a log file.

The only place that decides what of it is shown. It knows no library's loggers, bars or settings: it finds the caller
of ``write`` in the call stack, lets the project's own lines pass and holds others back. What native code writes to the
file descriptors, such as a crash, always passes.
"""

import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

OWN = frozenset(("__main__", "benchmarks", "data", "launch", "modeling", "tests", "trainer"))
# Modules that write for their caller. Of tqdm's bars a terminal shows those of downloads, which take minutes.
PASSED_OVER = sys.stdlib_module_names | {"rich", "tqdm"}
DOWNLOADS = "huggingface_hub"
MOST_HELD = 200_000  # characters kept in memory until there is a file
LAST_LINES = 20


class LibraryLog:
    """What libraries said, in memory until :meth:`keep_in` names a file.

    Attributes:
        shown: also show it, on standard error; for ``--verbose``.
    """

    def __init__(self) -> None:
        self.shown = False
        self.path: Path | None = None
        self.held = ""
        self.lock = threading.RLock()

    def add(self, text: str) -> None:
        with self.lock:
            if self.path is None:
                self.held = (self.held + text)[-MOST_HELD:]
                return
            with contextlib.suppress(OSError), self.path.open("a", encoding="utf-8", errors="replace") as file:
                file.write(text)

    def keep_in(self, path: Path) -> None:
        """From now on append to a file, beginning with what is held; its folder must exist."""
        with self.lock:
            self.path, held, self.held = path, self.held, ""
            if held:
                self.add(held)

    def described(self) -> str:
        """A hint below a traceback: where the log is, or its last lines; may be empty."""
        if self.path is not None:
            return f"what libraries said is in {self.path}" if self.path.exists() else ""
        lines = self.held.splitlines()[-LAST_LINES:]
        return "\n".join(["the last that libraries said:", *lines]) if lines and not self.shown else ""


class SortedStream:
    """Standard output or error: lines of this project go on to it, those of libraries to the log."""

    def __init__(self, stream: TextIO, errors: TextIO, log: LibraryLog) -> None:
        self.stream, self.errors, self.log = stream, errors, log

    def write(self, text: str) -> int:
        speaker, is_bar = speaker_of(sys._getframe(1))
        if speaker is None:
            return self.stream.write(text)
        if self.log.shown:
            self.errors.write(text)
        elif is_bar and speaker == DOWNLOADS and self.stream.isatty():
            self.stream.write(text)
        if not is_bar:
            self.log.add(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def speaker_of(frame: FrameType | None) -> tuple[str | None, bool]:
    """The library whose code is writing, or None if it is this project's; and whether it draws a bar.

    Python's warnings count as a library's.
    """
    is_bar = False
    while frame is not None:
        module = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        is_bar = is_bar or module == "tqdm"
        if module == "warnings":
            return module, False
        if module in OWN:
            return None, is_bar
        if module not in PASSED_OVER:
            return module, is_bar
        frame = frame.f_back
    return ("tqdm", True) if is_bar else (None, False)


CURRENT: LibraryLog | None = None


@contextlib.contextmanager
def sorted_output() -> Iterator[LibraryLog]:
    """Sort what is written to standard output and error until the context ends."""
    global CURRENT
    quiet_native_code()
    before, hook = (sys.stdout, sys.stderr), threading.excepthook
    outer, log = CURRENT, LibraryLog()
    CURRENT = log
    output, errors = (SortedStream(stream, before[1], log) for stream in before)
    sys.stdout, sys.stderr = output, errors  # type: ignore[assignment]

    def thread_failed(failure: threading.ExceptHookArgs) -> None:
        """Log the traceback of a library's thread. The library reports the failure to the code that waits for it."""
        frames = [frame for frame, _ in traceback.walk_tb(failure.exc_traceback)]
        if not frames or speaker_of(frames[-1])[0] is None:
            hook(failure)
            return
        text = "".join(traceback.format_exception(failure.exc_type, failure.exc_value, failure.exc_traceback))
        log.add(text)
        if log.shown:
            before[1].write(text)

    threading.excepthook = thread_failed
    try:
        yield log
    except Exception:
        if said := log.described():
            print(said, file=before[1])
        raise
    finally:
        CURRENT = outer
        threading.excepthook = hook
        # Unless something else has been put there meanwhile, such as a bar that is still drawn.
        sys.stdout = before[0] if sys.stdout is output else sys.stdout
        sys.stderr = before[1] if sys.stderr is errors else sys.stderr


def quiet_native_code() -> None:
    """Set environment variables that quieten native code; those that the user has set stay."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # which warns of every fork
    os.environ.setdefault("DATASETS_VERBOSITY", "critical")  # its errors become ours
    if "--verbose" not in sys.argv:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def show_libraries() -> None:
    """Show what the current command's libraries print, from the beginning."""
    if CURRENT is not None:
        CURRENT.shown = True
        if CURRENT.held:
            print(CURRENT.held, file=sys.stderr, end="")


def keep_in(folder: Path, rank: int) -> None:
    """Keep what the current command's libraries say in a run's folder, each rank in a file of its own."""
    if CURRENT is not None:
        CURRENT.keep_in(folder / ("library.log" if rank == 0 else f"library_rank{rank}.log"))
