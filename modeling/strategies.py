"""Tuning strategies: which of a model's parameters are trained, counted by part.

Works on names and shapes alone, so a model on the meta device will do. What LoRA adds is :mod:`modeling.adapters`'.
"""

from dataclasses import dataclass
from typing import Any

from torch import nn

STRATEGIES = ("full", "frozen_encoder", "frozen_primary", "selective", "lora", "qlora")
WITH_ADAPTER = frozenset(("lora", "qlora"))
SELECTIVE_SHARE = 0.35  # of Whisper's own parameters, which the default choice of layers comes nearest to
IMBALANCE_COST = 0.1  # a share of the encoder's layers that differs from the decoder's by 0.1 weighs as much as 1 %
ADAPTERS = "adapters"
NEW_PARTS = ("secondary attention", "wider feed-forward", "gates")  # every strategy trains them
PARTS = (  # in the order of the table; a parameter belongs to the first whose text its name holds
    (ADAPTERS, (".lora_",)),
    ("gates", (".gate.",)),
    ("secondary attention", (".secondary_",)),
    ("wider feed-forward", (".wider.",)),
    ("encoder positions, fixed", ("encoder.embed_positions",)),
    ("encoder convolutions and norm", ("encoder.conv", "encoder.layer_norm")),
    ("encoder layers", ("encoder.layers.",)),
    ("token embeddings", ("embed_tokens", "proj_out")),
    ("decoder positions and norm", ("decoder.embed_positions", "decoder.layer_norm")),
    ("decoder self-attention", (".self_attn",)),
    ("primary attention", (".encoder_attn",)),
    ("decoder feed-forward", ("decoder.layers.",)),
)
IN_ORDER = (*(name for name, _ in PARTS[4:]), *(name for name, _ in reversed(PARTS[:4])))


@dataclass(frozen=True)
class Part:
    """Parameters of a part of the model, and those of them that are trained; what is shared counts once."""

    name: str
    parameters: int
    trained: int


def choose_trained(model: Any, strategy: str, top_layers: tuple[int, int] | None = None) -> None:
    """Freeze what a strategy leaves alone.

    ``full``: everything is trained but the encoder's fixed positions. ``frozen_encoder``: the decoder. ``selective``:
    the layers nearest the output of encoder and decoder. ``frozen_primary``, and ``lora`` and ``qlora`` before their
    adapters: nothing of Whisper's own. The second attentions and the gates are trained under all of them.

    Args:
        model: a :class:`~modeling.DualWhisperForConditionalGeneration`.
        top_layers: of the encoder and of the decoder under ``selective``; else :func:`default_top_layers`.

    Raises:
        ValueError: if nothing would be trained, or there are not so many layers.
    """
    encoder, decoder = model.model.encoder, model.model.decoder
    model.requires_grad_(strategy in ("full", "frozen_encoder"))
    if strategy == "frozen_encoder":
        encoder.requires_grad_(False)
    if strategy == "selective":
        chosen = top_layers or default_top_layers(model)
        for stack, number, which in zip((encoder, decoder), chosen, ("encoder", "decoder"), strict=True):
            if number > len(stack.layers):
                raise ValueError(f"{which}_layers is {number}; the model's {which} has {len(stack.layers)}")
            for layer in stack.layers[len(stack.layers) - number :]:
                layer.requires_grad_(True)
    encoder.embed_positions.requires_grad_(False)
    new = set(model.new_modules())
    for name, parameter in model.named_parameters():
        if name in new:
            parameter.requires_grad_(True)
    if strategy not in WITH_ADAPTER and not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"nothing is trained by the strategy {strategy}")


def default_top_layers(model: Any) -> tuple[int, int]:
    """The top layers of encoder and decoder that are near to 35 % of Whisper's own parameters, and balanced."""
    encoder, decoder = model.model.encoder.layers, model.model.decoder.layers
    new = set(model.new_modules())
    own = {name: p.numel() for name, p in model.named_parameters() if name not in new}
    whole = sum(own.values())
    of_encoder = sum(numbers for name, numbers in own.items() if "encoder.layers.0." in name)
    of_decoder = sum(numbers for name, numbers in own.items() if "decoder.layers.0." in name)

    def cost(pair: tuple[int, int]) -> float:
        share = (pair[0] * of_encoder + pair[1] * of_decoder) / whole
        return abs(share - SELECTIVE_SHARE) + IMBALANCE_COST * abs(pair[0] / len(encoder) - pair[1] / len(decoder))

    return min(((n, m) for n in range(len(encoder) + 1) for m in range(1, len(decoder) + 1)), key=cost)


def part_of(name: str) -> str:
    """The part of the model that a parameter belongs to, by its name."""
    return next(part for part, texts in PARTS if any(text in name for text in texts))


def parameters_by_part(model: nn.Module) -> list[Part]:
    """The model's parts in order, those that it lacks left out."""
    counts: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        numbers = number_of(parameter)
        of_part = counts.setdefault(part_of(name), [0, 0])
        of_part[0] += numbers
        of_part[1] += numbers if parameter.requires_grad else 0
    return [Part(name, *counts[name]) for name in IN_ORDER if name in counts]


def number_of(parameter: Any) -> int:
    """The numbers in a parameter: also where ZeRO-3 has spread it, or bitsandbytes packed two into a byte."""
    shape = getattr(getattr(parameter, "quant_state", None), "shape", None)
    if shape is not None:
        return shape.numel()
    return getattr(parameter, "ds_numel", parameter.numel())


def trained_names(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]
