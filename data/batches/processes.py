"""Lanes read in processes of their own, so that the one that trains has Python's interpreter to itself.

A *starter* imports what reading needs, once, and forks a reading process for each share of the lanes, also in the next
epoch. Nothing else runs in it, so forking is safe; forking the process that trains, with its threads and its GPU, is
not. A reading process gives its lanes' items in the order of their turns, a few ahead of what was taken. It ends when
the socket to the process that trains is closed, in whatever way that process ended.
"""

import contextlib
import gc
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..augmentation import warning
from ..augmentation.augmenter import Augmenter
from ..errors import DataError
from ..jobs import WorkerDied
from ..utterance import LaneItem
from .lanes import Batching, Lane
from .mixture import LanePart
from .passing import connected, receive, send

START = "import sys; sys.path[:] = sys.argv[2:]; from data.batches.processes import start; start(int(sys.argv[1]))"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
# They stay blocked: the process that trains hears them and ends its readers when it has no use for them any more.
NOT_FOR_READERS = {signal.SIGINT, signal.SIGTERM}
SECONDS_TO_LEAVE = 2.0


@dataclass(frozen=True)
class Share:
    """The lanes of one reading process.

    Attributes:
        epoch, lanes: as :class:`Lane` takes them.
        positions: of each of its lanes, in the order of their turns.
        read_ahead: items that may wait.
    """

    epoch: int
    lanes: int
    positions: dict[int, dict[str, Any]]
    read_ahead: int


@dataclass(frozen=True)
class Message:
    """What a reading process sends: an item or an error, and warnings for the user."""

    item: LaneItem | None = None
    error: BaseException | None = None
    warnings: tuple[str, ...] = ()


class Reader:
    """The items of one reading process, each when its turn comes.

    Args:
        pinned: as :func:`receive` takes it.

    Raises:
        WorkerDied: from ``next``, if the process was killed or crashed; else what reading raised there.
    """

    def __init__(self, connection: socket.socket, pinned: bool) -> None:
        self.connection, self.pinned = connection, pinned

    def __iter__(self) -> Iterator[LaneItem]:
        return self

    def __next__(self) -> LaneItem:
        try:
            message: Message = receive(self.connection, self.pinned)[0]
        except EOFError:
            raise WorkerDied(
                "a process that reads data (data.workers) died: killed for lack of memory, or crashed on a file. Fewer "
                "data.workers and a smaller data.shuffle_window take less memory; with data.workers=0 there are none"
            ) from None
        for text in message.warnings:
            warning.warn_once(text)
        if message.error is not None:
            raise message.error
        assert message.item is not None
        with contextlib.suppress(OSError):  # it died since: told when its next item is wanted
            self.connection.send(b"+")
        return message.item

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)  # a thread that waits for an item hears it
        self.connection.close()


class Starter:
    """The process that forks readers."""

    def __init__(self, batching: Batching, augmenter: Augmenter | None) -> None:
        self.connection, other = connected()
        environment = os.environ | ONE_THREAD | {"TOKENIZERS_PARALLELISM": "false"}
        command = [sys.executable, "-c", START, str(other.fileno()), *sys.path]
        before = signal.pthread_sigmask(signal.SIG_BLOCK, NOT_FOR_READERS)
        try:
            self.process = subprocess.Popen(
                command, env=environment, pass_fds=[other.fileno()], stdin=subprocess.DEVNULL
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            other.close()
        # Sources are opened in each reader: what they open may have threads, which do not survive forking.
        self.send((replace(batching, sources=()), augmenter, pickle.dumps(batching.sources)))

    def send(self, value: Any, handles: Sequence[int] = ()) -> None:
        try:
            send(self.connection, value, handles)
        except ConnectionError:
            raise WorkerDied("the process that starts data.workers died, most often for lack of memory") from None

    def read(self, share: Share, pinned: bool) -> Reader:
        """Start a reading process."""
        own, other = connected()
        with other:
            self.send(share, [other.fileno()])
        return Reader(own, pinned)

    def close(self) -> None:
        self.connection.close()
        try:
            self.process.wait(SECONDS_TO_LEAVE)
        except subprocess.TimeoutExpired:  # it is still importing
            self.process.kill()
            self.process.wait()


def start(handle: int) -> None:
    """The starter's whole life."""
    warnings.simplefilter("ignore")  # one is of forking beside the thread of Arrow's allocator, which knows of it
    with contextlib.suppress(EOFError), socket.socket(fileno=handle) as connection:
        (batching, augmenter, sources), _ = receive(connection)
        gc.freeze()  # pages that no collection writes to stay shared with all readers
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            share, (reader,) = receive(connection)
            if os.fork() == 0:
                try:
                    connection.close()
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    read(socket.socket(fileno=reader), batching, augmenter, sources, share)
                finally:
                    os._exit(1)
            os.close(reader)


def read(
    connection: socket.socket, batching: Batching, augmenter: Augmenter | None, sources: bytes, share: Share
) -> None:
    """A reading process's whole life: it sends items until the socket is closed."""
    free = threading.Semaphore(share.read_ahead)
    threading.Thread(target=end_with, args=(connection, free), daemon=True).start()
    logging.disable()  # of libraries; in the process that trains they are kept from the terminal too
    told = warning.gather()
    try:
        give(connection, items(replace(batching, sources=pickle.loads(sources)), augmenter, share), free, told)
    except BaseException as error:
        send(connection, Message(error=portable(error), warnings=tuple(told)))
    threading.Event().wait()


def give(connection: socket.socket, every: Iterator[LaneItem], free: threading.Semaphore, told: list[str]) -> None:
    """Send items, with the warnings that came up, while there is room for them."""
    for item in every:
        free.acquire()
        send(connection, Message(item, warnings=tuple(told)))
        told.clear()


def items(batching: Batching, augmenter: Augmenter | None, share: Share) -> Iterator[LaneItem]:
    """The items of several lanes in turn, of each until it runs out."""
    lanes = [
        iter(Lane(batching, share.epoch, LanePart(lane, share.lanes), position, augmenter))
        for lane, position in share.positions.items()
    ]
    while lanes:
        for lane in list(lanes):
            item = next(lane)
            if item.batch is None:
                lanes.remove(lane)
            yield item


def end_with(connection: socket.socket, free: threading.Semaphore) -> None:
    """In a thread: count what was taken, and end this process once nobody takes any more."""
    with contextlib.suppress(OSError):
        while connection.recv(1):
            free.release()
    os._exit(0)


def portable(error: BaseException) -> BaseException:
    """The error, or in words one that does not survive the way to another process; with its traceback as a note."""
    arrives = error
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        arrives = RuntimeError(f"{type(error).__name__}: {error}")
    if not isinstance(error, DataError):  # which is told in one line
        arrives.add_note("".join(["in a process of data.workers:\n", *traceback.format_exception(error)]))
    return arrives
