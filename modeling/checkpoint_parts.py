"""Whether the parts of a checkpoint belong together: the model, its tokenizer, its features and its generation config.

Otherwise a mismatch would show in the middle of training or at the first evaluation.
"""

import re
from dataclasses import dataclass
from typing import Any

from transformers import GenerationConfig, WhisperProcessor

from .checkpoint_files import GENERATION_CONFIG, Checkpoint, CheckpointError, check_name

TIMESTAMP = re.compile(r"<\|\d+\.\d\d\|>")
OWN_WHISPER = "take the one of the Whisper that it was made from"


@dataclass(frozen=True)
class StoredParts:
    """What lies beside the weights of a checkpoint; of its config the sizes alone."""

    shape: dict[str, Any]
    generation: GenerationConfig
    processor: WhisperProcessor


def check_parts(name: str, model: Any, processor: Any) -> None:
    """Raises: CheckpointError: if the parts of an open checkpoint do not fit each other; names what differs."""
    check_generation_config(name, model.generation_config)
    check_tokenizer(name, model.config.vocab_size, model.generation_config, processor.tokenizer)
    check_features(name, model.config.num_mel_bins, processor)


def check_stored_parts(checkpoint: Checkpoint) -> None:
    """As :func:`check_parts`, without the weights and the hub; also refuses files that are missing or damaged."""
    parts, name = stored_parts(checkpoint), checkpoint.name
    if parts is not None:
        check_generation_config(name, parts.generation)
        check_tokenizer(name, parts.shape["vocab_size"], parts.generation, parts.processor.tokenizer)
        check_features(name, parts.shape["num_mel_bins"], parts.processor)


def stored_parts(checkpoint: Checkpoint) -> StoredParts | None:
    """The parts of a checkpoint that lie on this machine; None where only the hub has them.

    Raises CheckpointError for an impossible name, and for files that are missing or damaged.
    """
    check_name(checkpoint.name)
    files = checkpoint.whole.local
    if files is None:
        return None
    shape = files.shape
    generation = checkpoint.generation_config or files.generation_config or GenerationConfig()
    return StoredParts(shape, generation, (checkpoint if checkpoint.is_folder else files).processor)


def check_generation_config(name: str, generation: Any) -> None:
    """Raises: CheckpointError: if a generation config is missing, or too old for Whisper's ``generate()``."""
    needed = {"no_timestamps_token_id": "without which decoding begins otherwise than training"}
    if getattr(generation, "is_multilingual", True) is not False:
        needed = {
            "lang_to_id": "which says what languages it knows",
            "task_to_id": "which says how it is asked to transcribe",
        } | needed
    for key, why in needed.items():
        if not getattr(generation, key, None):
            raise CheckpointError(f"the {GENERATION_CONFIG} of {name} has no {key}, {why}; {OWN_WHISPER}")


def check_features(name: str, bins: int, processor: Any) -> None:
    """Raises: CheckpointError: if a feature extractor makes another number of mel bins than the model takes."""
    made = processor.feature_extractor.feature_size
    if bins != made:
        raise CheckpointError(
            f"the processor of {name} makes {made} mel bins, but its model takes {bins}: they are not of one "
            "checkpoint; take preprocessor_config.json from the model's own"
        )


def check_tokenizer(name: str, vocab_size: int, generation: Any, tokenizer: Any) -> None:
    """Raises: CheckpointError: if the model has no embedding for a token, or the tokenizer is another model's.

    The model may lack timestamps, since they are in no label.
    """
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    beyond = {
        number: token for token, number in vocabulary.items() if number >= vocab_size and not TIMESTAMP.fullmatch(token)
    }
    if beyond:
        first = min(beyond)
        raise CheckpointError(
            f"the tokenizer of {name} has {len(vocabulary):,} tokens, but its model has embeddings for "
            f"{vocab_size:,}: {beyond[first]!r} is token {first}, which the model lacks; take the model's own "
            "tokenizer, or give the model as many embeddings (resize_token_embeddings)"
        )
    for token, number in numbered_tokens(generation).items():
        if vocabulary.get(token, number) != number:
            raise CheckpointError(
                f"the tokenizer of {name} is not its model's: {token} is token {vocabulary[token]} in it and {number} "
                f"in {GENERATION_CONFIG}; take the tokenizer of the Whisper that the model was made from"
            )


def numbered_tokens(generation: Any) -> dict[str, int]:
    """The special tokens whose ids a generation config holds."""
    found = dict(getattr(generation, "lang_to_id", None) or {})
    tasks = getattr(generation, "task_to_id", None) or {}
    found |= {f"<|{task}|>": number for task, number in tasks.items()}
    single = {
        "<|notimestamps|>": "no_timestamps_token_id",
        "<|startoftranscript|>": "decoder_start_token_id",
        "<|endoftext|>": "eos_token_id",
    }
    found |= {token: getattr(generation, key, None) for token, key in single.items()}
    return {token: number for token, number in found.items() if isinstance(number, int)}
