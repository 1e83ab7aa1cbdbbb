"""What the other ranks print when one rank has ended.

The first rank's own message says why it ended. The others only see a broken connection, which tells a reader nothing.
Under NCCL they do not see even that: the launcher ends them, as :mod:`.stopping` says.
"""

import os
import sys
import threading
from contextlib import suppress
from typing import Any

KEY = "first_rank_that_ended"
SECONDS = 2.0  # for the store to answer a rank that ends
# What gloo and NCCL say if the other side is gone, not if it is only slow.
SIGNS = (
    "connection closed by peer",
    "connection reset by peer",
    "socket closed",
    "broken pipe",
    "remote process exited",
)


class LostRank(RuntimeError):
    """Another rank has ended, so that this one cannot go on."""

    exit_code = 1


def says_lost(error: BaseException) -> bool:
    """Whether an error says that another process of the group has gone."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return several and isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in SIGNS)


def note_end() -> None:
    """Tell the others that this rank has ended, unless another has before, or the store does not answer in time."""
    if launchers_store() is not None:
        noting = threading.Thread(target=note, daemon=True)
        noting.start()
        noting.join(SECONDS)


def note() -> None:
    store = own_store()
    if store is not None:
        with suppress(RuntimeError):
            store.compare_set(KEY, "", os.environ.get("RANK", "0"))


def own_store() -> Any:
    """The launcher's store for one thread alone: one that waits for the store keeps others from using it."""
    store = launchers_store()
    if store is None:
        return None
    try:
        return store.clone()
    except RuntimeError:
        return None


def ended_rank(store: Any) -> str | None:
    """In words, which rank has ended first; None if none has noted it. The store must be this thread's own."""
    try:
        return f"rank {store.get(KEY).decode()}" if store.check([KEY]) else None
    except RuntimeError:  # the rank that kept the store may be the one that ended
        return "another rank"


def lost_rank() -> LostRank:
    """The error of a rank whose connection broke; it names the rank that ended first, if that is known."""
    store = launchers_store()
    who = None if store is None else ended_rank(store)
    return LostRank(f"{who or 'another rank'} has ended; its message says why")


def launchers_store() -> Any:
    """The key-value store through which the ranks found each other; None without a process group."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed.distributed_c10d._get_default_store()
