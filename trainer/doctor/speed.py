"""How fast this machine multiplies, copies and communicates: about two seconds in all.

A figure far below what the device can do means that it is throttled, shared or badly placed.
"""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import torch

from ..checks import Finding
from ..config.reading import ConfigError
from ..engine.accelerator import resolve_precision
from ..engine.device import peak_of
from .facts import Facts

MEGABYTE = 2**20
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SECONDS = 0.3  # of each measurement
WHOLE_MATRIX, CPU_MATRIX = 8192, 1024
COPIED, COPIED_ON_CPU, REDUCED = 256 * MEGABYTE, 64 * MEGABYTE, 64 * MEGABYTE  # bytes
SLOW_COPY = 6e9  # bytes a second: half of PCIe 3 x16
SLOW_BETWEEN_GPUS = 10e9
SLOW_ALL_REDUCE = {"nccl": 5e9, "gloo": 0.1e9}


def gpu(index: int) -> torch.device:
    return torch.device("cuda", index)


def seconds_of(work: Callable[[], Any], wait: Callable[[], None]) -> float:
    """Seconds of one call, the mean of as many as fit the time; the first does not count."""
    work()
    wait()
    calls, started = 0, time.perf_counter()
    while True:
        work()
        wait()
        calls += 1
        if (passed := time.perf_counter() - started) > SECONDS:
            return passed / calls


def precision_of(facts: Facts) -> str:
    try:
        return resolve_precision(facts.config.engine.precision if facts.config is not None else "auto")
    except ConfigError:  # reported by the check of the precision
        return "fp32"


def check_products(facts: Facts) -> Iterator[Finding]:
    """Square matrices, in the config's precision, on each GPU or on the CPU."""
    if not facts.measure:
        return
    precision = precision_of(facts)
    for index, known in enumerate(facts.gpus):
        device = gpu(index)
        matrix = torch.randn(WHOLE_MATRIX, WHOLE_MATRIX, dtype=DTYPES[precision], device=device)
        seconds = seconds_of(lambda m=matrix: m @ m, lambda d=device: torch.cuda.synchronize(d))  # type: ignore[misc]
        speed, peak = 2 * WHOLE_MATRIX**3 / seconds, peak_of(known.name, precision)
        found = f"{speed / 1e12:.0f} TFLOP/s in {precision}"
        if peak:
            found += f", {speed / peak:.0%} of what {known.name} can do"
        slow = peak is not None and speed < peak / 2
        remedy = "nvidia-smi -q -d PERFORMANCE,CLOCK shows throttling; or another program computes" if slow else ""
        yield Finding(f"products on GPU {index}", "note" if slow else "good", found, remedy)
    if not facts.gpus:
        yield products_on_the_cpu(precision)


def products_on_the_cpu(precision: str) -> Finding:
    """fp32, and bf16 if that is the precision: without instructions for it bf16 is the slower of the two."""

    def speed(dtype: torch.dtype) -> float:
        matrix = torch.randn(CPU_MATRIX, CPU_MATRIX).to(dtype)
        return 2 * CPU_MATRIX**3 / seconds_of(lambda: matrix @ matrix, lambda: None)

    single = speed(torch.float32)
    found = f"{single / 1e9:.0f} GFLOP/s in fp32 with {torch.get_num_threads()} threads"
    if precision == "fp32":
        return Finding("products on the CPU", "good", found)
    half = speed(DTYPES[precision])
    found += f", {half / 1e9:.0f} in {precision}"
    if half < single:
        return Finding("products on the CPU", "note", found, "set engine.precision: fp32, which is faster here")
    return Finding("products on the CPU", "good", found)


def check_copies(facts: Facts) -> Iterator[Finding]:
    """From CPU memory to each GPU and between GPUs; without any, within CPU memory."""
    if not facts.measure:
        return
    if not facts.gpus:
        source, target = (torch.ones(COPIED_ON_CPU // 4) for _ in range(2))
        speed = COPIED_ON_CPU / seconds_of(lambda: target.copy_(source), lambda: None)
        yield Finding("copies in CPU memory", "good", f"{speed / 1e9:.1f} GB/s")
        return
    pinned = torch.ones(COPIED // 4).pin_memory()
    for index in range(len(facts.gpus)):
        there = torch.empty(COPIED // 4, device=gpu(index))
        wait: Callable[[], None] = lambda d=there.device: torch.cuda.synchronize(d)  # type: ignore[misc] # noqa: E731
        speed = COPIED / seconds_of(lambda t=there: t.copy_(pinned, non_blocking=True), wait)  # type: ignore[misc]
        slow = speed < SLOW_COPY
        remedy = "nvidia-smi -q shows the PCIe link's width and generation" if slow else ""
        yield Finding(f"copies to GPU {index}", "note" if slow else "good", f"{speed / 1e9:.1f} GB/s, pinned", remedy)
    yield from copies_between(len(facts.gpus))


def copies_between(gpus: int) -> Iterator[Finding]:
    """From the first GPU to each other."""
    for index in range(1, gpus):
        source = torch.ones(COPIED // 4, device=gpu(0))
        target = torch.empty(COPIED // 4, device=gpu(index))
        direct = torch.cuda.can_device_access_peer(0, index)

        def copy(source: torch.Tensor = source, target: torch.Tensor = target) -> None:
            target.copy_(source)
            torch.cuda.synchronize(source.device)

        speed = COPIED / seconds_of(copy, lambda d=target.device: torch.cuda.synchronize(d))  # type: ignore[misc]
        found = f"{speed / 1e9:.1f} GB/s, {'directly' if direct else 'through CPU memory'}"
        slow = speed < SLOW_BETWEEN_GPUS
        remedy = "nvidia-smi topo -m shows how they are linked; ZeRO-3 wants them close" if slow else ""
        yield Finding(f"copies from GPU 0 to {index}", "note" if slow else "good", found, remedy)


def join_processes(facts: Facts) -> Finding | None:
    """Start the launcher's process group; returns None if that worked, else what is wrong."""
    if "RANK" not in facts.environment or facts.processes < 2:
        return None
    local = int(facts.environment.get("LOCAL_RANK", "0"))
    on_gpu = local < len(facts.gpus)
    if on_gpu:
        torch.cuda.set_device(local)
    try:
        torch.distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=timedelta(seconds=60))
    except Exception as error:  # of the store, of NCCL, of gloo
        said = next(filter(None, (line.strip() for line in str(error).splitlines())), type(error).__name__)
        remedy = "MASTER_ADDR and MASTER_PORT must be reached from every machine; NCCL_DEBUG=INFO says more"
        return Finding("processes", "lacks", f"{facts.processes} did not find each other: {said}", remedy)
    return None


def check_all_reduce(facts: Facts) -> Iterator[Finding]:
    """64 MB summed over all ranks; what each sends in a ring, a second."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    backend = torch.distributed.get_backend()
    ranks = torch.distributed.get_world_size()
    device = torch.device("cuda", torch.cuda.current_device()) if backend == "nccl" else torch.device("cpu")
    figures = torch.ones(REDUCED // 4, device=device)
    wait: Callable[[], None] = torch.cuda.synchronize if backend == "nccl" else lambda: None
    torch.distributed.all_reduce(figures)
    wait()
    torch.distributed.barrier()
    times = 3  # a fixed number: all ranks must make equally many calls
    started = time.perf_counter()
    for _ in range(times):
        torch.distributed.all_reduce(figures)
    wait()
    seconds = (time.perf_counter() - started) / times
    speed = 2 * (ranks - 1) / ranks * REDUCED / seconds
    found = f"{ranks} ranks over {backend}: 64 MB in {1000 * seconds:.0f} ms, {speed / 1e9:.2f} GB/s a rank"
    slow = speed < SLOW_ALL_REDUCE.get(backend, 0.0)
    remedy = "NCCL_DEBUG=INFO shows the transport; lora and frozen_encoder send less" if slow else ""
    yield Finding("all-reduce", "note" if slow else "good", found, remedy)
