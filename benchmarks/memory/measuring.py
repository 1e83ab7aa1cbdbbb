"""Cells measured one after the other, each in fresh processes: no cell disturbs the next, and one that the system kills
is a line in the table."""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.machine import as_launched, describe_machine, free_port
from benchmarks.memory.jobs import Job
from benchmarks.outcomes import FAILED, KILLED, MEASURED, OUT_OF_MEMORY, read_result, shortened, signal_name
from benchmarks.written import table_head, write_whole
from trainer.config.reading import ConfigError
from trainer.engine.device import peak_of
from trainer.engine.running_out import says_out_of_memory
from trainer.memory.cells import PROMPT_TOKENS, Cell
from trainer.memory.flops import utterance_flops
from trainer.memory.table import gib

SYSTEMS_KILL = "SIGKILL; the system does that when memory runs out"
SECONDS_TO_LEAVE = 10.0  # for the other ranks, once one has given up
PEAKS = ("allocated", "reserved", "device_used", "resident")


@dataclass(frozen=True)
class Rank:
    """How a rank ended: its exit code (None: it was ended here without a fault of its own), its result and its log."""

    code: int | None
    result: dict[str, Any]
    log: str


def measure_cell(
    job: Job, timeout: float, module: str = "benchmarks.memory.cell_process", keep_batches: bool = False
) -> dict[str, Any]:
    """One cell's object for the JSON; whatever happens to its processes, it returns.

    Args:
        timeout: seconds; all ranks are ended then.
        module: what each rank runs, ``python -m MODULE JOB RESULT``.
        keep_batches: add the timed microbatches' shapes, ``batches``.
    """
    ranks, status, reason = run_job(job, timeout, module)
    first = ranks[0].result
    cell = job.cell(first.get("precision") or job.run_config().engine.precision)
    measured = {
        **cell.describe(),
        "data": job.data,
        "status": status,
        "reason": reason,
        "machine": first.get("machine"),
        "peak_bytes": most(ranks),
        "warmup_steps": job.warmup,
        "steps": job.steps,
    }
    if job.limit_gib is not None:
        measured["limit_gib"] = job.limit_gib
    if status == MEASURED:
        measured |= figures(cell, job, ranks)
        if keep_batches:
            measured["batches"] = [batch for rank in ranks for batch in rank.result["batches"]]
    return measured


def run_job(job: Job, timeout: float, module: str) -> tuple[list[Rank], str, str | None]:
    """Run ``python -m MODULE JOB RESULT`` on every rank; returns how each ended, and the cell's status and reason."""
    with tempfile.TemporaryDirectory(prefix="measuring-") as folder:
        job.write(Path(folder) / "job.json")
        ranks, timed_out = run_ranks(job, Path(folder), timeout, module)
    return ranks, *outcome_of(ranks, timeout if timed_out else None)


def run_ranks(job: Job, folder: Path, timeout: float, module: str) -> tuple[list[Rank], bool]:
    """Start all ranks and wait for them; when one ends badly the others are ended, as launchers do."""
    started: list[subprocess.Popen] = []
    port = free_port()
    with ExitStack() as opened:
        paths = [folder / f"log{rank}" for rank in range(job.processes)]
        logs = [opened.enter_context(path.open("w")) for path in paths]
        try:
            for rank, log in enumerate(logs):
                command = [sys.executable, "-m", module, str(folder / "job.json"), str(folder / f"result{rank}.json")]
                started.append(subprocess.Popen(command, env=environment(job, rank, port), stdout=log, stderr=log))
            timed_out = not wait_for(started, timeout)
        finally:  # also where the measuring itself is interrupted, or a rank cannot be started
            own = [process.poll() for process in started]
            for process in started:
                if process.poll() is None:
                    process.kill()
                process.wait()
        results = [read_result(folder / f"result{rank}.json") for rank in range(job.processes)]
        said = [path.read_text(encoding="utf-8", errors="replace") for path in paths]
        ranks = [Rank(*ended) for ended in zip(own, results, said, strict=True)]
    return ranks, timed_out


def environment(job: Job, rank: int, port: int) -> dict[str, str]:
    """What a launcher would give a rank."""
    values = dict(os.environ) | {"TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}
    if job.threads:
        values["OMP_NUM_THREADS"] = str(job.threads)
    if job.on_cpu:
        values["CUDA_VISIBLE_DEVICES"] = ""
    if job.processes > 1:
        values |= as_launched(rank, job.processes, port)
    return values


def wait_for(processes: Sequence[subprocess.Popen], timeout: float) -> bool:
    """Whether all ended in time. If one ends badly, the others have :data:`SECONDS_TO_LEAVE`, and it is true anyway."""
    end = time.monotonic() + timeout
    while None in (codes := [process.poll() for process in processes]):
        if any(codes):
            end = min(end, time.monotonic() + SECONDS_TO_LEAVE)
        if time.monotonic() > end:
            return any(codes)
        time.sleep(0.05)
    return True


def outcome_of(ranks: Sequence[Rank], timeout: float | None) -> tuple[str, str | None]:
    """Status and reason of a cell; ``timeout`` in seconds if it took too long.

    If ranks ended differently, a lack of memory comes before a kill, and a kill before another failure.
    """
    if timeout is not None:
        return KILLED, f"not done after {timeout:g} s, and ended"
    found = [outcome_of_rank(number, rank, len(ranks)) for number, rank in enumerate(ranks)]
    return min(found, key=lambda one: (OUT_OF_MEMORY, KILLED, FAILED, MEASURED).index(one[0]))


def outcome_of_rank(number: int, rank: Rank, ranks: int) -> tuple[str, str | None]:
    who, told = f"rank {number} of {ranks}: " if ranks > 1 else "", rank.result.get("status")
    if rank.code is None or (rank.code == 0 and told == MEASURED):  # None: another's end ended it
        return MEASURED, None
    if rank.code > 0 and told in (OUT_OF_MEMORY, FAILED) and "precision" in rank.result:
        return told, who + shortened(rank.result["reason"])
    name = signal_name(rank.code)
    if name and says_out_of_memory(rank.log):  # what C++ throws where nobody catches it
        return OUT_OF_MEMORY, f"{who}ended by {name}, out of memory"
    if name:
        return KILLED, f"{who}ended by {SYSTEMS_KILL if name == 'SIGKILL' else name}"
    last = next((line for line in reversed(rank.log.splitlines()) if line.strip()), "it ended without a word")
    return FAILED, who + shortened(rank.result.get("reason") or last)


def most(ranks: Sequence[Rank]) -> dict[str, int | None]:
    """The highest peak of any rank, kind by kind; None if no rank knows it."""
    found = [rank.result.get("peak_bytes") or {} for rank in ranks]
    return {kind: max((peaks[kind] for peaks in found if peaks.get(kind)), default=None) for kind in PEAKS}


def figures(cell: Cell, job: Job, ranks: Sequence[Rank]) -> dict[str, Any]:
    """Speeds of a measured cell: utterances, audio and tokens are of all ranks, seconds those of the slowest."""
    results = [rank.result for rank in ranks]
    by_step = [max(step) for step in zip(*(one["step_seconds"] for one in results), strict=True)]
    total = sum(by_step)
    batches = [batch for one in results for batch in one["batches"]]
    clips = [seconds for batch in batches for seconds in batch["seconds"]]
    targets = sum(batch["targets"] for batch in batches)
    operations, peak = operations_per_step(cell, job, batches), device_flops(results[0])
    speed = None if operations is None else operations * job.steps / total
    return {
        "step_seconds": by_step,
        "steps_per_second": job.steps / total,
        "utterances_per_second": len(clips) / total,
        "audio_seconds_per_second": sum(clips) / total,
        "target_tokens_per_second": targets / total,
        "mean_clip_seconds": sum(clips) / max(1, len(clips)),
        "mean_target_tokens": targets / max(1, len(clips)),
        "model_flops_per_step": operations,
        "flops_per_second": speed,
        "utilisation": None if speed is None or peak is None else speed / (peak * job.processes),
        "data_wait_share": max(one["data_wait_seconds"] / sum(one["step_seconds"]) for one in results),
    }


def operations_per_step(cell: Cell, job: Job, batches: Iterable[dict[str, Any]]) -> int | None:
    """Model operations of a step on all ranks, without recomputation: the mean over the timed steps.

    Each utterance counts at its own length, without padding, and a second recording as one of the utterance's length.
    None if only the hub knows the model's shape.
    """
    utterances: Counter[tuple[float, int, bool]] = Counter()
    for batch in batches:
        tokens = round(batch["targets"] / len(batch["seconds"])) + PROMPT_TOKENS - 1
        second = batch.get("second_seconds") or [0.0] * len(batch["seconds"])
        utterances.update((seconds, tokens, other > 0) for seconds, other in zip(batch["seconds"], second, strict=True))
    try:
        operations = sum(
            count * utterance_flops(replace(cell, seconds=seconds, tokens=tokens, has_second=has_second))
            for (seconds, tokens, has_second), count in utterances.items()
        )
    except ConfigError:
        return None
    return round(operations / job.steps)


def device_flops(result: dict[str, Any]) -> float | None:
    """Peak dense half-precision operations a second of the GPU that a rank ran on; None where it is not known."""
    return None if result["peak_bytes"]["device_used"] is None else peak_of(result["machine"]["device"])


def measure_cells(
    jobs: Iterable[Job],
    timeout: float,
    command: str,
    output: Path | None = None,
    told: Callable[[dict[str, Any]], None] = lambda cell: None,
) -> dict[str, Any]:
    """All cells, as the object that is written to ``output`` after each of them.

    Args:
        timeout: seconds that each may take, loading included.
        command: what was typed, kept in the file.
        told: called with each cell when it is done.
    """
    found: dict[str, Any] = {"machine": describe_machine(), "command": command, "cells": []}
    for job in jobs:
        cell = measure_cell(job, timeout)
        found["machine"] = cell.pop("machine") or found["machine"]  # only its processes touch the GPU
        found["cells"].append(cell)
        if output is not None:
            write_whole(output, found)
        told(cell)
    return found


def told_outcome(cell: dict[str, Any]) -> str:
    """Why a cell has no figures."""
    return f"{cell['status'].replace('_', ' ')}: {cell['reason']}"


def table_row(cell: dict[str, Any]) -> str:
    """A cell as a row of the table under :data:`TABLE_HEAD`."""
    shape = f"| {cell['model']} | {cell['strategy']} | {cell['data']} | {cell['batch_size']} | {cell['processes']} "
    if cell["status"] != MEASURED:
        return f"{shape}| {told_outcome(cell)} | | | | | |"
    peaks = " | ".join(gib(cell["peak_bytes"][kind]) for kind in PEAKS)
    used = f", {cell['utilisation']:.0%} of the device" if cell["utilisation"] is not None else ""
    return (
        f"{shape}| {peaks} | {cell['utterances_per_second']:.2f} ({cell['audio_seconds_per_second']:.1f} s of audio, "
        f"{cell['target_tokens_per_second']:.0f} targets{used}) | {cell['data_wait_share']:.1%} |"
    )


COLUMNS = (
    "model",
    "strategy",
    "data",
    "batch",
    "processes",
    *(f"{kind.replace('_', ' ')}, GiB" for kind in PEAKS),
    "utterances a second",
    "waiting for data",
)
TABLE_HEAD = table_head(COLUMNS)
