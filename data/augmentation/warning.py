"""Warnings for the user: a line each on standard error, without the source line that Python's warnings show."""

import os
import sys
import threading

PRINTED: set[str] = set()
GATHERED: list[list[str]] = []  # where warnings go instead, if anywhere
LOCK = threading.Lock()


def warn_once(text: str, known_to_all: bool = False) -> None:
    """Print a warning unless this process has printed it before.

    Args:
        known_to_all: every process of a run finds the same, so only the first prints it.
    """
    rank = os.environ.get("RANK", "0")
    if known_to_all and rank != "0":
        return
    with LOCK:
        if text in PRINTED:
            return
        PRINTED.add(text)
    if GATHERED:
        GATHERED[0].append(text)
        return
    who = "" if rank == "0" else f"[rank {rank}] "
    print(f"{who}warning: {' '.join(text.splitlines())}", file=sys.stderr, flush=True)


def gather() -> list[str]:
    """From now on put warnings into the list that is returned: another process will print them."""
    GATHERED[:] = [[]]
    return GATHERED[0]
