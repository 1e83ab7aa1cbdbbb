"""Weighted means of models, tensor by tensor: summed in float64 and rounded once, to float32.

Of adapters the mean of A and the mean of B do not give the mean of B·A. Their updates are summed instead: with the As
below each other and the weighted Bs beside each other, one product is the sum of all, and its rank the sum of ranks.
"""

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from modeling.adapters import is_new
from modeling.checkpoint_files import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    BASE,
    GENERATION_CONFIG,
    CheckpointError,
)
from modeling.processors import save_processor

from ...record.durable import write_text
from ..exporting import write_weights
from ..trained_weights import load_strictly, model_without_weights
from .sources import Source, adapter_values

SHARD_SIZE = "5GB"
RECORD = "merged.json"


def mean_of(tensors: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """The weighted mean, Σ wᵢ tᵢ / Σ wᵢ in float64, rounded once to float32."""
    total = torch.zeros(tensors[0].shape, dtype=torch.float64)
    for tensor, weight in zip(tensors, weights, strict=True):
        if weight:
            total += weight * tensor.double()
    return (total / math.fsum(weights)).float()


def means(sources: Sequence[Source], weights: Sequence[float]) -> Iterator[tuple[str, torch.Tensor]]:
    """The mean of each tensor by name; of one name at a time the tensors are in memory.

    Raises CheckpointError for a tensor that is damaged or not finite.
    """
    for key in sources[0].tensors:
        mean = mean_of([source.tensors[key].read() for source in sources], weights)
        if not torch.isfinite(mean).all():
            raise CheckpointError(f"the mean of {key} holds values that are not finite numbers")
        yield key, mean


def write_model(sources: Sequence[Source], weights: Sequence[float], folder: Path) -> None:
    """Write the mean of whole models as a plain Hugging Face folder. One model is in memory."""
    parts = sources[0].parts
    model = model_without_weights(parts)
    load_strictly(model, dict(means(sources, weights)), str(folder))
    write_weights(model.eval(), folder, torch.float32, SHARD_SIZE)
    save_processor(parts.processor, folder)


def scale_of(source: Source) -> float:
    """What an adapter's B·A is multiplied by: alpha / rank, or alpha / √rank for a rank-stabilised one."""
    values: dict[str, Any] = adapter_values(source)
    rank = values["r"]
    return values["lora_alpha"] / (math.sqrt(rank) if values.get("use_rslora") else rank)


def joined_adapters(sources: Sequence[Source], weights: Sequence[float]) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of one adapter with scale 1 whose update is Σ wᵢ · update of the i-th; without the new modules."""
    for key in sources[0].tensors:
        if ".lora_A." in key:
            yield key, torch.cat([source.tensors[key].read().float() for source in sources])
        elif ".lora_B." in key:
            scaled = (
                (weight * scale_of(source) * source.tensors[key].read().double()).float()
                for source, weight in zip(sources, weights, strict=True)
            )
            yield key, torch.cat(list(scaled), dim=1)


def write_adapter(
    sources: Sequence[Source], weights: Sequence[float], folder: Path, target: Path, before: Source | None = None
) -> None:
    """Write the mean of adapters as an adapter's folder.

    Args:
        weights: of the sources; what they lack to 1 is the weight of the model before training.
        target: where the folder will lie, relative to which it notes its base.
        before: the new modules before training, where these have a weight.
    """
    parts, recorded = sources[0].parts, sources[0].parts.recorded_base
    tensors = dict(joined_adapters(sources, weights))
    new = [replace(one, tensors={key: t for key, t in one.tensors.items() if is_new(key)}) for one in sources]
    shares = list(weights)
    if before is not None:
        new, shares = [*new, before], [*shares, 1.0 - math.fsum(weights)]
    tensors |= dict(means(new, shares))
    save_file({key: one.contiguous() for key, one in tensors.items()}, folder / ADAPTER_WEIGHTS, {"format": "pt"})
    rank = sum(int(str(adapter_values(source)["r"])) for source in sources)
    base = parts.base.name
    own = {"r": rank, "lora_alpha": rank, "use_rslora": False, "init_lora_weights": True}
    values = adapter_values(sources[0]) | own | {"base_model_name_or_path": base}
    (folder / ADAPTER_CONFIG).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    if recorded is not None:
        if os.path.isdir(base):
            recorded = replace(recorded, checkpoint=os.path.abspath(base), nearby=os.path.relpath(base, target))
        (folder / BASE).write_text(json.dumps(asdict(recorded), indent=2) + "\n", encoding="utf-8")
    generation = parts.path(GENERATION_CONFIG)
    if generation.exists():
        (folder / GENERATION_CONFIG).write_bytes(generation.read_bytes())
    save_processor(parts.processor, folder)


def write_mean(
    sources: Sequence[Source], weights: Sequence[float], folder: Path, target: Path, before: Source | None = None
) -> None:
    """Write the mean of sources, and of the model before training where it is given, into an empty folder.

    Args:
        weights: of the sources. With ``before`` they sum to the share of training, else only their ratios count.
        target: where the folder will lie.
    """
    shares = list(weights)
    if sources[0].is_adapter:
        if before is None:
            shares = [weight / math.fsum(shares) for weight in shares]
        write_adapter(sources, shares, folder, target, before.new_modules() if before is not None else None)
    elif before is None:
        write_model(sources, shares, folder)
    else:
        write_model([*sources, before], [*shares, 1.0 - math.fsum(shares)], folder)
    told: dict[str, Any] = {
        "sources": [{"name": one.name, "weight": share} for one, share in zip(sources, shares, strict=True)]
    }
    if before is not None:
        told["before_training"] = 1.0 - math.fsum(shares)
    write_text(folder / RECORD, json.dumps(told, indent=2) + "\n")
