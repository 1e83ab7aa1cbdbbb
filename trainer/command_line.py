"""How every command ends: 0 on success, 1 on failure at work, 2 on a bad config or argument, without a traceback.

By SIGINT with 130 and by SIGTERM with 143, but where training saves its state first.
"""

import argparse
import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from .engine.lost_rank import LostRank, lost_rank, note_end, says_lost
from .engine.running_out import is_out_of_memory
from .engine.stopping import EndAtOnce, Ended
from .errors import CommandFailed
from .library_output import show_libraries, sorted_output

Number = TypeVar("Number", int, float)


def exit_code(command: Callable[[list[str]], int | None], ending: EndAtOnce) -> int:
    """Call ``command`` with the command line's arguments, and print what ended it."""
    try:
        try:
            code = command(sys.argv[1:]) or 0
            sys.stdout.flush()
        except BrokenPipeError:  # the program that reads the output, such as head, has closed it
            os._exit(128 + signal.SIGPIPE)
        except Exception as error:
            code = complain(users_error(error))
    except KeyboardInterrupt as error:  # also while an error is printed: a launcher ends the ranks that are left
        code = ending.tell(error.number if isinstance(error, Ended) else signal.SIGINT)
    return code


def run_command(command: Callable[[list[str]], int | None]) -> None:
    """Run a command and leave with its exit code.

    A process leaves without shutting Python down. Meanwhile Arrow's threads, which close Parquet files a moment after a
    stream is dropped, would abort it, and NCCL would wait for other ranks.
    """
    at_once = command.__module__ == "__main__"
    try:
        with sorted_output(), EndAtOnce() as ending:
            code = exit_code(command, ending)
            sys.stdout.flush()
            sys.stderr.flush()
            if at_once:
                os._exit(code)
    except Exception as error:  # a bug
        note_end()
        if at_once:
            sys.excepthook(type(error), error, error.__traceback__)
            sys.stderr.flush()
            os._exit(1)
        raise
    sys.exit(code)


def users_error(error: Exception) -> Exception:
    """The error to print: one with an ``exit_code``, as :mod:`trainer.errors` says.

    Raises:
        error: itself, with its traceback, if only a bug can cause it.
    """
    if hasattr(error, "exit_code"):
        return error
    if isinstance(error, OSError) and error.filename is not None and error.strerror is not None:
        return CommandFailed(f"{error.filename}: {error.strerror}")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):  # a failed write names no file
        return CommandFailed(f"{error.strerror}: make room, and start again")
    if says_lost(error):
        return lost_rank()
    if not is_out_of_memory(error):
        raise error
    why = str(error).splitlines()[0] if str(error) else type(error).__name__
    return CommandFailed(f"memory ran out: {why}; take a smaller batch, shorter clips or a smaller model")


def complain(error: Exception) -> int:
    """Print an error that is meant for the user; returns its ``exit_code``."""
    rank = os.environ.get("RANK")
    who = f"[rank {rank}] " if rank not in (None, "0") else ""
    lines = str(error).splitlines()
    told = "\n".join(lines) if getattr(error, "in_lines", False) else " ".join(lines)
    print(f"{who}error: {told}", file=sys.stderr)
    if not isinstance(error, LostRank):
        note_end()
    code: int = error.exit_code  # type: ignore[attr-defined]
    return code


class CommandLine(argparse.ArgumentParser):
    """argparse's parser, its complaints in the one line that all others have, with ``--verbose``."""

    def __init__(self, description: str | None) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        self.add_argument("--verbose", action=ShowLibraries, nargs=0, default=False, help="show what libraries say")

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments: -") and "=" in message:
            message += "; a setting is written without dashes, as in training.steps=1000"
        self.exit(2, f"error: {message}; --help says more\n")


class ShowLibraries(argparse.Action):
    """``--verbose``, from where it is read on."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        show_libraries()
        setattr(namespace, self.dest, True)


def number(kind: type[Number], low: float, high: float) -> Callable[[str], Number]:
    """An argument's type: a number of that kind from ``low`` to ``high``."""

    def parse(text: str) -> Number:
        with contextlib.suppress(ValueError):
            value = kind(text)
            if low <= value <= high:
                return value
        whole = "a whole number" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"{text!r} is not {whole} from {low:g} to {high:g}")

    return parse
