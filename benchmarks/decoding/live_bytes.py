"""How many bytes of tensors are alive at most while something runs, on CPUs too, where no allocator tells it."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from trainer.memory.timeline import Recorder, Timeline


class LiveBytes(Recorder):
    """Records the storages that operations make; what was there before counts nothing."""

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        for tensor in tree_leaves((arguments, options)):
            if isinstance(tensor, torch.Tensor):
                self.add(tensor, counts=False)
        return super().__torch_dispatch__(operation, types, arguments, options)


def peak_live_bytes(work: Callable[[], Any], device: torch.device) -> int:
    """The most bytes that ``work`` holds at one time above what was there; on a GPU as its allocator counts them."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with LiveBytes(Timeline()) as recorder:
        work()
    return recorder.timeline.peak()
