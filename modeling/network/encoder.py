"""Whisper's encoder for input of any length, with what lies beyond each clip masked where the caller gives lengths."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from .attention import AttentionProjections, FeedForward, attend, frame_mask, is_eager
from .precision import casts_weights_together, computing, computing_dtype
from .pretrained import EncoderPositions, refuse_head_masks, wants_dict
from .second_recording import EDGE_FRAMES, HEARD, Heard, OtherRecording, as_rows, put_behind, uploaded
from .stack import LayerStack

MARGIN_FRAMES = 50  # 0.5 s of silence that the model may see after each clip


@dataclass
class EncoderOutput(BaseModelOutput):
    """The encoder's output. It passes through ``generate()`` whole, so cross-attention masks survive beams and caches.

    Attributes:
        frame_lengths: int64 [B], frames of 20 ms that belong to each clip; None where every frame may be seen.
        secondary_hidden_state: [B, S, width], what second attentions read where that is not what the first ones read.
        secondary_frame_lengths: int64 [B], frames of it that belong to each clip, where it has others than the first.
        joined_frames: int64 [B, 2], how many frames of the first and of the second recording lie one after the other in
            ``last_hidden_state``, where it holds both.
    """

    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
    frame_lengths: torch.Tensor | None = None
    secondary_hidden_state: torch.Tensor | None = None
    secondary_frame_lengths: torch.Tensor | None = None
    joined_frames: torch.Tensor | None = None

    @classmethod
    def from_tuple(cls, values: Sequence[Any]) -> "EncoderOutput":
        """The output that ``to_tuple`` was called on. A tuple leaves out what is None, so tensors after the first are
        told apart by their dimensions and order: lengths have one, joined frames two, the second attentions' states
        three."""
        first, *others = values
        named: dict[str, Any] = {}
        by_dimensions = {
            1: ["frame_lengths", "secondary_frame_lengths"],
            2: ["joined_frames"],
            3: ["secondary_hidden_state"],
        }
        for value in others:
            if isinstance(value, torch.Tensor):
                named[by_dimensions[value.dim()].pop(0)] = value
        return cls(first, *(value for value in others if not isinstance(value, torch.Tensor)), **named)


class DualWhisperEncoderLayer(FeedForward):
    """Self-attention and feed-forward, normalised before each; the same arithmetic as Whisper's."""

    def __init__(self, config: Any, index: int) -> None:
        super().__init__(config, config.encoder_ffn_dim)
        self.index = index
        self.self_attn = AttentionProjections(config.d_model, config.encoder_attention_heads)
        self.self_attn_layer_norm = nn.LayerNorm(config.d_model)

    @property
    def hears_both(self) -> bool:
        """Whether this is one of the upper layers, in which each recording's frames also look at the other's."""
        return self.index >= self.config.encoder_layers - self.config.second_recording_layers

    @casts_weights_together
    def forward(
        self,
        hidden: torch.Tensor,
        mask: torch.Tensor | None = None,
        openly: bool = False,
        other: OtherRecording | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The hidden states [B, S, width], and the attention weights [B, heads, S, S] where ``openly`` asks for them.

        Args:
            mask: [B, 1, 1, S] of :func:`frame_mask`; None where all frames may be looked at.
            other: where each clip's other recording is, for layers that hear both; weights are then [B, heads, S, 2 S].
        """
        states = computing(self.self_attn_layer_norm(hidden))
        keys, values = self.self_attn.keys_values(states)
        if other is not None and self.hears_both:
            keys, values, mask = other.beside(keys), other.beside(values), other.mask
        attended, weights = attend(
            self.self_attn.queries(states),
            keys,
            values,
            mask=mask,
            dropout=self.attention_dropout,
            openly=openly,
        )
        hidden = self.feed_forward(hidden + self.residual_dropout(self.self_attn.output(attended)))
        if hidden.dtype == torch.float16:
            limit = torch.finfo(torch.float16).max - 1000
            hidden = hidden.clamp(-limit, limit)
        return hidden, weights


def fit_to_clips(features: torch.Tensor, window: int) -> tuple[torch.Tensor, list[int]]:
    """Features as long as their longest clip, as in training; the end of each clip is found in the features.

    It is right to within a frame, digital silence at the end not counted. A frame of padding has one value in all mel
    bins: the feature extractor pads audio with zeros, which become eight decades below the loudest; ``generate()`` pads
    features with zeros, which are not silence and are replaced by it here.

    Args:
        features: [B, mel bins, T], padded to any length or not at all.
        window: mel frames that the encoder takes at most.

    Returns:
        The features, cut or padded with silence, and the frames of each that may be seen: its own and the margin, even.
    """
    silence = (features.amax(dim=(1, 2), keepdim=True) - 8 / 4).clamp(min=(-10 + 4) / 4)
    frame = torch.arange(features.shape[2], device=features.device)
    ends = ((features.amax(dim=1) > features.amin(dim=1)) * (frame + 1)).amax(dim=1)
    lengths = [end - 1 + MARGIN_FRAMES for end in ends.tolist()]  # the last frame's window begins before the end
    lengths = [min(length + length % 2, window) for length in lengths]
    features = torch.where((frame < ends[:, None])[:, None], features, silence)
    missing = min(max(lengths) + EDGE_FRAMES, window) - features.shape[2]
    if missing > 0:
        features = torch.cat((features, silence.expand(-1, features.shape[1], missing)), dim=2)
    return features[:, :, : max(lengths) + EDGE_FRAMES], lengths


class DualWhisperEncoder(LayerStack):
    """Two convolutions, sinusoidal positions, self-attention layers."""

    main_input_name = "input_features"

    def __init__(self, config: Any, is_part: bool = False) -> None:
        super().__init__(config, is_part)
        is_eager(config)  # refuses others
        width = config.d_model
        self.conv1 = nn.Conv1d(config.num_mel_bins, width, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(width, width, kernel_size=3, stride=2, padding=1)
        self.embed_positions = EncoderPositions(config.max_source_positions, width).requires_grad_(False)
        self.layers = nn.ModuleList(DualWhisperEncoderLayer(config, i) for i in range(config.encoder_layers))
        self.layer_norm = nn.LayerNorm(width)
        self.secondary_layer = config.secondary_layer if config.dual_attention else None
        if self.secondary_layer is not None:
            self.secondary_layer_norm = nn.LayerNorm(width)
        self.post_init()

    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        feature_lengths: Sequence[int] | torch.Tensor | None = None,
        second_rows: Sequence[int] = (),
        **more: Any,
    ) -> EncoderOutput | tuple:
        """Encode log-mel features.

        Args:
            input_features: [B, mel bins, T], T at most twice ``max_source_positions``; with second recordings
                [B + R, mel bins, T], or stacked, as :func:`~.second_recording.as_rows` takes them.
            attention_mask: accepted as Whisper's encoder accepts it, and like there not used.
            feature_lengths: mel frames of each clip that may be seen, even numbers. Frames beyond the longest are cut
                off after the convolutions, frames beyond each are masked. Give a list rather than a GPU tensor: its
                values decide shapes, and reading them back would stall the GPU. Without it, a model whose
                ``encoder_padding`` is ``clip`` finds them in the features; that is how ``generate()`` and the
                pipelines, which pad everything to 30 s, decode as the model was trained.
            second_rows: the clips that the last R rows of the features are second recordings of, in ascending order;
                the output has B rows.

        Raises:
            ValueError: if T is too long, the mel bins are not the model's, a length is missing, odd or beyond T, or
                second recordings are not what the model hears or the rows do not say whose they are.
        """
        refuse_head_masks(more)
        config = self.config
        with_weights = config.output_attentions if output_attentions is None else output_attentions
        with_hidden = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        features, rows = as_rows(input_features, second_rows, config)
        bins, length = features.shape[1:]
        if bins != config.num_mel_bins:
            raise ValueError(f"the features have {bins} mel bins; this model was made for {config.num_mel_bins}")
        if length > 2 * config.max_source_positions:
            raise ValueError(f"{length} mel frames; at most {2 * config.max_source_positions} fit")
        if feature_lengths is None and config.encoder_padding == "clip":
            features, feature_lengths = fit_to_clips(features, 2 * config.max_source_positions)
            length = features.shape[2]
        lengths: list[int] = []
        if feature_lengths is not None:
            lengths = feature_lengths.tolist() if isinstance(feature_lengths, torch.Tensor) else list(feature_lengths)
            if len(lengths) != len(features):
                raise ValueError(f"{len(lengths)} feature lengths for {len(features)} rows of features")
            if any(n % 2 or not 0 < n <= length for n in lengths):
                raise ValueError(f"feature lengths {lengths} must be even, above 0 and at most {length}")
        behind = None
        if rows and lengths and config.second_recording == "before":
            behind = put_behind(features, lengths, rows, 2 * config.max_source_positions)
            features, lengths, rows = behind.features, behind.lengths, []
        features = features.to(self.conv1.weight.dtype)
        hidden = F.gelu(self.conv2(F.gelu(self.conv1(features)))).transpose(1, 2)
        frame_lengths = frames = None
        if lengths:
            hidden = hidden[:, : max(lengths) // 2]
            if min(lengths) < max(lengths):
                frames = [n // 2 for n in lengths]
                frame_lengths = uploaded(frames, hidden.device)
        # A module's call, not its weight: under ZeRO-3 the weight is there only during the call.
        hidden = hidden + self.embed_positions(torch.arange(hidden.shape[1], device=hidden.device))
        hidden = F.dropout(hidden, config.dropout, self.training)
        mask = frame_mask(frame_lengths, hidden.shape[1], computing_dtype(hidden))
        other = None
        if rows and config.second_recording_layers:
            other = OtherRecording.of(rows, hidden, frame_lengths, computing_dtype(hidden))
        kept: list[torch.Tensor] | None = [] if with_hidden else None
        all_weights = []
        secondary = None
        for output, (weights,) in self.run_layers(hidden, mask, with_weights or is_eager(config), other, kept=kept):
            hidden = output
            all_weights.append(weights)
            if len(all_weights) == self.secondary_layer:
                secondary = self.secondary_layer_norm(hidden)
        hidden = self.layer_norm(hidden)
        if config.second_recording == "attention" and torch.is_grad_enabled():
            secondary = hidden  # under ZeRO-3 all ranks must have as many outputs with gradients, whatever their clips
        heard = Heard(hidden, frame_lengths, secondary)
        if behind is not None:
            heard = behind.heard(hidden)
        elif rows:
            heard = HEARD[config.second_recording](hidden, frames, rows)
        result = EncoderOutput(
            last_hidden_state=heard.states,
            hidden_states=None if kept is None else (*kept, hidden),
            attentions=tuple(all_weights) if with_weights else None,
            frame_lengths=heard.lengths,
            secondary_hidden_state=heard.second_states,
            secondary_frame_lengths=heard.second_lengths,
            joined_frames=heard.joined_frames,
        )
        return result if wants_dict(config, return_dict) else result.to_tuple()

    @torch.no_grad()
    def start_new_modules(self) -> None:
        """What second attentions read of a middle layer goes through a copy of the last norm."""
        if self.secondary_layer is not None:
            self.secondary_layer_norm.load_state_dict(self.layer_norm.state_dict())

    def _freeze_parameters(self) -> None:
        """Called by ``WhisperForConditionalGeneration.freeze_encoder``."""
        self.requires_grad_(False)
