"""The model and the processor that a config asks for: a checkpoint lifted, or a new model with its vocabulary."""

from typing import Any

import torch

from data.byte_tokenizer import build_byte_processor, generation_config_for
from modeling import DualWhisperConfig, DualWhisperForConditionalGeneration
from modeling.checkpoints import open_model, open_processor
from modeling.linear import decode_faster

from .config import Architecture, RunConfig
from .languages import languages_of


def build_model(config: RunConfig) -> tuple[Any, Any]:
    """Model (float32, on the CPU, the same on every rank) and processor.

    Raises:
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
        )
    else:
        model, processor = new_model(config)
    model.config.use_cache = True
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    return model, processor


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
            **architecture_arguments(shape, len(processor.tokenizer)),
            encoder_padding=settings.encoder_padding,
            dropout=settings.dropout,
            decoder_start_token_id=generation.decoder_start_token_id,
            pad_token_id=generation.pad_token_id,
            bos_token_id=generation.bos_token_id,
            eos_token_id=generation.eos_token_id,
            begin_suppress_tokens=None,
        )
    )
    model.generation_config = generation
    decode_faster(model)
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
