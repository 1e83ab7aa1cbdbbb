"""Opening a checkpoint as the model it holds, and saying plainly when it holds another."""

import inspect
from typing import Any

import torch
from torch import nn
from transformers import WhisperConfig, WhisperForConditionalGeneration

from .adapters import merged, read_adapter, with_adapter
from .checkpoint_files import DUAL, Checkpoint, CheckpointError, first_line
from .decoding import TRAINED_ON_TIMESTAMPS, trained_on_timestamps
from .hub import where_to_look
from .network.configuration import DualWhisperConfig
from .network.dual_whisper import DualWhisperForConditionalGeneration

SUPPRESSING = ("suppress_tokens", "begin_suppress_tokens")  # which the model's config has as well, for older readers


def open_model(checkpoint: Checkpoint | str, *, lift: bool = False, **values: Any) -> Any:
    """The checkpoint's model in float32 on the CPU; a LoRA adapter's folder gives its base with the adapter merged.

    Args:
        checkpoint: or its name, without a revision.
        lift: open a plain Whisper as a dual-attention one, its second attention a copy of the first.
        values: what replaces the checkpoint's config, ``encoder_padding`` for one.

    Raises:
        CheckpointError: if there is none, or it is damaged, of another architecture, or cannot be opened as asked.
    """
    if isinstance(checkpoint, str):
        checkpoint = Checkpoint(checkpoint)
    if checkpoint.is_adapter:
        return open_merged(checkpoint, lift, values)
    name, stored = checkpoint.name, checkpoint.config
    check_structure(name, stored, values)
    is_own = lift or checkpoint.kind == DUAL
    model_class = DualWhisperForConditionalGeneration if is_own else WhisperForConditionalGeneration
    try:
        config = model_class.config_class.from_dict(dict(stored), **values)
        options = {"output_loading_info": True, "use_safetensors": True}  # no pickles
        where = where_to_look(name, checkpoint.revision)
        model, info = model_class.from_pretrained(name, config=config, **where, **options)
    except Exception as error:  # safetensors, transformers and the hub each raise their own
        raise CheckpointError(f"cannot load the weights of {name}: {first_line(error)}") from error
    own = set(model.new_modules()) if lift else set()  # a dual checkpoint that lacks them was refused
    missing = sorted(set(info["missing_keys"]) - own)  # transformers would have filled them with random numbers
    if missing:
        raise CheckpointError(f"the weights of {name} lack {len(missing)} tensors of the model, such as {missing[0]}")
    return model.to(torch.float32)


def check_structure(name: str, stored: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raises: CheckpointError: if a stored configuration does not allow what is asked for. Loads no weights."""
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
    check_second_recording(name, stored, asked)


def check_second_recording(name: str, stored: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raises: CheckpointError: if what hears a second recording of a clip cannot become what is asked for."""
    there, wanted = stored.get("second_recording", "none"), asked.get("second_recording", "none")
    if "none" not in (there, wanted) and there != wanted:
        raise CheckpointError(
            f"second_recording is {wanted}, but {name} was trained to hear second recordings by {there}: take it out"
        )
    if there == "joined" and asked.get("dual_attention"):
        raise CheckpointError(f"{name} reads both recordings with its one attention: set dual_attention to false")
    layer = stored.get("secondary_layer")
    if wanted == "attention" and layer is not None:
        raise CheckpointError(
            f"second_recording is attention, but the second attentions of {name} were trained to read encoder layer "
            f"{layer} of the one recording: take it out"
        )
    layers, trained = asked.get("second_recording_layers", 0), stored.get("second_recording_layers", 0)
    if layers and wanted == there == "none":
        raise CheckpointError(
            f"second_recording_layers is {layers}, but {name} hears no second recording: set second_recording too"
        )
    if layers and trained and layers != trained:
        raise CheckpointError(
            f"second_recording_layers is {layers}, but {name} was trained with {trained}: take it out"
        )
    if layers > stored.get("encoder_layers", layers):
        raise CheckpointError(
            f"second_recording_layers is {layers}; the encoder of {name} has {stored['encoder_layers']} layers"
        )


def open_adapter(checkpoint: Checkpoint, weights: dict[str, torch.Tensor] | None = None) -> Any:
    """peft's model of a LoRA adapter over its base in float32, not merged.

    Args:
        weights: the adapter's, under peft's names, in place of those in the folder.

    Raises:
        CheckpointError: if files are missing, damaged, or belong to another base.
    """
    config, recorded = read_adapter(checkpoint, weights_too=weights is None), checkpoint.recorded_base
    values: dict[str, Any] = {} if recorded is None else recorded.values
    base = checkpoint.base
    try:
        model = open_model(base, lift=recorded is not None, **values)
    except CheckpointError as error:
        raise CheckpointError(f"the base model of {checkpoint.name}: {error}") from None
    if checkpoint.generation_config is not None:
        set_generation_config(model, checkpoint.generation_config)
    return with_adapter(model, config, checkpoint, weights)


def open_merged(checkpoint: Checkpoint, lift: bool, values: dict[str, Any]) -> Any:
    """An adapter's base with the adapter merged, and with second attentions if the config values ask for them."""
    name = checkpoint.name
    model = merged(open_adapter(checkpoint), name)
    has_second = getattr(model.config, "dual_attention", False)
    check_structure(name, model.config.to_dict() | ({"model_type": DUAL} if has_second else {}), values)
    is_wider = getattr(model.config, "wider_feed_forward", False)
    if lift and has_second and not values.get("dual_attention", True):
        raise CheckpointError(f"{name} has second attentions, which dual_attention=False would leave out")
    for key, value in values.items():
        setattr(model.config, key, value)
    is_own = isinstance(model, DualWhisperForConditionalGeneration)
    wants_second = lift and values.get("dual_attention", True) and not has_second
    wants_wider = lift and values.get("wider_feed_forward", False) and not is_wider
    return lifted(model) if wants_second or wants_wider or (lift and not is_own) else model


def lifted(model: Any) -> DualWhisperForConditionalGeneration:
    """A model without second attentions as this project's own: with them where its config says so, as copies."""
    values = {key: value for key, value in model.config.to_dict().items() if key != "model_type"}
    own = DualWhisperForConditionalGeneration(DualWhisperConfig(**{"dual_attention": True} | values))
    left_out = own.load_state_dict(model.state_dict(), strict=False)
    assert set(left_out.missing_keys) <= set(own.new_modules()), left_out
    assert not left_out.unexpected_keys, left_out
    own.start_as_whisper()
    own.generation_config = model.generation_config
    return own.eval()


def in_own_modules(model: Any) -> Any:
    """A plain Whisper in this project's modules, which share its weights: they decode faster on CPUs, and
    :mod:`.greedy` takes no others. Any other model, and one whose layers were replaced, is returned as it is.
    """
    if type(model) is not WhisperForConditionalGeneration:
        return model
    if any(isinstance(layer, nn.Linear) and type(layer) is not nn.Linear for layer in model.modules()):
        return model
    left_out = {"model_type", "encoder_layerdrop", "decoder_layerdrop"}  # layers are dropped in training alone
    values = {key: value for key, value in model.config.to_dict().items() if key not in left_out}
    with torch.device("meta"):
        own = DualWhisperForConditionalGeneration(DualWhisperConfig(**values | {"dual_attention": False}))
    own.load_state_dict(model.state_dict(), assign=True)
    own.tie_weights()
    own.generation_config = model.generation_config
    if getattr(own.generation_config, TRAINED_ON_TIMESTAMPS, None) is None:
        setattr(own.generation_config, TRAINED_ON_TIMESTAMPS, trained_on_timestamps(model))
    return own.eval()


def as_plain_whisper(model: Any, name: str) -> WhisperForConditionalGeneration:
    """transformers' own Whisper with the same weights, which faster runtimes convert.

    Raises CheckpointError if the model has second attentions, or wider feed-forward blocks.
    """
    if not isinstance(model, DualWhisperForConditionalGeneration):
        return model
    if model.config.dual_attention:
        raise CheckpointError(f"{name} has second attentions, which plain Whisper lacks")
    if model.config.wider_feed_forward:
        raise CheckpointError(f"{name} has wider feed-forward blocks, which plain Whisper lacks")
    own = {"model_type", "auto_map", "architectures", *inspect.signature(DualWhisperConfig).parameters}
    values = {key: value for key, value in model.config.to_dict().items() if key not in own}
    plain = WhisperForConditionalGeneration(WhisperConfig(**values))
    plain.load_state_dict(model.state_dict())
    plain.generation_config = model.generation_config
    return plain.eval()


def set_generation_config(model: Any, generation: Any) -> None:
    """Give a model another generation config, and its config the same lists of suppressed tokens where it has any."""
    model.generation_config = generation
    for key in SUPPRESSING:
        if getattr(model.config, key, None) is not None:
            setattr(model.config, key, getattr(generation, key, None))
