"""Faster linear layers on CPUs: for few rows, as in decoding, and for large products, as in training.

The layers stay ``nn.Linear`` and give the same results but for float rounding; on other devices nothing changes.
"""

import functools
import platform
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

FEW_ROWS = 8  # tokens computed at once; with more, one product of matrices is as fast
# Elements of a weight, as many as whisper-base's smallest have. oneDNN needs about 8 ms for each new shape of a batch,
# which small products never win back.
LARGE_WEIGHT = 2**18
MOST_GROUPS = 64
ONEDNN = "goes_through_onednn"  # on a layer: whether oneDNN is wanted; None or not there: where it is faster
WORTH_CHANGING = 1.1  # so many times as fast as torch's own way oneDNN must be: results differ by rounding
COPIES = "copies_for_autocast"  # on a layer, its weight and bias in autocast's dtype; see ``precision.cast_weights``


def linear(layer: Any, states: torch.Tensor) -> torch.Tensor:
    """``layer(states)``, computed faster where the layer is an ``nn.Linear`` and nothing else.

    The layers stay exactly ``nn.Linear``, which quantisers, adapters and tensor parallelism look for by type. What any
    of them has put in a layer's place, wrapped or hooked is called as it wants to be called.
    """
    if torch.compiler.is_compiling():
        return layer(states)
    copies = layer.__dict__.get(COPIES)
    if copies is not None:
        return F.linear(states, *copies)
    if not is_untouched(layer) or not is_plain(states, layer.weight):
        return layer(states)
    return fast_product(layer, states)


def quicken(layer: nn.Linear) -> None:
    """Make a layer fast that other code calls, as peft calls those it adapts; its type stays.

    Only for a model on one device: torch's DataParallel would share this forward among its copies.
    """
    layer.forward = functools.partial(fast_forward, layer)  # type: ignore[method-assign]


def fast_forward(layer: nn.Linear, states: torch.Tensor) -> torch.Tensor:
    if torch.compiler.is_compiling() or not is_plain(states, layer.weight):
        return F.linear(states, layer.weight, layer.bias)
    return fast_product(layer, states)


def is_untouched(layer: Any) -> bool:
    """Whether calling the layer would do no more than its product: no hooks, and no forward put on it from outside."""
    return (
        type(layer) is nn.Linear
        and "forward" not in layer.__dict__
        and not (layer._forward_hooks or layer._forward_pre_hooks)
        and not (layer._backward_hooks or layer._backward_pre_hooks)
        and not torch.nn.modules.module._has_any_global_hook()
    )


def is_plain(states: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether these are plain float32 tensors on a CPU, outside autocast, tracing and function transforms."""
    return (
        not torch.jit.is_tracing()
        and not transformed()
        and states.device.type == "cpu"
        and states.dtype == weight.dtype == torch.float32
        and type(states) is torch.Tensor
        and type(weight) in (nn.Parameter, torch.Tensor)
        and weight.is_contiguous()
        and states.numel() > 0
        and not torch.is_autocast_enabled("cpu")
    )


def fast_product(layer: nn.Linear, states: torch.Tensor) -> torch.Tensor:
    """``F.linear`` of float32 tensors on a CPU: few rows as many small products, more of them through oneDNN.

    A step of decoding is bound by how fast weights are read, and for few rows the product of two matrices reads them
    slowly in torch's CPU builds, batched products faster. For more rows torch asks MKL, which on some of AMD's
    processors computes half as fast as oneDNN, which torch brings too. :func:`choose_onednn` says who computes those.
    """
    given = states, layer.weight, layer.bias
    outputs, inputs = layer.weight.shape
    rows = states.numel() // inputs
    if rows > FEW_ROWS or torch.is_grad_enabled():
        is_large = rows > FEW_ROWS and outputs * inputs >= LARGE_WEIGHT
        if not (is_large and goes_through_onednn(layer)):
            return F.linear(*given)
        if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in given):
            return OneDnnLinear.apply(*given)
        return product(*given)
    groups = most_groups(outputs)
    flat = states.reshape(rows, inputs)
    weight = layer.weight.view(groups, -1, inputs)
    if rows == 1 or inputs <= outputs:
        columns = torch.bmm(weight, flat.t().expand(groups, -1, -1))  # [groups, outputs / groups, rows]
        output = columns.view(outputs, rows).t()
    else:
        parts = torch.bmm(flat.expand(groups, -1, -1), weight.transpose(1, 2))  # [groups, rows, outputs / groups]
        output = parts.transpose(0, 1).reshape(rows, outputs)
    if layer.bias is not None:
        output = output + layer.bias
    return output.reshape(*states.shape[:-1], outputs)


class OneDnnLinear(torch.autograd.Function):
    """``F.linear`` through oneDNN, forward and backward; float32 on CPUs, once differentiable.

    Takes states [..., inputs], weight [outputs, inputs], and bias [outputs] or None.
    """

    @staticmethod
    def forward(context: Any, states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        context.save_for_backward(states, weight)
        context.has_bias = bias is not None
        return product(states, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        context: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        states, weight = context.saved_tensors
        of_states, of_weight, of_bias = context.needs_input_grad
        flat = gradient.reshape(-1, gradient.shape[-1])
        return (
            product(flat, weight.t()).view(states.shape) if of_states else None,
            product(flat.t(), states.reshape(-1, states.shape[-1]).t()) if of_weight else None,
            flat.sum(0) if of_bias and context.has_bias else None,
        )


def product(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """``F.linear``, computed by oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")


def transformed() -> bool:
    """Whether ``torch.func`` (grad, vmap, ...) or forward-mode differentiation is at work; F.linear knows both."""
    # Both private, so they may be gone one day.
    active = getattr(torch._C, "_are_functorch_transforms_active", None)
    level: int = getattr(torch.autograd.forward_ad, "_current_level", -1)
    return (active is not None and bool(active())) or level >= 0


@functools.lru_cache
def has_onednn() -> bool:
    """Whether torch computes float32 linear layers with oneDNN here: its x86 builds do."""
    if platform.machine().lower() not in ("x86_64", "amd64") or not torch.backends.mkldnn.is_available():
        return False
    try:
        states, weight = torch.ones(2, 3), torch.ones(4, 3)
        return torch.equal(product(states, weight), F.linear(states, weight))
    except (AttributeError, RuntimeError, NotImplementedError):
        return False


@functools.lru_cache
def onednn_is_faster() -> bool:
    """Whether oneDNN multiplies faster here than torch's own way: measured at the first call, in about 0.1 s.

    Which is faster depends on the processor: docs/performance.md.
    """
    if not has_onednn():
        return False
    states, weight, gradient = torch.ones(256, 512), torch.ones(1024, 512), torch.ones(256, 1024)

    def seconds(multiply: Callable[..., torch.Tensor]) -> float:
        """A layer's products, forward and backward."""
        started = time.perf_counter()
        multiply(states, weight)
        multiply(gradient, weight.t())
        multiply(gradient.t(), states.t())
        return time.perf_counter() - started

    with torch.no_grad():
        rounds = [(seconds(product), seconds(F.linear)) for _ in range(6)][1:]  # in turns; the first prepares shapes
    ours, usual = (min(taken) for taken in zip(*rounds, strict=True))
    return ours * WORTH_CHANGING < usual


def goes_through_onednn(layer: nn.Linear) -> bool:
    chosen = layer.__dict__.get(ONEDNN)
    return onednn_is_faster() if chosen is None else chosen and has_onednn()


@functools.lru_cache
def most_groups(outputs: int) -> int:
    """The largest number of equal groups, at most 64, that so many outputs fall into."""
    return max(number for number in range(1, MOST_GROUPS + 1) if outputs % number == 0)


def choose_onednn(model: nn.Module, wanted: bool | None) -> None:
    """Whether the model's linear layers go through oneDNN, where torch has it; None: where it is faster here."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.__dict__[ONEDNN] = wanted
