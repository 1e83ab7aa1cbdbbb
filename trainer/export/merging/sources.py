"""What is to be merged: the tensors of a run, a checkpoint, an adapter or a hub name, found but not read yet."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from modeling.adapters import PREFIX, is_new, name_in_folder, read_adapter
from modeling.checkpoint_files import (
    ADAPTER_WEIGHTS,
    Checkpoint,
    CheckpointError,
    check_name,
    explain_damage,
    weight_files,
)
from modeling.checkpoints import open_model

from ...config.reading import ConfigError, read_yaml
from ...record.best import BEST
from ...record.checkpoints import BLUEPRINT, STATE, list_checkpoints, read_state
from ...record.journal import whole_rows
from ..trained_weights import is_saved_model, refuse_what_is_no_model

EMBEDDINGS, OUTPUT = "model.decoder.embed_tokens.weight", "proj_out.weight"  # tied; either may stand for both
FLOATS = ("F64", "F32", "BF16", "F16")  # safetensors' names


@dataclass(frozen=True)
class Stored:
    """A tensor in a safetensors file."""

    file: Path
    key: str
    shape: tuple[int, ...]
    dtype: str

    def read(self) -> torch.Tensor:
        """Raises: CheckpointError: if the file is damaged."""
        with explain_damage(self.file), safe_open(self.file, framework="pt") as tensors:
            return tensors.get_tensor(self.key)


@dataclass(frozen=True)
class Source:
    """One of the models that are merged.

    Attributes:
        name: for messages.
        parts: a checkpoint with its config and processor; of a resumable checkpoint its run's blueprint.
        tensors: by the names that they have in a plain folder or in an adapter's.
    """

    name: str
    parts: Checkpoint
    tensors: dict[str, Stored]

    @property
    def is_adapter(self) -> bool:
        return self.parts.is_adapter

    def new_modules(self) -> "Source":
        """The second attentions and gates alone, under the names that they have in an adapter's folder."""
        return Source(self.name, self.parts, {PREFIX + key: one for key, one in self.tensors.items() if is_new(key)})


def source_of(name: str) -> Source:
    """The source that a name on the command line means.

    Args:
        name: a run's folder (its ``best/`` is meant), a checkpoint's or an adapter's folder, or a hub name.

    Raises:
        CheckpointError: if there is none, or its weights cannot be merged.
    """
    folder = Path(name)
    if folder.is_dir() and (folder / "config.yaml").exists():
        if not is_saved_model(folder / BEST):
            raise CheckpointError(
                f"{name} is a run without {BEST}/: name its final/ or a checkpoint, or give it data.validation"
            )
        folder, name = folder / BEST, str(folder / BEST)
    if (folder / STATE).exists():
        return step_source(folder)
    checkpoint = Checkpoint(name)
    if not folder.is_dir():
        check_name(name)
        checkpoint = downloaded(checkpoint)
    if checkpoint.is_adapter:
        read_adapter(checkpoint)
        return Source(name, checkpoint, tensors_in([checkpoint.path(ADAPTER_WEIGHTS)]))
    refuse_what_is_no_model(checkpoint)
    return Source(name, checkpoint, tensors_in(weight_files(Path(checkpoint.name))))


def downloaded(checkpoint: Checkpoint) -> Checkpoint:
    """The folder of a hub name, downloaded where it was not yet. Raises CheckpointError if it cannot be opened."""
    open_model(checkpoint)
    checkpoint.processor  # noqa: B018 - downloads it
    local = Checkpoint(checkpoint.name).local
    if local is None:
        raise CheckpointError(f"{checkpoint.name} was downloaded without all of its files: give a folder of it")
    return local


def step_source(folder: Path) -> Source:
    """A resumable checkpoint of one process or DDP. Raises CheckpointError for DeepSpeed's, whose files are shards."""
    if (folder / "latest").exists():
        raise CheckpointError(
            f"{folder} is DeepSpeed's, a shard for each process: export it with launch/export.py and merge the export"
        )
    parts = Checkpoint(str(folder.resolve().parent.parent / BLUEPRINT))
    if not is_saved_model(Path(parts.name)):
        raise CheckpointError(f"{folder} does not lie in its run's folder: {parts.name}, what the model is, is missing")
    found = tensors_in(weight_files(folder))
    if parts.is_adapter:
        found = {name: one for key, one in found.items() if (name := name_in_folder(key)) is not None}
    return Source(str(folder), parts, found)


def tensors_in(files: Sequence[Path]) -> dict[str, Stored]:
    """The tensors of safetensors files by name, headers read alone; tied ones once.

    Raises CheckpointError for a missing or damaged file, and for quantised weights, of which there is no mean.
    """
    found: dict[str, Stored] = {}
    for file in files:
        if not file.exists():
            raise CheckpointError(f"{file} is missing")
        with explain_damage(file), safe_open(file, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - not a dict
                part = tensors.get_slice(key)
                found[key.removeprefix("module.")] = Stored(file, key, tuple(part.get_shape()), part.get_dtype())
    for key, one in found.items():
        if one.dtype not in FLOATS:
            raise CheckpointError(
                f"{one.file} holds quantised weights ({key} in {one.dtype}), of which there is no mean"
            )
    if OUTPUT in found:
        output = found.pop(OUTPUT)
        found.setdefault(EMBEDDINGS, output)
    return found


def steps_of(run: str, number: int, best: bool) -> list[Source]:
    """The last step checkpoints that a run has kept, or those with its lowest figures.

    Raises:
        ConfigError: if it is no run, or has fewer.
    """
    folder, option = Path(run), "--best" if best else "--last"
    if not (folder / "config.yaml").exists():
        raise ConfigError(f"{option} is {number}, but {run} is no run's folder")
    there = list_checkpoints(folder / "checkpoints")
    if best:
        config = read_yaml(folder / "config.yaml")
        metric = config.get("evaluation", {}).get("best_metric", "word_error_rate")
        rows = [row for row in whole_rows(folder / "metrics.jsonl") if row.get("kind") == "validation"]
        figures = {row["step"]: row[metric] for row in rows if metric in row}
        measured = {path: figures[step] for path in there if (step := read_state(path).step) in figures}
        there = sorted(measured, key=lambda path: (measured[path], path))[: max(number, 0)]
    if len(there) < number:
        which = "evaluated step checkpoints" if best else "step checkpoints"
        raise ConfigError(
            f"{option} is {number}, but {run} has kept {len(there)} {which}", "raise checkpoints.keep in the next run"
        )
    return [step_source(path) for path in (there if best else there[-number:])]


def run_of(folder: Path) -> Path | None:
    """The run's folder that a checkpoint's folder lies in."""
    above = folder.resolve().parents
    return next((path for path in above[:2] if (path / "config.yaml").exists()), None)


def root_of(name: str, depth: int = 32) -> str | None:
    """The model that training began from, through runs that went on from others; None where it is not known."""
    folder = Path(name)
    if not folder.is_dir():
        return name
    run = run_of(folder)
    return None if run is None or depth == 0 else root_of_config(read_yaml(run / "config.yaml"), depth)


def root_of_config(config: dict[str, object], depth: int = 32) -> str | None:
    """:func:`root_of` for a run's config."""
    model, training = config.get("model"), config.get("training")
    if not isinstance(model, dict) or not isinstance(training, dict):
        return None
    if model.get("checkpoint") is None:
        return f"a new model with seed {training.get('seed', 0)}"
    name = str(model["checkpoint"])
    if not Path(name).is_dir():
        return name + (f" at {model['revision']}" if model.get("revision") else "")
    return root_of(name, depth - 1) or os.path.abspath(name)


def base_of(source: Source) -> str | None:
    """What an adapter belongs to: the fingerprint of its base, or its name where an adapter has none recorded."""
    recorded = source.parts.recorded_base
    return recorded.fingerprint if recorded is not None else source.parts.base.name


def adapter_values(source: Source) -> dict[str, object]:
    """``adapter_config.json`` of an adapter."""
    values: dict[str, object] = json.loads(source.parts.adapter_config)
    return values
