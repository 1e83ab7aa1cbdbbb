"""What differs between releases of transformers: the one place that knows, by what is there and never by number."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers.models.whisper.modeling_whisper import WhisperModel

try:  # from 4.43 on; before, generate() carries tuples
    from transformers.cache_utils import DynamicCache, EncoderDecoderCache
except ImportError:
    DynamicCache = EncoderDecoderCache = None

try:  # from 4.52 on
    from transformers.modeling_layers import GradientCheckpointingLayer
except ImportError:

    class GradientCheckpointingLayer(torch.nn.Module):  # type: ignore[no-redef]
        """A layer that is computed again in the backward pass where transformers switches that on for it."""

        gradient_checkpointing = False
        _gradient_checkpointing_func = staticmethod(partial(checkpoint, use_reentrant=False))  # 4.35 on: the caller's

        def __call__(self, *args: Any) -> Any:
            if self.gradient_checkpointing and self.training:
                return self._gradient_checkpointing_func(super().__call__, *args)
            return super().__call__(*args)


KeysValues = tuple[torch.Tensor, torch.Tensor]


def stored_keys_values(cache: Any, layer: int) -> KeysValues:
    """What one layer of a dynamic or static cache holds."""
    if hasattr(cache, "layers"):  # from 4.54 on
        return cache.layers[layer].keys, cache.layers[layer].values
    return cache.key_cache[layer], cache.value_cache[layer]  # 4.43 to 4.53


class TupleCache:
    """Per layer (self keys, self values, cross keys, cross values), as transformers before 4.43 passes them."""

    def __init__(self, past: tuple | None) -> None:
        self.past = past or ()
        self.present: list[tuple[torch.Tensor, ...]] = []

    def length(self) -> int:
        return self.past[0][0].shape[2] if self.past else 0

    def self_attention(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> KeysValues:
        if self.past:
            keys = torch.cat((self.past[layer][0], keys), dim=2)
            values = torch.cat((self.past[layer][1], values), dim=2)
        self.present.append((keys, values))
        return keys, values

    def cross_attention(self, layer: int, project: Callable[[], KeysValues]) -> KeysValues:
        keys, values = self.past[layer][2:4] if self.past else project()
        self.present[-1] += (keys, values)
        return keys, values

    def export(self) -> tuple:
        return tuple(self.present)


class OlderReleases:
    """Gives the model what newer releases do of themselves."""

    if "safe_serialization" in inspect.signature(WhisperModel.save_pretrained).parameters:  # before 5.0

        def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
            kwargs.setdefault("safe_serialization", True)  # pickle was the default before 4.35
            super().save_pretrained(*args, **kwargs)  # type: ignore[misc]

    _enable = inspect.signature(WhisperModel.gradient_checkpointing_enable).parameters
    if "gradient_checkpointing_kwargs" in _enable and not hasattr(WhisperModel, "activation_checkpointing_enable"):

        def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict | None = None, **more: Any) -> None:
            """Not reentrant, as 4.35 to 4.57 are by default: adapters in a frozen encoder would get no gradients."""
            if gradient_checkpointing_kwargs is None:
                gradient_checkpointing_kwargs = {"use_reentrant": False}
            super().gradient_checkpointing_enable(gradient_checkpointing_kwargs, **more)  # type: ignore[misc]

    def _retrieve_total_input_frames(self, input_features: Any, input_stride: int, kwargs: dict) -> tuple[int, int]:
        """How ``generate()`` tells a long recording (4.36 on): what is encoded is none, though it joins two."""
        found = super()._retrieve_total_input_frames  # type: ignore[misc]
        clips, frames = found(input_features, input_stride, kwargs)
        most = 2 * self.config.max_source_positions  # type: ignore[attr-defined]
        return clips, frames if input_features is not None else min(frames, most)

    if "value" in inspect.signature(WhisperModel._set_gradient_checkpointing).parameters:  # before 4.35

        def _set_gradient_checkpointing(self, module: Any, value: bool = False) -> None:
            if hasattr(module, "gradient_checkpointing"):
                module.gradient_checkpointing = value
