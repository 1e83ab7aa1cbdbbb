"""Keeps activations in CPU memory between the forward and the backward pass. Parameters stay where they are."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch.multiprocessing.reductions import StorageWeakRef

SMALLEST = 2**16  # numbers; copying fewer costs more than it frees


@dataclass(frozen=True, eq=False)
class HostCopy:
    """Numbers that wait in CPU memory.

    Attributes:
        storage: a weak reference to the storage they came from. While it exists, no other storage has its number.
        kept: the whole storage, [numbers], or one tensor of it.
        device: where they came from.
    """

    storage: StorageWeakRef
    kept: torch.Tensor
    device: torch.device


@dataclass(frozen=True)
class Packed:
    """What autograd holds in place of a tensor: a copy; of a whole storage, also where the tensor lies in it."""

    copy: HostCopy
    geometry: tuple[Any, ...] | None


class OffloadedActivations(torch.autograd.graph.saved_tensors_hooks):
    """A context in which tensors that autograd saves are kept in CPU memory, pinned if there is a GPU.

    Torch's own ``save_on_cpu`` also copies every weight, since products save their weights for the backward pass. And
    it copies what several operations save, such as the encoder's output, once for each of them.

    Args:
        parameters: the model's. A tensor with the shape of one, or of its transpose, in another dtype is taken for
            autocast's copy of it and stays on the device.
        on_cpu: work on a CPU too, where it only costs memory: for tests.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], on_cpu: bool = False) -> None:
        super().__init__(self.pack, unpack)
        self.on_cpu = on_cpu
        self.dtypes: dict[tuple[int, ...], set[torch.dtype]] = {}
        for parameter in parameters:
            shape = tuple(getattr(parameter, "ds_shape", parameter.shape))  # ZeRO-3's, of which a rank has a piece
            for one in (shape, shape[::-1]) if len(shape) == 2 else (shape,):
                self.dtypes.setdefault(one, set()).add(parameter.dtype)
        self.copies: WeakValueDictionary[Any, HostCopy] = WeakValueDictionary()

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
            source = tensor.as_strided((numbers,), (1,), 0) if whole else tensor
            pinned = tensor.device.type == "cuda"
            kept = torch.empty(source.shape, dtype=tensor.dtype, pin_memory=pinned)
            copy = HostCopy(reference, kept.copy_(source, non_blocking=pinned), tensor.device)
            self.copies[key] = copy
        return Packed(copy, geometry if whole else None)

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


def unpack(packed: Any) -> torch.Tensor:
    """The tensor that was packed, back on its device."""
    if isinstance(packed, torch.Tensor):
        return packed
    kept = packed.copy.kept
    tensor: torch.Tensor = kept.to(packed.copy.device, non_blocking=kept.is_pinned())
    return tensor if packed.geometry is None else tensor.as_strided(*packed.geometry)
