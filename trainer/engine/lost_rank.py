"""A rank that ends while others wait for it: what these then say.

The first one's message says why; the others meet a broken connection, which says nothing to a reader. Over NCCL they
meet nothing: the launcher ends them.
"""

import os
import sys
from contextlib import suppress
from typing import Any

KEY = "first_rank_that_ended"
# What gloo and NCCL say where the other side has gone; not where it only takes long.
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
    """Let the others find out which rank it was; as far as the launcher's store can be reached."""
    store = launchers_store()
    if store is not None:
        with suppress(RuntimeError):
            store.set(KEY, os.environ.get("RANK", "0"))


def lost_rank() -> LostRank:
    """What a rank that was left alone has to say."""
    who, store = "another rank", launchers_store()
    if store is not None:
        with suppress(RuntimeError):  # it may have gone with the rank that kept it
            if store.check([KEY]):
                who = f"rank {store.get(KEY).decode()}"
    return LostRank(f"{who} has ended; its message says why")


def launchers_store() -> Any:
    """The store that the ranks found each other by; None without a process group."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed.distributed_c10d._get_default_store()
