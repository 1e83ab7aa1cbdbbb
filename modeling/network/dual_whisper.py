"""Dual-attention Whisper as transformers sees it: own stacks under Whisper's parameter names, stock ``generate()``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import WhisperForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput, Seq2SeqModelOutput
from transformers.models.whisper.modeling_whisper import WhisperModel

from .attention import AttentionProjections  # noqa: F401 - a checkpoint carries only what is imported here
from .cache import DecoderCache  # noqa: F401 - likewise
from .compatibility import GradientCheckpointingLayer  # noqa: F401 - likewise
from .configuration import DualWhisperConfig
from .decoder import DualWhisperDecoder
from .decoder_layer import DualWhisperDecoderLayer  # noqa: F401 - likewise
from .encoder import DualWhisperEncoder, EncoderOutput, fit_to_clips
from .linear import linear
from .losses import IGNORED, CleanStates, NoiseTarget, logits_loss_sum, noise_loss_sum, token_loss_sum
from .precision import computing  # noqa: F401 - likewise
from .pretrained import DualWhisperPreTrained, refuse_head_masks, wants_dict
from .second_recording import as_rows
from .stack import LayerStack  # noqa: F401 - likewise

BARE_MODEL = "dual_whisper.DualWhisperModel"  # as a checkpoint's config names it


@dataclass
class DualModelOutput(Seq2SeqModelOutput):
    """Whisper's, and what :class:`~modeling.network.decoder.DualDecoderOutput` has of the second attentions."""

    secondary_attentions: tuple[torch.Tensor, ...] | None = None
    gates: tuple[torch.Tensor, ...] | None = None
    noise_shares: tuple[torch.Tensor, ...] | None = None


@dataclass
class DualLMOutput(Seq2SeqLMOutput):
    """Likewise; ``noise_loss`` is the noise loss summed over its tokens, ``clean_loss`` the distance from clean states
    summed over their frames. ``loss`` holds a share of each."""

    secondary_attentions: tuple[torch.Tensor, ...] | None = None
    gates: tuple[torch.Tensor, ...] | None = None
    noise_shares: tuple[torch.Tensor, ...] | None = None
    noise_loss: torch.Tensor | None = None
    clean_loss: torch.Tensor | None = None


class DualWhisperModel(DualWhisperPreTrained, WhisperModel):
    """Encoder and dual-attention decoder."""

    def __init__(self, config: DualWhisperConfig) -> None:
        config.check()
        super(WhisperModel, self).__init__(config)  # not WhisperModel's own: it would build the stock stacks
        self.encoder = DualWhisperEncoder(config, is_part=True)
        self.decoder = DualWhisperDecoder(config, is_part=True)
        self.post_init()

    def forward(  # type: ignore[override]
        self,
        input_features: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        decoder_position_ids: torch.Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        feature_lengths: Sequence[int] | torch.Tensor | None = None,
        second_rows: Sequence[int] = (),
        noise_target: NoiseTarget | None = None,
        encoder_layers_too: bool = False,
        **more: Any,
    ) -> DualModelOutput | tuple:
        """Whisper's forward, and lengths and second recordings as :meth:`DualWhisperEncoder.forward` takes them.

        In training, features are masked as the configuration's ``apply_spec_augment`` asks, within each clip. With
        ``encoder_layers_too`` the output has the encoder's hidden states, whether or not all are asked for.
        """
        refuse_head_masks(more)
        wanted = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        if encoder_outputs is None:
            if input_features is None:
                raise ValueError("give input_features or encoder_outputs")
            if self.training and self.config.apply_spec_augment:
                input_features, second_rows = as_rows(input_features, second_rows, self.config)
                masks = attention_mask if not second_rows else None  # of the first recordings alone
                input_features, feature_lengths = self.augmented(input_features, masks, feature_lengths)
            given = {"feature_lengths": feature_lengths, "second_rows": second_rows}
            asked = wanted | ({"output_hidden_states": True} if encoder_layers_too else {})
            encoder_outputs = self.encoder(input_features, return_dict=True, **given, **asked)
        elif not isinstance(encoder_outputs, BaseModelOutput):
            encoder_outputs = EncoderOutput.from_tuple(encoder_outputs)
        decoded = self.decoder(
            input_ids=decoder_input_ids,
            attention_mask=decoder_attention_mask,
            encoder_hidden_states=encoder_outputs.last_hidden_state,
            encoder_frame_lengths=getattr(encoder_outputs, "frame_lengths", None),
            secondary_hidden_states=getattr(encoder_outputs, "secondary_hidden_state", None),
            secondary_frame_lengths=getattr(encoder_outputs, "secondary_frame_lengths", None),
            joined_frames=getattr(encoder_outputs, "joined_frames", None),
            noise=noise_target,
            past_key_values=past_key_values,
            inputs_embeds=decoder_inputs_embeds,
            position_ids=decoder_position_ids,
            use_cache=use_cache,
            cache_position=more.get("cache_position"),
            return_dict=True,
            **wanted,
        )
        output = DualModelOutput(
            last_hidden_state=decoded.last_hidden_state,
            past_key_values=decoded.past_key_values,
            decoder_hidden_states=decoded.hidden_states,
            decoder_attentions=decoded.attentions,
            cross_attentions=decoded.cross_attentions,
            encoder_last_hidden_state=encoder_outputs.last_hidden_state,
            encoder_hidden_states=encoder_outputs.hidden_states,
            encoder_attentions=encoder_outputs.attentions,
            secondary_attentions=decoded.secondary_attentions,
            gates=decoded.gates,
            noise_shares=decoded.noise_shares,
        )
        return output if wants_dict(self.config, return_dict) else output.to_tuple()

    def augmented(
        self,
        features: torch.Tensor,
        attention_mask: torch.Tensor | None,
        lengths: Sequence[int] | torch.Tensor | None,
    ) -> tuple[torch.Tensor, Sequence[int] | torch.Tensor | None]:
        """Features with spans of time and mel bins set to 0 by Whisper's own function, and the clips' lengths: they
        are found first, since a masked span looks like padding."""
        if lengths is None and self.config.encoder_padding == "clip":
            features, lengths = fit_to_clips(features, 2 * self.config.max_source_positions)
        if lengths is not None:
            own = torch.as_tensor(lengths)[:, None]
            attention_mask = (torch.arange(features.shape[2], device=own.device) < own).long()
        return self._mask_input_features(features.clone(), attention_mask), lengths


class DualWhisperForConditionalGeneration(DualWhisperPreTrained, WhisperForConditionalGeneration):
    """Dual-attention Whisper with its tied vocabulary projection."""

    def __init__(self, config: DualWhisperConfig) -> None:
        super(WhisperForConditionalGeneration, self).__init__(config)  # as above
        self.model = DualWhisperModel(config)
        self.proj_out = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.max_target_positions = config.max_target_positions
        self.post_init()

    def forward(  # type: ignore[override]
        self,
        input_features: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        decoder_position_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        feature_lengths: Sequence[int] | torch.Tensor | None = None,
        second_rows: Sequence[int] = (),
        target_positions: torch.Tensor | None = None,
        num_items_in_batch: float | torch.Tensor | None = None,
        label_smoothing: float = 0.0,
        loss_only: bool = False,
        noise_target: torch.Tensor | None = None,
        noise_positions: torch.Tensor | None = None,
        noise_weight: float = 0.0,
        noise_layers: Sequence[int] | None = None,
        noise_loss_is_local: bool = True,
        clean_states: CleanStates | None = None,
        clean_weight: float = 0.0,
        **more: Any,
    ) -> DualLMOutput | tuple:
        """Whisper's forward, the clips' lengths, and losses that can be summed over microbatches.

        Args:
            feature_lengths, second_rows: see :meth:`DualWhisperEncoder.forward`.
            labels: int64 [B, L], -100 where there is no loss; alone, they are shifted to make the decoder's input.
            target_positions: int64 [N], where in the flattened labels there is a loss; saves a wait for the GPU.
            num_items_in_batch: what the summed token loss is divided by; the number of target tokens if None.
            label_smoothing: the share of a target's probability that the loss spreads evenly over the vocabulary.
            loss_only: leave the logits out, so that they never exist at once (training).
            noise_target: float32 [B, S], of each encoder frame's energy the share that is noise. The output then says
                how much of the second attentions falls on it.
            noise_positions: int64 [N], the target tokens of noisy utterances in the flattened labels.
            noise_weight: what the noise loss, summed over them, is multiplied by in ``loss``.
            noise_layers: the decoder layers it is of; all if None.
            noise_loss_is_local: see :class:`~modeling.network.losses.NoiseTarget`.
            clean_states: what the encoder's states of noisy clips are to come near to.
            clean_weight: what their distance, summed over frames, is multiplied by in ``loss``.
        """
        noise = None
        if noise_target is not None and self.config.dual_attention:
            layers = None if noise_layers is None else frozenset(noise_layers)
            is_trained = noise_weight > 0 and noise_positions is not None
            noise = NoiseTarget(noise_target, layers, is_trained, noise_loss_is_local)
        if labels is not None:
            use_cache = False  # nothing reads it
            if decoder_input_ids is None and decoder_inputs_embeds is None:
                decoder_input_ids = shift_right(labels, self.config.pad_token_id, self.config.decoder_start_token_id)
        refuse_head_masks(more)
        outputs = self.model(
            input_features,
            attention_mask=attention_mask,
            feature_lengths=feature_lengths,
            second_rows=second_rows,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            encoder_outputs=encoder_outputs,
            past_key_values=past_key_values,
            decoder_inputs_embeds=decoder_inputs_embeds,
            decoder_position_ids=decoder_position_ids,
            use_cache=use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            cache_position=more.get("cache_position"),
            return_dict=True,
            noise_target=noise,
            encoder_layers_too=clean_states is not None,
        )
        loss = noise_loss = clean_loss = None
        logits = None if loss_only else linear(self.proj_out, outputs.last_hidden_state)
        if labels is not None:
            tokens = (labels != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
            if logits is None:
                states = outputs.last_hidden_state
                summed = token_loss_sum(
                    states, self.proj_out, labels, target_positions, label_smoothing=label_smoothing
                )
            else:  # so that the loss comes of the logits that are returned
                summed = logits_loss_sum(logits, labels, label_smoothing)
            loss = summed / tokens
            if noise is not None and noise_positions is not None:
                noise_loss = noise_loss_sum(noise.chosen(outputs.noise_shares), noise_positions)
                loss = loss + noise_weight * noise_loss if noise.is_trained else loss
            if clean_states is not None:
                clean_loss = clean_states.distance_sum(outputs.encoder_hidden_states)
                loss = loss + clean_weight * clean_loss
        own = {"last_hidden_state", "noise_shares"}
        if clean_states is not None and not output_hidden_states:
            own.add("encoder_hidden_states")  # nobody asked for them
        passed_on = {key: value for key, value in outputs.items() if key not in own}
        output = DualLMOutput(
            loss=loss,
            logits=logits,
            **passed_on,
            noise_shares=detached(outputs.noise_shares),
            noise_loss=None if noise_loss is None else noise_loss.detach(),
            clean_loss=None if clean_loss is None else clean_loss.detach(),
        )
        return output if wants_dict(self.config, return_dict) else output.to_tuple()

    def _extract_token_timestamps(self, generate_outputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The time of each token, from its weights on the frames of its own clip, and of the first recording."""
        if self.config.encoder_padding == "clip" or self.config.second_recording == "joined":
            kwargs["num_frames"] = frames_looked_at(generate_outputs, kwargs.get("num_frames"))
        return super()._extract_token_timestamps(generate_outputs, *args, **kwargs)

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """As transformers' own; ``AutoModel`` finds the model without its head in the folder too."""
        self.config.auto_map = (getattr(self.config, "auto_map", None) or {}) | {"AutoModel": BARE_MODEL}
        super().save_pretrained(*args, **kwargs)


def frames_looked_at(generated: Any, known: Any = None) -> Any:
    """Mel frames of each sequence that cross-attentions look at: beyond them all weights are 0.

    Args:
        generated: what ``generate()`` returned, with ``cross_attentions``.
        known: of each clip or of all, how many frames there are at most; None if nobody knows.

    Returns:
        One number where all are equal, else an array: what all releases of transformers take.
    """
    weights = torch.stack([layer.amax(dim=(1, 2)) for layer in generated.cross_attentions[0]]).amax(dim=0)  # [rows, S]
    frames = 2 * ((weights > 0) * torch.arange(1, weights.shape[1] + 1, device=weights.device)).amax(dim=1).cpu()
    if generated.get("beam_indices") is not None:
        frames = frames[generated.beam_indices[:, 0].cpu()]  # beams of a clip look at the same frames
    if known is not None:
        most = torch.as_tensor(known).flatten().cpu()
        frames = frames.minimum(most.repeat_interleave(len(frames) // len(most)))
    return int(frames[0]) if len(frames.unique()) == 1 else frames.numpy()


def detached(tensors: tuple[torch.Tensor, ...] | None) -> tuple[torch.Tensor, ...] | None:
    return None if tensors is None else tuple(tensor.detach() for tensor in tensors)


def shift_right(labels: torch.Tensor, pad_token_id: int | None, start_token_id: int) -> torch.Tensor:
    """The decoder's input for labels [B, L]: the start token, then the labels but the last; -100 becomes padding."""
    if pad_token_id is None:
        raise ValueError("pad_token_id is None in the model's config; labels of different lengths need it")
    start = torch.full_like(labels[:, :1], start_token_id)
    return torch.cat((start, labels[:, :-1].masked_fill(labels[:, :-1] == IGNORED, pad_token_id)), dim=1)


DualWhisperForConditionalGeneration.register_for_auto_class("AutoModelForSpeechSeq2Seq")
DualWhisperModel.register_for_auto_class("AutoModel")
