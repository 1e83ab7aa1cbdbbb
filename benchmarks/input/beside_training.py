"""What reading ahead leaves to the training: small operations of torch on the main thread, alone and beside it.

A GPU's work is begun by such operations. Time in which other programs had the main thread's core does not count.
"""

import os
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch

from data.batches.loader import TrainingBatches

KINDS = {"threads": False, "processes": True}


def small_operations(seconds: float, batches: TrainingBatches | None = None) -> tuple[float, float, int]:
    """Run small operations of torch, and take batches as soon as they are ready.

    Returns:
        Operations done, seconds in which other programs did not have this thread's core, utterances taken.
    """
    a, b = torch.randn(64, 64), torch.randn(64, 64)
    operations = utterances = 0
    begun, waited = time.perf_counter(), waited_for_core()
    while time.perf_counter() - begun < seconds:
        for _ in range(50):
            torch.relu((a + b) * b).view(-1)
        operations += 200
        if batches is not None and batches.readers[batches.own[batches.turn % len(batches.own)]].items.qsize():
            utterances += sum(len(batch.ids) for batch in batches.next_group(1).batches if batch is not None)
    taken = time.perf_counter() - begun
    return operations, taken - (waited_for_core() - waited), utterances


def waited_for_core() -> float:
    """Seconds in which this thread could have run and others had its core; 0 where the system does not say."""
    try:
        return int(Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


def reading_seconds(batches: TrainingBatches) -> float:
    """Processor time so far of all that reads: this process's other threads, and the processes that read for it."""
    seconds = time.process_time() - time.thread_time()
    if batches.starter is not None:
        starter = batches.starter.process.pid
        for reader in Path(f"/proc/{starter}/task/{starter}/children").read_text().split():
            fields = Path(f"/proc/{reader}/stat").read_text().rpartition(")")[2].split()
            seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


def measure_beside(
    open_batches: Callable[[bool], TrainingBatches], seconds: float, rounds: int
) -> dict[str, dict[str, float]]:
    """What the main thread does while threads or processes read as fast as they can, as a share of what it does alone.

    The first batches are waited for, so that what is measured is under way.

    Args:
        open_batches: opens batches without end, read in processes or not.
        seconds: of each measurement; figures are medians of ``rounds``.
    """
    found = {}
    for kind, in_processes in KINDS.items():
        shares, taken, spent = [], [], []
        for _ in range(rounds):
            operations, free, _ = small_operations(seconds)
            alone = operations / free
            batches = open_batches(in_processes)
            batches.next_group(2 * len(batches.own))
            before = reading_seconds(batches)
            operations, free, utterances = small_operations(seconds, batches)
            spent.append(utterances / max(reading_seconds(batches) - before, 1e-3))
            batches.close()
            shares.append(operations / free / alone)
            taken.append(utterances / seconds)
        figures = {"share_of_alone": shares, "utterances_a_second": taken, "a_core_second": spent}
        found[kind] = {name: statistics.median(values) for name, values in figures.items()}
    return found
