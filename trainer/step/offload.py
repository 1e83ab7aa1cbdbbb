"""Keeps activations in CPU memory between the forward and the backward pass. Parameters stay where they are.

A GPU copies on a stream of its own, beside what it computes. What lies in the memory of the computing stream is given
back to it only once that stream has been told to wait for the copy, so that no copy meets memory in new use. A tensor
that autograd saves is not written to afterwards: without this module the backward pass would fail then.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch.multiprocessing.reductions import StorageWeakRef

SMALLEST = 2**16  # numbers; copying fewer costs more than it frees
BESIDE = 2**28  # bytes on their way to CPU memory, and bytes fetched before they are asked for


@dataclass(frozen=True, eq=False)
class HostCopy:
    """Numbers that wait in CPU memory.

    Attributes:
        storage: a weak reference to the storage they came from. While it exists, no other storage has its number.
        kept: the whole storage, [numbers], or one tensor of it.
        device: where they came from.
        number: of the copies so far; the backward pass asks for the last first.
    """

    storage: StorageWeakRef
    kept: torch.Tensor
    device: torch.device
    number: int


@dataclass(frozen=True)
class Packed:
    """What autograd holds in place of a tensor: a copy; of a whole storage, also where the tensor lies in it."""

    copy: HostCopy
    geometry: tuple[Any, ...] | None


class SideStream:
    """A GPU's stream for copies, in the order in which they are asked for."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> Any:
        """Copy once all is done that the computing stream was asked for so far; returns the event of its end."""
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            target.copy_(source, non_blocking=True)
        return self.stream.record_event()

    def wait(self, event: Any) -> None:
        """Let the computing stream wait for a copy; the CPU goes on."""
        torch.cuda.current_stream(self.device).wait_event(event)


class OffloadedActivations(torch.autograd.graph.saved_tensors_hooks):
    """A context in which tensors that autograd saves are kept in CPU memory, pinned if there is a GPU.

    Torch's own ``save_on_cpu`` also copies every weight, since products save their weights for the backward pass. And
    it copies what several operations save, such as the encoder's output, once for each of them.

    Args:
        parameters: the model's. A tensor with the shape of one, or of its transpose, in another dtype is taken for
            autocast's copy of it and stays on the device.
        on_cpu: work on a CPU too, where it only costs memory: for tests.
        side: copies beside the computation; without it, a GPU's are on a :class:`SideStream`, and a CPU's are not.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], on_cpu: bool = False, side: Any = None) -> None:
        super().__init__(self.pack, self.unpack)
        self.on_cpu, self.side = on_cpu, side
        self.dtypes: dict[tuple[int, ...], set[torch.dtype]] = {}
        for parameter in parameters:
            shape = tuple(getattr(parameter, "ds_shape", parameter.shape))  # ZeRO-3's, of which a rank has a piece
            for one in (shape, shape[::-1]) if len(shape) == 2 else (shape,):
                self.dtypes.setdefault(one, set()).add(parameter.dtype)
        self.copies: WeakValueDictionary[Any, HostCopy] = WeakValueDictionary()
        self.numbered: WeakValueDictionary[int, HostCopy] = WeakValueDictionary()
        self.made = 0
        self.leaving: deque[tuple[Any, torch.Tensor]] = deque()  # with the end of their copy, still held
        self.fetched: dict[int, tuple[Any, torch.Tensor]] = {}  # likewise, on the device, not asked for yet
        self.next: int | None = None  # the copy to be fetched next; None before the backward pass

    def __enter__(self) -> None:
        self.drop_fetched()
        super().__enter__()

    def drop_fetched(self) -> None:
        """Let go of what was fetched for a backward pass that did not ask for it, or failed."""
        for event, _ in self.fetched.values():
            self.side.wait(event)
        self.fetched.clear()
        self.next = None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:  # type: ignore[override]
        super().__exit__(kind, error, trace)
        self.let_go(0)

    def pack(self, tensor: torch.Tensor) -> Any:
        """What autograd is to hold of a tensor that it saves."""
        if self.stays(tensor):
            return tensor
        storage = tensor.untyped_storage()
        reference = StorageWeakRef(storage)
        geometry = (tensor.size(), tensor.stride(), tensor.storage_offset())
        numbers, rest = divmod(storage.nbytes(), tensor.itemsize)
        whole = rest == 0 and numbers <= tensor.numel()
        # A tensor that is written to in between has another version.
        key = (reference.cdata, tensor.dtype, tensor._version, None if whole else geometry)
        copy = self.copies.get(key)
        if copy is None:
            kept = self.to_host(tensor.as_strided((numbers,), (1,), 0) if whole else tensor)
            copy = HostCopy(reference, kept, tensor.device, self.made)
            self.copies[key] = self.numbered[self.made] = copy
            self.made += 1
        return Packed(copy, geometry if whole else None)

    def to_host(self, source: torch.Tensor) -> torch.Tensor:
        """A copy in CPU memory. Beside the computation, ``source`` is held until the computation may use its memory."""
        on_gpu = source.device.type == "cuda"
        kept = torch.empty(source.shape, dtype=source.dtype, pin_memory=on_gpu)
        if on_gpu and self.side is None:
            self.side = SideStream(source.device)
        if self.side is None:
            return kept.copy_(source)
        self.leaving.append((self.side.copy(kept, source), source))
        self.let_go(BESIDE)
        return kept

    def let_go(self, most: int) -> None:
        """Hold no more than so many bytes of what is on its way to CPU memory."""
        held = sum(source.nbytes for _, source in self.leaving)
        while self.leaving and held > most:
            event, source = self.leaving.popleft()
            self.side.wait(event)
            held -= source.nbytes

    def stays(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor stays on its device: parameters, their casts, small tensors, and those on the CPU."""
        if tensor.numel() < SMALLEST or tensor.layout != torch.strided:
            return True
        if tensor.device.type == "cpu" and not self.on_cpu:
            return True
        base = tensor._base if tensor._base is not None else tensor
        if isinstance(base, torch.nn.Parameter):
            return True
        own = self.dtypes.get(tuple(tensor.shape))
        return own is not None and bool(own - {tensor.dtype})

    def unpack(self, packed: Any) -> torch.Tensor:
        """The tensor that was packed, back on its device; those that will be asked for next are on their way."""
        if isinstance(packed, torch.Tensor):
            return packed
        copy = packed.copy
        if self.side is None:
            tensor = copy.kept.to(copy.device)
        else:
            fetched = copy.number in self.fetched
            event, tensor = self.fetched.pop(copy.number) if fetched else self.fetch(copy)
            self.fetch_next(copy.number)
            self.side.wait(event)
        return tensor if packed.geometry is None else tensor.as_strided(*packed.geometry)

    def fetch(self, copy: HostCopy) -> tuple[Any, torch.Tensor]:
        tensor = torch.empty(copy.kept.shape, dtype=copy.kept.dtype, device=copy.device)
        return self.side.copy(tensor, copy.kept), tensor

    def fetch_next(self, number: int) -> None:
        """Fetch copies made before those that the backward pass began with, as many as there may be."""
        self.next = number - 1 if self.next is None else self.next
        held = sum(tensor.nbytes for _, tensor in self.fetched.values())
        while self.next >= 0 and held < BESIDE:
            copy = self.numbered.get(self.next)  # None once nothing asks for it any more
            if copy is not None and copy.number != number:
                self.fetched[copy.number] = self.fetch(copy)
                held += copy.kept.nbytes
            self.next -= 1
