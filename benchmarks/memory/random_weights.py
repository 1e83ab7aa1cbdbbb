"""The model of a config without its weights: a published shape filled at random, since memory and time depend on shapes
alone and a benchmark must not wait for a download."""

import os
from typing import Any

import torch

from modeling import DualWhisperConfig, DualWhisperForConditionalGeneration
from modeling.published import published_shape
from trainer.config.run import RunConfig
from trainer.model.building import build_model, make_trainable


def model_for_shape(config: RunConfig) -> Any:
    """The model to train, in float32 on the CPU: random where the hub has the weights, else as a run would build it.

    Raises:
        ConfigError, CheckpointError: as :func:`trainer.model.building.build_model`.
    """
    settings = config.model
    shape = None if os.path.isdir(settings.checkpoint or "") else published_shape(settings.checkpoint or "")
    if shape is None:
        return build_model(config)[0]
    torch.manual_seed(config.training.seed)
    end = shape["vocab_size"] - 1
    model = DualWhisperForConditionalGeneration(
        DualWhisperConfig(
            **shape,
            encoder_padding=settings.encoder_padding,
            dropout=settings.dropout,
            **settings.decoder_values,
            pad_token_id=end,
            bos_token_id=end,
            eos_token_id=end,
            decoder_start_token_id=end,
            begin_suppress_tokens=None,
        )
    )
    make_trainable(model, config)
    return model
