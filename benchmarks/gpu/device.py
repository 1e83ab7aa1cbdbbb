"""Timing, counting and profiling on a GPU, and the same on a CPU, so that a run without a GPU covers the code."""

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch

from trainer.engine.device import wait_for

from .setting import Skipped

TOP = 15  # operations of a profile that are told


def milliseconds(work: Callable[[], Any], device: torch.device) -> float:
    """Of one call, by the host's clock; the device is waited for before and after."""
    wait_for(device)
    started = time.perf_counter()
    work()
    wait_for(device)
    return 1000 * (time.perf_counter() - started)


def usual_milliseconds(work: Callable[[], Any], device: torch.device, repeats: int = 10) -> float:
    """The median of single calls after two that do not count; on a GPU by its own clock."""
    work()
    work()
    if device.type != "cuda":
        return median(milliseconds(work, device) for _ in range(repeats))
    marks = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    for before, after in marks:
        before.record()
        work()
        after.record()
    wait_for(device)
    return median(before.elapsed_time(after) for before, after in marks)


def far_off(found: torch.Tensor, exact: torch.Tensor) -> float:
    """The norm of the difference as a share of the norm of what is exact; not a number where ``found`` has one."""
    found, exact = found.detach().to(exact.device).double(), exact.detach().double()
    return float((found - exact).norm() / exact.norm().clamp(min=1e-30))


@contextmanager
def counted_waits(device: torch.device) -> Iterator[Counter[str]]:
    """Where the host waits for the device within the context: the line of Python that did, and how often.

    torch tells of each by a warning. A CPU is never waited for.
    """
    found: Counter[str] = Counter()
    if device.type != "cuda":
        yield found
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode("default")
    found.update(f"{one.filename}:{one.lineno}" for one in caught if "synchroniz" in str(one.message))


def graph_of(work: Callable[[], Any], device: torch.device) -> Callable[[], None]:
    """The kernels of ``work`` as a CUDA graph, to be replayed; its tensors must stay where they are."""
    if device.type != "cuda":
        raise Skipped("CUDA graphs need a CUDA GPU")
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    replay: Callable[[], None] = graph.replay
    return replay


def profiled(work: Callable[[], Any], device: torch.device, steps: int) -> dict[str, Any]:
    """What ``work`` does in ``steps`` calls: the operations that take longest, kernels, and how busy the device is."""
    from torch.profiler import ProfilerActivity, profile

    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=kinds) as seen:
        taken = milliseconds(lambda: [work() for _ in range(steps)], device)
    return summary_of_profile(seen.events(), device, steps) | {"milliseconds_a_step": taken / steps}


def summary_of_profile(events: Iterable[Any], device: torch.device, steps: int) -> dict[str, Any]:
    """Of a profile's events; times are the kernels' own on a GPU, the operations' own on a CPU."""
    on_gpu = device.type == "cuda"
    wanted = torch.autograd.DeviceType.CUDA if on_gpu else torch.autograd.DeviceType.CPU
    spent: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for event in events:
        if event.device_type != wanted or event.is_user_annotation:  # which span kernels
            continue
        spent[event.name] += event.time_range.elapsed_us() if on_gpu else event.self_cpu_time_total
        calls[event.name] += 1
    total = sum(spent.values()) / 1000
    top = [
        {"operation": name[:120], "calls": calls[name] / steps, "milliseconds": micro / 1000 / steps}
        for name, micro in spent.most_common(TOP)
    ]
    return {"busy_milliseconds_a_step": total / steps, "launches_a_step": sum(calls.values()) / steps, "top": top}


def empty_memory(device: torch.device) -> None:
    """Give back what is not used, and begin to count the peak anew."""
    import gc

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
