"""What all of the project's model classes share: initialisation, opening, lifting, and what they refuse."""

import logging
import math
import os
from typing import Any

import torch
from torch import nn

from .compatibility import OlderReleases
from .configuration import DualWhisperConfig

logger = logging.getLogger(__name__)
NEW_MODULES = ("secondary_", "gate.", "wider.")  # what the names of parameters that plain Whisper has not begin with


class EncoderPositions(nn.Embedding):
    """Whisper's fixed encoder positions [positions, width]: sines, then cosines, wavelengths to 10,000 · 2π.

    A class of its own, since transformers initialises custom code only where a module itself holds parameters.
    """

    @torch.no_grad()
    def fill(self) -> None:
        half = self.embedding_dim // 2
        wavelengths = torch.exp(-math.log(10_000) / (half - 1) * torch.arange(half))
        angles = torch.arange(self.num_embeddings)[:, None] * wavelengths
        self.weight.copy_(torch.cat((angles.sin(), angles.cos()), dim=1))


class DualWhisperPreTrained(OlderReleases):
    """To be mixed into transformers' ``PreTrainedModel``: for the encoder, the decoder, and the models of both."""

    config_class = DualWhisperConfig
    _no_split_modules = ("DualWhisperEncoderLayer", "DualWhisperDecoderLayer")
    # Which attention transformers chooses where nobody asks, and what it refuses by itself; see ``attention.is_eager``.
    _supports_sdpa = True
    _supports_flash_attn = _supports_flash_attn_2 = _supports_flex_attn = False

    def _init_weights(self, module: nn.Module) -> None:
        """Whisper's, and the encoder's fixed positions in a model from nothing.

        Each class initialises what it built, and no other does so again.
        """
        super()._init_weights(module)  # type: ignore[misc]
        if isinstance(module, EncoderPositions) and not getattr(module.weight, "_is_hf_initialized", False):
            module.fill()  # not where a checkpoint has filled it

    def new_modules(self) -> list[str]:
        """Names of the parameters that plain Whisper has not: of second attentions, their norms and gates, or of wider
        feed-forward blocks."""
        names = [name for name, _ in self.named_parameters()]  # type: ignore[attr-defined]
        return [name for name in names if any(f".{part}" in f".{name}" for part in NEW_MODULES)]

    @torch.no_grad()
    def start_as_whisper(self) -> None:
        """Begin what plain Whisper has not where it changes nothing; with ``secondary_layer``, little."""
        for module in self.modules():  # type: ignore[attr-defined]
            if hasattr(module, "start_new_modules"):
                module.start_new_modules()

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
        model, info = super().from_pretrained(*args, output_loading_info=True, **kwargs)  # type: ignore[misc]
        for module in model.modules():
            if isinstance(module, EncoderPositions):
                module.requires_grad_(False)  # loading makes fixed parameters trainable
        tied = {"proj_out.weight"} if model.config.tie_word_embeddings else set()
        # Of a model without proj_out some releases name what is missing as the whole model does.
        prefix = "" if hasattr(model, "proj_out") else f"{cls.base_model_prefix}."  # type: ignore[attr-defined]
        missing, new = {key.removeprefix(prefix) for key in info["missing_keys"]} - tied, set(model.new_modules())
        is_plain = bool(new) and missing == new and not (name and has_second_attentions(name, kwargs))
        left_out = any(".secondary_attn." in key for key in info["unexpected_keys"])
        if left_out and not model.config.dual_attention:
            raise ValueError(f"{name} has second attentions, which dual_attention=False would leave out")
        if missing and not is_plain:
            raise ValueError(
                f"the checkpoint lacks {len(missing)} tensors of the model, such as {min(missing - new or missing)}: "
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
    known = ("revision", "subfolder", "token", "cache_dir", "local_files_only")
    where = {key: options[key] for key in known if key in options}
    stored = DualWhisperConfig.get_config_dict(name, **where)[0]
    return stored.get("model_type") == DualWhisperConfig.model_type and stored.get("dual_attention", True)


def wants_dict(config: Any, asked: bool | None) -> bool:
    """Whether a forward gives its output by name, or as a tuple."""
    if asked is not None:
        return asked
    return bool(getattr(config, "return_dict", True)) and not getattr(config, "torchscript", False)


def refuse_head_masks(arguments: dict[str, Any]) -> None:
    """Raises ValueError for masks of single heads, which transformers' Whisper took up to 4.x; here they would do
    nothing."""
    for name in ("head_mask", "decoder_head_mask", "cross_attn_head_mask"):
        if arguments.get(name) is not None:
            raise ValueError(f"{name} is given, but this model masks no single heads")
