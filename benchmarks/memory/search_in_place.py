"""The search for the largest batch in a launcher's own processes, on all its nodes: one model, one start."""

import contextlib
import ctypes
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.memory.batch_search import MOST, largest_on_all_ranks
from benchmarks.memory.cell_process import build, limit_memory
from benchmarks.memory.jobs import Job
from trainer.config.reading import ConfigError
from trainer.engine.accelerator import bare_model
from trainer.engine.stopping import StopRequest
from trainer.memory.cells import synthetic_group
from trainer.step.agreement import Targets

M_MMAP_THRESHOLD = -3  # of malloc.h


def give_back_at_once() -> None:
    """Have the C library return each large block when it is freed; it would keep them, cut up, and the limit be met."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**20)


def search_in_place(job: Job, start: int, most: int = MOST) -> int:
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

        largest = largest_on_all_ranks(step, start, most, limited=job.limit_gib is not None)
        trainer.accelerator.wait_for_everyone()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return largest
