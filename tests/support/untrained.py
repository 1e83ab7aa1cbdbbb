"""Tiny checkpoints with random weights: letters without end that depend on the audio and the language."""

from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase

import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from modeling import DualWhisperConfig, DualWhisperForConditionalGeneration
from modeling.byte_processor import build_byte_processor, generation_config_for


def save_checkpoint(
    folder: Path,
    languages: Sequence[str] = ("az",),
    padding: str | None = "clip",
    positions: int = 24,
    mel_bins: int = 80,
    timestamp_tokens: bool = False,
) -> Path:
    """Save a checkpoint and its processor.

    Args:
        padding: None for plain Whisper.
        positions: tokens that it says at most, with the prompt.
        timestamp_tokens: its vocabulary has them.
    """
    torch.manual_seed(0)
    processor = build_byte_processor(list(languages), mel_bins)
    generation = generation_config_for(processor.tokenizer, list(languages), positions)
    first_timestamp = generation.no_timestamps_token_id + 1
    letters = processor.tokenizer.convert_tokens_to_ids(list(ascii_lowercase))
    generation.suppress_tokens = [token for token in range(first_timestamp) if token not in letters]
    shape = {
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "num_mel_bins": mel_bins,
        "max_target_positions": positions,
        "vocab_size": first_timestamp + (1501 if timestamp_tokens else 0),
        "init_std": 0.3,
        "decoder_start_token_id": generation.decoder_start_token_id,
        "pad_token_id": generation.pad_token_id,
        "bos_token_id": generation.bos_token_id,
        "eos_token_id": generation.eos_token_id,
        "begin_suppress_tokens": None,
    }
    if padding is None:
        model = WhisperForConditionalGeneration(WhisperConfig(**shape))
    else:
        model = DualWhisperForConditionalGeneration(DualWhisperConfig(**shape, encoder_padding=padding))
    model.generation_config = generation
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
