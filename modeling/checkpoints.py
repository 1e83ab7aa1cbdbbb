"""Opening a checkpoint folder or hub name as the model it holds, and saying plainly when it holds another."""

import difflib
import os
from typing import Any

from transformers import (
    GenerationConfig,
    PretrainedConfig,
    WhisperConfig,
    WhisperForConditionalGeneration,
    WhisperProcessor,
)

from .hub import tell_whence, where_to_look, why_unreachable
from .network.dual_whisper import DualWhisperForConditionalGeneration
from .published import is_unpublished, nearest_published

DUAL, PLAIN = "dual_whisper", "whisper"
GENERATION_CONFIG = "generation_config.json"
SUPPRESSING = ("suppress_tokens", "begin_suppress_tokens")  # which the model's config has as well, for older readers
# Of the configuration, what plain Whisper's has not.
OWN_VALUES = (
    "encoder_padding",
    "dual_attention",
    "secondary_layer",
    "secondary_added",
    "gate_bias",
    "wider_feed_forward",
)


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, or of another architecture."""

    exit_code = 2


def checkpoint_kind(name: str, revision: str | None = None) -> str:
    """``dual_whisper`` or ``whisper``, from the checkpoint's config alone.

    Raises:
        CheckpointError: if there is no such checkpoint, or it is of another architecture.
    """
    check_name(name)
    if os.path.exists(os.path.join(name, "adapter_config.json")):
        return DUAL  # an adapter is opened as this project's own model
    if os.path.isdir(name) and not os.path.exists(os.path.join(name, "config.json")):
        raise CheckpointError(f"{name} has no config.json: it is not a checkpoint{_checkpoint_below(name)}")
    try:
        kind = stored_config(name, revision).get("model_type")
    except Exception as error:  # JSON of another kind gives anything
        where = "" if os.path.isdir(name) else ", which is no folder here"
        unreachable = why_unreachable(name)
        reason = f"{unreachable}, and it was not downloaded before" if unreachable else first_line(error)
        nearest = "" if os.path.isdir(name) else _nearest(name)
        raise CheckpointError(f"cannot open checkpoint {name}{where}: {reason}{nearest}") from None
    tell_whence(name)
    if kind not in (DUAL, PLAIN):
        raise CheckpointError(f"{name} is a {kind!r} checkpoint; it must be a {PLAIN!r} or {DUAL!r} one")
    return kind


def stored_config(name: str, revision: str | None = None) -> dict[str, Any]:
    """A checkpoint's config.json."""
    return PretrainedConfig.get_config_dict(name, **where_to_look(name, revision))[0]


def check_name(name: str) -> None:
    """Refuse what is neither a folder nor can be a hub name; nothing is asked of the hub.

    Raises:
        CheckpointError: naming the folder or the published checkpoint that is nearest.
    """
    if os.path.isdir(name):
        return
    if os.path.isabs(name) or name.startswith(".") or name.count("/") != 1 or _is_misspelt_path(name):
        raise CheckpointError(f"{name!r} is neither a folder nor a hub name{_nearest(name)}")
    if is_unpublished(name):
        raise CheckpointError(f"{name!r} is none of the Whisper checkpoints that OpenAI published{_nearest(name)}")


def open_processor(name: str, revision: str | None = None) -> WhisperProcessor:
    """The checkpoint's feature extractor and tokenizer.

    Raises:
        CheckpointError: as :func:`checkpoint_kind`, and if files of the processor are missing or damaged.
    """
    from .adapters import adapted, is_adapter

    if is_adapter(name) and not os.path.exists(os.path.join(name, "tokenizer_config.json")):
        name, revision = adapted(name)  # peft writes none beside an adapter
    check_name(name)
    try:
        return WhisperProcessor.from_pretrained(name, **where_to_look(name, revision))
    except Exception as error:  # tokenizers raises the plainest kind
        checkpoint_kind(name, revision)  # what is wrong may not be the processor
        raise CheckpointError(f"cannot open the processor of {name}: {first_line(error)}") from None


def open_model(name: str, revision: str | None = None, lift: bool = False, **config: Any) -> Any:
    """The checkpoint's model in float32; a LoRA adapter's folder gives its base with the adapter merged.

    Args:
        lift: open a plain Whisper as a dual-attention one, its second attention a copy of the first.
        config: values that replace the checkpoint's config, ``encoder_padding`` for one.

    Raises:
        CheckpointError: as :func:`checkpoint_kind`, and if the weights are missing or damaged.
    """
    import torch

    if os.path.exists(os.path.join(name, "adapter_config.json")):
        return _open_merged(name, lift, config)
    kind = checkpoint_kind(name, revision)
    check_structure(name, stored_config(name, revision), config)
    model_class = DualWhisperForConditionalGeneration if lift or kind == DUAL else WhisperForConditionalGeneration
    try:
        options = {"output_loading_info": True, "use_safetensors": True} | config  # no pickles
        model, info = model_class.from_pretrained(name, **where_to_look(name, revision), **options)
    except Exception as error:  # safetensors, transformers and the hub each raise their own
        raise CheckpointError(f"cannot load the weights of {name}: {first_line(error)}") from error
    own = set(model.new_modules()) if lift else set()  # a dual checkpoint that lacks them was refused
    missing = sorted(set(info["missing_keys"]) - own)  # transformers would have filled them with random numbers
    if missing:
        raise CheckpointError(f"the weights of {name} lack {len(missing)} tensors of the model, such as {missing[0]}")
    return model.to(torch.float32)


def check_structure(name: str, stored: dict[str, Any], asked: dict[str, Any]) -> None:
    """Whether a checkpoint with a stored configuration can be opened as a run asks, without loading it.

    Raises:
        CheckpointError: for an encoder layer that there is not, or modules other than those that were trained.
    """
    layer, layers = asked.get("secondary_layer"), stored.get("encoder_layers")
    if layer is not None and layers is not None and layer > layers:
        raise CheckpointError(f"secondary_layer is {layer}; the encoder of {name} has layers 1 to {layers}")
    is_own = stored.get("model_type") == DUAL
    has_second = is_own and stored.get("dual_attention", True)
    if has_second and asked.get("gate_bias"):
        raise CheckpointError(f"gate_bias is for gates that are new, and {name} has gates already: take it out")
    if has_second and layer is not None and layer != stored.get("secondary_layer"):
        there = stored.get("secondary_layer")
        where = "the encoder's output" if there is None else f"encoder layer {there}"
        raise CheckpointError(
            f"secondary_layer is {layer}, but the second attentions of {name} were trained to read {where}: take it out"
        )
    if has_second and asked.get("secondary_added") and not stored.get("secondary_added"):
        raise CheckpointError(
            f"secondary_added is asked for, but the second attentions of {name} were trained to take the first ones' "
            "place: take it out"
        )
    if stored.get("wider_feed_forward") and asked.get("dual_attention"):
        raise CheckpointError(f"{name} has wider feed-forward blocks, which take no second attentions beside them")


def _open_merged(folder: str, lift: bool, values: dict[str, Any]) -> Any:
    """An adapter's base with the adapter merged, and with second attentions if the config values ask for them."""
    from pathlib import Path

    from .adapters import merged, open_adapter

    model = merged(open_adapter(Path(folder))[0], folder)
    has_second = getattr(model.config, "dual_attention", False)
    check_structure(folder, model.config.to_dict() | ({"model_type": DUAL} if has_second else {}), values)
    is_wider = getattr(model.config, "wider_feed_forward", False)
    if lift and has_second and not values.get("dual_attention", True):
        raise CheckpointError(f"{folder} has second attentions, which dual_attention=False would leave out")
    for key, value in values.items():
        setattr(model.config, key, value)
    is_own = isinstance(model, DualWhisperForConditionalGeneration)
    wants_second = lift and values.get("dual_attention", True) and not has_second
    wants_wider = lift and values.get("wider_feed_forward", False) and not is_wider
    return lifted(model) if wants_second or wants_wider or (lift and not is_own) else model


def lifted(model: Any) -> DualWhisperForConditionalGeneration:
    """A model without second attentions as this project's own: with them where its config says so, as copies."""
    from .network.configuration import DualWhisperConfig

    values = {key: value for key, value in model.config.to_dict().items() if key != "model_type"}
    own = DualWhisperForConditionalGeneration(DualWhisperConfig(**{"dual_attention": True} | values))
    left_out = own.load_state_dict(model.state_dict(), strict=False)
    assert set(left_out.missing_keys) <= set(own.new_modules()), left_out
    assert not left_out.unexpected_keys, left_out
    own.start_as_whisper()
    own.generation_config = model.generation_config
    return own.eval()


def as_plain_whisper(model: Any, name: str) -> WhisperForConditionalGeneration:
    """A model without second attentions as transformers' own Whisper, which faster runtimes convert; same weights.

    Raises:
        CheckpointError: if it has second attentions, or wider feed-forward blocks.
    """
    if not isinstance(model, DualWhisperForConditionalGeneration):
        return model
    if model.config.dual_attention:
        raise CheckpointError(f"{name} has second attentions, which plain Whisper has not")
    if model.config.wider_feed_forward:
        raise CheckpointError(f"{name} has wider feed-forward blocks, which plain Whisper has not")
    own = {"model_type", "auto_map", "architectures", *OWN_VALUES}
    values = {key: value for key, value in model.config.to_dict().items() if key not in own}
    plain = WhisperForConditionalGeneration(WhisperConfig(**values))
    plain.load_state_dict(model.state_dict())
    plain.generation_config = model.generation_config
    return plain.eval()


def stored_generation_config(folder: str | os.PathLike) -> GenerationConfig | None:
    """The generation config in a folder; None where there is none.

    Raises:
        CheckpointError: if it is damaged.
    """
    path = os.path.join(folder, GENERATION_CONFIG)
    if not os.path.exists(path):
        return None
    try:
        return GenerationConfig.from_pretrained(str(folder))
    except Exception as error:  # whatever a damaged JSON file leads to
        raise CheckpointError(f"cannot read {path}: {first_line(error)}") from None


def set_generation_config(model: Any, generation: Any) -> None:
    """Give a model another generation config, and its config the same lists of suppressed tokens where it has any."""
    model.generation_config = generation
    for key in SUPPRESSING:
        if getattr(model.config, key, None) is not None:
            setattr(model.config, key, getattr(generation, key, None))


def first_line(error: Exception) -> str:
    """What a library's error says, in a line; its kind where it says nothing."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)


def _nearest(name: str) -> str:
    """The folder or the published checkpoint that may be meant, in brackets; nothing where none is like it."""
    folder = _nearest_folder(name)
    if folder:
        return f" (there is {folder})"
    published = nearest_published(name)
    return f" (did you mean {published!r}?)" if published else ""


def _nearest_folder(name: str) -> str | None:
    parent = os.path.dirname(os.path.abspath(name))
    siblings = [entry.name for entry in os.scandir(parent) if entry.is_dir()] if os.path.isdir(parent) else []
    match = difflib.get_close_matches(os.path.basename(name), siblings, n=1)
    return os.path.join(os.path.dirname(name), match[0]) if match else None


def _is_misspelt_path(name: str) -> bool:
    """Whether ``folder/x`` is a path and no hub name: the folder is here, and is a run or holds runs.

    A folder that holds checkpoints may be a mirror of a hub owner's, of whom another one is asked for.
    """
    folder = os.path.dirname(name)
    if not os.path.isdir(folder):
        return False
    places = [folder, *(entry.path for entry in os.scandir(folder) if entry.is_dir())]
    return any(os.path.exists(os.path.join(place, mark)) for place in places for mark in ("config.yaml", "best"))


def _checkpoint_below(name: str) -> str:
    if os.path.exists(os.path.join(name, "run_state.json")):
        return " (training goes on from it with --resume; to use it, take the run's best or final, or export it)"
    kinds = ("config.json", "adapter_config.json")
    below = [child for child in ("best", "final") if any(os.path.exists(os.path.join(name, child, k)) for k in kinds)]
    return f" (did you mean {os.path.join(name, below[0])}?)" if below else ""
