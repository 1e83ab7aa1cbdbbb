"""A layer of the decoder: a second cross-attention beside Whisper's, and a learned gate that mixes the two.

With ``dual_attention: false`` it is plain Whisper's, in the same modules.
"""

from typing import Any, NamedTuple

import torch
from torch import nn

from .attention import AttentionProjections, CausalMask, CrossMasks, FeedForward, attend
from .cache import DecoderCache, NoCache
from .linear import linear
from .losses import NoiseTarget
from .precision import casts_weights_together, computing


class CrossAttended(NamedTuple):
    """What the cross-attentions of a layer found, and where they looked.

    Attributes:
        values: of each, [B, heads, L, head size].
        weights: of each [B, heads, L, S]; None where they were not computed.
        noise_share: of the second one's weights, what falls on noise, [B, heads, L]; None without a noise target.
    """

    values: list[torch.Tensor]
    weights: list[torch.Tensor | None]
    noise_share: torch.Tensor | None = None


class LayerReport(NamedTuple):
    """What a decoder layer returns beside its states; None for what was not computed.

    Attributes:
        self_weights, primary_weights, secondary_weights: attention probabilities [B, heads, L, S].
        gate: the primary attention's share, [B, L].
        noise_share: the share of the secondary attention that falls on noise, [B, heads, L].
    """

    self_weights: torch.Tensor | None
    primary_weights: torch.Tensor | None = None
    secondary_weights: torch.Tensor | None = None
    gate: torch.Tensor | None = None
    noise_share: torch.Tensor | None = None


class AttentionGate(nn.Module):
    """α = σ(w · tanh(W [h; p; s] + b) + c): how much of the primary attention a position takes, in (0, 1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(3 * width, width)
        self.score = nn.Linear(width, 1)

    def forward(self, hidden: torch.Tensor, primary: torch.Tensor, secondary: torch.Tensor) -> torch.Tensor:
        """Three times [B, L, width] → [B, L, 1]."""
        inner = torch.tanh(linear(self.hidden, torch.cat((hidden, primary, secondary), dim=-1)))
        return torch.sigmoid(linear(self.score, inner))


class WiderFeedForward(nn.Module):
    """A wider feed-forward block, by as many parameters as a second attention and its gate have."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = 7 * width // 2
        self.widen = nn.Linear(width, inner)
        self.narrow = nn.Linear(inner, width)


class DualWhisperDecoderLayer(FeedForward):
    """Self-attention, the one or two cross-attentions and their gate, feed-forward; normalised before each."""

    def __init__(self, config: Any, index: int) -> None:
        super().__init__(config, config.decoder_ffn_dim)
        self.index = index
        width, heads = config.d_model, config.decoder_attention_heads
        self.self_attn = AttentionProjections(width, heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.encoder_attn = AttentionProjections(width, heads)
        self.encoder_attn_layer_norm = nn.LayerNorm(width)
        self.is_dual = config.dual_attention
        if self.is_dual:
            self.secondary_attn = AttentionProjections(width, heads)
            self.secondary_attn_layer_norm = nn.LayerNorm(width)
            self.gate = AttentionGate(width)
        self.is_added = config.secondary_added
        self.is_wider = config.wider_feed_forward
        if self.is_wider:
            self.wider = WiderFeedForward(width)

    @casts_weights_together
    def forward(
        self,
        hidden: torch.Tensor,
        primary_states: torch.Tensor | None,
        secondary_states: torch.Tensor | None,
        cache: DecoderCache,
        causal_mask: CausalMask,
        masks: CrossMasks = CrossMasks(),  # noqa: B008 - cannot be changed
        openly: bool = False,
        noise: NoiseTarget | None = None,
    ) -> tuple[torch.Tensor | None, ...]:
        """Returns the hidden states [B, L, width], and one by one what :class:`LayerReport` names.

        Args:
            primary_states, secondary_states: what the cross-attentions read, [B, S, width]; None for nothing.
            openly: compute all attention weights.
            noise: where noise is. Without a cache, the secondary attention's share on it is then returned.
        """
        states = computing(self.self_attn_layer_norm(hidden))
        keys, values = cache.self_attention(self.index, *self.self_attn.keys_values(states))
        mask, causal = causal_mask(keys)
        queries, dropout = self.self_attn.queries(states), self.attention_dropout
        attended, self_weights = attend(queries, keys, values, mask, causal=causal, dropout=dropout, openly=openly)
        hidden = hidden + self.residual_dropout(self.self_attn.output(attended))
        if primary_states is None:  # a language model: plain Whisper skips the cross-attention too
            return self.feed_forward(hidden), *LayerReport(self_weights)

        heard = [primary_states if states is None else states for states in (primary_states, secondary_states)]
        found = self.cross_attended(hidden, heard[: 1 + self.is_dual], cache, masks, openly=openly, noise=noise)
        mixed, gate = self.mixed(hidden, found.values)
        hidden = self.feed_forward(hidden + self.residual_dropout(mixed))
        secondary_weights = found.weights[1] if self.is_dual else None
        return hidden, *LayerReport(self_weights, found.weights[0], secondary_weights, gate, found.noise_share)

    def expanded(self, states: torch.Tensor, widen: nn.Module, narrow: nn.Module) -> torch.Tensor:
        usual = super().expanded(states, widen, narrow)
        return usual + super().expanded(states, self.wider.widen, self.wider.narrow) if self.is_wider else usual

    @property
    def cross_attentions(self) -> list[tuple[AttentionProjections, nn.LayerNorm]]:
        """The one or two, each with the norm before it."""
        pairs = [(self.encoder_attn, self.encoder_attn_layer_norm)]
        return [*pairs, (self.secondary_attn, self.secondary_attn_layer_norm)] if self.is_dual else pairs

    def cross_attended(
        self,
        hidden: torch.Tensor,
        heard: list[torch.Tensor],
        cache: DecoderCache,
        masks: CrossMasks,
        *,
        openly: bool,
        noise: NoiseTarget | None,
    ) -> CrossAttended:
        """What each cross-attention finds in what it reads.

        Args:
            hidden: the layer's states after self-attention, [B, L, width].
            heard: of each cross-attention what it reads, [B, S, width].
            masks: which frames of it each may look at.
        """
        states = [computing(norm(hidden)) for _, norm in self.cross_attentions]
        queries = [attention.queries(own) for own, (attention, _) in zip(states, self.cross_attentions, strict=True)]
        dropout = self.attention_dropout
        if isinstance(cache, NoCache):  # one after the other: one product would copy their keys and values
            pairs = self.cross_keys_values(heard)
            found = attend_each(queries, pairs, masks, dropout, openly)
            share = None
            if noise is not None and self.is_dual:
                is_trained, asked, keys = noise.trains(self.index), queries[1], pairs[1][0]
                if is_trained and noise.is_local:
                    asked = self.secondary_attn.queries(states[1].detach())
                    keys = self.secondary_attn.keys(heard[1].detach())
                with torch.set_grad_enabled(torch.is_grad_enabled() and is_trained):
                    share = noise.share_of(asked, keys, masks.secondary)
            return found._replace(noise_share=share)

        def side_by_side() -> tuple[torch.Tensor, torch.Tensor]:  # on the head axis
            keys, values = zip(*self.cross_keys_values(heard), strict=True)
            return (torch.cat(keys, dim=1), torch.cat(values, dim=1)) if self.is_dual else (keys[0], values[0])

        keys, values = cache.cross_attention(self.index, side_by_side)
        parts = len(queries)
        if openly and torch.is_grad_enabled():  # so that gradients pass through the weights that are returned
            pairs = list(zip(keys.chunk(parts, dim=1), values.chunk(parts, dim=1), strict=True))
            return attend_each(queries, pairs, masks, dropout, openly)
        together = torch.cat(queries, dim=1) if self.is_dual else queries[0]
        attended, weights = attend(together, keys, values, masks.together, dropout=dropout, openly=openly)
        shown: list[torch.Tensor | None] = [None] * parts if weights is None else list(weights.chunk(parts, dim=1))
        return CrossAttended(list(attended.chunk(parts, dim=1)), shown)

    def mixed(self, hidden: torch.Tensor, attended: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Output of the single attention, or of both mixed by the gate, [B, L, width]; also returns the gate [B, L]."""
        primary = self.encoder_attn.output(attended[0])
        if not self.is_dual:
            return primary, None
        secondary = self.secondary_attn.output(attended[1])
        gate = self.gate(computing(hidden), primary, secondary)
        # α p + (1 - α) s, written so that it is exactly p where the two are equal, whatever the gate.
        both = primary + (1 - gate) * secondary if self.is_added else secondary + gate * (primary - secondary)
        return both, gate.detach().squeeze(-1)

    def cross_keys_values(self, heard: list[torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Each cross-attention's keys and values [B, heads, S, head size] of what it reads."""
        return [
            attention.keys_values(states) for states, (attention, _) in zip(heard, self.cross_attentions, strict=True)
        ]

    @torch.no_grad()
    def start_gate(self) -> None:
        self.gate.score.bias.fill_(self.config.gate_bias)

    @torch.no_grad()
    def start_new_modules(self) -> None:
        """Initialise what plain Whisper lacks: the second attention as a copy of the first, norm included, or with an
        output of zero; the gate at its bias; a wider feed-forward block with an output of zero."""
        if self.is_dual:
            self.secondary_attn.load_state_dict(self.encoder_attn.state_dict())
            self.secondary_attn_layer_norm.load_state_dict(self.encoder_attn_layer_norm.state_dict())
            self.start_gate()
        silent = [self.secondary_attn.out_proj] if self.is_added else []
        for projection in [*silent, self.wider.narrow] if self.is_wider else silent:
            projection.weight.zero_()
            projection.bias.zero_()


def attend_each(
    queries: list[torch.Tensor],
    pairs: list[tuple[torch.Tensor, torch.Tensor]],
    masks: CrossMasks,
    dropout: float,
    openly: bool,
) -> CrossAttended:
    """One attention after the other, with the keys and values of each."""
    found = [
        attend(asked, keys, values, mask, dropout=dropout, openly=openly)
        for asked, (keys, values), mask in zip(queries, pairs, masks, strict=False)
    ]
    return CrossAttended([values for values, _ in found], [weights for _, weights in found])
