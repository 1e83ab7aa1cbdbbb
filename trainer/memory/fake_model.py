"""A config's model in fake tensors: shapes and dtypes, no numbers, no memory and no download."""

import copy
from typing import Any

import torch
from torch import nn

from modeling.adapters import is_new
from modeling.frozen import frozen_in_linear

from ..config.reading import ConfigError
from ..config.run import RunConfig
from ..engine.device import DTYPES
from ..model.building import checkpoint_gradients, planned_model
from ..model.teacher import freeze
from .cells import Cell
from .engines import parameter_dtype
from .timeline import Recorder


def known_model(config: RunConfig) -> Any:
    """The config's model on the meta device, its strategy applied.

    Raises:
        ConfigError: if only the hub knows its shape.
    """
    model = planned_model(config)
    if model is None:
        raise ConfigError(
            f"model.checkpoint is {config.model.checkpoint!r}, whose shape only the hub knows: name a folder, or "
            "the published Whisper of the same size, such as openai/whisper-small"
        )
    return model


def shaped_model(cell: Cell) -> Any:
    """:func:`known_model` as it is trained; made before fake tensors come in, which peft cannot take."""
    model = known_model(cell.config)
    if bits := cell.config.model.quantized_bits:
        quantize_in_name(model, bits, DTYPES[cell.precision])
    model.config.dropout = cell.config.model.dropout
    checkpoint_gradients(model, cell.config.model.gradient_checkpointing)
    return model.train()


def shaped_teacher(cell: Cell, model: Any) -> Any:
    """A clean teacher's encoder on the meta device; None without one. ``model`` is that of :func:`shaped_model`."""
    if cell.config.noise.teacher is None:
        return None
    encoder = copy.deepcopy(model.model.encoder)
    freeze(encoder)
    return encoder


def fill_with_fakes(model: Any, cell: Cell, recorder: Recorder, part: str = "parameters") -> None:
    """Give a model of the meta device fake parameters, which count as that part; with fake tensors active."""
    dtype, held = parameter_dtype(cell), {id(parameter) for *_, parameter in frozen_in_linear(model)}
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is None:
                continue
            if id(parameter) not in made:
                kind = DTYPES[cell.precision] if id(parameter) in held else dtype
                kind = kind if parameter.dtype.is_floating_point else parameter.dtype
                numbers = torch.empty(parameter.shape, dtype=kind)
                recorder.add(numbers, part)
                made[id(parameter)] = nn.Parameter(numbers, requires_grad=parameter.requires_grad)
            module._parameters[name] = made[id(parameter)]
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=dtype)
                recorder.add(module._buffers[name], "parameters")


def quantize_in_name(model: Any, bits: int, compute_dtype: torch.dtype) -> None:
    """Put layers of the quantised ones' memory in the place of those that :mod:`modeling.quantization` replaces."""
    for name, module in list(model.named_modules()):
        if not isinstance(module, nn.Linear) or ".layers." not in name or is_new(name) or "lora_" in name:
            continue
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, PackedLinear(module, bits, compute_dtype))


class PackedLinear(nn.Module):
    """A frozen linear layer in 4 or 8 bits: unpacked for each product, forward and backward."""

    def __init__(self, module: nn.Linear, bits: int, compute_dtype: torch.dtype) -> None:
        super().__init__()
        self.in_features, self.out_features = module.in_features, module.out_features
        self.compute_dtype = compute_dtype
        numbers = module.weight.numel()
        scales = numbers // 64 + 4 * (numbers // 64 // 256) if bits == 4 else 4 * module.out_features
        self.weight = packed(numbers * bits // 8)
        self.scales = packed(scales)
        self.bias = None
        if module.bias is not None:
            self.bias = nn.Parameter(module.bias.detach().to(compute_dtype), requires_grad=False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        product = UnpackedProduct.apply(states.to(self.compute_dtype), self.out_features)
        return product if self.bias is None else product + self.bias.to(product.dtype)


def packed(size: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(size, dtype=torch.uint8, device="meta"), requires_grad=False)


class UnpackedProduct(torch.autograd.Function):
    """states x a weight that exists during the product alone."""

    @staticmethod
    def forward(context: Any, states: torch.Tensor, outputs: int) -> torch.Tensor:  # type: ignore[override]
        context.outputs, context.inputs = outputs, states.shape[-1]
        return states @ states.new_empty(context.inputs, outputs)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        return gradient @ gradient.new_empty(context.outputs, context.inputs), None
