"""The folder of a run: whether a run may use it, what has changed since, its config and its summary."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from modeling.parameters import Part

from ..config.comparing import changed_keys
from ..config.reading import ConfigError, dump_config, flatten, read_yaml, settings_of
from ..config.run import RunConfig
from ..engine.device import hardware, peak_memory_bytes
from .best import out_of_patience
from .checkpoints import RunState
from .durable import check_place, write_text
from .lock import PATIENCE, holds_something, refuse_if_locked

# A checkpoint fits only these: the model, the optimizer whose states it holds, the engine that wrote its files.
FIXED = (
    "model.architecture",
    "model.checkpoint",
    "model.dual_attention",
    "model.gate_bias",
    "model.lora",
    "model.processor",
    "model.revision",
    "model.second_recording",
    "model.second_recording_layers",
    "model.secondary_added",
    "model.secondary_layer",
    "model.selective",
    "model.strategy",
    "model.wider_feed_forward",
    "optimizer.betas",
    "optimizer.epsilon",
    "optimizer.layer_decay",
    "optimizer.name",
    "optimizer.weight_decay",
    "engine.cpu_offload",
    "engine.zero_stage",
    "evaluation.best_metric",
)
# Of these, what older versions could not do: a run without the key has its default.
ADDED = ("model.lora.kind", "model.second_recording", "model.second_recording_layers", "optimizer.layer_decay")
# The batches of a lane's window are planned from these.
REPLANNED = (
    "training.batch_size",
    "training.step_utterances",
    "training.batch_seconds",
    "training.seed",
    "data.shuffle_window",
    "data.min_seconds",
    "data.max_seconds",
    "data.windows",
    "data.non_speech",
    "data.mixing_temperature",
    "data.mixing_rows",
)

ANEW = "the window being read is planned anew: of its utterances some may come twice or not at all"


def check_output_dir(config: RunConfig, resume: bool) -> None:
    """Raises: ConfigError: if the folder holds anything but the run to resume, or another job uses it."""
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
    """Lines ``key: old -> new`` for settings that differ from those of the run that is resumed.

    Raises ConfigError if the checkpoint does not fit the new settings.
    """
    saved = Path(config.output_dir) / "config.yaml"
    if not saved.exists():
        return []
    old, new = saved_settings(read_yaml(saved)), settings_of(config)
    changed = changed_keys(old, new)
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
    if any(key in REPLANNED or key.startswith(("data.windows.", "data.non_speech.")) for key in changed):
        lines.append(f"so {ANEW}")
    return lines


def saved_settings(saved: dict[str, Any]) -> dict[str, Any]:
    """A run's saved config as :func:`settings_of` gives it; keys that an older version lacked have their defaults.

    Keys of :data:`FIXED` get no default, since the run may have had another value, but for those of :data:`ADDED`. A
    config that this version would refuse is returned as it was written.
    """
    raw = flatten(saved)
    try:
        read = settings_of(RunConfig.model_validate(saved))
    except ValidationError:
        return raw
    return {key: value for key, value in read.items() if key in raw or key in ADDED or not key.startswith(FIXED)}


def write_config(config: RunConfig) -> None:
    """Write ``config.yaml``, which any number of processes can read again: ``accumulation`` is not settled in it.

    With ``step_utterances`` it follows from the number of processes and ``batch_size``.
    """
    if config.training.step_utterances is not None:
        config = config.model_copy(update={"training": config.training.model_copy(update={"accumulation": 1})})
    folder = Path(config.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.yaml", dump_config(config))


def write_summary(config: RunConfig, state: RunState, engine: str, parts: Sequence[Part]) -> dict[str, Any]:
    """The run's final figures, as ``summary.json``; rates are fractions, those of the best checkpoint."""
    summary = {
        "word_error_rate": state.best_word_error_rate,
        "character_error_rate": state.best_character_error_rate,
        "best_step": state.best_step,
        "best_is_average": state.best_averaged,
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
