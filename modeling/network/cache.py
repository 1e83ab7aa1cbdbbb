"""Keys and values kept between decoding steps: the one place that knows what cache ``generate()`` passes.

The adapter is chosen by the type of the object, never by a version number. The primary and the secondary attention's
keys and values lie side by side on the head axis of the one cross-attention slot that Whisper's caches have per layer,
so the stock caches and their beam reordering serve the dual decoder unchanged.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch

from .compatibility import DynamicCache, EncoderDecoderCache, KeysValues, TupleCache, stored_keys_values


class DecoderCache(Protocol):
    """What a decoder layer asks of a cache; every tensor is [batch, heads, positions, head size]."""

    def length(self) -> Any:
        """Positions held so far: an int, or a tensor where only the device knows."""

    def self_attention(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> KeysValues:
        """Append this step's keys and values and return all of them."""

    def cross_attention(self, layer: int, project: Callable[[], KeysValues]) -> KeysValues:
        """The encoder's keys and values of both attentions; ``project`` is called once per layer and sequence."""

    def export(self) -> Any:
        """What goes back to ``generate()``."""


class NoCache:
    """For training and teacher forcing: keeps nothing, so that gradient checkpointing saves all it can."""

    def length(self) -> int:
        return 0

    def self_attention(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> KeysValues:
        return keys, values

    def cross_attention(self, layer: int, project: Callable[[], KeysValues]) -> KeysValues:
        return project()

    def export(self) -> None:
        return None


class EncoderDecoderCacheAdapter:
    """transformers' own ``EncoderDecoderCache``, dynamic or static."""

    def __init__(self, cache: Any, cache_position: torch.Tensor | None) -> None:
        self.cache = cache
        self.cache_position = cache_position  # a static cache before 5.x writes where it is told

    def length(self) -> Any:
        return self.cache.get_seq_length()

    def self_attention(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> KeysValues:
        where = {"cache_position": self.cache_position}
        return self.cache.self_attention_cache.update(keys, values, layer, where)

    def cross_attention(self, layer: int, project: Callable[[], KeysValues]) -> KeysValues:
        cross = self.cache.cross_attention_cache
        if not self.cache.is_updated.get(layer):
            self.cache.is_updated[layer] = True
            keys, values = project()
            return cross.update(keys, values, layer, {"cache_position": None})
        return stored_keys_values(cross, layer)

    def export(self) -> Any:
        return self.cache


def open_cache(past: Any, use_cache: bool, cache_position: torch.Tensor | None = None) -> DecoderCache:
    """The adapter for what the caller handed over: nothing, tuples, or a cache object; one of this interface is taken
    as it is."""
    if not use_cache:
        return NoCache()
    if hasattr(past, "cross_attention"):
        return past
    if past is None and EncoderDecoderCache is not None:
        past = EncoderDecoderCache(DynamicCache(), DynamicCache())
    if past is None or isinstance(past, (tuple, list)):
        return TupleCache(None if past is None else tuple(past))
    return EncoderDecoderCacheAdapter(past, cache_position)
