"""Dual-attention Whisper as transformers sees it: own stacks under Whisper's parameter names, stock ``generate()``."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import nn
from transformers import WhisperForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput, Seq2SeqModelOutput
from transformers.models.whisper.modeling_whisper import WhisperModel

from .attention import AttentionProjections  # noqa: F401 - with a checkpoint's code travels only what is imported here
from .cache import DecoderCache  # noqa: F401 - likewise
from .compatibility import OlderReleases
from .configuration import DualWhisperConfig
from .decoder import DualWhisperDecoder, DualWhisperDecoderLayer
from .encoder import DualWhisperEncoder, EncoderOutput, EncoderPositions
from .linear import decode_faster
from .losses import IGNORED, NoiseTarget, noise_loss_sum, token_loss_sum
from .stack import LayerStack  # noqa: F401 - likewise

logger = logging.getLogger(__name__)
NEW_MODULES = ("secondary_", "gate.", "wider.")  # what the names of parameters that plain Whisper has not begin with


@dataclass
class DualModelOutput(Seq2SeqModelOutput):
    """Whisper's, and what :class:`~modeling.decoder.DualDecoderOutput` has of the second attentions."""

    secondary_attentions: tuple[torch.Tensor, ...] | None = None
    gates: tuple[torch.Tensor, ...] | None = None
    noise_shares: tuple[torch.Tensor, ...] | None = None


@dataclass
class DualLMOutput(Seq2SeqLMOutput):
    """Likewise; ``noise_loss`` is the noise loss summed over its tokens, which ``loss`` holds a share of."""

    secondary_attentions: tuple[torch.Tensor, ...] | None = None
    gates: tuple[torch.Tensor, ...] | None = None
    noise_shares: tuple[torch.Tensor, ...] | None = None
    noise_loss: torch.Tensor | None = None


class SinusoidalEncoderPositions:
    """Whisper's initialisation, and the encoder's fixed positions in a model from nothing.

    Both model classes need it: each initialises what it built, and no other does so again.
    """

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # type: ignore[misc]
        if isinstance(module, EncoderPositions) and not getattr(module.weight, "_is_hf_initialized", False):
            module.fill()  # not where a checkpoint has filled it


class DualWhisperModel(SinusoidalEncoderPositions, WhisperModel):
    """Encoder and dual-attention decoder."""

    config_class = DualWhisperConfig

    def __init__(self, config: DualWhisperConfig) -> None:
        config.check_decoder()
        super(WhisperModel, self).__init__(config)  # not WhisperModel's own: it would build the stock stacks
        self.encoder = DualWhisperEncoder(config)
        self.decoder = DualWhisperDecoder(config)
        self.post_init()

    def forward(  # type: ignore[override]
        self,
        input_features: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        feature_lengths: Sequence[int] | torch.Tensor | None = None,
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
        noise: NoiseTarget | None = None,
        **more: Any,
    ) -> DualModelOutput | tuple:
        wanted = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        if encoder_outputs is None:
            if input_features is None:
                raise ValueError("give input_features or encoder_outputs")
            encoder_outputs = self.encoder(input_features, feature_lengths=feature_lengths, **wanted)
        elif not isinstance(encoder_outputs, BaseModelOutput):
            encoder_outputs = EncoderOutput.from_tuple(encoder_outputs)
        decoded = self.decoder(
            input_ids=decoder_input_ids,
            attention_mask=decoder_attention_mask,
            encoder_hidden_states=encoder_outputs.last_hidden_state,
            encoder_frame_lengths=getattr(encoder_outputs, "frame_lengths", None),
            secondary_hidden_states=getattr(encoder_outputs, "secondary_hidden_state", None),
            noise=noise,
            past_key_values=past_key_values,
            inputs_embeds=decoder_inputs_embeds,
            position_ids=decoder_position_ids,
            use_cache=use_cache,
            cache_position=more.get("cache_position"),
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
        return output.to_tuple() if return_dict is False else output


class DualWhisperForConditionalGeneration(OlderReleases, SinusoidalEncoderPositions, WhisperForConditionalGeneration):
    """Dual-attention Whisper with its tied vocabulary projection."""

    config_class = DualWhisperConfig
    _no_split_modules: ClassVar[list[str]] = ["DualWhisperEncoderLayer", "DualWhisperDecoderLayer"]

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
        feature_lengths: Sequence[int] | torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        decoder_position_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        target_positions: torch.Tensor | None = None,
        num_items_in_batch: float | torch.Tensor | None = None,
        loss_only: bool = False,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        noise_target: torch.Tensor | None = None,
        noise_positions: torch.Tensor | None = None,
        noise_weight: float = 0.0,
        noise_layers: Sequence[int] | None = None,
        noise_loss_is_local: bool = True,
        **more: Any,
    ) -> DualLMOutput | tuple:
        """Whisper's forward, the clips' lengths, and losses that can be summed over microbatches.

        Args:
            feature_lengths: see :meth:`DualWhisperEncoder.forward`.
            labels: int64 [B, L], -100 where there is no loss; alone, they are shifted to make the decoder's input.
            target_positions: int64 [N], where in the flattened labels there is a loss; saves a wait for the GPU.
            num_items_in_batch: what the summed token loss is divided by; the number of target tokens if None.
            loss_only: leave the logits out, so that they never exist at once (training).
            noise_target: float32 [B, S], of each encoder frame's energy the share that is noise. The output then says
                how much of the second attentions falls on it.
            noise_positions: int64 [N], the target tokens of noisy utterances in the flattened labels.
            noise_weight: what the noise loss, summed over them, is multiplied by in ``loss``.
            noise_layers: the decoder layers it is of; all if None.
            noise_loss_is_local: see :class:`~modeling.losses.NoiseTarget`.
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
        outputs = self.model(
            input_features,
            feature_lengths=feature_lengths,
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
            noise=noise,
        )
        loss = noise_loss = None
        if labels is not None:
            tokens = (labels != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
            loss = token_loss_sum(outputs.last_hidden_state, self.proj_out, labels, target_positions) / tokens
            if noise is not None and noise_positions is not None:
                noise_loss = noise_loss_sum(noise.chosen(outputs.noise_shares), noise_positions)
                loss = loss + noise_weight * noise_loss if noise.is_trained else loss
        output = DualLMOutput(
            loss=loss,
            logits=None if loss_only else self.proj_out(outputs.last_hidden_state),
            past_key_values=outputs.past_key_values,
            decoder_hidden_states=outputs.decoder_hidden_states,
            decoder_attentions=outputs.decoder_attentions,
            cross_attentions=outputs.cross_attentions,
            encoder_last_hidden_state=outputs.encoder_last_hidden_state,
            encoder_hidden_states=outputs.encoder_hidden_states,
            encoder_attentions=outputs.encoder_attentions,
            secondary_attentions=outputs.secondary_attentions,
            gates=outputs.gates,
            noise_shares=detached(outputs.noise_shares),
            noise_loss=None if noise_loss is None else noise_loss.detach(),
        )
        return output.to_tuple() if return_dict is False else output

    def new_modules(self) -> list[str]:
        """Names of the parameters that plain Whisper has not: of second attentions, their norms and gates, or of wider
        feed-forward blocks."""
        return [name for name, _ in self.named_parameters() if any(f".{part}" in name for part in NEW_MODULES)]

    @torch.no_grad()
    def start_as_whisper(self) -> None:
        """Begin what plain Whisper has not where it changes nothing; with ``secondary_layer``, little."""
        for layer in self.model.decoder.layers:
            cast(DualWhisperDecoderLayer, layer).start_as_whisper()
        encoder = self.model.encoder
        if encoder.secondary_layer is not None:
            encoder.secondary_layer_norm.load_state_dict(encoder.layer_norm.state_dict())

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As transformers' own, from safetensors only: nothing is unpickled unless ``use_safetensors=False`` is given.

        A checkpoint without second attentions, plain Whisper's for one, is lifted: they start as the first's copies.
        With ``dual_attention=False`` it is opened as it is.

        Raises:
            OSError: if a folder holds no safetensors.
            ValueError: if tensors are missing, but for the dual decoder's own of a plain Whisper; if second attentions
                would be left out.
        """
        name = args[0] if args else kwargs.get("pretrained_model_name_or_path", "")
        with_info = kwargs.pop("output_loading_info", False)
        if kwargs.setdefault("use_safetensors", True) and os.path.isdir(name or ""):
            folder = os.path.join(name, kwargs.get("subfolder") or "")
            if not any(file.endswith((".safetensors", ".safetensors.index.json")) for file in os.listdir(folder)):
                raise OSError(f"{folder} holds no weights as safetensors, and pickled ones are not opened")
        model, info = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        model.model.encoder.embed_positions.requires_grad_(False)  # loading makes fixed parameters trainable
        decode_faster(model)
        missing, new = set(info["missing_keys"]) - {"proj_out.weight"}, set(model.new_modules())
        is_plain = bool(new) and missing == new and not (name and has_second_attentions(name, kwargs))
        if any(".secondary_attn." in key for key in info["unexpected_keys"]):
            raise ValueError(f"{name} has second attentions, which dual_attention=False would leave out")
        if missing and not is_plain:
            raise ValueError(
                f"the checkpoint lacks {len(missing)} tensors of the model, such as {min(missing)}: "
                "it is damaged, or of another architecture"
            )
        if is_plain:
            if any(hasattr(parameter, "ds_id") for parameter in model.parameters()):
                raise ValueError(f"{name} is a plain Whisper: lift and save it before ZeRO-3 spreads its parameters")
            model.start_as_whisper()
            say = logger.warning if os.environ.get("RANK", "0") == "0" else logger.debug  # one process is enough
            start = "add nothing yet" if model.config.secondary_added else "are copies of the first"
            say("%s is a plain Whisper, now lifted: the second attentions %s, the gates are new", name, start)
        return (model, info) if with_info else model


def has_second_attentions(name: str, options: dict[str, Any]) -> bool:
    """Whether a checkpoint's own config says so; plain Whisper's does not."""
    where = {
        key: options[key]
        for key in ("revision", "subfolder", "token", "cache_dir", "local_files_only")
        if key in options
    }
    stored = DualWhisperConfig.get_config_dict(name, **where)[0]
    return stored.get("model_type") == DualWhisperConfig.model_type and stored.get("dual_attention", True)


def detached(tensors: tuple[torch.Tensor, ...] | None) -> tuple[torch.Tensor, ...] | None:
    return None if tensors is None else tuple(tensor.detach() for tensor in tensors)


def shift_right(labels: torch.Tensor, pad_token_id: int, start_token_id: int) -> torch.Tensor:
    """The decoder's input for labels [B, L]: the start token, then the labels but the last; -100 becomes padding."""
    start = torch.full_like(labels[:, :1], start_token_id)
    return torch.cat((start, labels[:, :-1].masked_fill(labels[:, :-1] == IGNORED, pad_token_id)), dim=1)


DualWhisperForConditionalGeneration.register_for_auto_class("AutoModelForSpeechSeq2Seq")
