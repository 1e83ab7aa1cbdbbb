"""Attention under Whisper's parameter names: projections, the product itself, and the masks both stacks need."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers.activations import ACT2FN

from .compatibility import GradientCheckpointingLayer
from .linear import linear

IMPLEMENTATIONS = ("sdpa", "eager")


def is_eager(config: Any) -> bool:
    """Whether attention is to be computed openly, as ``attn_implementation="eager"`` asks, not by torch's kernels.

    Raises:
        ValueError: for an implementation that there is not.
    """
    wanted = getattr(config, "_attn_implementation", None)  # before 4.36 there is no choice
    if wanted not in (None, *IMPLEMENTATIONS):
        raise ValueError(f"attn_implementation is {wanted!r}; this model has {' and '.join(IMPLEMENTATIONS)}")
    return wanted == "eager"


class AttentionProjections(nn.Module):
    """The query, key, value and output projections of one attention; splits into heads and nothing else."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"d_model is {width}, which {heads} attention heads do not divide")
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def split_heads(self, states: torch.Tensor) -> torch.Tensor:
        """[B, L, width] → [B, heads, L, width / heads]."""
        return states.view(*states.shape[:2], self.heads, -1).transpose(1, 2)

    def queries(self, states: torch.Tensor) -> torch.Tensor:
        """Scaled queries [B, heads, L, head size]."""
        return self.split_heads(linear(self.q_proj, states) * self.scale)

    def keys(self, states: torch.Tensor) -> torch.Tensor:
        return self.split_heads(linear(self.k_proj, states))

    def keys_values(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.keys(states), self.split_heads(linear(self.v_proj, states))

    def output(self, attended: torch.Tensor) -> torch.Tensor:
        """[B, heads, L, head size] → [B, L, width]."""
        return linear(self.out_proj, attended.transpose(1, 2).flatten(2))


def attend(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None = None,
    causal: bool = False,
    dropout: float = 0.0,
    openly: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Scaled-dot-product attention with queries already scaled.

    Args:
        queries, keys, values: [B, heads, L or S, head size].
        mask: bool, true where a query may look, broadcastable to [B, heads, L, S].
        causal: position i looks at keys up to i; only where L = S and without ``mask``.
        openly: compute the probabilities, and return them.

    Returns:
        The attended values [B, heads, L, head size], and the probabilities [B, heads, L, S] before dropout, or None
        where they were never computed.
    """
    if queries.shape[2] == 1 and queries.device.type == "cpu" and not dropout:
        return attend_once(queries, keys, values, mask)
    if not openly:
        attended = F.scaled_dot_product_attention(queries, keys, values, mask, dropout, causal, scale=1.0)
        return attended, None
    scores = queries @ keys.transpose(2, 3)
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = scores.softmax(-1, dtype=torch.float32).to(values.dtype)
    return F.dropout(weights, dropout) @ values, weights


def attend_once(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """:func:`attend` for one query a head, as in decoding: on CPUs two products are faster than the fused kernel."""
    scores = torch.bmm(keys.flatten(0, 1), queries.flatten(0, 1).transpose(1, 2)).view(*keys.shape[:3])
    if mask is not None:
        scores = scores.masked_fill(~mask[:, :, 0], torch.finfo(scores.dtype).min)
    weights = scores.softmax(-1, dtype=torch.float32).to(values.dtype).unsqueeze(2)
    return torch.bmm(weights.flatten(0, 1), values.flatten(0, 1)).view(queries.shape), weights


def frame_mask(frame_lengths: torch.Tensor | None, frames: int) -> torch.Tensor | None:
    """Which encoder frames may be looked at: bool [B, 1, 1, frames], or None where all may."""
    if frame_lengths is None:
        return None
    return (torch.arange(frames, device=frame_lengths.device) < frame_lengths[:, None])[:, None, None]


class CausalMask:
    """Which keys a decoder position may see.

    Made by the first layer that asks, whose keys show how long the cache is: a static cache is longer than what it
    holds.

    Args:
        positions: int64 [L], the place of each query in the sequence.
        held: keys that are really there, or None where only the device knows.
        padding_mask: [B, held] (1 = real), or the four-dimensional mask that ``generate()`` makes for a static cache.
    """

    def __init__(self, positions: torch.Tensor, held: int | None, padding_mask: torch.Tensor | None) -> None:
        self.positions = positions
        self.held = held
        self.padding_mask = padding_mask
        self.mask: torch.Tensor | None = None

    def __call__(self, keys: torch.Tensor) -> tuple[torch.Tensor | None, bool]:
        """``mask`` and ``causal`` for :func:`attend`, where keys [B, heads, S, head size] lie."""
        mask, causal = self.over(keys.shape[2])
        return None if mask is None else mask.to(keys.device), causal

    def over(self, keys: int) -> tuple[torch.Tensor | None, bool]:
        padding = self.padding_mask
        if padding is not None and padding.dim() == 4:
            return padding if padding.dtype == torch.bool else padding == 0, False
        if padding is None and self.held == keys and len(self.positions) in (1, keys):
            return None, len(self.positions) > 1
        if self.mask is None:
            at = torch.arange(keys, device=self.positions.device)
            self.mask = (at <= self.positions[:, None])[None, None]
            if padding is not None:
                real = F.pad(padding.bool(), (0, keys - padding.shape[1]), value=True)[:, None, None]
                # A position always sees itself: the softmax over nothing is not a number.
                self.mask = self.mask & real | (at == self.positions[:, None])
        return self.mask, False


class FeedForward(GradientCheckpointingLayer):
    """What an encoder and a decoder layer share: the feed-forward block, residual dropout, attention dropout."""

    def __init__(self, config: Any, feed_forward_width: int) -> None:
        super().__init__()
        self.config = config
        self.fc1 = nn.Linear(config.d_model, feed_forward_width)
        self.fc2 = nn.Linear(feed_forward_width, config.d_model)
        self.final_layer_norm = nn.LayerNorm(config.d_model)
        self.activation = ACT2FN[config.activation_function]

    def feed_forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden + self.residual_dropout(self.expanded(self.final_layer_norm(hidden), self.fc1, self.fc2))

    def expanded(self, states: torch.Tensor, widen: nn.Module, narrow: nn.Module) -> torch.Tensor:
        """[B, L, width] to the inner width, through the activation, and back."""
        inner = F.dropout(self.activation(linear(widen, states)), self.config.activation_dropout, self.training)
        return linear(narrow, inner)

    def residual_dropout(self, states: torch.Tensor) -> torch.Tensor:
        return F.dropout(states, self.config.dropout, self.training)

    @property
    def attention_dropout(self) -> float:
        return self.config.attention_dropout if self.training else 0.0
