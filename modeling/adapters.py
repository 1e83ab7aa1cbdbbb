"""LoRA: adapters put into a model, written to a folder as peft writes them, and opened again. The one place for peft.

An adapter's folder holds the adapter, the second attentions and gates, which are trained in full beside it, what it
was trained on (``base.json``) and its generation config; no weight of the base. ``peft.PeftModel.from_pretrained``
opens it on the same base.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from .checkpoints import (
    CheckpointError,
    first_line,
    open_model,
    open_processor,
    set_generation_config,
    stored_generation_config,
)
from .network.linear import quicken
from .quantization import hush_bitsandbytes

ADAPTER_CONFIG, ADAPTER_WEIGHTS, BASE = "adapter_config.json", "adapter_model.safetensors", "base.json"
NEW_MODULES = ("secondary_attn", "secondary_attn_layer_norm", "secondary_layer_norm", "gate", "wider")
PREFIX = "base_model.model."  # what peft's wrapper puts before every name
SAMPLED = 256  # numbers of each tensor that go into a fingerprint


@dataclass(frozen=True)
class Base:
    """What an adapter belongs to.

    Attributes:
        checkpoint, revision: a hub name, or a folder's absolute path.
        dual_attention, encoder_padding: how it was opened; of a plain Whisper the second attentions are copies.
        fingerprint: of its weights, see :func:`fingerprint_of`.
        nearby: the folder as seen from the adapter's, for when both have moved; None for a hub name.
    """

    checkpoint: str
    revision: str | None
    dual_attention: bool
    encoder_padding: str
    fingerprint: str
    nearby: str | None = None


@dataclass(frozen=True)
class LoraSettings:
    """Hu et al., arXiv 2106.09685: W + alpha / rank · B A.

    Attributes:
        rank: rows of A.
        alpha: the update's scale is alpha / rank.
        dropout: on the adapter's input, in training.
        targets: ends of names of linear layers, such as ``q_proj`` or ``self_attn.v_proj``.
        where: ``encoder``, ``decoder`` or both.
    """

    rank: int
    alpha: float
    dropout: float
    targets: tuple[str, ...]
    where: tuple[str, ...]


def add_lora(model: Any, settings: LoraSettings, base: Base) -> None:
    """Put adapters beside the linear layers that ``settings`` name, in place; the new modules are left alone.

    The adapters and the new modules can be trained, all else is frozen.

    Raises:
        ValueError: if a target names no linear layer; the message names those there are.
    """
    hush_bitsandbytes()  # peft imports it
    from peft import LoraConfig, inject_adapter_in_model

    pattern = target_pattern(model, settings)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
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
    model.adapter_base = base
    new = set(model.new_modules())
    for name, parameter in model.named_parameters():
        if name in new:
            parameter.requires_grad_(True)


def target_pattern(model: Any, settings: LoraSettings) -> str:
    """The regular expression of the full names that the targets mean.

    Raises:
        ValueError: as :func:`add_lora`.
    """
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
                f"{target!r} is the end of no linear layer's name in the {' and '.join(settings.where)}; there are "
                f"{', '.join(there)}"
            )
    return pattern(settings.targets)


def is_new(name: str) -> bool:
    return any(f".{module}." in f"{name}." for module in NEW_MODULES)


def has_adapter(model: Any) -> bool:
    """Whether :func:`add_lora` was applied to it."""
    return hasattr(model, "adapter_base")


def is_adapter(folder: str | os.PathLike) -> bool:
    return os.path.exists(os.path.join(folder, ADAPTER_CONFIG))


def fingerprint_of(checkpoint: str, model: Any) -> str:
    """A digest of a base: of an adapter's own files, whose merged weights come out a little differently elsewhere."""
    if not is_adapter(checkpoint):
        return fingerprint(model)
    files = [Path(checkpoint) / name for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)]
    base = read_base(Path(checkpoint))
    digest = hashlib.sha256((base.fingerprint if base else "").encode())
    for file in files:
        digest.update(file.read_bytes())
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
    """Of a model's state, what an adapter's folder holds, under the names that peft gives it there."""
    kept = {key: tensor for key, tensor in weights.items() if ".lora_" in key or is_new(key)}
    return {PREFIX + key.replace(".default.", "."): tensor for key, tensor in kept.items()}


def save_adapter(model: Any, weights: dict[str, torch.Tensor] | None, folder: Path) -> None:
    """Write the adapter's folder; ``weights`` is the model's state, None for all but the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    config = model.peft_config["default"]
    config.inference_mode, before = True, config.inference_mode
    config.save_pretrained(str(folder))
    config.inference_mode = before
    model.generation_config.save_pretrained(folder)  # training may have changed the base's
    base = model.adapter_base
    if os.path.isdir(base.checkpoint):
        base = replace(base, nearby=os.path.relpath(base.checkpoint, folder))
    (folder / BASE).write_text(json.dumps(asdict(base), indent=2) + "\n", encoding="utf-8")
    if weights is not None:
        tensors = {key: tensor.contiguous().cpu() for key, tensor in adapter_weights(weights).items()}
        save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})


def read_base(folder: Path) -> Base | None:
    """What an adapter of this project belongs to; None for one that was made elsewhere.

    Raises:
        CheckpointError: if the file is damaged.
    """
    if not (folder / BASE).exists():
        return None
    with damage_told(folder / BASE):
        return Base(**json.loads((folder / BASE).read_text(encoding="utf-8")))


def adapted(folder: str | Path) -> tuple[str, str | None]:
    """The checkpoint that an adapter's folder belongs to, and its revision.

    Raises:
        CheckpointError: if the folder names none.
    """
    folder = Path(folder)
    with damage_told(folder / ADAPTER_CONFIG):
        config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        checkpoint, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not checkpoint:
        raise CheckpointError(f"{folder / ADAPTER_CONFIG} names no base_model_name_or_path to merge into")
    base = read_base(folder)
    if base is not None and base.nearby is not None and not os.path.isdir(checkpoint):
        nearby = os.path.normpath(folder / base.nearby)
        checkpoint = nearby if os.path.isdir(nearby) else checkpoint
    return checkpoint, revision


def open_adapter(folder: Path, weights: dict[str, torch.Tensor] | None = None) -> tuple[Any, Any]:
    """peft's model of a LoRA adapter over its base in float32, and the processor, the adapter's own if it has one.

    Args:
        weights: the adapter's, under peft's names, in place of those in the folder.

    Raises:
        CheckpointError: if files are missing, damaged, or belong to another base.
    """
    hush_bitsandbytes()
    from peft import PeftConfig, get_peft_model, set_peft_model_state_dict

    file = folder / ADAPTER_WEIGHTS
    if weights is None and not file.exists():
        pickle = folder / "adapter_model.bin"
        why = f" ({pickle.name} is a pickle, which is not read)" if pickle.exists() else ""
        raise CheckpointError(f"{folder} has no {ADAPTER_WEIGHTS}{why}; save the adapter as safetensors")
    with damage_told(folder / ADAPTER_CONFIG):
        config = PeftConfig.from_pretrained(str(folder))
        kind = getattr(config.peft_type, "value", config.peft_type)
    if kind != "LORA":
        raise CheckpointError(f"{folder} is a {kind} adapter; only LORA ones can be merged here")
    checkpoint, revision = adapted(folder)
    base = read_base(folder)
    try:
        if base is None:
            model = open_model(checkpoint, revision)
        else:
            opened = {"dual_attention": base.dual_attention, "encoder_padding": base.encoder_padding}
            model = open_model(checkpoint, revision, lift=True, **opened)
        processor = open_processor(str(folder))
    except CheckpointError as error:
        raise CheckpointError(f"the base model of {folder}: {error}") from None
    if base is not None and fingerprint_of(checkpoint, model) != base.fingerprint:
        raise CheckpointError(f"{folder} was trained on another base than {checkpoint} is now: its weights differ")
    generation = stored_generation_config(folder)
    if generation is not None:
        set_generation_config(model, generation)
    config.base_model_name_or_path = checkpoint
    config.init_lora_weights = True  # others, such as pissa, would change the base on the way in
    config.inference_mode = False
    with damage_told(file):
        model = get_peft_model(model, config)
        own = {key for key, _ in model.named_parameters() if ".lora_" in key or ".modules_to_save." in key}
        result: Any = set_peft_model_state_dict(model, load_file(file) if weights is None else weights)
    refuse_names(str(file), "has tensors that the adapted model has not", result.unexpected_keys)
    refuse_names(str(file), "lacks tensors of the adapter", own & set(result.missing_keys))
    return model.eval(), processor


def merged(model: Any, name: str) -> Any:
    """The model itself, an adapter merged into the weights it adapts.

    Raises:
        CheckpointError: if the adapter parts weights that the model has as one.
    """
    if not hasattr(model, "merge_and_unload"):
        return model
    model = model.merge_and_unload().eval()
    if model.config.tie_word_embeddings:
        if not torch.equal(model.get_output_embeddings().weight, model.get_input_embeddings().weight):
            raise CheckpointError(f"{name} adapts only one of proj_out and the embeddings, which the model has as one")
        model.tie_weights()
    return model


def refuse_names(name: str, what: str, keys: Sequence[str] | set[str]) -> None:
    """Raises CheckpointError where there are any keys, naming the first of them."""
    if keys:
        listed = sorted(keys)
        more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
        raise CheckpointError(f"{name} {what}: {', '.join(listed[:3])}{more}")


@contextlib.contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Whatever a library raises on a damaged file becomes one line that names the file."""
    try:
        yield
    except (CheckpointError, MemoryError):
        raise
    except Exception as error:  # safetensors, pickle, peft and DeepSpeed each raise their own
        raise CheckpointError(f"cannot read {os.fspath(path)}: {type(error).__name__}: {first_line(error)}") from error
