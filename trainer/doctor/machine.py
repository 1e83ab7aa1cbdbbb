"""Memory, cores, shared memory and limits of the machine, compared with what the config's processes need."""

import os
import resource
import shutil
from collections.abc import Iterator

from ..checks import Finding, judged
from ..engine.free_memory import machine_room
from ..engine.optimizer import BITSANDBYTES, optimizer_name
from ..record.disk import GIGABYTE
from .facts import Facts

FLOAT32 = 4
OFFLOADED = 16  # bytes of a trained number in CPU memory: its weight, its gradient and Adam's two states in float32
LIBRARIES_BYTES = 10**9  # of a process with torch, transformers and DeepSpeed loaded, before any weight
SMALL_SHARED_MEMORY = 10**9
FEW_OPEN_FILES = 4096


def memory_wanted(facts: Facts) -> int | None:
    """Bytes of CPU memory that this machine's processes need before the first step; None where that is not known.

    Each opens the model in float32; offloaded states are spread over all processes.
    """
    config, model = facts.config, facts.model
    if config is None or model is None:
        return None
    parameters = list(model.parameters())
    whole = sum(parameter.numel() for parameter in parameters)
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    each = LIBRARIES_BYTES + FLOAT32 * whole
    if config.engine.cpu_offload != "none":
        each += OFFLOADED * trained // facts.processes
    elif not facts.gpus:
        states = 2 if "8bit" in optimizer_name(config) and optimizer_name(config) in BITSANDBYTES else 8
        shared_by = facts.processes if config.engine.zero_stage else 1
        each += FLOAT32 * trained + states * trained // shared_by
    return each * facts.local_processes


def check_memory(facts: Facts) -> Iterator[Finding]:
    """CPU memory compared with what the run takes before its first step."""
    available = machine_room()
    if available is None:
        return
    there = f"{available / GIGABYTE:.1f} GB available"
    wanted = memory_wanted(facts)
    if wanted is None:
        why = "" if facts.config is None else "; what the run takes is not known without the model's shape"
        yield Finding("CPU memory", "good", there + why)
        return
    each = "the process takes" if facts.local_processes == 1 else f"{facts.local_processes} processes take"
    found = f"{there}; {each} about {wanted / GIGABYTE:.1f} GB before the first step"
    remedy = "end other programs, start fewer processes, or a smaller model"
    yield judged(wanted > available, "CPU memory", found, remedy, state="lacks")


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_cores(facts: Facts) -> Iterator[Finding]:
    """Cores compared with the threads of all processes here."""
    here, set_to = cores(), facts.environment.get("OMP_NUM_THREADS", "")
    workers = facts.config.data.workers if facts.config is not None else 0
    if facts.local_processes > 1 and not set_to:
        found = f"{here}, but OMP_NUM_THREADS is not set: each of {facts.local_processes} processes would take them all"
        remedy = f"OMP_NUM_THREADS={max(1, here // facts.local_processes)}"
        yield Finding("cores", "note", found, remedy)
        return
    threads = int(set_to) if set_to.isdigit() else here
    computing = facts.local_processes * (1 if facts.gpus else threads)
    reading = facts.local_processes * workers
    asked = f"{facts.local_processes} x OMP_NUM_THREADS {set_to or 'not set'}"
    found = f"{here}; {asked}, {reading} data.workers that read ahead"
    if computing > here or (facts.gpus and facts.local_processes + reading > 2 * here):
        yield Finding("cores", "note", found, "fewer OMP_NUM_THREADS or data.workers: they would compete for the cores")
    elif not facts.gpus and set_to.isdigit() and computing < here:
        yield Finding("cores", "note", found, f"with OMP_NUM_THREADS={here // facts.local_processes} all would compute")
    else:
        yield Finding("cores", "good", found)


def check_shared_memory(facts: Facts) -> Iterator[Finding]:
    """NCCL passes data between the GPUs of a machine through it; data.workers need none of it."""
    if len(facts.gpus) < 2 and facts.local_processes < 2:
        return
    size = shutil.disk_usage("/dev/shm").total
    is_small = bool(facts.gpus) and size < SMALL_SHARED_MEMORY
    found = f"/dev/shm has {size / GIGABYTE:.2f} GB{': NCCL may fail when it starts' if is_small else ''}"
    yield judged(is_small, "shared memory", found, "start the container with --shm-size=8g or --ipc=host")


def check_open_files(facts: Facts) -> Iterator[Finding]:
    """Several processes with many shards each need many files at once."""
    limit, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    is_low = 0 <= limit < FEW_OPEN_FILES  # negative: no limit
    most = f" (it may be raised to {highest})" if is_low and highest >= 0 else ""
    found = f"at most {'any number' if limit < 0 else limit}{most}"
    yield judged(is_low, "open files", found, f"ulimit -n {FEW_OPEN_FILES}, or more")
