"""A model's parameters by part: how many there are, and how many of them are trained.

Works on names and shapes alone, so a model on the meta device will do.
"""

from dataclasses import dataclass
from typing import Any

from torch import nn

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
