"""A checkpoint as its small files describe it: each is read once, when first asked for. No weight is read here.

What is missing, damaged, misspelt or of another architecture is refused in plain words.
"""

import contextlib
import difflib
import json
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import GenerationConfig, PretrainedConfig, WhisperConfig, WhisperProcessor

from .hub import tell_whence, where_to_look, why_unreachable
from .published import is_unpublished, nearest_published, published_shape

DUAL, PLAIN = "dual_whisper", "whisper"
CONFIG, GENERATION_CONFIG = "config.json", "generation_config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER_CONFIG, ADAPTER_WEIGHTS, BASE = "adapter_config.json", "adapter_model.safetensors", "base.json"
# Of a configuration, what decides the shapes of plain Whisper's weights.
SHAPE = (*(published_shape("openai/whisper-large-v3") or {}), "max_source_positions", "max_target_positions")


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, or of another architecture."""

    exit_code = 2


@dataclass(frozen=True)
class Base:
    """What an adapter belongs to.

    Attributes:
        checkpoint, revision: a hub name, or a folder's absolute path.
        dual_attention, encoder_padding: how it was opened; of a plain Whisper the second attentions are copies.
        second_recording, second_recording_layers: likewise.
        fingerprint: of its weights, see :func:`modeling.adapters.fingerprint_of`.
        nearby: the folder's path relative to the adapter's, for when both have moved; None for a hub name.
    """

    checkpoint: str
    revision: str | None
    dual_attention: bool
    encoder_padding: str
    fingerprint: str
    nearby: str | None = None
    second_recording: str = "none"
    second_recording_layers: int = 0

    @property
    def values(self) -> dict[str, Any]:
        """How it was opened, as values of the model's configuration."""
        keys = ("dual_attention", "encoder_padding", "second_recording", "second_recording_layers")
        return {key: getattr(self, key) for key in keys}


@dataclass(frozen=True)
class Checkpoint:
    """A hub name or a folder: a plain Whisper, a dual-attention one, or a LoRA adapter of either.

    Making one reads nothing. Each property reads its file once and may raise :class:`CheckpointError`.

    Attributes:
        name: a hub name, or a folder's path.
        revision: the hub checkpoint's branch, tag or commit.
    """

    name: str
    revision: str | None = None

    def path(self, file: str) -> Path:
        return Path(self.name) / file

    @cached_property
    def is_folder(self) -> bool:
        return os.path.isdir(self.name)

    @cached_property
    def is_adapter(self) -> bool:
        """Whether the folder is a LoRA adapter's; :attr:`base` is then what it belongs to."""
        return self.is_folder and self.path(ADAPTER_CONFIG).exists()

    @property
    def kind(self) -> str:
        """``dual_whisper`` or ``whisper``; an adapter is opened as this project's own model."""
        return DUAL if self.is_adapter else self.config["model_type"]

    @property
    def has_second_attentions(self) -> bool:
        return self.kind == DUAL and self.config.get("dual_attention", True)

    @cached_property
    def config(self) -> dict[str, Any]:
        """``config.json``, that of a plain or dual-attention Whisper; an adapter has none of its own."""
        check_name(self.name)
        if self.is_folder and not self.path(CONFIG).exists():
            raise CheckpointError(f"{self.name} has no {CONFIG}: it is not a checkpoint{checkpoint_below(self.name)}")
        try:
            config = PretrainedConfig.get_config_dict(self.name, **where_to_look(self.name, self.revision))[0]
            kind = config.get("model_type")
        except Exception as error:  # JSON of another kind gives anything
            where = "" if self.is_folder else ", which is no folder here"
            unreachable = why_unreachable(self.name)
            reason = f"{unreachable}, and it was not downloaded before" if unreachable else first_line(error)
            nearest = "" if self.is_folder else nearest_to(self.name)
            raise CheckpointError(f"cannot open checkpoint {self.name}{where}: {reason}{nearest}") from None
        tell_whence(self.name)
        if kind not in (DUAL, PLAIN):
            raise CheckpointError(f"{self.name} is a {kind!r} checkpoint; it must be a {PLAIN!r} or {DUAL!r} one")
        return config

    @cached_property
    def shape(self) -> dict[str, Any]:
        """The values of :data:`SHAPE`, Whisper's defaults where ``config.json`` has none."""
        with explain_damage(self.path(CONFIG)):
            whole = WhisperConfig(**{key: self.config[key] for key in SHAPE if key in self.config})
        return {key: getattr(whole, key) for key in SHAPE}

    @cached_property
    def adapter_config(self) -> bytes:
        """An adapter's ``adapter_config.json`` as it lies there."""
        with explain_damage(self.path(ADAPTER_CONFIG)):
            return self.path(ADAPTER_CONFIG).read_bytes()

    @cached_property
    def recorded_base(self) -> Base | None:
        """What an adapter of this project was trained on; None for one that was made elsewhere."""
        if not self.path(BASE).exists():
            return None
        with explain_damage(self.path(BASE)):
            return Base(**json.loads(self.path(BASE).read_text(encoding="utf-8")))

    @cached_property
    def base(self) -> "Checkpoint":
        """What an adapter is to be merged into; where it has moved together with the adapter, its new place."""
        with explain_damage(self.path(ADAPTER_CONFIG)):
            config = json.loads(self.adapter_config)
            name, revision = config.get("base_model_name_or_path"), config.get("revision")
        if not name:
            raise CheckpointError(f"{self.path(ADAPTER_CONFIG)} names no base_model_name_or_path to merge into")
        recorded = self.recorded_base
        if recorded is not None and recorded.nearby is not None and not os.path.isdir(name):
            nearby = os.path.normpath(self.path(recorded.nearby))
            name = nearby if os.path.isdir(nearby) else name
        return Checkpoint(name, revision)

    @property
    def whole(self) -> "Checkpoint":
        """The checkpoint that has a config and all weights: itself, or what an adapter of adapters ends at."""
        return self.base.whole if self.is_adapter else self

    @cached_property
    def local(self) -> "Checkpoint | None":
        """Where its files lie on this machine: itself, or an earlier download's folder; None if only on the hub."""
        if self.is_folder:
            return self
        folder = downloaded_folder(self.name, self.revision)
        return None if folder is None else Checkpoint(folder)

    @cached_property
    def generation_config(self) -> GenerationConfig | None:
        """The folder's ``generation_config.json``; None where there is none."""
        path = self.path(GENERATION_CONFIG)
        if not path.exists():
            return None
        try:
            return GenerationConfig.from_pretrained(self.name)
        except Exception as error:  # whatever a damaged JSON file leads to
            raise CheckpointError(f"cannot read {path}: {first_line(error)}") from None

    @cached_property
    def processor(self) -> WhisperProcessor:
        """Feature extractor and tokenizer; the base's for an adapter that has none beside it, as peft leaves them."""
        if self.is_adapter and not self.path("tokenizer_config.json").exists():
            return self.base.processor
        check_name(self.name)
        try:
            return WhisperProcessor.from_pretrained(self.name, **where_to_look(self.name, self.revision))
        except Exception as error:  # tokenizers raises the plainest kind
            self.kind  # noqa: B018 - raises: what is wrong may not be the processor
            raise CheckpointError(f"cannot open the processor of {self.name}: {first_line(error)}") from None


def weight_files(folder: Path) -> list[Path]:
    """``model.safetensors``, or the files that an index names, whether they exist or not.

    Raises CheckpointError if the index cannot be read.
    """
    whole, index = folder / WEIGHTS, folder / INDEX
    if whole.exists() or not index.exists():
        return [whole]
    with explain_damage(index):
        return [folder / name for name in sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))]


def check_name(name: str) -> None:
    """Raises: CheckpointError: for what is no folder and no hub name, naming the nearest; the hub is not asked."""
    if os.path.isdir(name):
        return
    if os.path.isabs(name) or name.startswith(".") or name.count("/") != 1 or is_misspelt_path(name):
        raise CheckpointError(f"{name!r} is neither a folder nor a hub name{nearest_to(name)}")
    if is_unpublished(name):
        raise CheckpointError(f"{name!r} is none of the Whisper checkpoints that OpenAI published{nearest_to(name)}")


def is_misspelt_path(name: str) -> bool:
    """Whether ``folder/x`` is a path and no hub name: the folder is here, and is a run or holds runs.

    A folder of checkpoints may mirror those of a hub owner; ``folder/x`` can then be another checkpoint on the hub.
    """
    folder = os.path.dirname(name)
    if not os.path.isdir(folder):
        return False
    places = [folder, *(entry.path for entry in os.scandir(folder) if entry.is_dir())]
    return any(os.path.exists(os.path.join(place, mark)) for place in places for mark in ("config.yaml", "best"))


def nearest_to(name: str) -> str:
    """The folder or the published checkpoint that may be meant, in brackets; nothing where none is like it."""
    parent = os.path.dirname(os.path.abspath(name))
    siblings = [entry.name for entry in os.scandir(parent) if entry.is_dir()] if os.path.isdir(parent) else []
    match = difflib.get_close_matches(os.path.basename(name), siblings, n=1)
    if match:
        return f" (there is {os.path.join(os.path.dirname(name), match[0])})"
    published = nearest_published(name)
    return f" (did you mean {published!r}?)" if published else ""


def checkpoint_below(folder: str) -> str:
    """What to name instead of a folder that is no checkpoint, in brackets; nothing where that is not known."""
    if os.path.exists(os.path.join(folder, "run_state.json")):
        return " (training goes on from it with --resume; to use it, take the run's best or final, or export it)"
    for child in ("best", "final"):
        if any(os.path.exists(os.path.join(folder, child, file)) for file in (CONFIG, ADAPTER_CONFIG)):
            return f" (did you mean {os.path.join(folder, child)}?)"
    return ""


def downloaded_folder(name: str, revision: str | None) -> str | None:
    """The folder that a hub name was downloaded to before, its tokenizer too; None if any of its files is missing."""
    from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache

    def found(file: str) -> Any:
        return try_to_load_from_cache(name, file, revision=revision)

    config, vocabulary = found(CONFIG), (found("tokenizer.json"), found("vocab.json"))
    is_known = isinstance(found(GENERATION_CONFIG), str) or found(GENERATION_CONFIG) is _CACHED_NO_EXIST
    needed = (config, found("tokenizer_config.json"), found("preprocessor_config.json"))
    if not is_known or not all(isinstance(path, str) for path in needed):
        return None
    return os.path.dirname(config) if any(isinstance(path, str) for path in vocabulary) else None


def first_line(error: Exception) -> str:
    """What a library's error says, in a line; its kind where it says nothing."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)


def refuse_names(name: str, what: str, keys: Collection[str]) -> None:
    """Raises CheckpointError where there are any keys, naming the first of them."""
    if keys:
        listed = sorted(keys)
        more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
        raise CheckpointError(f"{name} {what}: {', '.join(listed[:3])}{more}")


@contextlib.contextmanager
def explain_damage(path: Path) -> Iterator[None]:
    """A context in which a library's error on a damaged file becomes a CheckpointError that names the file."""
    try:
        yield
    except (CheckpointError, MemoryError):
        raise
    except Exception as error:  # safetensors, pickle, peft and DeepSpeed each raise their own
        raise CheckpointError(f"cannot read {os.fspath(path)}: {type(error).__name__}: {first_line(error)}") from error
