"""The largest batch that trains. The search itself needs no GPU: it proposes a size, is told whether that fitted, and
answers the result. Each try may be a fresh process, or a step in this one, on every rank of a launcher."""

import gc
import traceback
from collections.abc import Callable
from typing import Any

import torch

from trainer.engine.running_out import is_out_of_memory

MOST = 65_536


class BatchSearch:
    """Doubles a batch while it fits, then halves what is between the largest that did and the smallest that did not.

    Args:
        start: the first size; where it does not fit, smaller ones are tried.
        most: none larger is tried.

    Raises:
        ValueError: unless 1 <= start <= most.
    """

    def __init__(self, start: int = 1, most: int = MOST) -> None:
        if not 1 <= start <= most:
            raise ValueError(f"a search begins with a batch from 1 to {most}, not {start}")
        self.largest, self.too_large = 0, most + 1
        self.most, self.upcoming = most, start

    @property
    def proposal(self) -> int | None:
        """The size to try next; None when ``largest`` (0: not even one utterance fits) is the answer."""
        return self.upcoming if self.largest + 1 < self.too_large else None

    def told(self, fits: bool) -> None:
        """Whether the proposal fitted."""
        if fits:
            self.largest = self.upcoming
        else:
            self.too_large = self.upcoming
        if self.too_large > self.most:  # nothing has failed yet
            self.upcoming = min(2 * self.largest, self.most)
        else:
            self.upcoming = (self.largest + self.too_large) // 2


def search(fits: Callable[[int], bool], start: int = 1, most: int = MOST) -> int:
    """The largest batch for which ``fits`` is true, taking it to be true of all smaller ones; 0 if of none."""
    one = BatchSearch(start, most)
    while (size := one.proposal) is not None:
        one.told(fits(size))
    return one.largest


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
        start, most: as :class:`BatchSearch`.
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
