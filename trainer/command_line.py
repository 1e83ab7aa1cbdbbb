"""How every command ends: 0 on success, 1 on failure at work, 2 on a bad config or argument, without a traceback."""

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Callable
from typing import NoReturn

from .lost_rank import LostRank, lost_rank, note_end, says_lost

# Failures at work whose message is meant for the user.
TOLD = ("LostRank", "NonFiniteLoss", "OutOfMemory", "SaveError", "UntrainedParameters", "WorkerDied")


def run_command(command: Callable[[list[str]], int | None]) -> None:
    """Call ``command`` with the command line's arguments and leave with its exit code."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DATASETS_VERBOSITY", "critical")  # its errors are told by ours
    os.environ.setdefault("DS_LOG_LEVEL", "warning")
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        code = command(sys.argv[1:]) or 0
    except KeyboardInterrupt:
        code = 130
    except ValueError as error:
        if not is_users_mistake(error):
            raise
        code = complain(error, 2)
    except OSError as error:
        named = error.filename is not None and error.strerror is not None
        code = complain(OSError(f"{error.filename}: {error.strerror}") if named else told_error(error), 1)
    except RuntimeError as error:
        code = complain(told_error(error), 1)
    except MemoryError as error:
        code = complain(told_error(error), 1)
    sys.stdout.flush()
    sys.stderr.flush()
    if command.__module__ == "__main__":
        # Arrow's threads close Parquet files a moment after a stream is dropped; while Python shuts down, that aborts.
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
    """argparse's parser, its complaints in the one line that all others have."""

    def __init__(self, description: str | None) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments: -") and "=" in message:
            message += "; a setting is written without dashes, as in training.steps=1000"
        self.exit(2, f"error: {message}; --help tells more\n")


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
