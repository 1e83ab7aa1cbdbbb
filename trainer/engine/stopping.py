"""SIGTERM and SIGINT: they end a command at once, but for training, which saves its state first.

While a run trains, they become a wish that the loop reads at the next step boundary.
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

SIGNALS = (signal.SIGTERM, signal.SIGINT)
Result = TypeVar("Result")
PATIENCE = 1.0  # seconds for a command to leave tidily; native code and libraries that go on wait for longer


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGINT where nothing is to be saved."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class EndAtOnce:
    """While it is entered, SIGTERM and SIGINT raise :class:`Ended`; a process that has not left soon after is ended.

    Python runs its handlers between two of its own instructions. A process that waits in native code, for other ranks
    for one, hears nothing; nor does one whose library takes the exception for a failure and tries again. So a thread
    hears signals too, through the file descriptor that Python writes them to.
    """

    def __init__(self) -> None:
        self.previous: dict[int, Any] = {}
        self.is_ending = False
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
        """End the process where a signal has not done it."""
        with self.hearing:
            while heard := self.hearing.recv(1):
                number = heard[0]
                if signal.getsignal(number) != self.receive:  # somebody else's now, a training loop's for one
                    continue
                time.sleep(PATIENCE)
                if self.previous:
                    os._exit(self.tell(number))

    def tell(self, number: int) -> int:
        """One line, once; the exit code, which is what a shell says of a process that a signal has ended."""
        held = self.telling.acquire(timeout=PATIENCE)  # or this thread could end the process in the middle of the line
        if not self.is_told and os.environ.get("RANK", "0") == "0":
            self.is_told = True
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(f"ended by {signal.Signals(number).name}\n")
                sys.stderr.flush()
        if held:
            self.telling.release()
        return 128 + number

    def forget(self) -> None:
        """In a child that was forked: its signals are not the command's."""
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            if signal.getsignal(number) == self.receive:
                signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)


OPEN: set[EndAtOnce] = set()


def forget_all() -> None:
    for one in OPEN:
        one.forget()


os.register_at_fork(after_in_child=forget_all)


class StopAsked(Exception):
    """A stop that was asked for while the process waited for something that may not come."""


class StopRequest:
    """While it listens, the first SIGTERM or SIGINT sets ``asked``; a second SIGINT interrupts at once.

    Args:
        listening: from when it is entered on; else from :meth:`listen` on.
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
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous = {}

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
        """Let signals do what they did before this request listened, for as long as the context lasts."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        try:
            yield
        finally:
            for number in self.previous:
                signal.signal(number, self.receive)

    def unless_asked(self, otherwise: Result, action: Callable[..., Result], *arguments: Any) -> Result:
        """What ``action`` returns; ``otherwise`` where a stop is asked for before it does, which it may never do.

        The action is then left in the middle, and what it works on must not be used any more.
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
