"""Which cross-attention heads look where a token is said: as published, as measured, or the upper layers' all.

It knows models' configurations and no audio.
"""

from collections.abc import Sequence
from typing import Any

from ..checkpoint_files import CheckpointError
from ..published import OWNER, PUBLISHED, published_shape
from .attention import Head

ALIGNMENT_HEADS = "alignment_heads"  # the generation config's key, as transformers has it

# OpenAI's, by size, decoder layer and heads (whisper/__init__.py, v20240930); found there by hand on several languages.
_BY_SIZE: dict[str, dict[int, tuple[int, ...]]] = {
    "tiny.en": {1: (0,), 2: (0, 5), 3: (0, 1, 2, 3, 4)},
    "tiny": {2: (2,), 3: (0, 2, 3, 4, 5)},
    "base.en": {3: (3,), 4: (7,), 5: (1, 5, 7)},
    "base": {3: (1,), 4: (2, 3, 7), 5: (1, 2, 4, 6)},
    "small.en": {6: (6,), 7: (0, 3, 8), 8: (2, 5, 7), 9: (0, 4, 8, 10), 10: (0, 1, 2, 3, 6, 11), 11: (2, 4)},
    "small": {5: (3, 9), 8: (0, 4, 7, 8), 9: (0, 7, 9), 10: (5,)},
    "medium.en": {
        11: (4,), 14: (1, 12, 14), 15: (4,), 16: (0, 4, 9), 17: (12, 14), 18: (7, 10, 15), 20: (0, 3, 9, 14),
        21: (12,),
    },
    "medium": {13: (15,), 15: (4, 15), 16: (1,), 20: (0,), 23: (4,)},
    "large-v1": {9: (19,), 11: (2, 4, 17), 22: (7, 11, 17), 23: (2, 15)},
    "large-v2": {
        10: (12,), 13: (17,), 16: (11, 12, 13), 17: (15, 16), 18: (4, 11, 19), 19: (11,), 21: (2, 3), 22: (3, 9, 12),
        23: (5, 7, 13), 25: (5,), 26: (1, 12), 27: (15,),
    },
    "large-v3": {
        7: (0,), 10: (17,), 12: (18,), 13: (12,), 16: (1,), 17: (14,), 19: (11,), 21: (4,), 24: (1,), 25: (6,),
    },
    "large-v3-turbo": {2: (4, 11), 3: (3, 6, 11, 14)},
}  # fmt: skip
_BY_SIZE["large"] = _BY_SIZE["large-v2"]  # the weights that the hub has under that name


def published_heads(name: str) -> tuple[Head, ...] | None:
    """OpenAI's heads for a hub name such as ``openai/whisper-small``; None for other names."""
    by_layer = _BY_SIZE.get(name.removeprefix(OWNER)) if name.startswith(OWNER) else None
    return None if by_layer is None else tuple((layer, head) for layer, heads in by_layer.items() for head in heads)


def alignment_heads(model: Any) -> tuple[Head, ...]:
    """The heads whose attention gives a model's words their times.

    Those that its generation config names. Without any those that OpenAI published for a Whisper of the same shape and
    vocabulary, which fine-tuning keeps; else all heads of the upper half of the decoder, as OpenAI's own code takes.

    Raises:
        CheckpointError: if the generation config names no heads of this decoder.
    """
    named = getattr(model.generation_config, ALIGNMENT_HEADS, None)
    if named:
        return checked(named, model.config)
    return of_same_shape(model.config) or upper_heads(model.config)


def upper_heads(config: Any) -> tuple[Head, ...]:
    """All heads of the upper half of the decoder's layers."""
    layers = range(config.decoder_layers // 2, config.decoder_layers)
    return tuple((layer, head) for layer in layers for head in range(config.decoder_attention_heads))


def all_heads(config: Any) -> tuple[Head, ...]:
    layers = range(config.decoder_layers)
    return tuple((layer, head) for layer in layers for head in range(config.decoder_attention_heads))


def of_same_shape(config: Any) -> tuple[Head, ...] | None:
    """OpenAI's heads for the published Whisper of this shape; None if there is none. Of large's, those of large-v2."""
    for name in PUBLISHED:
        shape = published_shape(name)
        assert shape is not None  # of a published name
        if name != f"{OWNER}large-v1" and all(getattr(config, key, value) == value for key, value in shape.items()):
            return published_heads(name)
    return None


def checked(named: Any, config: Any) -> tuple[Head, ...]:
    """Heads as a generation config lists them. Raises: CheckpointError: for what are no heads of the decoder."""
    layers, heads = config.decoder_layers, config.decoder_attention_heads
    try:
        found = tuple((int(layer), int(head)) for layer, head in named)
    except (TypeError, ValueError):
        raise CheckpointError(f"{ALIGNMENT_HEADS} is {named!r}; it must list pairs of a layer and a head") from None
    wrong = [pair for pair in found if not (0 <= pair[0] < layers and 0 <= pair[1] < heads)]
    if wrong:
        raise CheckpointError(
            f"{ALIGNMENT_HEADS} names {list(wrong[0])}; the decoder has layers 0 to {layers - 1} and heads 0 to "
            f"{heads - 1}: launch/align.py finds them anew"
        )
    return found


def note_heads(generation_config: Any, heads: Sequence[Head]) -> None:
    """Write the heads into a generation config, as transformers reads them."""
    setattr(generation_config, ALIGNMENT_HEADS, [list(head) for head in heads])
