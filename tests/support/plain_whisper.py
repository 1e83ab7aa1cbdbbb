"""A small plain Whisper with 30 s windows, saved with transformers' own class and everything generate() needs."""

from pathlib import Path

import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from modeling.byte_processor import build_byte_processor, generation_config_for
from tests.ladder.tiny_whisper import SHAPE as SMALL

SHAPE = {name: value for name, value in SMALL.items() if "positions" not in name}


def save_plain(folder: Path, languages: list[str]) -> Path:
    processor = build_byte_processor(languages)
    generation = generation_config_for(processor.tokenizer, languages)
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            **SHAPE,
            vocab_size=len(processor.tokenizer),
            pad_token_id=generation.pad_token_id,
            bos_token_id=generation.bos_token_id,
            eos_token_id=generation.eos_token_id,
            decoder_start_token_id=generation.decoder_start_token_id,
            begin_suppress_tokens=None,
        )
    )
    model.generation_config = generation
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
