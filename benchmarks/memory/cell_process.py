"""One rank of one cell: `python -m benchmarks.memory.cell_process JOB RESULT`, started by :mod:`.measuring`.

It builds model, optimizer and engine as a run does, takes the loop's own steps, and writes to RESULT what it saw.

**Peaks** are of the whole process, warm-up included: a run that dies in its first step has died. On CUDA the most bytes
in tensors (allocated), the most that the allocator held for them (reserved), and what is taken of the device after the
steps (device_used: also the CUDA context, libraries' workspaces, and other processes, if there are any; reserved memory
is not given back, so that after the steps is the peak). Everywhere the most resident memory of the process (VmHWM).

**Times** exclude the warm-up. The device is waited for before and after the timed steps, not between them, where a run
does not wait either.

**Waiting for data.** A step asks for the next group after its forward pass is queued. On a GPU the host may wait long
there while the device still has work, which costs nothing. So an event is put into the device's queue before the host
asks and one after: the time between the two, by the device's own clock, is how long it had nothing to do. Moving a
batch to the device and its log-mel are work, not waiting. On a CPU, which does both, the host's wait counts.

**The encoder's cache** (performance.cache_encoder) is left out with synthetic data: noise has no place in it, and every
timed step would find the warm-up's there. The stream has it as the config says.
"""

import os
import resource
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import torch

from benchmarks.machine import describe_machine
from benchmarks.memory.jobs import Job
from benchmarks.memory.random_weights import model_for_shape
from benchmarks.written import write_whole
from data.batches.loader import BatchGroup
from data.utterance import SAMPLING_RATE, AudioBatch
from modeling.decoding import hears_second
from trainer.checks import Inputs
from trainer.config.run import RunConfig
from trainer.engine.accelerator import bare_model, build_accelerator, prepare, resolve_precision
from trainer.engine.device import wait_for
from trainer.engine.moving_average import moving_average
from trainer.engine.optimizer import check_optimizer
from trainer.engine.running_out import is_out_of_memory, linux_bytes
from trainer.engine.stopping import StopRequest
from trainer.loop import Trainer
from trainer.memory.cells import synthetic_group, with_settings
from trainer.model.building import build_model
from trainer.model.languages import check_language, label_encoder
from trainer.record.checkpoints import RunState
from trainer.record.journal import Journal
from trainer.run import training_batches
from trainer.step.teacher import open_teacher

COULD_NOT = 3  # exit code: the result says why


class WatchedBatches:
    """A rank's batches, and how long the device had nothing to do while one was fetched."""

    def __init__(self, batches: Any, device: torch.device) -> None:
        self.batches, self.on_gpu = batches, device.type == "cuda"
        self.waits: list[Any] = []

    def next_group(self, microbatches: int) -> BatchGroup:
        before = self.now()
        group = self.batches.next_group(microbatches)
        self.waits.append((before, self.now()))
        return group

    def now(self) -> Any:
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds_waited(self) -> float:
        """Since ``waits`` was emptied; the device must have come to rest."""
        if self.on_gpu:
            return sum(before.elapsed_time(after) for before, after in self.waits) / 1000
        return sum(after - before for before, after in self.waits)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.batches, name)


def build(job: Job, config: RunConfig, folder: Path, stop: StopRequest) -> Trainer:
    """A trainer as a run has it, without what comes between steps: evaluations, checkpoints, metrics."""
    streams = job.data == "stream"
    if not streams:
        config = with_settings(config, "performance", cache_encoder=None)
    check_optimizer(config)
    if streams:
        check_language(config)
        inputs = Inputs(config, build_model)
        model, processor = inputs.opened
        labels = label_encoder(config, model, processor)
    else:
        model, processor = model_for_shape(config), None
    accelerator = build_accelerator(config)
    cell = job.cell(resolve_precision(config.engine.precision))
    vocabulary, rank = model.config.vocab_size, accelerator.process_index
    teacher = open_teacher(config, accelerator, model)
    model, optimizer = prepare(config, accelerator, model)
    torch.manual_seed(config.training.seed + rank)
    if streams:
        heard, sources = hears_second(bare_model(model)), inputs.training_sources
        batches: Any = training_batches(config, accelerator, labels, sources, {}, hears_second=heard)
    else:
        group = synthetic_group(cell, vocabulary, rank)
        if accelerator.device.type == "cuda" and config.performance.pin_memory is not False:  # as readers do it
            group = replace(group, batches=[audio.pinned() if audio else None for audio in group.batches])
        batches = SimpleNamespace(next_group=lambda microbatches: group, close=lambda: None)
    journal = Journal(folder, is_main=False, rank=rank, total_steps=0, from_step=0, record_batches=False)
    watched: Any = WatchedBatches(batches, accelerator.device)
    nothing: Any = None
    model.train()
    return Trainer(
        config=config,
        accelerator=accelerator,
        model=model,
        optimizer=optimizer,
        processor=processor,
        batches=watched,
        validation=None,
        checkpoints=nothing,
        journal=journal,
        state=RunState(),
        stop=stop,
        teacher=teacher,
        average=moving_average(config, accelerator, model),
    )


def take_steps(trainer: Trainer, warmup: int, steps: int) -> dict[str, Any]:
    """Optimizer steps; what this rank saw of the timed ones."""
    watched: Any = trainer.batches
    device = trainer.accelerator.device
    group, targets = trainer.find_data()
    seconds, seen = [], []
    for number in range(warmup + steps):
        if number == warmup:
            wait_for(device)
            watched.waits.clear()
        started = time.perf_counter()
        verdict = trainer.train_step(group, targets)
        if number >= warmup:
            seen += describe_batches(group)
        group, targets = trainer.find_data(verdict)
        if number == warmup + steps - 1:
            wait_for(device)
        if number >= warmup:
            seconds.append(time.perf_counter() - started)
    return {"step_seconds": seconds, "data_wait_seconds": watched.seconds_waited(), "batches": seen}


def describe_batches(group: BatchGroup) -> list[dict[str, Any]]:
    """Shapes of a group's microbatches: each utterance's seconds, decoder positions [B, L] and targets."""
    return [
        {
            "seconds": [samples / SAMPLING_RATE for samples in batch.audio_lengths.tolist()],
            "tokens": 0 if batch.labels is None else batch.labels.shape[1],
            "targets": batch.target_tokens,
            **second_described(batch),
        }
        for batch in group.batches
        if batch is not None
    ]


def second_described(batch: AudioBatch) -> dict[str, Any]:
    """Seconds of each utterance's second recording, 0 without one; nothing where no utterance has one."""
    if batch.second is None:
        return {}
    seconds = [0.0] * len(batch.audio_lengths)
    for row, samples in zip(batch.second.rows, batch.second.audio_lengths.tolist(), strict=True):
        seconds[row] = samples / SAMPLING_RATE
    return {"second_seconds": seconds}


def peak_bytes(device: torch.device) -> dict[str, int | None]:
    """This rank's peaks so far, as the module's docstring has them."""
    peaks: dict[str, int | None] = {"allocated": None, "reserved": None, "device_used": None}
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        peaks = {
            "allocated": torch.cuda.max_memory_allocated(device),
            "reserved": torch.cuda.max_memory_reserved(device),
            "device_used": total - free,
        }
    # VmHWM begins with the process, unlike getrusage's; None where the system does not say.
    return peaks | {"resident": linux_bytes("/proc/self/status", "VmHWM")}


def measure(job: Job, folder: Path) -> dict[str, Any]:
    """The whole cell on this rank."""
    with StopRequest() as stop:
        trainer = build(job, job.run_config(), folder, stop)
        seen = take_steps(trainer, job.warmup, job.steps)
        trainer.accelerator.wait_for_everyone()
        peaks = peak_bytes(trainer.accelerator.device)
        trainer.batches.close()
    return seen | {"peak_bytes": peaks}


def attempt(measured: Callable[[Job, Path], dict[str, Any]], arguments: list[str]) -> int:
    """Measure the job of a command line, ``JOB RESULT``, and write what came of it; returns the exit code.

    Args:
        measured: takes the job and its folder, which the parent process removes even if this one is killed.
    """
    job, result = Job.read(Path(arguments[0])), Path(arguments[1])
    if job.threads:
        torch.set_num_threads(job.threads)
    limit_memory(job)
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    outcome: dict[str, Any] = {"status": "failed", "reason": "it ended without a word"}
    code = COULD_NOT
    try:
        outcome["precision"] = resolve_precision(job.run_config().engine.precision)
        local = int(os.environ.get("LOCAL_RANK", "0"))
        outcome["machine"] = describe_machine(torch.device("cuda", local) if torch.cuda.is_available() else None)
        write_whole(result, outcome)
        outcome |= measured(job, result.parent)
        outcome |= {"status": "measured", "reason": None}
        code = 0
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        lacking = is_out_of_memory(error, limited=job.limit_gib is not None)
        outcome |= {"status": "out_of_memory" if lacking else "failed", "reason": said}
        traceback.print_exc()
    write_whole(result, outcome)
    return code


def end_with(parent: int) -> None:
    """End this process when the one that measures has ended, in whatever way: nobody would read the result."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(COULD_NOT)


def limit_memory(job: Job) -> None:
    """Let this process have no more memory than the job says."""
    if job.limit_gib is not None:
        limit = round(job.limit_gib * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def leave(code: int) -> NoReturn:
    """End at once: neither threads that read ahead nor a process group without its other ranks may keep a process."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(attempt(measure, sys.argv[1:]))
