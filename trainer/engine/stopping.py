"""SIGTERM and SIGINT: they end a command at once, except training, which first saves its state.

While a run trains, a signal sets a flag that the loop reads at the end of the step. When a rank fails, the launcher
sends SIGTERM to the others. Those wait for it in native code, under NCCL for ever, and would never read the flag.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, TypeVar

from .lost_rank import ended_rank, launchers_store, note_end, own_store

SIGNALS = (signal.SIGTERM, signal.SIGINT)
Result = TypeVar("Result")
PATIENCE = 1.0  # seconds for a command to exit cleanly; then the process is ended


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGINT where nothing is to be saved."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class EndAtOnce:
    """A context in which SIGTERM and SIGINT raise :class:`Ended`; a process that is still there soon after is killed.

    Python runs signal handlers between two of its own instructions. So the exception does not reach a process that
    waits in native code, for example for other ranks, and a library may take it for a failure and try again. Therefore
    a thread listens too, on the file descriptor that Python writes signals to.
    """

    def __init__(self) -> None:
        self.previous: dict[int, Any] = {}
        self.is_ending = self.is_watching = False
        self.is_told, self.telling = False, threading.RLock()

    def __enter__(self) -> "EndAtOnce":
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in SIGNALS:
            self.previous[number] = signal.signal(number, self.receive)
        self.hearing, self.written = socket.socketpair()
        self.written.setblocking(False)
        self.previous_descriptor = signal.set_wakeup_fd(self.written.fileno(), warn_on_full_buffer=False)
        OPEN.add(self)
        threading.Thread(target=self.hear, daemon=True, name="signals").start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self.previous:
            return
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self.previous_descriptor)
        OPEN.discard(self)
        self.previous = {}
        self.written.close()  # which ends the thread

    def receive(self, number: int, frame: FrameType | None) -> None:
        if self.is_ending:
            os._exit(self.tell(number))
        self.is_ending = True
        raise Ended(number)

    def hear(self) -> None:
        """In a thread: end the process if the handler's exception has not."""
        with self.hearing:
            while heard := self.hearing.recv(1):
                number = heard[0]
                handler = signal.getsignal(number)
                if handler != self.receive:
                    if isinstance(getattr(handler, "__self__", None), StopRequest) and not self.is_watching:
                        self.is_watching = True
                        threading.Thread(target=self.watch, args=(number,), daemon=True, name="other ranks").start()
                    continue
                time.sleep(PATIENCE)
                if self.previous:
                    os._exit(self.tell(number))

    def watch(self, number: int) -> None:
        """In a thread, once a run has been asked to stop: end the process if another rank has ended.

        A stop that a user asked for ends no rank before all have saved. What is being written is not cut off. A rank
        that was killed noted nothing: its launcher kills those that wait for it, torchrun after 30 s.
        """
        store = own_store()
        while store is not None and self.previous and launchers_store() is not None:
            time.sleep(PATIENCE)
            who = ended_rank(store)
            if who is not None and not WRITING and self.previous and launchers_store() is not None:
                os._exit(self.tell(number, f": {who} has ended; its message says why"))

    def tell(self, number: int, why: str = "") -> int:
        """Print one line, once. Returns the exit code, as a shell has it for a process that a signal ended."""
        note_end()
        held = self.telling.acquire(timeout=PATIENCE)  # the process must not end in the middle of the line
        if not self.is_told and os.environ.get("RANK", "0") == "0":
            self.is_told = True
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(f"ended by {signal.Signals(number).name}{why}\n")
                sys.stderr.flush()
        if held:
            self.telling.release()
        return 128 + number

    def forget(self) -> None:
        """In a forked child: put back the usual handlers, since its signals are not the command's."""
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            if signal.getsignal(number) == self.receive:
                signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)


OPEN: set[EndAtOnce] = set()


def forget_all() -> None:
    for one in OPEN:
        one.forget()


os.register_at_fork(after_in_child=forget_all)


WRITING: list[object] = []  # something, while the process writes what is to be kept


@contextlib.contextmanager
def not_cut_off() -> Iterator[None]:
    """A context of writing, in which the process is not ended because another rank has."""
    WRITING.append(None)
    try:
        yield
    finally:
        WRITING.pop()


class StopAsked(Exception):
    """A stop was asked for while the process waited for something that may never come."""


class StopRequest:
    """While it listens, the first SIGTERM or SIGINT sets ``asked``; a second SIGINT interrupts at once.

    Args:
        listening: listen once the context is entered; otherwise only after :meth:`listen`.
    """

    def __init__(self, listening: bool = True) -> None:
        self.listening = listening
        self.asked = False
        self.is_waiting = False
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if self.listening:
            self.listen()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def end(self) -> None:
        """Listen no more: signals do what they did before."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous = {}

    def heeded_by(self, action: Callable[[], Result]) -> Result:
        """Listen, and return what ``action`` returns; if it raises, nothing is left to save, and listening ends."""
        self.listen()
        try:
            return action()
        except BaseException:
            self.end()
            raise

    def __call__(self) -> bool:
        return self.asked

    def listen(self) -> None:
        if threading.current_thread() is threading.main_thread() and not self.previous:
            for number in SIGNALS:
                self.previous[number] = signal.signal(number, self.receive)

    def receive(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise Ended(number)
        self.asked = True
        if self.is_waiting:
            raise StopAsked

    @contextlib.contextmanager
    def nothing_to_save(self) -> Iterator[None]:
        """A context in which signals do what they did before this request listened: they end the command at once."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        try:
            yield
        finally:
            for number in self.previous:
                signal.signal(number, self.receive)

    def unless_asked(self, otherwise: Result, action: Callable[..., Result], *arguments: Any) -> Result:
        """Return what ``action`` returns, or ``otherwise`` if a stop is asked for before it returns.

        The action is then broken off in the middle, and what it works on must not be used any more.
        """
        if self.asked:
            return otherwise
        try:
            try:
                self.is_waiting = True
                return action(*arguments)
            finally:
                self.is_waiting = False
        except StopAsked:
            self.is_waiting = False
            return otherwise
