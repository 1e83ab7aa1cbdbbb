"""The dual-attention decoder: embeddings, layers with a second cross-attention, and what they report."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from .attention import CausalMask, CrossMasks, is_eager
from .cache import NoCache, open_cache
from .decoder_layer import DualWhisperDecoderLayer, LayerReport
from .losses import NoiseTarget
from .precision import computing, computing_dtype
from .pretrained import refuse_head_masks, wants_dict
from .second_recording import apart
from .stack import LayerStack

WITHOUT_WEIGHTS = {"self_weights": None, "primary_weights": None, "secondary_weights": None}


@dataclass
class DualDecoderOutput(BaseModelOutputWithPastAndCrossAttentions):
    """Whisper's decoder output, and for each layer what second attentions add; None without them.

    Attributes:
        cross_attentions: the primary attentions' weights [B, heads, L, S]; where one attention reads both recordings,
            those that fall on the first.
        secondary_attentions: the secondary attentions' weights [B, heads, L, S], or the one attention's that fall on
            the second recording, from its first frame on.
        gates: [B, L], the primary attention's share of the mix.
        noise_shares: [B, heads, L], the share of the secondary attention that falls on noise; None without a noise
            target.
    """

    secondary_attentions: tuple[torch.Tensor, ...] | None = None
    gates: tuple[torch.Tensor, ...] | None = None
    noise_shares: tuple[torch.Tensor, ...] | None = None


class DualWhisperDecoder(LayerStack):
    """Token and learned position embeddings, dual-attention layers, a final norm."""

    main_input_name = "input_ids"

    def __init__(self, config: Any, is_part: bool = False) -> None:
        super().__init__(config, is_part)
        is_eager(config)  # refuses others
        width = config.d_model
        self.embed_tokens = nn.Embedding(config.vocab_size, width, config.pad_token_id)
        self.embed_positions = nn.Embedding(config.max_target_positions, width)
        self.layers = nn.ModuleList(DualWhisperDecoderLayer(config, i) for i in range(config.decoder_layers))
        self.layer_norm = nn.LayerNorm(width)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embed_tokens

    def set_input_embeddings(self, value: Any) -> None:
        self.embed_tokens = value

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        encoder_frame_lengths: torch.Tensor | None = None,
        secondary_hidden_states: torch.Tensor | None = None,
        secondary_frame_lengths: torch.Tensor | None = None,
        joined_frames: torch.Tensor | None = None,
        noise: NoiseTarget | None = None,
        **more: Any,
    ) -> DualDecoderOutput | tuple:
        """Decode token ids [B, L] against encoder states [B, S, width]; without them there is no cross-attention.

        ``encoder_frame_lengths`` (int64 [B]) masks the encoder frames beyond each clip in both cross-attentions;
        ``secondary_hidden_states`` [B, S, width] is what second attentions read, the encoder's states if None, with
        ``secondary_frame_lengths``, those of the encoder's states if None;
        ``joined_frames`` [B, 2] says how many frames of either recording the encoder's states join;
        ``noise`` says where noise is (without a cache). The rest is as in Whisper's decoder.

        Raises:
            ValueError: if the sequence outgrows ``max_target_positions``, there are not as many rows as clips, or ids
                and embeddings are both given, or neither.
        """
        refuse_head_masks(more)
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give decoder_input_ids or decoder_inputs_embeds, and not both")
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
        if encoder_hidden_states is not None and len(encoder_hidden_states) != len(embeddings):
            clips = len(encoder_hidden_states)
            raise ValueError(
                f"the decoder's input has {len(embeddings)} rows for {clips} clips; give one row for each clip"
            )
        length, held = embeddings.shape[1], cache.length()
        if isinstance(held, int) and held + length > config.max_target_positions:
            raise ValueError(f"{held + length} tokens; the decoder holds at most {config.max_target_positions}")
        positions = torch.arange(length, device=embeddings.device) + held if cache_position is None else cache_position
        if hasattr(cache, "cache_position"):
            cache.cache_position = positions
        position_embeddings = self.embed_positions(positions if position_ids is None else position_ids)
        hidden = embeddings + position_embeddings  # not scaled: Whisper's own class passes over scale_embedding
        hidden = F.dropout(hidden, config.dropout, self.training)

        causal_mask = CausalMask(positions, held + length if isinstance(held, int) else None, attention_mask)
        masks = CrossMasks()
        if encoder_hidden_states is not None:
            lengths = (encoder_frame_lengths, secondary_frame_lengths)
            shape = (config.decoder_attention_heads, encoder_hidden_states.shape[1])
            masks = CrossMasks.of(lengths, shape, computing_dtype(hidden), not isinstance(cache, NoCache))
        kept: list[torch.Tensor] | None = [] if with_hidden else None
        reports: list[LayerReport] = []
        heard = [None if it is None else computing(it) for it in (encoder_hidden_states, secondary_hidden_states)]
        arguments = (*heard, cache, causal_mask, masks)
        for output, extras in self.run_layers(hidden, *arguments, with_weights or is_eager(config), noise, kept=kept):
            hidden = output
            report = LayerReport(*extras)
            if with_weights and joined_frames is not None and report.primary_weights is not None:
                first, second = apart(report.primary_weights, joined_frames)
                report = report._replace(primary_weights=first, secondary_weights=second)
            reports.append(report if with_weights else report._replace(**WITHOUT_WEIGHTS))
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
        return result if wants_dict(config, return_dict) else result.to_tuple()


def those_there(by_layer: Iterable[torch.Tensor | None]) -> tuple[torch.Tensor, ...] | None:
    """The tensors of the layers that have one; None if none has."""
    return tuple(tensor for tensor in by_layer if tensor is not None) or None
