"""One job at a time in an output folder: a lock that the system releases when its process ends, however it ends."""

import contextlib
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ..config.reading import ConfigError

LOCK = ".lock"
PATIENCE = 3.0  # seconds for the processes of a killed run to end, where a scheduler starts it again at once
_not_for_forks: set[IO[str]] = set()


@contextlib.contextmanager
def only_one(folder: Path, what: str = "a plan", for_children: bool = True, patience: float = 0.0) -> Iterator[int]:
    """Hold the lock of a folder, which is made if it is missing; yields the file's descriptor.

    The kernel holds it for this process, so that a killed job leaves none behind. Over NFS it works between machines.
    On a file system without locks, a line on standard error says that nothing guards the folder.

    Args:
        what: for the message, such as "a run".
        for_children: forked processes hold the lock too, until the last of them has ended.
        patience: seconds to wait for a job that is just ending.

    Raises:
        ConfigError: if another process holds it; the message names it, if it is known.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        try:
            if not taken(file, fcntl.LOCK_EX, patience):
                raise ConfigError(refusal(folder, what))
        except OSError as error:
            told = f"{folder} cannot be locked ({error.strerror}): make sure that no other job writes there"
            print(told, file=sys.stderr, flush=True)
        if not for_children:
            _not_for_forks.add(file)
        file.seek(0)
        file.truncate()
        json.dump({"host": socket.gethostname(), "process": os.getpid(), "since": time.strftime("%F %T %z")}, file)
        file.flush()
        try:
            yield file.fileno()
        finally:
            _not_for_forks.discard(file)


def refuse_if_locked(folder: Path, what: str, patience: float = 0.0) -> None:
    """Raises: ConfigError: if a process holds the folder's lock now. Takes and writes nothing."""
    if not (folder / LOCK).exists():
        return
    with contextlib.suppress(OSError), (folder / LOCK).open(encoding="utf-8") as file:
        if not taken(file, fcntl.LOCK_SH, patience):  # shared: the ranks of one job may all look at the same time
            raise ConfigError(refusal(folder, what))


def holds_something(folder: Path) -> bool:
    """Whether a folder exists and holds more than a lock."""
    return folder.exists() and any(path.name != LOCK for path in folder.iterdir())


def taken(file: IO[str], kind: int, patience: float) -> bool:
    """Try to take the lock for so many seconds; returns whether it was taken.

    Raises OSError if the file system has no locks.
    """
    limit = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= limit:
                return False
            time.sleep(0.1)


def refusal(folder: Path, what: str) -> str:
    """The message that another job is at work, with what the lock's file says of it."""
    holder: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        holder = json.loads((folder / LOCK).read_text(encoding="utf-8"))
    known = ""
    if isinstance(holder, dict) and holder.keys() >= {"host", "process", "since"}:
        known = f" (process {holder['process']} on {holder['host']}, since {holder['since']})"
    return f"another job is at work on {what} in {folder}{known}: wait for it, end it, or choose another folder"


def let_go_after_fork() -> None:
    """Close the locks' files in a forked child, such as a data worker, that may outlive its parent."""
    for file in _not_for_forks:
        file.close()
    _not_for_forks.clear()


os.register_at_fork(after_in_child=let_go_after_fork)
