"""How fast this machine multiplies, copies and communicates: about two seconds in all.

A figure far below what the device can do means that it is throttled, shared or badly placed.
"""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import torch

from ..checks import Finding, judged
from ..config.reading import ConfigError
from ..engine.accelerator import resolve_precision
from ..engine.device import DTYPES, EXACT, choose_kernels, multiplies_bf16, peak_of, wait_for
from .facts import Facts

MEGABYTE = 2**20
CPU = torch.device("cpu")
SECONDS = 0.3  # of each measurement
WHOLE_MATRIX, CPU_MATRIX = 8192, 1024
COPIED, COPIED_ON_CPU, REDUCED = 256 * MEGABYTE, 64 * MEGABYTE, 64 * MEGABYTE  # bytes
WORTH_HALF = 1.5  # so many times as fast products in bf16 must be before they are advised on a CPU
SLOW_COPY = 6e9  # bytes a second: half of PCIe 3 x16
SLOW_BETWEEN_GPUS = 10e9
SLOW_ALL_REDUCE = {"nccl": 5e9, "gloo": 0.1e9}


def gpu(index: int) -> torch.device:
    return torch.device("cuda", index)


def seconds_of(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one call, the mean of as many as fit the time; the first does not count."""
    work()
    wait_for(device)
    calls, started = 0, time.perf_counter()
    while True:
        work()
        wait_for(device)
        calls += 1
        if (passed := time.perf_counter() - started) > SECONDS:
            return passed / calls


def product_speed(width: int, dtype: torch.dtype, device: torch.device) -> float:
    """Operations a second in products of square matrices."""
    matrix = torch.randn(width, width, device=device).to(dtype)
    return 2 * width**3 / seconds_of(lambda: matrix @ matrix, device)


def copy_speed(source: torch.Tensor, device: torch.device) -> float:
    """Bytes a second from a tensor to a device."""
    target = torch.empty_like(source, device=device)
    return source.nbytes / seconds_of(lambda: target.copy_(source, non_blocking=True), device)


def precision_of(facts: Facts) -> str:
    try:
        return resolve_precision(facts.config.engine.precision if facts.config is not None else "auto")
    except ConfigError:  # reported by the check of the precision
        return "fp32"


def check_products(facts: Facts) -> Iterator[Finding]:
    """Square matrices, in the config's precision, on each GPU or on the CPU."""
    if not facts.measure:
        return
    choose_kernels(EXACT)  # the peaks of float32 are without TF32
    precision = precision_of(facts)
    for index, known in enumerate(facts.gpus):
        speed, peak = product_speed(WHOLE_MATRIX, DTYPES[precision], gpu(index)), peak_of(known.name, precision)
        found = f"{speed / 1e12:.0f} TFLOP/s in {precision}"
        if peak:
            found += f", {speed / peak:.0%} of what {known.name} can do"
        remedy = "nvidia-smi -q -d PERFORMANCE,CLOCK shows throttling; or another program computes"
        yield judged(peak is not None and speed < peak / 2, f"products on GPU {index}", found, remedy)
    if not facts.gpus:
        yield products_on_the_cpu(precision)


def products_on_the_cpu(precision: str) -> Finding:
    """fp32, and bf16 if that is the precision or the processor has instructions for it: without them it is slower."""
    single = product_speed(CPU_MATRIX, torch.float32, CPU)
    found, name = f"{single / 1e9:.0f} GFLOP/s in fp32 with {torch.get_num_threads()} threads", "products on the CPU"
    if precision == "fp32" and not multiplies_bf16():
        return Finding(name, "good", found)
    other = "bf16" if precision == "fp32" else precision
    half = product_speed(CPU_MATRIX, DTYPES[other], CPU)
    found += f", {half / 1e9:.0f} in {other}"
    if precision == "fp32":
        return judged(
            half > WORTH_HALF * single, name, found, "try engine.precision: bf16, whose products are faster here"
        )
    return judged(half < single, name, found, "set engine.precision: fp32, which is faster here")


def check_copies(facts: Facts) -> Iterator[Finding]:
    """From CPU memory to each GPU, and from the first GPU to each other; without any, within CPU memory."""
    if not facts.measure:
        return
    if not facts.gpus:
        speed = copy_speed(torch.ones(COPIED_ON_CPU // 4), CPU)
        yield Finding("copies in CPU memory", "good", f"{speed / 1e9:.1f} GB/s")
        return
    pinned = torch.ones(COPIED // 4).pin_memory()
    for index in range(len(facts.gpus)):
        speed = copy_speed(pinned, gpu(index))
        remedy = "nvidia-smi -q shows the PCIe link's width and generation"
        yield judged(speed < SLOW_COPY, f"copies to GPU {index}", f"{speed / 1e9:.1f} GB/s, pinned", remedy)
    for index in range(1, len(facts.gpus)):
        direct = torch.cuda.can_device_access_peer(0, index)
        speed = copy_speed(torch.ones(COPIED // 4, device=gpu(0)), gpu(index))
        found = f"{speed / 1e9:.1f} GB/s, {'directly' if direct else 'through CPU memory'}"
        remedy = "nvidia-smi topo -m shows how they are linked; ZeRO-3 wants them close"
        yield judged(speed < SLOW_BETWEEN_GPUS, f"copies from GPU 0 to {index}", found, remedy)


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
    device = gpu(torch.cuda.current_device()) if backend == "nccl" else CPU
    figures = torch.ones(REDUCED // 4, device=device)
    torch.distributed.all_reduce(figures)
    wait_for(device)
    torch.distributed.barrier()
    times = 3  # a fixed number: all ranks must make equally many calls
    started = time.perf_counter()
    for _ in range(times):
        torch.distributed.all_reduce(figures)
    wait_for(device)
    seconds = (time.perf_counter() - started) / times
    speed = 2 * (ranks - 1) / ranks * REDUCED / seconds
    found = f"{ranks} ranks over {backend}: 64 MB in {1000 * seconds:.0f} ms, {speed / 1e9:.2f} GB/s a rank"
    remedy = "NCCL_DEBUG=INFO shows the transport; lora and frozen_encoder send less"
    yield judged(speed < SLOW_ALL_REDUCE.get(backend, 0.0), "all-reduce", found, remedy)
