"""Activations in CPU memory between the forward and the backward pass; parameters stay where they are."""

from typing import Any

import torch

SMALLEST = 2**16  # numbers; of less the copy costs more than it frees


class OffloadedActivations(torch.autograd.graph.saved_tensors_hooks):
    """What autograd keeps while this context is open waits in CPU memory, pinned where there is a GPU.

    Torch's own ``save_on_cpu`` also copies every weight, since products keep their weights for the backward pass.
    """

    def __init__(self) -> None:
        super().__init__(pack, unpack)


def pack(tensor: torch.Tensor) -> Any:
    base = tensor._base if tensor._base is not None else tensor
    if isinstance(base, torch.nn.Parameter) or tensor.numel() < SMALLEST or tensor.is_sparse:
        return tensor
    pinned = tensor.device.type == "cuda"
    kept = torch.empty(tensor.shape, dtype=tensor.dtype, layout=tensor.layout, pin_memory=pinned)
    return tensor.device, kept.copy_(tensor, non_blocking=pinned)


def unpack(packed: Any) -> torch.Tensor:
    if isinstance(packed, torch.Tensor):
        return packed
    device, kept = packed
    return kept.to(device, non_blocking=kept.is_pinned())
