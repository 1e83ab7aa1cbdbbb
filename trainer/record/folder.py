"""The folder of a run: whose it is, what stands in it, what is written when the run ends."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from modeling.parameters import Part

from ..config.reading import ConfigError, dump_config, flatten, read_yaml
from ..config.run import RunConfig
from ..engine.device import hardware, peak_memory_bytes
from .best import out_of_patience
from .checkpoints import RunState
from .durable import check_place, write_text
from .lock import PATIENCE, holds_something, refuse_if_locked

# What a checkpoint is made for: the model, the optimizer whose states it holds, and the engine that wrote its files.
FIXED = (
    "model.architecture",
    "model.checkpoint",
    "model.dual_attention",
    "model.gate_bias",
    "model.lora",
    "model.processor",
    "model.revision",
    "model.secondary_added",
    "model.secondary_layer",
    "model.selective",
    "model.strategy",
    "model.wider_feed_forward",
    "optimizer.betas",
    "optimizer.epsilon",
    "optimizer.name",
    "optimizer.weight_decay",
    "engine.cpu_offload",
    "engine.zero_stage",
    "evaluation.best_metric",
)
# What a lane plans its window's batches from.
REPLANNED = (
    "training.batch_size",
    "training.batch_seconds",
    "training.seed",
    "data.shuffle_window",
    "data.min_seconds",
    "data.max_seconds",
)


def check_output_dir(config: RunConfig, resume: bool) -> None:
    """Whether a run may begin in the folder, or go on in it. Nothing is written.

    Raises:
        ConfigError: if the folder holds another run or something else, or another job is at work in it.
    """
    folder = Path(config.output_dir)
    check_place(folder, "output_dir")
    if not holds_something(folder):
        return
    refuse_if_locked(folder, "the run", PATIENCE)
    if not (folder / "config.yaml").exists():
        raise ConfigError(f"output_dir is {str(folder)!r}, which is not empty and holds no run", "choose another")
    if not resume:
        raise ConfigError(
            f"output_dir is {str(folder)!r}, which holds another run",
            "add --resume to go on with it, or choose another",
        )


def next_free_folder(folder: Path) -> Path:
    """The folder, or its name with the first number for which there is none yet."""
    if not folder.exists():
        return folder
    return next(path for n in itertools.count(2) if not (path := folder.with_name(f"{folder.name}_{n}")).exists())


def changed_settings(config: RunConfig) -> list[str]:
    """Lines ``key: old -> new`` for what differs from the run that is resumed.

    Raises:
        ConfigError: if with what differs the checkpoint would not fit.
    """
    saved = Path(config.output_dir) / "config.yaml"
    if not saved.exists():
        return []
    old = settings_of(read_yaml(saved))
    new = flatten(yaml.safe_load(dump_config(config)))
    changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    fixed = [key for key in changed if key.startswith(FIXED)]
    if fixed:
        key = fixed[0]
        kind = next(prefix for prefix in FIXED if key.startswith(prefix))
        if not any(name.startswith(kind) for name in old):
            raise ConfigError(
                f"the run in {config.output_dir} was made by an older version, without {kind}: it cannot be resumed, "
                "but its best/ can be model.checkpoint of a new run"
            )
        if key not in old and key not in FIXED:
            raise ConfigError(
                f"{kind} is given, but the run in {config.output_dir} was made without it: take it out, or choose "
                "another output_dir"
            )
        raise ConfigError(
            f"{key} is {new.get(key)!r}, but the run in {config.output_dir} was made with {old.get(key)!r}: "
            "set it back, or choose another output_dir"
        )
    lines = [f"{key}: {old.get(key)!r} -> {new.get(key)!r}" for key in changed]
    if any(key in REPLANNED for key in changed):
        lines.append("so the window being read is planned anew: of its utterances some may come twice or not at all")
    return lines


def settings_of(saved: dict[str, Any]) -> dict[str, Any]:
    """A run's saved config as :func:`flatten` has it, as this version reads it: what it did not know has its default.

    But for :data:`FIXED`, of which the default may not be what the run had; and a config that this version would refuse
    is as it was written.
    """
    raw = flatten(saved)
    try:
        read = flatten(yaml.safe_load(dump_config(RunConfig.model_validate(saved))))
    except ValidationError:
        return raw
    return {key: value for key, value in read.items() if key in raw or not key.startswith(FIXED)}


def write_config(config: RunConfig) -> None:
    folder = Path(config.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.yaml", dump_config(config))


def write_summary(config: RunConfig, state: RunState, engine: str, parts: Sequence[Part]) -> dict[str, Any]:
    """The run's final figures, as ``summary.json``; rates are fractions, those of the best checkpoint."""
    summary = {
        "word_error_rate": state.best_word_error_rate,
        "character_error_rate": state.best_character_error_rate,
        "best_step": state.best_step,
        "steps": state.step,
        "stopped_early": state.step < config.training.steps and out_of_patience(state, config.evaluation),
        "seconds": round(state.seconds, 3),
        "utterances_per_second": state.utterances / max(state.seconds, 1e-9),
        "peak_memory_bytes": peak_memory_bytes(),
        "parameters": sum(part.parameters for part in parts),
        "trainable_parameters": sum(part.trained for part in parts),
        "rows_skipped": state.broken,
        "strategy": config.model.strategy,
        "dual_attention": config.model.dual_attention,
        "engine": engine,
        "hardware": hardware(),
    }
    write_text(Path(config.output_dir) / "summary.json", json.dumps(summary, indent=2) + "\n")
    return summary
