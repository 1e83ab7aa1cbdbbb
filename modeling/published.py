"""The shapes of the Whisper sizes OpenAI published, so that a plan needs no download."""

import difflib
import re
from typing import Any

import torch
from torch import nn

from .network.configuration import DualWhisperConfig
from .network.dual_whisper import DualWhisperForConditionalGeneration

ENGLISH_ONLY_VOCABULARY, VOCABULARY, VOCABULARY_128_BINS = 51_864, 51_865, 51_866
_WIDTH_LAYERS_HEADS = {"tiny": (384, 4, 6), "base": (512, 6, 8), "small": (768, 12, 12), "medium": (1024, 24, 16)}
OWNER = "openai/whisper-"
_LARGE = ("large", "large-v1", "large-v2", "large-v3", "large-v3-turbo")
PUBLISHED = tuple(
    f"{OWNER}{size}" for size in (*_WIDTH_LAYERS_HEADS, *(f"{s}.en" for s in _WIDTH_LAYERS_HEADS), *_LARGE)
)


def published_shape(checkpoint: str) -> dict[str, Any] | None:
    """WhisperConfig's arguments for a name like ``openai/whisper-small.en``; None for any other name."""
    name = checkpoint.removeprefix(OWNER)
    if name == checkpoint:
        return None
    size = name.removesuffix(".en")
    if size in _WIDTH_LAYERS_HEADS:
        vocabulary = VOCABULARY if name == size else ENGLISH_ONLY_VOCABULARY
        return _shape(*_WIDTH_LAYERS_HEADS[size], vocabulary)
    if name in _LARGE[:3]:
        return _shape(1280, 32, 20, VOCABULARY)
    if name in _LARGE:
        shape = _shape(1280, 32, 20, VOCABULARY_128_BINS) | {"num_mel_bins": 128}
        return shape | {"decoder_layers": 4} if name.endswith("turbo") else shape
    return None


def is_unpublished(checkpoint: str) -> bool:
    """Whether a hub name is OpenAI's, but of no Whisper known here; a later version of one may be out by now."""
    later = re.fullmatch(rf"{OWNER}[a-z]+-v\d+(-turbo)?", checkpoint)
    return checkpoint.startswith("openai/") and checkpoint not in PUBLISHED and not later


def nearest_published(name: str) -> str | None:
    """The published checkpoint that a name is most like, its owner left out or misspelt; None if it is like none."""
    by_spelling = {checkpoint: checkpoint for checkpoint in PUBLISHED}
    by_spelling |= {checkpoint.removeprefix("openai/"): checkpoint for checkpoint in PUBLISHED}
    by_spelling |= {f"openai/{checkpoint.removeprefix(OWNER)}": checkpoint for checkpoint in PUBLISHED}
    by_spelling |= dict.fromkeys(("whisper-turbo", f"{OWNER}turbo", f"{OWNER}large-turbo"), PUBLISHED[-1])
    match = difflib.get_close_matches(name.lower().replace("_", "-"), by_spelling, n=1, cutoff=0.75)
    return by_spelling[match[0]] if match else None


def _shape(width: int, layers: int, heads: int, vocabulary: int) -> dict[str, Any]:
    return {
        "d_model": width,
        "encoder_layers": layers,
        "decoder_layers": layers,
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
        "encoder_ffn_dim": 4 * width,
        "decoder_ffn_dim": 4 * width,
        "vocab_size": vocabulary,
    }


def model_without_weights(
    shape: dict[str, Any], dual_attention: bool = True, **values: Any
) -> DualWhisperForConditionalGeneration:
    """The model in a shape, on the meta device: parameters are counted, not held; ``values`` of its configuration."""
    config = DualWhisperConfig(**shape, dual_attention=dual_attention, **values, pad_token_id=shape["vocab_size"] - 1)
    with torch.device("meta"):
        return DualWhisperForConditionalGeneration(config)


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """All parameters (shared ones once) and those of them that are trained."""
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)
