"""The dual-attention decoder: in every layer a second cross-attention, and a learned gate that mixes the two.

With ``dual_attention: false`` it is plain Whisper's, in the same modules.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from .attention import AttentionProjections, CausalMask, FeedForward, attend, frame_mask
from .cache import DecoderCache, NoCache, open_cache
from .linear import linear
from .losses import NoiseTarget
from .stack import LayerStack


class CrossAttended(NamedTuple):
    """What the cross-attentions of a layer found, and what is known of how.

    Attributes:
        values: of each, [B, heads, L, head size].
        weights: of each [B, heads, L, S], where they were asked for.
        noise_share: of the second one's weights, what falls on noise, [B, heads, L]; None without a noise target.
    """

    values: list[torch.Tensor]
    weights: list[torch.Tensor | None]
    noise_share: torch.Tensor | None = None


class LayerReport(NamedTuple):
    """What a decoder layer tells beside its states: weights where they were asked for, and of a second attention the
    gate [B, L] (the first one's share) and the share of its attention on noise [B, heads, L]."""

    self_weights: torch.Tensor | None
    primary_weights: torch.Tensor | None
    secondary_weights: torch.Tensor | None
    gate: torch.Tensor | None
    noise_share: torch.Tensor | None


@dataclass
class DualDecoderOutput(BaseModelOutputWithPastAndCrossAttentions):
    """Whisper's decoder output, and of each layer what second attentions add; None without them.

    Attributes:
        cross_attentions: the primary attentions' weights [B, heads, L, S].
        secondary_attentions: likewise of the secondary ones.
        gates: [B, L], the primary attention's share of what is heard.
        noise_shares: [B, heads, L], of the secondary attention's weights what falls on noise, if that is known.
    """

    secondary_attentions: tuple[torch.Tensor, ...] | None = None
    gates: tuple[torch.Tensor, ...] | None = None
    noise_shares: tuple[torch.Tensor, ...] | None = None


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
    """As many parameters as a second attention and its gate, as more room in a feed-forward block."""

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

    def forward(
        self,
        hidden: torch.Tensor,
        heard: list[torch.Tensor],
        cache: DecoderCache,
        causal_mask: CausalMask,
        encoder_mask: torch.Tensor | None = None,
        with_weights: bool = False,
        noise: NoiseTarget | None = None,
    ) -> tuple[torch.Tensor, LayerReport]:
        """Returns the hidden states [B, L, width] and what else is known.

        Args:
            heard: what each cross-attention reads, [B, S, width].
            noise: where noise is; without a cache the second attention's share on it is then told.
        """
        states = self.self_attn_layer_norm(hidden)
        keys, values = cache.self_attention(self.index, *self.self_attn.keys_values(states))
        mask, causal = causal_mask(keys)
        attended, self_weights = attend(
            self.self_attn.queries(states), keys, values, mask, causal, self.attention_dropout, with_weights
        )
        hidden = hidden + self.residual_dropout(self.self_attn.output(attended))

        found = self.cross_attended(hidden, heard, cache, encoder_mask, with_weights, noise)
        mixed, gate = self.mixed(hidden, found.values)
        hidden = self.feed_forward(hidden + self.residual_dropout(mixed))
        secondary_weights = found.weights[1] if self.is_dual else None
        return hidden, LayerReport(self_weights, found.weights[0], secondary_weights, gate, found.noise_share)

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
        mask: torch.Tensor | None,
        with_weights: bool,
        noise: NoiseTarget | None,
    ) -> CrossAttended:
        states = [norm(hidden) for _, norm in self.cross_attentions]
        queries = [attention.queries(own) for own, (attention, _) in zip(states, self.cross_attentions, strict=True)]
        dropout = self.attention_dropout
        if isinstance(cache, NoCache):  # one after the other: in one product their keys and values would be copied
            pairs = self.cross_keys_values(heard)
            found = [
                attend(asked, keys, values, mask, False, dropout, with_weights)
                for asked, (keys, values) in zip(queries, pairs, strict=True)
            ]
            share = None
            if noise is not None and self.is_dual:
                is_trained, asked, keys = noise.trains(self.index), queries[1], pairs[1][0]
                if is_trained and noise.is_local:
                    asked = self.secondary_attn.queries(states[1].detach())
                    keys = self.secondary_attn.keys(heard[1].detach())
                with torch.set_grad_enabled(torch.is_grad_enabled() and is_trained):
                    share = noise.share_of(asked, keys, mask)
            return CrossAttended([values for values, _ in found], [weights for _, weights in found], share)

        def side_by_side() -> tuple[torch.Tensor, torch.Tensor]:  # on the head axis
            keys, values = zip(*self.cross_keys_values(heard), strict=True)
            return (torch.cat(keys, dim=1), torch.cat(values, dim=1)) if self.is_dual else (keys[0], values[0])

        keys, values = cache.cross_attention(self.index, side_by_side)
        together = torch.cat(queries, dim=1) if self.is_dual else queries[0]
        attended, weights = attend(together, keys, values, mask, False, dropout, with_weights)
        parts = len(queries)
        shown: list[torch.Tensor | None] = [None] * parts if weights is None else list(weights.chunk(parts, dim=1))
        return CrossAttended(list(attended.chunk(parts, dim=1)), shown)

    def mixed(self, hidden: torch.Tensor, attended: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What the cross-attentions say, [B, L, width]: the one's, or both under the gate, which is told too."""
        primary = self.encoder_attn.output(attended[0])
        if not self.is_dual:
            return primary, None
        secondary = self.secondary_attn.output(attended[1])
        gate = self.gate(hidden, primary, secondary)
        # α p + (1 - α) s, written so that it is exactly p where the two are equal, whatever the gate.
        both = primary + (1 - gate) * secondary if self.is_added else secondary + gate * (primary - secondary)
        return both, gate.detach().squeeze(-1)

    def cross_keys_values(self, heard: list[torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Of each cross-attention keys and values [B, heads, S, head size] of what it reads."""
        return [
            attention.keys_values(states) for states, (attention, _) in zip(heard, self.cross_attentions, strict=True)
        ]

    @torch.no_grad()
    def start_gate(self) -> None:
        self.gate.score.bias.fill_(self.config.gate_bias)

    @torch.no_grad()
    def start_as_whisper(self) -> None:
        """Begin what plain Whisper has not: the second attention equal to the first, norm included, or adding nothing;
        the gate at its bias; a wider feed-forward block that adds nothing."""
        if self.is_dual:
            self.secondary_attn.load_state_dict(self.encoder_attn.state_dict())
            self.secondary_attn_layer_norm.load_state_dict(self.encoder_attn_layer_norm.state_dict())
            self.start_gate()
        silent = [self.secondary_attn.out_proj] if self.is_added else []
        for projection in [*silent, self.wider.narrow] if self.is_wider else silent:
            projection.weight.zero_()
            projection.bias.zero_()


class DualWhisperDecoder(LayerStack):
    """Token and learned position embeddings, dual-attention layers, a final norm."""

    main_input_name = "input_ids"

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        width = config.d_model
        self.embedding_scale = math.sqrt(width) if config.scale_embedding else 1.0
        self.embed_tokens = nn.Embedding(config.vocab_size, width, config.pad_token_id)
        self.embed_positions = nn.Embedding(config.max_target_positions, width)
        self.layers = nn.ModuleList(DualWhisperDecoderLayer(config, i) for i in range(config.decoder_layers))
        self.layer_norm = nn.LayerNorm(width)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_frame_lengths: torch.Tensor | None = None,
        secondary_hidden_states: torch.Tensor | None = None,
        noise: NoiseTarget | None = None,
        past_key_values: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **more: Any,
    ) -> DualDecoderOutput | tuple:
        """Decode token ids [B, L] against encoder states [B, S, width].

        ``encoder_frame_lengths`` (int64 [B]) masks the encoder frames beyond each clip in both cross-attentions;
        ``secondary_hidden_states`` [B, S, width] is what second attentions read, the encoder's states if None;
        ``noise`` says where noise is (without a cache). The rest is as in Whisper's decoder.

        Raises:
            ValueError: if the sequence outgrows ``max_target_positions``.
        """
        config = self.config
        with_weights = bool(config.output_attentions if output_attentions is None else output_attentions)
        with_hidden = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        use_cache = config.use_cache if use_cache is None else use_cache
        cache_position = more.get("cache_position")  # 4.43 to 5.x; named above, newer ones would make it just for us
        cache = open_cache(
            past_key_values,
            use_cache and not (self.training and self.gradient_checkpointing and torch.is_grad_enabled()),
            cache_position,
        )

        embeddings = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        length, held = embeddings.shape[1], cache.length()
        if isinstance(held, int) and held + length > config.max_target_positions:
            raise ValueError(f"{held + length} tokens; the decoder holds at most {config.max_target_positions}")
        positions = torch.arange(length, device=embeddings.device) + held if cache_position is None else cache_position
        if hasattr(cache, "cache_position"):
            cache.cache_position = positions
        position_embeddings = self.embed_positions(positions if position_ids is None else position_ids)
        hidden = embeddings * self.embedding_scale + position_embeddings
        hidden = F.dropout(hidden, config.dropout, self.training)

        causal_mask = CausalMask(positions, held + length if isinstance(held, int) else None, attention_mask)
        encoder_mask = None
        if encoder_frame_lengths is not None and encoder_hidden_states is not None:
            encoder_mask = frame_mask(encoder_frame_lengths, encoder_hidden_states.shape[1])
        kept: list[torch.Tensor] | None = [] if with_hidden else None
        reports: list[LayerReport] = []
        heard = [encoder_hidden_states]
        if config.dual_attention:
            heard.append(encoder_hidden_states if secondary_hidden_states is None else secondary_hidden_states)
        arguments = (heard, cache, causal_mask, encoder_mask, with_weights, noise)
        for output, report in self.run_layers(hidden, *arguments, kept=kept):
            hidden = output
            reports.append(report)
        hidden = self.layer_norm(hidden)
        result = DualDecoderOutput(
            last_hidden_state=hidden,
            past_key_values=cache.export(),
            hidden_states=None if kept is None else (*kept, hidden),
            attentions=those_there(report.self_weights for report in reports),
            cross_attentions=those_there(report.primary_weights for report in reports),
            secondary_attentions=those_there(report.secondary_weights for report in reports),
            gates=those_there(report.gate for report in reports),
            noise_shares=those_there(report.noise_share for report in reports),
        )
        return result.to_tuple() if return_dict is False else result


def those_there(by_layer: Iterable[torch.Tensor | None]) -> tuple[torch.Tensor, ...] | None:
    """What layers told, without those that told nothing; None if none did."""
    return tuple(tensor for tensor in by_layer if tensor is not None) or None
