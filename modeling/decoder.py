"""The dual-attention decoder: in every layer a second cross-attention, and a learned gate that mixes the two.

With ``dual_attention: false`` it is plain Whisper's, in the same modules.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from .attention import AttentionProjections, CausalMask, FeedForward, attend, frame_mask
from .cache import DecoderCache, NoCache, open_cache
from .stack import LayerStack


class AttentionGate(nn.Module):
    """α = σ(w · tanh(W [h; p; s] + b) + c): how much of the primary attention a position takes, in (0, 1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(3 * width, width)
        self.score = nn.Linear(width, 1)

    def forward(self, hidden: torch.Tensor, primary: torch.Tensor, secondary: torch.Tensor) -> torch.Tensor:
        """Three times [B, L, width] → [B, L, 1]."""
        return torch.sigmoid(self.score(torch.tanh(self.hidden(torch.cat((hidden, primary, secondary), dim=-1)))))


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

    def forward(
        self,
        hidden: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        cache: DecoderCache,
        causal_mask: CausalMask,
        encoder_mask: torch.Tensor | None = None,
        with_weights: bool = False,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor | None, torch.Tensor | None]]:
        """Returns the hidden states [B, L, width] and the weights of self-attention and of the primary attention."""
        states = self.self_attn_layer_norm(hidden)
        keys, values = cache.self_attention(self.index, *self.self_attn.keys_values(states))
        mask, causal = causal_mask(keys)
        attended, self_weights = attend(
            self.self_attn.queries(states), keys, values, mask, causal, self.attention_dropout, with_weights
        )
        hidden = hidden + self.residual_dropout(self.self_attn.output(attended))

        heard, weights = self.cross_attended(hidden, encoder_hidden_states, cache, encoder_mask, with_weights)
        hidden = hidden + self.residual_dropout(self.mixed(hidden, heard))
        return self.feed_forward(hidden), (self_weights, weights)

    def cross_attended(
        self,
        hidden: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        cache: DecoderCache,
        mask: torch.Tensor | None,
        with_weights: bool,
    ) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        """What each cross-attention attends to, [B, heads, L, head size], and the weights of the primary one."""
        pairs = [(self.encoder_attn, self.encoder_attn_layer_norm)]
        if self.is_dual:
            pairs.append((self.secondary_attn, self.secondary_attn_layer_norm))
        queries = [attention.queries(norm(hidden)) for attention, norm in pairs]
        dropout = self.attention_dropout
        if isinstance(cache, NoCache):  # one after the other: in one product their keys and values would be copied
            found = [
                attend(asked, *attention.keys_values(encoder_hidden_states), mask, False, dropout, with_weights)
                for asked, (attention, _) in zip(queries, pairs, strict=True)
            ]
            return [attended for attended, _ in found], found[0][1]
        keys, values = cache.cross_attention(self.index, lambda: self.cross_keys_values(encoder_hidden_states))
        together = torch.cat(queries, dim=1) if self.is_dual else queries[0]  # side by side on the head axis
        attended, weights = attend(together, keys, values, mask, False, dropout, with_weights)
        parts = len(pairs)
        return list(attended.chunk(parts, dim=1)), None if weights is None else weights.chunk(parts, dim=1)[0]

    def mixed(self, hidden: torch.Tensor, attended: list[torch.Tensor]) -> torch.Tensor:
        """What the cross-attentions say, [B, L, width]: the one's, or both mixed by the gate."""
        primary = self.encoder_attn.output(attended[0])
        if not self.is_dual:
            return primary
        secondary = self.secondary_attn.output(attended[1])
        gate = self.gate(hidden, primary, secondary)
        # α p + (1 - α) s, written so that it is exactly p where the two are equal, whatever the gate.
        return secondary + gate * (primary - secondary)

    def cross_keys_values(self, encoder_hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values [B, heads, S, head size]: the primary attention's heads, then the secondary's, if any."""
        primary_keys, primary_values = self.encoder_attn.keys_values(encoder_hidden_states)
        if not self.is_dual:
            return primary_keys, primary_values
        secondary_keys, secondary_values = self.secondary_attn.keys_values(encoder_hidden_states)
        keys = torch.cat((primary_keys, secondary_keys), dim=1)
        return keys, torch.cat((primary_values, secondary_values), dim=1)

    @torch.no_grad()
    def copy_primary_to_secondary(self) -> None:
        """Make the second attention equal the first, norm included: how a plain Whisper is lifted."""
        self.secondary_attn.load_state_dict(self.encoder_attn.state_dict())
        self.secondary_attn_layer_norm.load_state_dict(self.encoder_attn_layer_norm.state_dict())


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
        past_key_values: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **more: Any,
    ) -> BaseModelOutputWithPastAndCrossAttentions | tuple:
        """Decode token ids [B, L] against encoder states [B, S, width].

        ``encoder_frame_lengths`` (int64 [B]) masks the encoder frames beyond each clip in both cross-attentions;
        ``cross_attentions`` in the output are the primary attention's. The rest is as in Whisper's decoder.

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
        all_weights = []
        arguments = (encoder_hidden_states, cache, causal_mask, encoder_mask, with_weights)
        for output, weights in self.run_layers(hidden, *arguments, kept=kept):
            hidden = output
            all_weights.append(weights)
        hidden = self.layer_norm(hidden)
        result = BaseModelOutputWithPastAndCrossAttentions(
            last_hidden_state=hidden,
            past_key_values=cache.export(),
            hidden_states=None if kept is None else (*kept, hidden),
            attentions=tuple(w for w, _ in all_weights) if with_weights else None,
            cross_attentions=tuple(w for _, w in all_weights) if with_weights else None,
        )
        return result.to_tuple() if return_dict is False else result
