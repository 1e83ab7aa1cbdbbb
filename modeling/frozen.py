"""Frozen weights in the precision that they are multiplied in.

Autocast keeps its copies of trained weights through a forward pass; frozen ones it casts anew at every call. Where they
are held in that precision from the start, products are the same to the last bit, and the device holds half the bytes.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

HELD = "held_in_full"  # on a layer: its frozen parameters in float32 by name, on the CPU; empty if they are not kept
ROUNDING = "rounding_of_weight"  # on a layer: the sum of squares of what its weight lost


def frozen_in_linear(model: nn.Module) -> Iterator[tuple[nn.Linear, str, nn.Parameter]]:
    """The frozen float32 parameters of linear layers that no other module shares, each with its layer and its name.

    Norms and embeddings are not multiplied in half precision. The encoder's two convolutions stay too: transformers
    writes the dtype of a model's first parameter into its config.
    """
    shared = {
        id(parameter)
        for module in model.modules()
        if type(module) is not nn.Linear
        for parameter in module.parameters(recurse=False)
    }
    for module in model.modules():
        if type(module) is nn.Linear:
            for name, parameter in module.named_parameters(recurse=False):
                if not parameter.requires_grad and parameter.dtype == torch.float32 and id(parameter) not in shared:
                    yield module, name, parameter


@torch.no_grad()
def hold_frozen(model: nn.Module, dtype: torch.dtype, keep: bool) -> None:
    """Hold frozen weights of linear layers in ``dtype``, in place; the model then computes under autocast alone.

    Args:
        dtype: what autocast computes in.
        keep: the float32 weights stay in CPU memory, and ``state_dict()`` gives them, so that what is saved loses
            nothing. Not needed where only trained weights are saved.
    """
    for module, name, parameter in list(frozen_in_linear(model)):
        full = parameter.data
        parameter.data = full.to(dtype)
        if name == "weight":
            module.__dict__[ROUNDING] = float((full - parameter.data).square().sum())
        if HELD not in module.__dict__:
            module.__dict__[HELD] = {}
            module.register_state_dict_post_hook(give_in_full)
            module.register_load_state_dict_pre_hook(take_in_full)
        if keep:
            module.__dict__[HELD][name] = full.cpu()


def give_in_full(layer: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Put the float32 weights in the place of the rounded ones."""
    for name, full in layer.__dict__[HELD].items():
        state_dict[prefix + name] = full


def take_in_full(layer: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Keep the float32 weights that are loaded; torch rounds them for the layer."""
    for name, full in layer.__dict__[HELD].items():
        if prefix + name in state_dict:
            full.copy_(state_dict[prefix + name])


def rounding_of(layer: nn.Module) -> float:
    """The sum of squares by which a layer's weight differs from what it was; 0 where it is as it was."""
    return float(layer.__dict__.get(ROUNDING, 0.0))
