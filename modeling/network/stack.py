"""Running a stack of layers, as the encoder and the decoder both do: models of their own, as in Whisper."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.models.whisper.modeling_whisper import WhisperPreTrainedModel

from .pretrained import DualWhisperPreTrained


class LayerStack(DualWhisperPreTrained, WhisperPreTrainedModel):
    """A model with ``layers``, each of which may be computed again in the backward pass to save its activations.

    transformers switches that on for the layers and for the stack (``gradient_checkpointing_enable()``, with which
    function and for which of the layers it is told); :meth:`checkpoint_layers` does without it.
    """

    layers: nn.ModuleList
    gradient_checkpointing = False

    def __init__(self, config: Any, is_part: bool = False) -> None:
        super().__init__(config)
        self.is_part = is_part  # of a model, which initialises all of it

    def init_weights(self) -> None:
        """Not in a part: the numbers that a seed gives then do not depend on which parts are models of their own."""
        if not self.is_part:
            super().init_weights()

    def checkpoint_layers(self, wanted: bool) -> None:
        """Compute all layers of this stack again in the backward pass, or none."""
        for module in (self, *self.layers):
            module.gradient_checkpointing = wanted
            module._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)

    def run_layers(
        self, hidden: torch.Tensor, *arguments: Any, kept: list[torch.Tensor] | None = None
    ) -> Iterator[tuple[torch.Tensor, Any]]:
        """Yield the hidden states after each layer, and what else it tells; ``kept`` collects what went into each.

        Tensors with gradients go in and come out one by one: reentrant checkpointing sees none within others.
        """
        for layer in self.layers:
            if kept is not None:
                kept.append(hidden)
            hidden, *told = layer(hidden, *arguments)
            yield hidden, told
