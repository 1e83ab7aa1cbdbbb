"""Reads what a training left, with any engine, as one float32 model on the CPU.

Knows nothing of output folders, dtypes or the hub. Code in a checkpoint is never run: the classes are this project's or
transformers' own. The only pickles that are read are the run's own ZeRO shards, and the user is told.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import WhisperForConditionalGeneration

from modeling import DualWhisperForConditionalGeneration
from modeling.adapters import adapter_weights
from modeling.checkpoint_files import (
    CONFIG,
    DUAL,
    GENERATION_CONFIG,
    INDEX,
    WEIGHTS,
    Checkpoint,
    CheckpointError,
    check_name,
    explain_damage,
    first_line,
    refuse_names,
    weight_files,
)
from modeling.checkpoint_parts import check_tokenizer
from modeling.checkpoints import open_adapter, open_model

from ..record.checkpoints import BLUEPRINT, list_checkpoints, read_state


def open_trained(folder: Path, say: Callable[[str], None] = print) -> tuple[Any, Any]:
    """The model (float32, on the CPU, evaluation mode) and processor of any folder that a training left.

    Args:
        folder: a plain Hugging Face folder, a resumable ``step_…`` of any engine, or a LoRA adapter. An adapter's model
            comes as peft's, not yet merged.
        say: prints what the user should know, such as that pickles are read.

    Raises:
        CheckpointError: if it is none of these, is damaged, or has tensors that are missing or left over.
    """
    name, checkpoint = str(folder), Checkpoint(str(folder))
    if not folder.is_dir():
        check_name(name)
        raise CheckpointError(f"no such folder: {name}")
    if (folder / "run_state.json").exists():
        model, processor = open_step(folder, say)
    elif checkpoint.is_adapter:
        model, processor = open_adapter(checkpoint), checkpoint.processor
    else:
        refuse_what_is_no_model(checkpoint)
        model, processor = open_model(checkpoint), checkpoint.processor
    for key, tensor in model.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{name}: {key} holds values that are not finite numbers")
    known, start = len(processor.tokenizer), model.config.decoder_start_token_id
    if start >= known:  # transformers opens a folder without a vocabulary as an empty tokenizer
        raise CheckpointError(f"the tokenizer of {name} knows {known} tokens, and the model begins with token {start}")
    check_tokenizer(name, model.config.vocab_size, model.generation_config, processor.tokenizer)
    return model.eval(), processor


def refuse_what_is_no_model(checkpoint: Checkpoint) -> None:
    """Raises: CheckpointError: for a run's folder, naming those in it, and for a folder of pickles or no weights."""
    folder = Path(checkpoint.name)
    if (folder / "config.yaml").exists():
        plain = [folder / part for part in ("best", "final") if is_saved_model(folder / part)]
        there = [str(path) for path in (*plain, *list_checkpoints(folder / "checkpoints"))]
        raise CheckpointError(
            f"{folder} is a run's folder; export " + (f"one of {', '.join(there)}" if there else "it once it has saved")
        )
    checkpoint.kind  # noqa: B018 - raises for what has no config.json or is of another architecture
    if any((folder / weights).exists() for weights in (WEIGHTS, INDEX)):
        return
    pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
    if pickles:
        raise CheckpointError(
            f"{folder} has its weights as a pickle only ({pickles[0]}), which can run code when it is read: where you "
            "trust it, load it with torch.load(..., weights_only=True) and write it with safetensors.torch.save_file"
        )
    if (folder.parent / "config.yaml").exists() and folder.name == BLUEPRINT:
        raise CheckpointError(f"{folder} is what the run's checkpoints are opened with and holds no weights")
    raise CheckpointError(f"{folder} has no {WEIGHTS}")


def is_saved_model(folder: Path) -> bool:
    return Checkpoint(str(folder)).is_adapter or (folder / CONFIG).exists()


# A resumable checkpoint


def open_step(folder: Path, say: Callable[[str], None]) -> tuple[Any, Any]:
    """Model and processor of ``checkpoints/step_…``, from the run's blueprint and the engine's own files."""
    blueprint = folder.resolve().parent.parent / BLUEPRINT
    checkpoint = Checkpoint(str(blueprint))
    if not is_saved_model(blueprint):
        raise CheckpointError(
            f"{folder} has weights, but not what the model is: {blueprint} is missing. Put the checkpoint back into "
            "its run's folder; a run of an older version gets one when it goes on with --resume"
        )
    weights = read_zero_shards(folder, say) if (folder / "latest").exists() else read_safetensors(folder)
    if checkpoint.is_adapter:
        return open_adapter(checkpoint, adapter_weights(weights)), checkpoint.processor
    model = model_without_weights(checkpoint)
    load_strictly(model, weights, str(folder))
    return model, checkpoint.processor


def model_without_weights(blueprint: Checkpoint) -> Any:
    """The model of a blueprint, on the meta device: no initialisation that the checkpoint would overwrite."""
    is_dual = blueprint.kind == DUAL
    model_class: Any = DualWhisperForConditionalGeneration if is_dual else WhisperForConditionalGeneration
    try:
        with torch.device("meta"):
            model = model_class(model_class.config_class.from_dict(dict(blueprint.config)))
    except Exception as error:  # whatever a damaged JSON file leads to
        raise CheckpointError(f"cannot build the model of {blueprint.name}: {first_line(error)}") from None
    if blueprint.generation_config is None:
        raise CheckpointError(f"{blueprint.name} has no {GENERATION_CONFIG}")
    model.generation_config = blueprint.generation_config
    return model


def read_safetensors(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors that Accelerate wrote for one process or DDP, in one file or several."""
    weights: dict[str, torch.Tensor] = {}
    for file in weight_files(folder):
        if not file.exists():
            raise CheckpointError(f"{file} is missing")
        with explain_damage(file):
            weights |= load_file(file)
    return weights


def read_zero_shards(folder: Path, say: Callable[[str], None]) -> dict[str, torch.Tensor]:
    """The float32 master weights out of DeepSpeed's shards; frozen weights are in the engine's precision."""
    tag = (folder / "latest").read_text(encoding="utf-8").strip()
    shards = folder / tag
    for rank in range(read_state(folder).processes):
        if not list(shards.glob(f"*zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")):
            raise CheckpointError(f"{shards} lacks the shard of rank {rank}, *zero_pp_rank_{rank}_*_optim_states.pt")
        whole = shards / "mp_rank_00_model_states.pt"  # ZeRO-1 and 2
        own = shards / f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt"  # ZeRO-3
        if not whole.exists() and not own.exists():
            raise CheckpointError(f"{shards} lacks {whole.name} and {own.name}")
    say(
        f"reading the run's own engine shards in {shards}: they are pickles, which can run code when they are read. "
        "Export checkpoints of your own runs only"
    )
    try:
        from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint
    except ImportError:
        raise CheckpointError(f"{folder} is DeepSpeed's, which is not installed: pip install deepspeed") from None
    with explain_damage(shards):
        lazy = get_fp32_state_dict_from_zero_checkpoint(str(folder), tag, lazy_mode=True)
        weights = {key: lazy.pop(key).contiguous() for key in list(lazy)}
        if whole.exists():
            # ZeRO-1 writes frozen weights, such as the encoder's positions, into the module alone.
            module = torch.load(whole, map_location="cpu", mmap=True, weights_only=False)["module"]
            weights |= {key: tensor for key, tensor in module.items() if key not in weights}
    return weights


def load_strictly(model: Any, weights: dict[str, torch.Tensor], name: str) -> None:
    """Give a model on the meta device its weights, as float32; ``weights`` is emptied, so that none is held twice.

    Raises:
        CheckpointError: if one is missing, left over or of another shape, or tied ones differ.
    """
    model.tie_weights()
    tied: dict[int, list[str]] = {}
    for key, tensor in model.state_dict(keep_vars=True).items():
        tied.setdefault(id(tensor), []).append(key)
    known = model.state_dict()
    refuse_names(name, "has tensors that the model lacks", weights.keys() - known.keys())
    missing = [keys[0] for keys in tied.values() if not weights.keys() & set(keys)]
    refuse_names(name, "lacks tensors of the model", missing)
    for key, tensor in weights.items():
        if tensor.shape != known[key].shape:
            shapes = f"{list(tensor.shape)}, the model's {list(known[key].shape)}"
            raise CheckpointError(f"{name}: {key} has the shape {shapes}")
    whole: dict[str, torch.Tensor] = {}
    for keys in tied.values():
        given = [key for key in keys if key in weights]
        tensor = weights[given[0]]
        if any(not torch.equal(tensor, weights[key]) for key in given[1:]):
            raise CheckpointError(f"{name}: {' and '.join(given)} differ, which the model ties")
        for key in given:
            del weights[key]
        whole |= dict.fromkeys(keys, tensor.to(torch.float32))
    model.load_state_dict(whole, strict=True, assign=True)
    model.tie_weights()
    assert not any(t.is_meta for t in (*model.parameters(), *model.buffers())), "state that no checkpoint has"
