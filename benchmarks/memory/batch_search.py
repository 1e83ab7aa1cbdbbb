"""The largest batch that trains, searched in a launcher's own processes, on all its nodes: one model, one start.

Each try is a step in this process, on every rank.
"""

import contextlib
import ctypes
import gc
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.memory.cell_process import build, limit_memory
from benchmarks.memory.jobs import MOST, Job
from trainer.config.reading import ConfigError
from trainer.engine.accelerator import bare_model
from trainer.engine.running_out import is_out_of_memory
from trainer.engine.stopping import StopRequest
from trainer.memory.advice import search
from trainer.memory.cells import synthetic_group
from trainer.step.agreement import Targets

M_MMAP_THRESHOLD = -3  # of malloc.h


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


def largest_on_all_ranks(step: Callable[[int], Any], start: int, limited: bool = False) -> int:
    """The largest batch whose step survives on every rank; all ranks of the process group get the same number.

    What a rank found is agreed on after each try by an all-reduce of the minimum, so that all ranks try the same sizes
    and none waits for another for ever. That holds only if ``step`` itself waits for no other rank: a rank that ran out
    of memory would leave the others in their collective. Under DDP run it inside ``no_sync()``, the buckets are there
    all the same; ZeRO-3 gathers parameters in every layer, and is searched in fresh processes (``measure --search``).

    Args:
        step: a training step at a batch size; keeps nothing that it does not need.
        start: the first size.
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

    return search(fits_everywhere, start, MOST)


def give_back_at_once() -> None:
    """Have the C library return each large block when it is freed; it would keep them, cut up, and the limit be met."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**20)


def search_in_place(job: Job, start: int) -> int:
    """The largest worst-case batch that trains on every rank; all ranks call it and get the same number.

    One real step first, after which buckets and optimizer states are there. Then each try is a forward and a backward
    pass without the other ranks, under DDP's ``no_sync``. Gradients are then tensors of their own beside DDP's buckets,
    where in a real step they are views of them: a try takes more memory than a step, by at most the trained parameters'
    size, and the answer errs on the safe side.

    Raises:
        ConfigError: under ZeRO, whose ranks need each other within a backward pass.
    """
    if job.run_config().engine.zero_stage:
        raise ConfigError(
            "engine.zero_stage shards, so that a rank without memory would leave the others waiting: search without a "
            "launcher, `python -m benchmarks.memory measure --search --processes N`, which starts each try afresh"
        )
    limit_memory(job)
    if job.limit_gib is not None:
        give_back_at_once()
    smallest = replace(job, batch_size=1, data="synthetic")
    with tempfile.TemporaryDirectory(prefix="search-") as folder, StopRequest() as stop:
        trainer = build(smallest, smallest.run_config(), Path(folder), stop)
        group, targets = trainer.find_data()
        trainer.train_step(group, targets)
        cell = smallest.cell(trainer.accelerator.mixed_precision)
        vocabulary = bare_model(trainer.model).config.vocab_size

        def step(size: int) -> None:
            audio = synthetic_group(replace(cell, batch_size=size), vocabulary).batches[0]
            try:
                with trainer.accelerator.no_sync(trainer.model):
                    trainer.accelerator.backward(trainer.loss(audio, Targets(size * cell.targets, 0), step=1))
            finally:
                trainer.optimizer.zero_grad()

        largest = largest_on_all_ranks(step, start, limited=job.limit_gib is not None)
        trainer.accelerator.wait_for_everyone()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return largest
