"""Running a stack of layers, with or without gradient checkpointing, as the encoder and the decoder both do."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class LayerStack(nn.Module):
    """A module with ``layers``; ``gradient_checkpointing`` trades a second forward for the activations' memory."""

    layers: nn.ModuleList
    gradient_checkpointing = False

    def run_layers(
        self, hidden: torch.Tensor, *arguments: Any, kept: list[torch.Tensor] | None = None
    ) -> Iterator[tuple[torch.Tensor, Any]]:
        """Yield (hidden states, attention weights) after each layer; ``kept`` collects what went into each."""
        for layer in self.layers:
            if kept is not None:
                kept.append(hidden)
            if self.gradient_checkpointing and self.training:
                hidden, weights = checkpoint(layer, hidden, *arguments, use_reentrant=False)
            else:
                hidden, weights = layer(hidden, *arguments)
            yield hidden, weights
