"""Whether models have a mean: the same structure, vocabulary and origin. No weight is read."""

import inspect
from collections.abc import Sequence
from typing import Any

from modeling import DualWhisperConfig
from modeling.checkpoint_files import DUAL, CheckpointError, refuse_names

from .sources import Source, adapter_values, base_of, root_of

LEFT_OUT = ("kwargs", "gate_bias")  # gate_bias is where gates began


def check_agreement(sources: Sequence[Source]) -> None:
    """Raises: CheckpointError: naming two sources and what differs between them."""
    first = sources[0]
    for other in sources[1:]:
        if first.is_adapter != other.is_adapter:
            kinds = ("an adapter" if one.is_adapter else "a whole model" for one in (first, other))
            raise CheckpointError(
                "{} is {} and {} is {}".format(*interleaved((first.name, other.name), kinds))
                + ": export the adapter with launch/export.py, and merge the export"
            )
        check_origin(first, other)
        for key, one, two in differences(structure(first), structure(other)):
            raise CheckpointError(f"{key} is {one!r} in {first.name} and {two!r} in {other.name}: they have no mean")
        check_tensors(first, other)
        check_processors(first, other)


def interleaved(names: Sequence[str], kinds: Any) -> list[str]:
    return [word for pair in zip(names, kinds, strict=True) for word in pair]


def check_origin(first: Source, other: Source) -> None:
    """Raises: CheckpointError: if they were trained from different models, whose weights do not correspond."""
    if first.is_adapter:
        if base_of(first) != base_of(other):
            bases = (one.parts.base.name for one in (first, other))
            raise CheckpointError(
                "{} is an adapter of {} and {} of {}: their bases differ".format(
                    *interleaved((first.name, other.name), bases)
                )
            )
        return
    roots = root_of(first.name), root_of(other.name)
    if None not in roots and roots[0] != roots[1]:
        raise CheckpointError(
            f"{first.name} was trained from {roots[0]} and {other.name} from {roots[1]}: models from different "
            "beginnings have no mean"
        )


def structure(source: Source) -> dict[str, Any]:
    """What decides how weights are used, by key."""
    if source.is_adapter:
        recorded = source.parts.recorded_base
        return dict(recorded.values) if recorded is not None else {}
    config, parameters = source.parts.config, inspect.signature(DualWhisperConfig).parameters
    own = {key: one.default for key, one in parameters.items() if key not in LEFT_OUT}
    own = {key: config.get(key, default) for key, default in own.items()}
    if source.parts.kind != DUAL:
        own["dual_attention"] = False
    return source.parts.shape | own


def differences(first: dict[str, Any], other: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    keys = sorted(first.keys() | other.keys())
    return [(key, first.get(key), other.get(key)) for key in keys if first.get(key) != other.get(key)]


def check_tensors(first: Source, other: Source) -> None:
    """Raises: CheckpointError: if names or shapes differ; of adapters the rank may."""
    refuse_names(other.name, f"has tensors that {first.name} lacks", other.tensors.keys() - first.tensors.keys())
    refuse_names(other.name, f"lacks tensors of {first.name}", first.tensors.keys() - other.tensors.keys())
    for key, one in first.tensors.items():
        two = other.tensors[key]
        ours, theirs = one.shape, two.shape
        if ".lora_A." in key:
            ours, theirs = ours[1:], theirs[1:]
        if ".lora_B." in key:
            ours, theirs = ours[:1], theirs[:1]
        if ours != theirs:
            raise CheckpointError(
                f"{key} has the shape {list(one.shape)} in {first.name} and {list(two.shape)} in {other.name}"
            )


def check_processors(first: Source, other: Source) -> None:
    """Raises: CheckpointError: if their tokens or features differ."""
    ours, theirs = first.parts.processor, other.parts.processor
    if ours.tokenizer.get_vocab() != theirs.tokenizer.get_vocab():
        raise CheckpointError(f"{first.name} and {other.name} have different vocabularies")
    if ours.feature_extractor.feature_size != theirs.feature_extractor.feature_size:
        raise CheckpointError(f"{first.name} and {other.name} hear different features")


def check_adapter(source: Source) -> None:
    """Raises: CheckpointError: for an adapter whose update is no plain product of two matrices times one scale."""
    values = adapter_values(source)
    odd = [key for key in ("use_dora", "rank_pattern", "alpha_pattern") if values.get(key)]
    odd += [key for key in source.tensors if ".lora_" in key and ".lora_A." not in key and ".lora_B." not in key]
    odd += [key for key, one in source.tensors.items() if ".lora_" in key and len(one.shape) != 2]
    if odd:
        raise CheckpointError(
            f"{source.name} is an adapter with {odd[0]}, of which there is no exact mean: export it with "
            "launch/export.py, and merge the export"
        )
