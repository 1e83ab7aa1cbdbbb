"""From features to token ids, following how the checkpoint was trained: clips as long as they are, or 30 s windows."""

from collections.abc import Sequence
from typing import Any

import torch

from .dual_whisper import DualWhisperForConditionalGeneration


def encoder_padding(model: Any) -> str:
    """``clip`` or ``window``; plain Whisper knows the window only."""
    return model.config.encoder_padding if isinstance(model, DualWhisperForConditionalGeneration) else "window"


@torch.no_grad()
def greedy_decode(
    model: Any,
    features: torch.Tensor,
    feature_lengths: Sequence[int] | None,
    languages: Sequence[str | None],
    task: str,
    max_new_tokens: int,
    synced_gpus: bool = False,
) -> torch.Tensor:
    """Token ids int64 [B, L] of the likeliest next token at each step, padded with end-of-text, without the prompt.

    Args:
        model: the bare model, not the engine around it.
        features: [B, mel bins, T].
        feature_lengths: mel frames of each clip that may be seen; None for 30 s windows.
        languages: ISO 639-1 codes; detected for all where one is None; ignored by English-only models.
        synced_gpus: every rank goes on until all are done (parameters that are spread over ranks).
    """
    options: dict[str, Any] = {
        "max_new_tokens": max_new_tokens,
        "synced_gpus": synced_gpus,
        "num_beams": 1,
        "do_sample": False,
    }
    if getattr(model.generation_config, "is_multilingual", True):
        options |= {"language": list(languages) if all(languages) else None, "task": task}
    if feature_lengths is None:
        return model.generate(features.to(model.dtype), **options)
    encoded = model.get_encoder()(features, feature_lengths=feature_lengths)
    return model.generate(encoder_outputs=encoded, **options)
