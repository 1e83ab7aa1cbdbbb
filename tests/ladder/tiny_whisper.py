"""A Whisper that is small but complete: 2 s windows, a vocabulary of bytes, languages, tasks, timestamps."""

from pathlib import Path
from typing import Any

import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperProcessor

from modeling.byte_processor import build_byte_processor, generation_config_for
from modeling.processors import save_processor

WINDOW_SECONDS = 2
SHAPE = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 96,
    "max_source_positions": 50 * WINDOW_SECONDS,
    "max_target_positions": 64,
    "init_std": 0.3,  # large enough that differences show
}


def save_plain_whisper(folder: Path) -> Path:
    """transformers' own model with random weights and its processor; the same weights on every release."""
    languages = ["en", "az"]
    tokenizer = build_byte_processor(["su"]).tokenizer  # all languages: 4.30.2 finds special tokens by their place
    processor = WhisperProcessor(WhisperFeatureExtractor(chunk_length=WINDOW_SECONDS), tokenizer)
    generation = generation_config_for(tokenizer, languages, max_length=SHAPE["max_target_positions"])
    generation.alignment_heads = [[0, 1], [1, 2]]
    generation.median_filter_width = 3
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            **SHAPE,
            vocab_size=len(tokenizer),
            pad_token_id=generation.pad_token_id,
            bos_token_id=generation.bos_token_id,
            eos_token_id=generation.eos_token_id,
            decoder_start_token_id=generation.decoder_start_token_id,
            suppress_tokens=None,
            begin_suppress_tokens=None,
            median_filter_width=3,
        )
    )
    model.generation_config = generation
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if "layer_norm" not in name and name != "model.encoder.embed_positions.weight":
                parameter.normal_(0, SHAPE["init_std"], generator=generator)
    model.save_pretrained(folder, safe_serialization=True)
    save_processor(processor, folder)
    return folder


def move_apart(model: Any) -> Any:
    """Make the second attention and the gate of a lifted model differ from a copy, as training would."""
    generator = torch.Generator().manual_seed(1)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name in sorted(model.new_modules()):
            start = 0 if ".gate." in name else parameters[name]  # gates are new, and random at every lifting
            parameters[name].copy_(start + torch.randn(parameters[name].shape, generator=generator) * 0.2)
    return model
