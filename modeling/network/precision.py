"""Half precision under autocast: states and weights are cast once, where autocast would cast them for each product."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .linear import COPIES, is_untouched, transformed

PACKAGE = __name__.rpartition(".")[0]  # a checkpoint carries all of it


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """What autocast computes products in on such a device; None where it is off."""
    kind = device.type
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return None
    return torch.get_autocast_dtype(kind)


def computing_dtype(states: torch.Tensor) -> torch.dtype:
    """The dtype of products with these states."""
    return autocast_dtype(states.device) or states.dtype


def computing(states: torch.Tensor) -> torch.Tensor:
    """States in the dtype that autocast computes products in; as they are where it is off.

    For what several products read: each would cast it for itself, and keep its own copy for the backward pass.
    """
    dtype = autocast_dtype(states.device)
    return states if dtype is None or states.dtype == torch.float64 else states.to(dtype)


def casts_weights_together(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a layer's ``forward``: under autocast one operation casts the weights of all its linear layers.

    In training alone: without gradients autocast keeps its own copies from one call to the next. Layers that something
    has wrapped, hooked or quantised are left to autocast, as are those with weights in another dtype than float32.
    """

    @functools.wraps(forward)
    def wrapped(layer: nn.Module, *arguments: Any, **options: Any) -> Any:
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return forward(layer, *arguments, **options)
        linear_layers = cast_weights(layer)
        try:
            return forward(layer, *arguments, **options)
        finally:
            for module in linear_layers:
                del module.__dict__[COPIES]

    return wrapped


def cast_weights(layer: nn.Module) -> list[nn.Module]:
    """Put copies of weights and biases in autocast's dtype on a layer's linear layers; returns those that have them."""
    device = next(layer.parameters()).device
    dtype = autocast_dtype(device)
    if dtype is None or torch.jit.is_tracing() or transformed():
        return []
    owners = [module for module in layer.modules() if type(module).__module__.rpartition(".")[0] == PACKAGE]
    children = [
        child for owner in owners for child in owner.children()
    ]  # not those within an adapter, which calls them
    chosen = [child for child in children if is_untouched(child) and are_plain(child, device)]
    parameters = [parameter for module in chosen for parameter in module.parameters(recurse=False)]
    parameters.sort(key=torch.Tensor.numel, reverse=True)  # so that all but the smallest lie where kernels are fastest
    if not parameters:
        return []
    copies = dict(zip(map(id, parameters), CastTogether.apply(dtype, *parameters), strict=True))
    for module in chosen:
        module.__dict__[COPIES] = copies[id(module.weight)], copies.get(id(module.bias))
    return chosen


def are_plain(module: nn.Module, device: torch.device) -> bool:
    """Whether a module's own parameters are nothing but float32 numbers on this device."""
    return all(
        type(parameter) is nn.Parameter and parameter.dtype == torch.float32 and parameter.device == device
        for parameter in module.parameters(recurse=False)
    )


class CastTogether(torch.autograd.Function):
    """Copies of float32 parameters in another dtype, and gradients back in float32, each in one operation.

    Gradients come for all that are trained at once, when the last of them is known.
    """

    @staticmethod
    def forward(context: Any, dtype: torch.dtype, *parameters: torch.Tensor) -> tuple[torch.Tensor, ...]:
        copies = cast_together(parameters, dtype)
        frozen = [copy for copy, parameter in zip(copies, parameters, strict=True) if not parameter.requires_grad]
        context.mark_non_differentiable(*frozen)
        context.set_materialize_grads(False)
        return tuple(copies)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, *gradients: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        there = [gradient for gradient in gradients if gradient is not None]
        cast = iter(cast_together(there, torch.float32)) if there else iter(())
        return None, *(None if gradient is None else next(cast) for gradient in gradients)


def cast_together(tensors: Any, dtype: torch.dtype) -> list[torch.Tensor]:
    """Copies that lie one after the other in one storage."""
    sizes = [tensor.numel() for tensor in tensors]
    flat = tensors[0].new_empty(sum(sizes), dtype=dtype)
    copies = [part.view(tensor.shape) for part, tensor in zip(flat.split(sizes), tensors, strict=True)]
    torch._foreach_copy_(copies, list(tensors))
    return copies
