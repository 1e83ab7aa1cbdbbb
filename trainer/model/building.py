"""The model and the processor that a config asks for: a checkpoint lifted, or a new model with its vocabulary; and the
same model without weights, to be counted.

What is trained of it is decided here too, before an engine prepares it.
"""

import os
from typing import Any, cast

import torch

from modeling import DualWhisperConfig, DualWhisperForConditionalGeneration
from modeling.adapters import LoraSettings, add_lora, fingerprint_of, has_adapter, is_new
from modeling.byte_processor import build_byte_processor, generation_config_for
from modeling.checkpoint_files import Base, Checkpoint, check_name
from modeling.checkpoint_parts import check_stored_parts
from modeling.checkpoints import check_structure, open_model
from modeling.decoding import first_timestamp_token, note_timestamps
from modeling.frozen import hold_frozen
from modeling.network.decoder_layer import DualWhisperDecoderLayer
from modeling.network.linear import choose_onednn
from modeling.published import model_without_weights, published_shape
from modeling.quantization import quantize_linear

from ..config.model import NEW_SHAPE, Architecture
from ..config.reading import ConfigError
from ..config.run import RunConfig
from ..config.strategies import choose_trained
from ..engine.accelerator import resolve_precision
from ..engine.device import DTYPES
from .languages import languages_of
from .teacher import check_taught, check_teacher


def build_model(config: RunConfig, checkpoint: Checkpoint | None = None) -> tuple[Any, Any]:
    """Model (on the CPU, the same on every rank) and processor.

    The model is in float32. Where the run computes under autocast, frozen weights are in its precision already, and its
    ``state_dict()`` has them in float32, if a checkpoint needs them.

    Raises:
        ConfigError: if the strategy does not fit the model.
        CheckpointError: if the checkpoint cannot be opened or is of another architecture.
    """
    checkpoint = checkpoint or starting_checkpoint(config)
    model, processor = model_before_training(config, checkpoint)
    windows = config.data.windows
    if windows is not None and windows.timestamps and first_timestamp_token(model) is None:
        raise ConfigError(
            "data.windows.timestamps is above 0, but the model's vocabulary has no timestamps: set it to 0"
        )
    note_timestamps(model, config.data.window_seconds)
    make_trainable(model, config, checkpoint)
    return model, processor


def model_before_training(config: RunConfig, checkpoint: Checkpoint | None) -> tuple[Any, Any]:
    """Model and processor with the weights that a run begins from, drawn by its seed where they are new.

    Args:
        checkpoint: of :func:`starting_checkpoint`.

    Raises:
        CheckpointError: if it cannot be opened or is of another architecture.
    """
    settings = config.model
    torch.manual_seed(config.training.seed)
    if checkpoint is None:
        return new_model(config)
    processor = checkpoint.processor
    model = open_model(
        checkpoint,
        lift=True,
        encoder_padding=settings.encoder_padding,
        dropout=settings.dropout,
        **settings.decoder_values,
    )
    return model, processor


def starting_checkpoint(config: RunConfig) -> Checkpoint | None:
    """The checkpoint that a run begins from, not looked at yet; None for a model from nothing."""
    settings = config.model
    return None if settings.checkpoint is None else Checkpoint(settings.checkpoint, settings.revision)


def planned_model(config: RunConfig, checkpoint: Checkpoint | None = None) -> Any:
    """The model on the meta device, its strategy applied; None where only the hub knows its shape.

    Args:
        checkpoint: of :func:`starting_checkpoint`, where it has been looked at already.

    Raises:
        ConfigError, CheckpointError: as building the model would, as far as this machine can tell.
    """
    settings = config.model
    checkpoint = checkpoint or starting_checkpoint(config)
    name, own = "model.architecture", {}
    if checkpoint is None:
        assert settings.architecture is not None  # the config has exactly one of the two
        if settings.processor is not None:
            check_name(settings.processor)
            return None
        vocabulary = len(build_byte_processor(languages_of(config)).tokenizer)
        stored = shape = architecture_arguments(settings.architecture, vocabulary)
    else:
        check_stored_parts(checkpoint)
        whole = checkpoint.whole
        name = whole.name
        if whole.is_folder:
            if whole.has_second_attentions and not settings.dual_attention:
                raise ConfigError(
                    f"model.dual_attention is false, but model.checkpoint, {name!r}, has second attentions, "
                    "which would be left out"
                )
            shape = whole.shape
            stored = whole.config | shape
            kept = (*NEW_SHAPE, "second_recording", "second_recording_layers")
            own = {key: stored[key] for key in kept if key != "gate_bias" and stored.get(key)}
        else:
            published = published_shape(name)
            if published is None:
                return None
            stored = shape = published
        if checkpoint.is_adapter and (recorded := checkpoint.recorded_base) is not None:
            heard = {key: value for key, value in recorded.values.items() if key.startswith("second_recording")}
            stored, own = stored | heard, own | heard
    check_structure(name, stored, settings.decoder_values)
    model = model_without_weights(shape, encoder_padding=settings.encoder_padding, **own | settings.decoder_values)
    apply_strategy(model, config, checkpoint)
    return model


def make_trainable(model: Any, config: RunConfig, checkpoint: Checkpoint | None = None) -> None:
    """What a config asks of a model that is there, with whatever weights; in place.

    Args:
        checkpoint: of :func:`starting_checkpoint`, where it has been looked at already.

    Raises:
        ConfigError: if the strategy does not fit the model.
    """
    model.config.use_cache = True
    apply_strategy(model, config, checkpoint)
    checkpoint_gradients(model, config.model.gradient_checkpointing)
    choose_onednn(model, config.performance.onednn)
    precision = resolve_precision(config.engine.precision)
    if precision != "fp32" and not config.engine.zero_stage:  # DeepSpeed rounds all weights by itself
        hold_frozen(model, DTYPES[precision], keep=not has_adapter(model))


def checkpoint_gradients(model: Any, which: str) -> None:
    """Have the layers of ``encoder``, ``decoder``, ``all`` or ``none`` computed again in the backward pass."""
    model.model.encoder.checkpoint_layers(which in ("encoder", "all"))
    model.model.decoder.checkpoint_layers(which in ("decoder", "all"))


def apply_strategy(model: Any, config: RunConfig, checkpoint: Checkpoint | None = None) -> None:
    """Freeze, quantise and adapt, in place; also for a model on the meta device, which is quantised nowhere.

    Args:
        checkpoint: of :func:`starting_checkpoint`, where it has been looked at already.

    Raises:
        ConfigError: naming the key that does not fit the model.
    """
    settings, last = config.model, model.config.decoder_layers - 1
    for layer in config.noise.loss_layers or ():
        if layer > last:
            raise ConfigError(f"noise.loss_layers holds {layer}; the decoder has layers 0 to {last}")
    check_teacher(config, model.config)
    strategy = settings.chosen_strategy
    try:
        choose_trained(model, strategy, settings.strategy_options)
    except ValueError as error:
        raise ConfigError(f"model.{strategy.section}: {error}") from None
    options = settings.adapter
    if options is None:  # adapters are in all layers of a stack
        check_taught(config, model)
        return
    checkpoint = checkpoint or starting_checkpoint(config)
    assert checkpoint is not None  # the config has refused the strategy without one
    on_meta = next(model.parameters()).is_meta
    base = Base(
        os.path.abspath(checkpoint.name) if checkpoint.is_folder else checkpoint.name,
        checkpoint.revision,
        settings.dual_attention,
        settings.encoder_padding,
        fingerprint="" if on_meta else fingerprint_of(checkpoint, model),
        second_recording=model.config.second_recording,
        second_recording_layers=model.config.second_recording_layers,
    )
    if (bits := settings.quantized_bits) and not on_meta:
        quantize_linear(model, bits, keep=is_new, compute_dtype=DTYPES[resolve_precision(config.engine.precision)])
    try:
        add_lora(model, LoraSettings(**options.model_dump(exclude={"bits"})), base)
    except ValueError as error:
        raise ConfigError(f"model.lora.{error}") from None


def new_model(config: RunConfig) -> tuple[Any, Any]:
    """A model from nothing."""
    settings = config.model
    shape = settings.architecture
    assert shape is not None  # the config has exactly one of checkpoint and architecture
    languages = languages_of(config)
    if settings.processor is not None:
        processor = Checkpoint(settings.processor).processor
    else:
        processor = build_byte_processor(languages, shape.num_mel_bins)
    generation = generation_config_for(processor.tokenizer, languages)
    model = DualWhisperForConditionalGeneration(
        DualWhisperConfig(
            **architecture_arguments(shape, max(processor.tokenizer.get_vocab().values()) + 1),
            encoder_padding=settings.encoder_padding,
            dropout=settings.dropout,
            **settings.decoder_values,
            decoder_start_token_id=generation.decoder_start_token_id,
            pad_token_id=generation.pad_token_id,
            bos_token_id=generation.bos_token_id,
            eos_token_id=generation.eos_token_id,
            begin_suppress_tokens=None,
        )
    )
    model.generation_config = generation
    if settings.dual_attention:
        for layer in model.model.decoder.layers:
            cast(DualWhisperDecoderLayer, layer).start_gate()
    return model, processor


def architecture_arguments(shape: Architecture, vocabulary: int) -> dict[str, Any]:
    """WhisperConfig's names for a shape."""
    return {
        "d_model": shape.d_model,
        "encoder_layers": shape.encoder_layers,
        "decoder_layers": shape.decoder_layers,
        "encoder_attention_heads": shape.attention_heads,
        "decoder_attention_heads": shape.attention_heads,
        "encoder_ffn_dim": 4 * shape.d_model,
        "decoder_ffn_dim": 4 * shape.d_model,
        "num_mel_bins": shape.num_mel_bins,
        "vocab_size": vocabulary,
    }
