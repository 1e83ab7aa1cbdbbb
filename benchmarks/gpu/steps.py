"""Steps of the project's own training loop in this process, timed as :mod:`benchmarks.memory` times them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.memory.cell_process import build, peak_bytes, take_steps
from benchmarks.memory.jobs import Job
from benchmarks.memory.measuring import Rank, figures
from data.batches.loader import BatchGroup
from trainer.engine.accelerator import resolve_precision
from trainer.engine.stopping import StopRequest
from trainer.loop import Trainer

from .device import empty_memory, profiled
from .setting import Setting


@contextmanager
def trainer_of(job: Job) -> Iterator[Trainer]:
    """A trainer as a run has it; its threads end with the context, and what it held on the device is free."""
    with TemporaryDirectory() as folder, StopRequest(listening=False) as stop:
        trainer = build(job, job.run_config(), Path(folder), stop)
        device = trainer.accelerator.device
        try:
            yield trainer
        finally:
            trainer.batches.close()
            trainer.journal.close()
            trainer.accelerator.free_memory()
            vars(trainer).clear()
            empty_memory(device)


def timed(trainer: Trainer, job: Job) -> dict[str, Any]:
    """A job's steps with a trainer: speeds, utilisation, share of time without data, and peaks."""
    device = trainer.accelerator.device
    seen = take_steps(trainer, job.warmup, job.steps)
    machine = describe_machine(device if device.type == "cuda" else None)
    result = seen | {"peak_bytes": peak_bytes(device), "machine": machine}
    cell = job.cell(resolve_precision(job.run_config().engine.precision))
    found = figures(cell, job, [Rank(0, result, "")])
    steps = found.pop("step_seconds")
    return {
        "batch_size": cell.batch_size,
        "precision": cell.precision,
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        **found,
        "seconds_a_step": sum(steps) / len(steps),
        "slowest_step_seconds": max(steps),
        "peak_bytes": result["peak_bytes"]["allocated"],
        "reserved_bytes": result["peak_bytes"]["reserved"],
    }


def profile_of(trainer: Trainer, setting: Setting, steps: int = 3) -> dict[str, Any]:
    """A profile of whole steps, data and all."""
    verdict: list[Any] = [None]

    def step() -> None:
        verdict[0] = trainer.train_step(*trainer.find_data(verdict[0]))

    step()
    return profiled(step, setting.device, steps)


def with_groups(trainer: Trainer, groups: Sequence[BatchGroup]) -> None:
    """Let a trainer without a stream train on these groups in turn."""
    turn = iter(())

    def next_group(microbatches: int) -> BatchGroup:
        nonlocal turn
        with suppress(StopIteration):
            return next(turn)
        turn = iter(groups)
        return next(turn)

    batches: Any = trainer.batches
    batches.batches.next_group = next_group
