"""Attention under Whisper's parameter names: projections, the product itself, and the masks both stacks need."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from transformers.activations import ACT2FN

from .compatibility import GradientCheckpointingLayer
from .linear import linear
from .precision import computing

IMPLEMENTATIONS = ("sdpa", "eager")
MASK_COLUMNS = 16  # CUDA's kernels copy a mask at each call whose rows do not begin at a multiple of so many numbers


def is_eager(config: Any) -> bool:
    """Whether ``attn_implementation="eager"`` asks for the attention weights instead of torch's fused kernels.

    Raises:
        ValueError: for any other implementation.
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
    *,
    causal: bool = False,
    dropout: float = 0.0,
    openly: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Scaled-dot-product attention with queries already scaled.

    Args:
        queries, keys, values: [B, heads, L or S, head size].
        mask: what is added to the scores, of :func:`additive`; broadcastable to [B, heads, L, S].
        causal: position i looks at keys up to i; only where L = S and without ``mask``.
        dropout: share of the probabilities that is set to 0.
        openly: compute the probabilities without torch's fused kernels, and return them.

    Returns:
        The attended values [B, heads, L, head size], and the probabilities [B, heads, L, S] before dropout, or None
        where they were never computed.
    """
    if queries.shape[2] == 1 and queries.device.type == "cpu" and not dropout:
        return attend_once(queries, keys, values, mask)
    if not openly:
        attended = F.scaled_dot_product_attention(
            queries, keys, values, mask, dropout_p=dropout, is_causal=causal, scale=1.0
        )
        return attended, None
    scores = queries @ keys.transpose(2, 3)
    if causal:
        mask = additive(torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril(), scores.dtype)
    if mask is not None:
        scores = scores + mask
    weights = scores.softmax(-1, dtype=torch.float32).to(values.dtype)
    return F.dropout(weights, dropout) @ values, weights


def attend_once(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """:func:`attend` for one query a head, as in decoding: on CPUs two products are faster than the fused kernel."""
    scores = torch.bmm(keys.flatten(0, 1), queries.flatten(0, 1).transpose(1, 2)).view(*keys.shape[:3])
    if mask is not None:
        scores = scores + mask[:, :, 0]
    weights = scores.softmax(-1, dtype=torch.float32).to(values.dtype).unsqueeze(2)
    return torch.bmm(weights.flatten(0, 1), values.flatten(0, 1)).view(queries.shape), weights


def additive(allowed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A mask for :func:`attend` of one that is true where a query may look: 0 there, the lowest number elsewhere.

    All layers share it: torch's kernels would make one of bools at each call.
    """
    columns = allowed.shape[-1]
    whole = -(-columns // MASK_COLUMNS) * MASK_COLUMNS
    mask = torch.zeros(*allowed.shape[:-1], whole, dtype=dtype, device=allowed.device)[..., :columns]
    return mask.masked_fill_(~allowed, torch.finfo(dtype).min)


def frame_mask(frame_lengths: torch.Tensor | None, frames: int, dtype: torch.dtype) -> torch.Tensor | None:
    """Which encoder frames may be looked at: [B, 1, 1, frames] for :func:`attend`, or None where all may."""
    if frame_lengths is None:
        return None
    allowed = torch.arange(frames, device=frame_lengths.device) < frame_lengths[:, None]
    return additive(allowed[:, None, None], dtype)


class CrossMasks(NamedTuple):
    """Which frames cross-attentions may look at, as :func:`attend` takes it; None where all may.

    Attributes:
        primary, secondary: of the first and the second attention, [B, 1, 1, S].
        together: of both side by side on the head axis, [B, 1 or 2 · heads, 1, S].
    """

    primary: torch.Tensor | None = None
    secondary: torch.Tensor | None = None
    together: torch.Tensor | None = None

    @classmethod
    def of(
        cls,
        lengths: tuple[torch.Tensor | None, torch.Tensor | None],
        shape: tuple[int, int],
        dtype: torch.dtype,
        is_cached: bool,
    ) -> "CrossMasks":
        """Args:
        lengths: int64 [B], frames that the first attention may look at and those that the second one may, which are
            the first one's if None; None and None for all.
        shape: heads of one attention, and frames.
        is_cached: the keys of both lie side by side; their weights are told together too where no gradients are asked.
        """
        heads, frames = shape
        first, second = lengths
        if first is None or second is None:
            mask = frame_mask(first, frames, dtype)
            return cls(mask, mask, mask)
        if is_cached and not torch.is_grad_enabled():
            allowed = torch.stack((first, second), dim=1).repeat_interleave(heads, dim=1)[..., None]
            at = torch.arange(frames, device=allowed.device)
            return cls(together=additive((at < allowed)[:, :, None], dtype))
        primary, secondary = frame_mask(first, frames, dtype), frame_mask(second, frames, dtype)
        if not is_cached:
            return cls(primary, secondary)
        assert primary is not None and secondary is not None  # of lengths that are there
        return cls(primary, secondary, torch.cat([mask.expand(-1, heads, -1, -1) for mask in (primary, secondary)], 1))


class CausalMask:
    """Which keys a decoder position may see.

    The first layer that asks makes the mask, which those that follow share, since its keys show how long the cache is;
    a static cache is longer than what it holds.

    Args:
        positions: int64 [L], the place of each query in the sequence.
        held: how many keys the cache holds, these included; None where only the device knows.
        padding_mask: [B, held] (1 = real), or the four-dimensional mask that ``generate()`` makes for a static cache.
    """

    def __init__(self, positions: torch.Tensor, held: int | None, padding_mask: torch.Tensor | None) -> None:
        self.positions = positions
        self.held = held
        self.padding_mask = padding_mask
        self.mask: torch.Tensor | None = None

    def __call__(self, keys: torch.Tensor) -> tuple[torch.Tensor | None, bool]:
        """``mask`` and ``causal`` for :func:`attend`, where keys [B, heads, S, head size] lie."""
        length = keys.shape[2]
        if self.padding_mask is None and self.held == length and len(self.positions) in (1, length):
            return None, len(self.positions) > 1
        if self.mask is None:
            self.mask = additive(self.allowed(length), keys.dtype)
        return self.mask.to(keys.device), False

    def allowed(self, keys: int) -> torch.Tensor:
        """Which of so many keys may be seen: bool, broadcastable to [B, heads, L, keys]."""
        padding = self.padding_mask
        if padding is not None and padding.dim() == 4:
            return padding if padding.dtype == torch.bool else padding == 0
        at = torch.arange(keys, device=self.positions.device)
        seen = (at <= self.positions[:, None])[None, None]
        if padding is None:
            return seen
        real = F.pad(padding.bool(), (0, keys - padding.shape[1]), value=True)[:, None, None]
        # A position always sees itself: the softmax over nothing is not a number.
        return seen & real | (at == self.positions[:, None])


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
        states = computing(self.final_layer_norm(hidden))
        return hidden + self.residual_dropout(self.expanded(states, self.fc1, self.fc2))

    def expanded(self, states: torch.Tensor, widen: nn.Module, narrow: nn.Module) -> torch.Tensor:
        """[B, L, width] to the inner width, through the activation, and back."""
        inner = F.dropout(self.activation(linear(widen, states)), self.config.activation_dropout, self.training)
        return linear(narrow, inner)

    def residual_dropout(self, states: torch.Tensor) -> torch.Tensor:
        return F.dropout(states, self.config.dropout, self.training)

    @property
    def attention_dropout(self) -> float:
        return self.config.attention_dropout if self.training else 0.0
