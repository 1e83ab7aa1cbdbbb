"""Activations in CPU memory between the forward and the backward pass; parameters stay where they are."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch.multiprocessing.reductions import StorageWeakRef

SMALLEST = 2**16  # numbers; of less the copy costs more than it frees


@dataclass(frozen=True, eq=False)
class HostCopy:
    """Numbers that wait in CPU memory.

    Attributes:
        storage: refers to the storage they came from without keeping its memory. While this is there, no other storage
            has its number.
        kept: the whole storage, [numbers], or one tensor of it.
        device: where they came from.
    """

    storage: StorageWeakRef
    kept: torch.Tensor
    device: torch.device


@dataclass(frozen=True)
class Packed:
    """What autograd holds instead of a tensor: a copy, and of a whole storage's how the tensor lies in it."""

    copy: HostCopy
    geometry: tuple[Any, ...] | None


class OffloadedActivations(torch.autograd.graph.saved_tensors_hooks):
    """What autograd keeps while this context is open waits in CPU memory, pinned where there is a GPU.

    Torch's own ``save_on_cpu`` also copies every weight, since products keep their weights for the backward pass, and
    what several operations keep, as the encoder's output, once for each of them.

    Args:
        parameters: the model's. What has the shape of one, or of one transposed, in another dtype is taken for the copy
            of it that autocast made, and stays.
        on_cpu: also on a CPU, where it only takes memory: for tests. Without it, nothing is done there.
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
        if self.stays(tensor):
            return tensor
        storage = tensor.untyped_storage()
        reference = StorageWeakRef(storage)
        geometry = (tensor.size(), tensor.stride(), tensor.storage_offset())
        numbers, rest = divmod(storage.nbytes(), tensor.itemsize)
        whole = rest == 0 and numbers <= tensor.numel()
        # Written to in between it is another tensor, which the version tells.
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
        """Whether a tensor is left on its device: parameters, their casts, and what is small or already there."""
        if tensor.numel() < SMALLEST or tensor.layout != torch.strided:
            return True
        if tensor.device.type == "cpu" and not self.on_cpu:
            return True
        base = tensor._base if tensor._base is not None else tensor
        if isinstance(base, torch.nn.Parameter):
            return True
        own = self.dtypes.get(tuple(tensor.shape))
        return own is not None and tensor.dtype not in own


def unpack(packed: Any) -> torch.Tensor:
    if isinstance(packed, torch.Tensor):
        return packed
    kept = packed.copy.kept
    tensor: torch.Tensor = kept.to(packed.copy.device, non_blocking=kept.is_pinned())
    return tensor if packed.geometry is None else tensor.as_strided(*packed.geometry)
