"""The model and the processor that a config asks for: a checkpoint lifted, or a new model with its vocabulary.

What is trained of it is decided here too, before any engine sees it.
"""

import os
from typing import Any, cast

import torch

from modeling import DualWhisperConfig, DualWhisperForConditionalGeneration
from modeling.adapters import Base, LoraSettings, add_lora, fingerprint_of, is_new
from modeling.byte_processor import build_byte_processor, generation_config_for
from modeling.checkpoints import open_model, open_processor
from modeling.network.decoder_layer import DualWhisperDecoderLayer
from modeling.network.linear import choose_onednn
from modeling.quantization import quantize_linear
from modeling.strategies import choose_trained

from ..config.model import Architecture
from ..config.reading import ConfigError
from ..config.run import RunConfig
from ..engine.accelerator import resolve_precision
from .languages import languages_of

COMPUTE_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def build_model(config: RunConfig) -> tuple[Any, Any]:
    """Model (float32, on the CPU, the same on every rank) and processor.

    Raises:
        ConfigError: if the strategy does not fit the model.
        CheckpointError: if the checkpoint cannot be opened or is of another architecture.
    """
    settings = config.model
    torch.manual_seed(config.training.seed)
    if settings.checkpoint is not None:
        processor = open_processor(settings.checkpoint, settings.revision)
        model = open_model(
            settings.checkpoint,
            settings.revision,
            lift=True,
            encoder_padding=settings.encoder_padding,
            dropout=settings.dropout,
            **settings.decoder_values,
        )
    else:
        model, processor = new_model(config)
    make_trainable(model, config)
    return model, processor


def make_trainable(model: Any, config: RunConfig) -> None:
    """What a config asks of a model that is there, with whatever weights; in place.

    Raises:
        ConfigError: if the strategy does not fit the model.
    """
    model.config.use_cache = True
    apply_strategy(model, config)
    checkpoint_gradients(model, config.model.gradient_checkpointing)
    choose_onednn(model, config.performance.onednn)


def checkpoint_gradients(model: Any, which: str) -> None:
    """Have the layers of ``encoder``, ``decoder``, ``all`` or ``none`` computed again in the backward pass."""
    model.model.encoder.checkpoint_layers(which in ("encoder", "all"))
    model.model.decoder.checkpoint_layers(which in ("decoder", "all"))


def apply_strategy(model: Any, config: RunConfig) -> None:
    """Freeze, quantise and adapt, in place; also for a model on the meta device, which is quantised nowhere.

    Raises:
        ConfigError: naming the key that does not fit the model.
    """
    settings, last = config.model, model.config.decoder_layers - 1
    for layer in config.noise.loss_layers or ():
        if layer > last:
            raise ConfigError(f"noise.loss_layers holds {layer}; the decoder has layers 0 to {last}")
    top = (settings.selective.encoder_layers, settings.selective.decoder_layers) if settings.selective else None
    try:
        choose_trained(model, settings.strategy, top)
    except ValueError as error:
        raise ConfigError(f"model.selective: {error}") from None
    options = settings.adapter
    if options is None:
        return
    assert settings.checkpoint is not None  # the config has refused the strategy without one
    on_meta = next(model.parameters()).is_meta
    checkpoint = settings.checkpoint
    base = Base(
        os.path.abspath(checkpoint) if os.path.isdir(checkpoint) else checkpoint,
        settings.revision,
        settings.dual_attention,
        settings.encoder_padding,
        "" if on_meta else fingerprint_of(checkpoint, model),
    )
    if settings.strategy == "qlora" and not on_meta:
        dtype = COMPUTE_DTYPES[resolve_precision(config.engine.precision)]
        quantize_linear(model, options.bits or 4, keep=is_new, compute_dtype=dtype)
    try:
        lora = LoraSettings(options.rank, options.alpha, options.dropout, options.targets, options.where)
        add_lora(model, lora, base)
    except ValueError as error:
        raise ConfigError(f"model.lora.targets: {error}") from None


def new_model(config: RunConfig) -> tuple[Any, Any]:
    """A model from nothing."""
    settings = config.model
    shape = settings.architecture
    assert shape is not None  # the config has exactly one of checkpoint and architecture
    languages = languages_of(config)
    if settings.processor is not None:
        processor = open_processor(settings.processor)
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
