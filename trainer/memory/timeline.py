"""The tensors that a training step allocates and frees, in order: every peak follows from these events."""

import itertools
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ATTENTION_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


@dataclass
class Timeline:
    """Allocations and frees of tensor storages.

    Attributes:
        events: (storage number, bytes) of an allocation, (storage number, -bytes) of a free, in order.
        parts: for each storage number, what it is for.
        sizes: for each storage number, its bytes.
    """

    events: list[tuple[int, int]] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def allocate(self, size: int, part: str) -> int:
        """A new storage; returns its number."""
        self.parts.append(part)
        self.sizes.append(size)
        number = len(self.parts) - 1
        self.events.append((number, size))
        return number

    def free(self, number: int, size: int) -> None:
        self.events.append((number, -size))

    def peak(self) -> int:
        """The most bytes that are alive at once."""
        return max(itertools.accumulate(size for _, size in self.events), default=0)


class Recorder(TorchDispatchMode):
    """Writes a :class:`Timeline` of every storage that operations make while it is active.

    Args:
        timeline: where to write.
        vocabulary: tensors whose last dimension is this are ``logits``.
        on_gpu: count what CUDA's attention kernels take for themselves.
    """

    def __init__(self, timeline: Timeline, vocabulary: int = 0, on_gpu: bool = False) -> None:
        super().__init__()
        self.timeline, self.vocabulary, self.on_gpu = timeline, vocabulary, on_gpu
        self.part = "activations"
        self.in_backward = False
        self.known: dict[int, int] = {}  # a storage's address, and its number
        self.taken_over: set[int] = set()

    @contextmanager
    def naming(self, part: str) -> Iterator[None]:
        """Storages made meanwhile are for this."""
        before, self.part = self.part, part
        yield
        self.part = before

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        if operation is torch.ops.prim.device.default and isinstance(arguments[0], FakeTensor):
            return arguments[0].fake_device  # asked two times of three, and slow to answer
        own = attention_scratch(arguments) if self.on_gpu and operation is ATTENTION_BACKWARD else 0
        number = self.timeline.allocate(own, "temporary") if own else None
        if operation is torch.ops.aten.add.Tensor and self.is_summed_in_place(*arguments):
            self.take_over(arguments[0])
        result = operation(*arguments, **(options or {}))
        for tensor in (result,) if isinstance(result, torch.Tensor) else tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.add(tensor)
        if number is not None:
            self.timeline.free(number, own)
        return result

    def is_summed_in_place(self, first: Any, second: Any) -> bool:
        """Whether autograd would add a gradient to another in place, which it never does with fake tensors.

        It does so where it alone holds the first; a view's base holds it too.
        """
        return (
            self.in_backward
            and not torch.is_grad_enabled()
            and isinstance(second, torch.Tensor)
            and first.shape == second.shape
            and first.dtype == second.dtype
            and not first._is_view()
        )

    def take_over(self, tensor: torch.Tensor) -> None:
        """Count a storage as let go now, whose bytes the next one gets."""
        number = self.known.get(tensor.untyped_storage()._cdata)
        if number is not None and number not in self.taken_over:
            self.taken_over.add(number)
            self.timeline.free(number, tensor.untyped_storage().nbytes())

    def add(self, tensor: torch.Tensor, part: str | None = None, counts: bool = True) -> None:
        """A tensor whose storage may be new; one that does not count takes no bytes."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.known:
            return
        if part is None:
            is_logits = self.vocabulary and tensor.ndim > 1 and tensor.shape[-1] == self.vocabulary
            part = "logits" if is_logits else self.part
        size = storage.nbytes() if counts else 0
        self.known[key] = number = self.timeline.allocate(size, part)
        weakref.finalize(storage, self.let_go, key, number, size)

    def let_go(self, key: int, number: int, size: int) -> None:
        del self.known[key]
        if number not in self.taken_over:
            self.timeline.free(number, size)

    def rename(self, tensor: torch.Tensor, part: str) -> None:
        """What a storage turned out to be for."""
        number = self.known.get(tensor.untyped_storage()._cdata)
        if number is not None:
            self.timeline.parts[number] = part


def attention_scratch(arguments: Any) -> int:
    """Bytes that flash attention's backward pass allocates on a GPU: the queries' gradients, summed in float32."""
    queries = arguments[1]
    batch, heads, length, width = queries.shape
    return 4 * int(batch * heads * -(-length // 128) * 128 * (width + 1))
