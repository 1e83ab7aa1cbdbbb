"""Warnings to whoever started a command: a line each on standard error, where Python's own would show its source.

Knows nothing of what is warned of.
"""

import os
import sys
import threading

TOLD: set[str] = set()
LOCK = threading.Lock()


def warn_once(text: str, known_to_all: bool = False) -> None:
    """Tell a warning, unless this process has told the same before.

    Args:
        known_to_all: every process of a run finds the same, so that the first alone tells it.
    """
    rank = os.environ.get("RANK", "0")
    if known_to_all and rank != "0":
        return
    with LOCK:
        if text in TOLD:
            return
        TOLD.add(text)
    who = "" if rank == "0" else f"[rank {rank}] "
    print(f"{who}warning: {' '.join(text.splitlines())}", file=sys.stderr, flush=True)
