"""How many bytes of tensors are alive at most while something runs, on CPUs too, where no allocator tells it."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations make, until each is let go; what was there before is not counted."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        before = {t.untyped_storage()._cdata for t in tree_leaves((arguments, options)) if isinstance(t, torch.Tensor)}
        result = operation(*arguments, **(options or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in before:
                self.add(tensor.untyped_storage())
        return result

    def add(self, storage: Any) -> None:
        key = storage._cdata
        if key in self.known:
            return
        size = storage.nbytes()
        self.known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self.let_go, key, size)

    def let_go(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


def peak_live_bytes(work: Callable[[], Any], device: torch.device) -> int:
    """The most bytes that ``work`` holds at one time above what was there; on a GPU as its allocator counts them."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with LiveBytes() as counter:
        work()
    return counter.peak
