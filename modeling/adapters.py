"""LoRA: adapters put into a model, written to a folder as peft writes them, and put in again. The one place for peft.

An adapter's folder holds the adapter, the second attentions and gates, which are trained in full beside it, what it
was trained on (``base.json``) and its generation config; no weight of the base. ``peft.PeftModel.from_pretrained``
opens it on the same base.
"""

import copy
import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from .checkpoint_files import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    BASE,
    Base,
    Checkpoint,
    CheckpointError,
    explain_damage,
    refuse_names,
)
from .network.linear import quicken
from .parameters import trained_names
from .quantization import hush_bitsandbytes

NEW_MODULES = ("secondary_attn", "secondary_attn_layer_norm", "secondary_layer_norm", "gate", "wider")
PREFIX = "base_model.model."  # what peft's wrapper puts before every name
SAMPLED = 256  # numbers of each tensor that go into a fingerprint
LoraKind = Literal["lora", "rslora", "dora", "pissa"]
START = "lora_start_"  # buffers of an adapted layer: A and B as PiSSA began with them
MAGNITUDE = ".lora_magnitude_vector"  # DoRA's, whose name in files is shorter than in the model


@dataclass(frozen=True)
class LoraSettings:
    """Hu et al., arXiv 2106.09685: W + alpha / rank · B A, or one of its kin.

    Attributes:
        rank: rows of A.
        alpha: the update's scale is alpha / rank.
        dropout: on the adapter's input, in training.
        targets: ends of names of linear layers, such as ``q_proj`` or ``self_attn.v_proj``.
        where: ``encoder``, ``decoder`` or both.
        kind: ``rslora`` scales by alpha / √rank (Kalajdzievski, arXiv 2312.03732). ``dora`` trains the length of each
            row of W too (Liu et al., 2402.09353). ``pissa`` begins with the largest singular vectors of W instead of
            zero (Meng et al., 2404.02948), which are taken out of W.
    """

    rank: int
    alpha: float
    dropout: float
    targets: tuple[str, ...]
    where: tuple[str, ...]
    kind: LoraKind = "lora"


def add_lora(model: Any, settings: LoraSettings, base: Base) -> None:
    """Put adapters beside the linear layers that ``settings`` name, in place; the new modules are left alone.

    The adapters and the new modules can be trained, all else is frozen.

    Raises:
        ValueError: if a target names no linear layer, or the rank is above what PiSSA can take; the message begins
            with the setting, and names the targets there are.
    """
    hush_bitsandbytes()  # peft imports it
    from peft import LoraConfig, inject_adapter_in_model

    pattern = target_pattern(model, settings)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        use_rslora=settings.kind == "rslora",
        use_dora=settings.kind == "dora",
        target_modules=pattern,
        modules_to_save=list(NEW_MODULES) if base.dual_attention else None,
        base_model_name_or_path=base.checkpoint,
        revision=base.revision,
    )
    saved, config.modules_to_save = config.modules_to_save, None  # trained in place, without peft's second copy
    inject_adapter_in_model(config, model)
    config.modules_to_save = saved
    for name, module in model.named_modules():
        if name.endswith(".base_layer") and type(module) is nn.Linear:  # which peft calls, not this project's attention
            quicken(module)
            # Autocast casts the adapter's input; peft would cast it to the adapter's float32 before.
            adapted = model.get_submodule(name.removesuffix(".base_layer"))
            adapted.cast_input_dtype_enabled = False
            if settings.kind == "pissa":
                begin_with_principal(adapted, settings.rank)
    model.adapter_base = base
    for name in model.new_modules():
        model.get_parameter(name).requires_grad_(True)


@torch.no_grad()
def begin_with_principal(layer: Any, rank: int) -> None:
    """PiSSA: give an adapter the largest singular vectors of its layer's weight, and take them out of the weight.

    They are rounded to bfloat16, so that every engine holds what was taken out to the last bit.
    """
    weight, scaling = layer.get_base_layer().weight, layer.scaling["default"]
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    if rank > min(weight.shape):
        raise ValueError(f"rank is {rank}; kind pissa takes {min(weight.shape)} at most")
    if not weight.is_meta:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # the approximation is the same on every rank and in every resume
            left, sizes, right = torch.svd_lowrank(weight.float(), min(2 * rank, *weight.shape), niter=8)
        root = (sizes[:rank] / scaling).sqrt()
        down.copy_((root[:, None] * right.T[:rank]).bfloat16())
        up.copy_((left[:, :rank] * root).bfloat16())
        weight -= scaling * up @ down
    layer.register_buffer(f"{START}A", down.detach().clone())
    layer.register_buffer(f"{START}B", up.detach().clone())


def kept_names(model: Any) -> set[str]:
    """What a resumable checkpoint of an adapted model holds: all that is trained, and where PiSSA began."""
    return {*trained_names(model), *(name for name, _ in model.named_buffers() if START in name)}


def starts_of(model: Any) -> dict[str, torch.Tensor]:
    """Copies of where PiSSA began, by name; empty for other kinds."""
    return {name: buffer.clone() for name, buffer in model.named_buffers() if START in name}


def target_pattern(model: Any, settings: LoraSettings) -> str:
    """The regular expression of the full names that the targets mean; raises as :func:`add_lora`."""
    stacks = "|".join(settings.where)
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and re.match(rf"model\.({stacks})\.layers\.", name) and not is_new(name)
    ]

    def pattern(targets: Sequence[str]) -> str:
        ends = "|".join(map(re.escape, targets))
        return rf"model\.({stacks})\.layers\.\d+\.(?!({'|'.join(NEW_MODULES)})\.)(\w+\.)?({ends})"

    for target in settings.targets:
        if not any(re.fullmatch(pattern([target]), name) for name in linear):
            there = sorted({re.sub(r"^model\.\w+\.layers\.\d+\.", "", name) for name in linear})
            raise ValueError(
                f"targets: {target!r} matches no linear layer in the {' and '.join(settings.where)}; there are "
                f"{', '.join(there)}"
            )
    return pattern(settings.targets)


def is_new(name: str) -> bool:
    return any(f".{module}." in f"{name}." for module in NEW_MODULES)


def has_adapter(model: Any) -> bool:
    """Whether :func:`add_lora` was applied to it."""
    return hasattr(model, "adapter_base")


def fingerprint_of(checkpoint: Checkpoint, model: Any) -> str:
    """A digest of a base, which was opened as ``model``.

    Of an adapter the files are read, since merged weights differ a little between machines.
    """
    if not checkpoint.is_adapter:
        return fingerprint(model)
    recorded = checkpoint.recorded_base
    digest = hashlib.sha256((recorded.fingerprint if recorded else "").encode())
    digest.update(checkpoint.adapter_config)
    digest.update(checkpoint.path(ADAPTER_WEIGHTS).read_bytes())
    return digest.hexdigest()


def fingerprint(model: Any) -> str:
    """A digest of a base's weights, to tell it from others: names, shapes and 256 numbers of each tensor.

    The new modules are left out: of a plain Whisper they are no part of the checkpoint, and gates are drawn at random.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        if not is_new(name):
            flat = parameter.detach().flatten()
            sampled = flat[:: max(1, len(flat) // SAMPLED)].to("cpu", torch.float32)
            digest.update(f"{name} {list(parameter.shape)}".encode())
            digest.update(sampled.contiguous().numpy().tobytes())
    return digest.hexdigest()


def adapter_weights(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The part of a model's state that an adapter's folder holds, under the names that peft gives it there.

    For PiSSA it is an adapter of twice the rank on the weights before anything was taken out of them: beside what was
    trained it holds what was taken out, with its sign changed.
    """
    kept = {key: tensor for key, tensor in weights.items() if ".lora_" in key or is_new(key)}
    for key in [key for key in kept if START in key]:
        layer, _, side = key.rpartition(f".{START}")
        began, trained = kept.pop(key), f"{layer}.lora_{side}.default.weight"
        now = kept[trained]
        kept[trained] = torch.cat([now, began.to(now)] if side == "A" else [now, -began.to(now)], dim="AB".index(side))
    return {name: tensor for key, tensor in kept.items() if (name := name_in_folder(key)) is not None}


def name_in_folder(key: str) -> str | None:
    """The name that a tensor of a model's state has in an adapter's folder; None for one that is not kept there."""
    short = key.replace(f"{MAGNITUDE}.default.weight", MAGNITUDE).replace(".default.", ".")
    return PREFIX + short if ".lora_" in key or is_new(key) else None


def save_adapter(model: Any, weights: dict[str, torch.Tensor] | None, folder: Path) -> None:
    """Write the adapter's folder. ``weights`` are the model's state; None to write everything but the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    config = copy.copy(model.peft_config["default"])
    config.inference_mode = True
    if starts_of(model):  # as in :func:`adapter_weights`, at the same scale
        config.r, config.lora_alpha = 2 * config.r, 2 * config.lora_alpha
    config.save_pretrained(str(folder))
    model.generation_config.save_pretrained(folder)  # training may have changed the base's
    base = model.adapter_base
    if os.path.isdir(base.checkpoint):
        base = replace(base, nearby=os.path.relpath(base.checkpoint, folder))
    (folder / BASE).write_text(json.dumps(asdict(base), indent=2) + "\n", encoding="utf-8")
    if weights is not None:
        tensors = {key: tensor.contiguous().cpu() for key, tensor in adapter_weights(weights).items()}
        save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})


def read_adapter(checkpoint: Checkpoint, weights_too: bool = True) -> Any:
    """peft's configuration of a LoRA adapter's folder.

    Args:
        weights_too: refuse a folder without the adapter's weights.

    Raises:
        CheckpointError: if files are missing or damaged, or the adapter is of another kind.
    """
    hush_bitsandbytes()  # peft imports it
    from peft import PeftConfig

    if weights_too and not checkpoint.path(ADAPTER_WEIGHTS).exists():
        pickle = checkpoint.path("adapter_model.bin")
        why = f" ({pickle.name} is a pickle, which is not read)" if pickle.exists() else ""
        raise CheckpointError(f"{checkpoint.name} has no {ADAPTER_WEIGHTS}{why}; save the adapter as safetensors")
    with explain_damage(checkpoint.path(ADAPTER_CONFIG)):
        config = PeftConfig.from_pretrained(checkpoint.name)
        kind = getattr(config.peft_type, "value", config.peft_type)
    if kind != "LORA":
        raise CheckpointError(f"{checkpoint.name} is a {kind} adapter; only LORA ones can be merged here")
    return config


def with_adapter(
    model: Any, config: Any, checkpoint: Checkpoint, weights: dict[str, torch.Tensor] | None = None
) -> Any:
    """peft's model of an open base with the adapter in it.

    Args:
        model: the base, as :attr:`Checkpoint.base` says, opened as the adapter was trained on it.
        config: of :func:`read_adapter`.
        checkpoint: the adapter's folder.
        weights: the adapter's, under peft's names, in place of those in the folder.

    Raises:
        CheckpointError: if the base is another than the adapter's, or the weights are damaged or do not fit.
    """
    from peft import get_peft_model, set_peft_model_state_dict

    base, recorded, file = checkpoint.base, checkpoint.recorded_base, checkpoint.path(ADAPTER_WEIGHTS)
    if recorded is not None and fingerprint_of(base, model) != recorded.fingerprint:
        raise CheckpointError(
            f"{checkpoint.name} was trained on another base than {base.name} is now: its weights differ"
        )
    config.base_model_name_or_path = base.name
    config.init_lora_weights = True  # others, such as pissa, would change the base
    config.inference_mode = False
    with explain_damage(file):
        model = get_peft_model(model, config)
        own = {key for key, _ in model.named_parameters() if ".lora_" in key or ".modules_to_save." in key}
        result: Any = set_peft_model_state_dict(model, load_file(file) if weights is None else weights)
    refuse_names(str(file), "has tensors that the adapted model lacks", result.unexpected_keys)
    refuse_names(str(file), "lacks tensors of the adapter", own & set(result.missing_keys))
    return model.eval()


def merged(model: Any, name: str) -> Any:
    """The model, an adapter merged into its weights. Raises CheckpointError if it changes one of two tied weights."""
    if not hasattr(model, "merge_and_unload"):
        return model
    model = model.merge_and_unload().eval()
    if model.config.tie_word_embeddings:
        if not torch.equal(model.get_output_embeddings().weight, model.get_input_embeddings().weight):
            raise CheckpointError(f"{name} adapts only one of proj_out and the embeddings, which are tied in the model")
        model.tie_weights()
    return model
