"""How every command ends: 0 on success, 1 on failure at work, 2 on a bad config or argument, without a traceback.

By SIGINT with 130 and by SIGTERM with 143, but where training saves its state first.
"""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from .engine.lost_rank import LostRank, lost_rank, note_end, says_lost
from .engine.stopping import EndAtOnce, Ended
from .library_output import show_libraries, sorted_output

# Failures at work whose message is meant for the user.
TOLD = ("LostRank", "NonFiniteLoss", "OutOfMemory", "SaveError", "UntrainedParameters", "WorkerDied")


def exit_code(command: Callable[[list[str]], int | None], ending: EndAtOnce) -> int:
    """Call ``command`` with the command line's arguments, and tell what ended it."""
    try:
        code = command(sys.argv[1:]) or 0
        sys.stdout.flush()
    except KeyboardInterrupt as error:
        code = ending.tell(error.number if isinstance(error, Ended) else signal.SIGINT)
    except ValueError as error:
        if not is_users_mistake(error):
            raise
        code = complain(error, 2)
    except BrokenPipeError:  # whoever read the output, such as head, has seen enough
        os._exit(128 + signal.SIGPIPE)
    except OSError as error:
        named = error.filename is not None and error.strerror is not None
        code = complain(OSError(f"{error.filename}: {error.strerror}") if named else told_error(error), 1)
    except RuntimeError as error:
        code = complain(told_error(error), 1)
    except MemoryError as error:
        code = complain(told_error(error), 1)
    return code


def run_command(command: Callable[[list[str]], int | None]) -> None:
    """Run a command and leave with its exit code."""
    with sorted_output(), EndAtOnce() as ending:
        code = exit_code(command, ending)
        sys.stdout.flush()
        sys.stderr.flush()
        if command.__module__ == "__main__":
            # Arrow's threads close Parquet files a moment after a stream is dropped; while Python shuts down, that
            # aborts.
            os._exit(code)
    sys.exit(code)


def is_users_mistake(error: ValueError) -> bool:
    """Whether the message is meant for the user; other ValueErrors are our bugs and keep their traceback."""
    told = ("ConfigError", "DataError", "CheckpointError", "QuantizationError")
    return any(kind.__name__ in told for kind in type(error).__mro__)


def told_error(error: Exception) -> Exception:
    """What to say of an error at work; one that only a bug can cause is raised again, with its traceback."""
    if type(error).__name__ in TOLD:
        return error
    if says_lost(error):
        return lost_rank()
    from .memory.running_out import is_out_of_memory

    if not is_out_of_memory(error):
        raise error
    why = str(error).splitlines()[0] if str(error) else type(error).__name__
    return RuntimeError(f"memory ran out: {why}; take a smaller batch, shorter clips or a smaller model")


def complain(error: Exception, code: int) -> int:
    rank = os.environ.get("RANK")
    who = f"[rank {rank}] " if rank not in (None, "0") else ""
    lines = str(error).splitlines()
    told = "\n".join(lines) if getattr(error, "in_lines", False) else " ".join(lines)
    print(f"{who}error: {told}", file=sys.stderr)
    if not isinstance(error, LostRank):
        note_end()
    return code


class CommandLine(argparse.ArgumentParser):
    """argparse's parser, its complaints in the one line that all others have, with ``--verbose``."""

    def __init__(self, description: str | None) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        self.add_argument("--verbose", action=ShowLibraries, nargs=0, default=False, help="show what libraries say")

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments: -") and "=" in message:
            message += "; a setting is written without dashes, as in training.steps=1000"
        self.exit(2, f"error: {message}; --help tells more\n")


class ShowLibraries(argparse.Action):
    """``--verbose``, from where it is read on."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        show_libraries()
        setattr(namespace, self.dest, True)


def number(kind: type, low: float, high: float) -> Callable[[str], float]:
    """An argument's type: a number of that kind (int, float) from ``low`` to ``high``."""

    def parse(text: str) -> float:
        with contextlib.suppress(ValueError):
            value = kind(text)
            if low <= value <= high:
                return value
        whole = "a whole number" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"{text!r} is not {whole} from {low:g} to {high:g}")

    return parse
