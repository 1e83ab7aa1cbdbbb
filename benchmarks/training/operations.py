"""Floating-point operations of real training steps, counted and not measured: the model on torch's meta device, a
forward and a backward pass in the shapes of a batch that was trained on, under torch's own counter.

Counted are products of matrices, convolutions and attention (`torch.utils.flop_counter`), a multiplication and an
addition as two; padding counts, since it is computed. Log-mel, norms and the optimizer do not.
"""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from data.batches.features import WINDOW_FRAMES, padded_frames, visible_frames
from data.utterance import SAMPLING_RATE
from modeling.published import published_shape
from trainer.config.run import RunConfig
from trainer.model.building import checkpoint_gradients, planned_model
from trainer.step.noise_target import noise_arguments

META = torch.device("meta")


def operations(forward: Callable[[], torch.Tensor]) -> int:
    """Operations of a loss and its backward pass."""
    with FlopCounterMode(display=False) as counter:
        forward().backward()
    return int(counter.get_total_flops())


def own_operations(config: RunConfig, batches: list[dict[str, Any]]) -> int:
    """Operations of this project's step on microbatches: each utterance's ``seconds``, ``tokens`` and ``targets``, and
    where there are second recordings ``second_seconds``, 0 for an utterance without one.

    Raises:
        ValueError: if the model's shape is not known here.
    """
    model = planned_model(config)
    if model is None:
        raise ValueError(f"the shape of {config.model.checkpoint} is not known here")
    model.train()
    checkpoint_gradients(model, config.model.gradient_checkpointing)
    clip = config.model.encoder_padding == "clip"

    def loss(batch: dict[str, Any]) -> torch.Tensor:
        rows, tokens = len(batch["seconds"]), batch["tokens"]
        second = {row: seconds for row, seconds in enumerate(batch.get("second_seconds", ())) if seconds}
        lengths = [*batch["seconds"], *second.values()]
        visible = [visible_frames(round(seconds * SAMPLING_RATE)) for seconds in lengths]
        frames = padded_frames(visible) if clip else WINDOW_FRAMES
        positions = torch.arange(batch["targets"], device=META)
        noise = {}
        if config.noise.loss_weight:
            target = torch.empty(rows, (max(visible) if clip else frames) // 2, device=META)
            noise = noise_arguments(config.noise, target, positions, config.training.steps, 1.0)
        output = model(
            torch.empty(len(visible), model.config.num_mel_bins, frames, device=META),
            feature_lengths=visible if clip else None,
            second_rows=list(second),
            decoder_input_ids=torch.zeros(rows, tokens, dtype=torch.long, device=META),
            labels=torch.zeros(rows, tokens, dtype=torch.long, device=META),
            target_positions=positions,
            num_items_in_batch=1.0,
            loss_only=True,
            **noise,
        )
        value: torch.Tensor = output.loss
        return value

    return sum(operations(lambda batch=batch: loss(batch)) for batch in batches)  # type: ignore[misc]


def peer_operations(checkpoint: str, batches: list[dict[str, Any]]) -> int:
    """Operations of stock Whisper's step on microbatches of 30 s windows, of the labels' width (``tokens``).

    Raises:
        ValueError: as :func:`own_operations`.
    """
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    shape = published_shape(checkpoint)
    if os.path.isdir(checkpoint):
        config = WhisperConfig.from_pretrained(checkpoint)
    elif shape is not None:
        config = WhisperConfig(**shape, pad_token_id=shape["vocab_size"] - 1)
    else:
        raise ValueError(f"the shape of {checkpoint} is not known here")
    with META:
        model = WhisperForConditionalGeneration(config)
    model.config.use_cache = False
    model.train()

    def loss(rows: int, tokens: int) -> torch.Tensor:
        features = torch.empty(rows, config.num_mel_bins, WINDOW_FRAMES, device=META)
        labels = torch.zeros(rows, tokens, dtype=torch.long, device=META)
        mask = torch.zeros(rows, 1, tokens, tokens, device=META)  # given, since making one looks into tensors
        value: torch.Tensor = model(input_features=features, labels=labels, decoder_attention_mask=mask).loss
        return value

    shapes = [(len(batch["seconds"]), batch["tokens"]) for batch in batches]
    counted = {shape: operations(lambda shape=shape: loss(*shape)) for shape in set(shapes)}  # type: ignore[misc]
    return sum(counted[shape] for shape in shapes)
