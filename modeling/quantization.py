"""Frozen linear layers in 8 or 4 bits by bitsandbytes, for LoRA on top of them (QLoRA, Dettmers et al. 2023).

Knows nothing of adapters and engines. bitsandbytes is imported only where something is quantised.
"""

import logging
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn


class QuantizationError(ValueError):
    """A model cannot be quantised here."""

    exit_code = 2


def quantize_linear(
    model: nn.Module,
    bits: Literal[4, 8],
    keep: Callable[[str], bool],
    compute_dtype: torch.dtype = torch.float32,
) -> int:
    """Replace the linear layers of the encoder's and decoder's layers by frozen, quantised ones, in place.

    Each is quantised at once, on the device where it lies, from its weight in float32; it may move afterwards. Biases
    are rounded to ``compute_dtype`` and frozen too. Everything outside the layers (convolutions, embeddings, the
    vocabulary projection) stays as it is.

    Args:
        bits: 4: NF4 in blocks of 64 whose scales are quantised again; 8: LLM.int8() with a scale a row.
        keep: takes a module's full name, such as ``model.decoder.layers.0.gate.hidden``; true leaves it alone.
        compute_dtype: what the layers multiply in, the engine's precision; 8-bit ones on GPUs multiply integers.

    Returns:
        How many layers were replaced. ``model.is_loaded_in_4bit`` or ``is_loaded_in_8bit`` is then true, which is what
        peft asks before it picks its layers for bitsandbytes.

    Raises:
        QuantizationError: if bitsandbytes is missing or broken, or a weight's width does not suit it.
    """
    library = import_bitsandbytes(f"weights in {bits} bits need")
    chosen = [
        (name, module)
        for name, module in model.named_modules()
        if type(module) is nn.Linear and ".layers." in name and not keep(name)
    ]
    for name, module in chosen:
        parent, _, own = name.rpartition(".")
        quantized = quantize_one(library, module, bits, compute_dtype)
        setattr(model.get_submodule(parent), own, quantized.requires_grad_(False).train(module.training))
    setattr(model, f"is_loaded_in_{bits}bit", True)
    return len(chosen)


def quantize_one(library: Any, module: nn.Linear, bits: Literal[4, 8], compute_dtype: torch.dtype) -> nn.Module:
    """A quantised layer with the weight and bias of ``module``."""
    shape = module.in_features, module.out_features
    device, weight = module.weight.device, module.weight.detach().to(torch.float32)
    if bits == 8:
        # Made on the CPU: there, and only there, moving means quantising.
        layer = library.nn.Linear8bitLt(*shape, bias=False, has_fp16_weights=False, device="meta")
        layer.weight = library.nn.Int8Params(weight.cpu(), requires_grad=False, has_fp16_weights=False)
        layer.compute_dtype = compute_dtype
        layer.register_forward_pre_hook(cast_input)
    else:
        layer = library.nn.Linear4bit(*shape, bias=False, compute_dtype=compute_dtype, quant_type="nf4", device="meta")
        layer.weight = library.nn.Params4bit(
            weight, requires_grad=False, compress_statistics=True, quant_type="nf4", module=layer
        )
        # Otherwise an evaluation on a CPU with AVX512-BF16 repacks the weight, and no gradient passes it afterwards.
        layer.support_avx512bf16_for_cpu = False
        layer.register_load_state_dict_pre_hook(restore_scales)
    if module.bias is not None:
        layer.bias = nn.Parameter(module.bias.detach().to(compute_dtype, copy=True), requires_grad=False)
    return layer.to(device)


def cast_input(layer: Any, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    """Cast the input of an 8-bit layer to one dtype; the layer would cast its frozen bias to the input's.

    Also move its scales to the device of its weight, since moving a model moves only the weight.
    """
    weight = layer.weight
    if getattr(weight, "CB", None) is not None and weight.CB.device != weight.device:
        weight.CB, weight.SCB = weight.data, weight.SCB.to(weight.device)
    return (inputs[0].to(layer.compute_dtype),)


def restore_scales(layer: Any, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Take a 4-bit weight's scales out of a state dict, where bitsandbytes puts them but does not look for them."""
    from bitsandbytes.functional import QuantState

    start = f"{prefix}weight."
    scales = {key: state_dict.pop(key) for key in list(state_dict) if key.startswith(start)}
    if scales:
        named = {key.removeprefix(start): value for key, value in scales.items()}
        state = QuantState.from_dict(named, layer.weight.device)
        layer.weight.quant_state = layer.quant_state = state


def import_bitsandbytes(what_needs: str) -> Any:
    """bitsandbytes, with its warnings held back.

    Raises QuantizationError if it cannot be imported; ``what_needs`` begins the message, up to the verb.
    """
    hush_bitsandbytes()
    try:
        import bitsandbytes
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "bitsandbytes"
        why = "pip install bitsandbytes" if missing else f"it cannot be imported: {error}"
        raise QuantizationError(f"{what_needs} bitsandbytes: {why}") from None
    return bitsandbytes


def hush_bitsandbytes() -> None:
    """Hold back two of its warnings; call it before anything that imports bitsandbytes, as peft does.

    One, at the import, misses a CPU kernel that is not used here. The other says with every 8-bit product that its
    input is rounded to float16, as intended.
    """
    for name in ("bitsandbytes.backends.cpu.ops", "bitsandbytes.autograd._functions"):
        logging.getLogger(name).setLevel(logging.ERROR)
