"""The largest batch that trains, where each try is a step in this process, on every rank of a launcher."""

import gc
import traceback
from collections.abc import Callable
from typing import Any

import torch

from trainer.engine.running_out import is_out_of_memory
from trainer.memory.advice import search

MOST = 65_536


def survives(step: Callable[[int], Any], size: int, limited: bool = False) -> bool:
    """Whether ``step(size)`` ends without running out of memory, which is all given back.

    Args:
        limited: as :func:`trainer.engine.running_out.is_out_of_memory`.

    Raises:
        Whatever ``step`` raises that is no lack of memory.
    """
    try:
        step(size)
        return True
    except Exception as error:
        if not is_out_of_memory(error, limited):
            raise
        forget(error)
        return False
    finally:
        release()


def forget(error: BaseException) -> None:
    """Empty the frames that an error and those before it hold, and with them the tensors of the step that failed."""
    before: BaseException | None = error
    while before is not None:
        traceback.clear_frames(before.__traceback__)
        before.__traceback__ = None
        before = before.__cause__ or before.__context__


def release() -> None:
    """Give back what nobody refers to any more, so that a try does not begin with another's remains."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def largest_on_all_ranks(step: Callable[[int], Any], start: int = 1, most: int = MOST, limited: bool = False) -> int:
    """The largest batch whose step survives on every rank; all ranks of the process group get the same number.

    What a rank found is agreed on after each try by an all-reduce of the minimum, so that all ranks try the same sizes
    and none waits for another for ever. That holds only if ``step`` itself waits for no other rank: a rank that ran out
    of memory would leave the others in their collective. Under DDP run it inside ``no_sync()``, the buckets are there
    all the same; ZeRO-3 gathers parameters in every layer, and is searched in fresh processes (``measure --search``).

    Args:
        step: a training step at a batch size; keeps nothing that it does not need.
        start, most: as :func:`trainer.memory.advice.search`.
        limited: as :func:`survives`.
    """
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()

    def fits_everywhere(size: int) -> bool:
        fits = survives(step, size, limited)
        if not distributed:
            return fits
        on_gpu = torch.distributed.get_backend() == "nccl"
        flag = torch.tensor(int(fits), device="cuda" if on_gpu else "cpu")
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MIN)
        return bool(flag.item())

    return search(fits_everywhere, start, most)
