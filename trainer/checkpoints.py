"""Resumable checkpoints and plain Hugging Face folders, each written beside its place and renamed when whole."""

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open

from modeling.adapters import damage_told, has_adapter, refuse_names, save_adapter
from modeling.strategies import trained_names

from .config import CheckpointConfig
from .engine import bare_model
from .evaluation import gather_objects

BLUEPRINT = "model"  # the folder of a run that says what its checkpoints' weights belong to


@dataclass
class RunState:
    """What a run must remember besides weights, optimizer and random states.

    Attributes:
        step: updates done.
        data: where the data stands, over all ranks.
        best: the lowest ``evaluation.best_metric`` so far, None before the first evaluation;
            ``best_word_error_rate``, ``best_character_error_rate`` and ``best_step`` belong to it.
        patience_from: what ``evaluation.minimum_improvement`` is measured from: best_metric where it last got better
            by so much; ``without_improvement`` are the evaluations since.
        evaluation_rows: what the first evaluation of a budget of time got through; later ones take as many.
        evaluation_budget: the seconds and utterances of the config that those rows were taken by.
        seconds: training time so far, over all starts.
        utterances: trained on so far.
        rows, broken: rows read so far, and broken ones among them.
        evaluated_step: the step whose weights were evaluated last.
        processes: how many ranks wrote the checkpoint.
        lifted_limits: what the labels so far needed taken out of the generation config.
    """

    step: int = 0
    data: dict[str, Any] = field(default_factory=dict)
    best: float | None = None
    best_word_error_rate: float | None = None
    best_character_error_rate: float | None = None
    best_step: int | None = None
    seconds: float = 0.0
    utterances: int = 0
    rows: int = 0
    broken: int = 0
    evaluated_step: int = 0
    patience_from: float | None = None
    without_improvement: int = 0
    evaluation_rows: int | None = None
    evaluation_budget: list[float | None] | None = None
    processes: int = 1
    lifted_limits: dict[str, list[int]] = field(default_factory=dict)


class Checkpoints:
    """The ``checkpoints/`` folder of a run; needs a file system that all ranks share.

    Of a model with an adapter only what is trained is kept: the base is opened again on a resume.
    """

    def __init__(self, folder: Path, config: CheckpointConfig, accelerator: Any, model: Any) -> None:
        self.folder, self.config, self.accelerator = folder / "checkpoints", config, accelerator
        self.trained = set(trained_names(bare_model(model))) if has_adapter(bare_model(model)) else None
        self.on_deepspeed = accelerator.distributed_type.name == "DEEPSPEED"
        if self.trained is not None and not self.on_deepspeed:
            accelerator.register_save_state_pre_hook(self.drop_base)

    def drop_base(self, models: list[Any], weights: list[dict[str, Any]], folder: str) -> None:
        """What Accelerate is about to write, without what is not trained."""
        for state in weights:
            for key in [key for key in state if key.removeprefix("module.") not in (self.trained or ())]:
                del state[key]

    def save(self, state: RunState, data_state: dict[str, Any]) -> Path:
        """Write ``step_…`` whole or not at all; all ranks call it. ``data_state`` is this rank's."""
        from data.loader import join_states

        accelerator = self.accelerator
        final = self.folder / f"step_{state.step:08d}"
        partial = self.folder / f".partial_step_{state.step:08d}"
        if accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        accelerator.wait_for_everyone()
        without_base = {"exclude_frozen_parameters": True} if self.trained is not None and self.on_deepspeed else {}
        accelerator.save_state(str(partial), safe_serialization=True, **without_base)
        state.data = join_states(gather_objects(accelerator, data_state))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            (partial / "run_state.json").write_text(json.dumps(asdict(state)), encoding="utf-8")
            put_in_place(partial, final)
            for old in list_checkpoints(self.folder)[: -self.config.keep]:
                shutil.rmtree(old)
        accelerator.wait_for_everyone()
        return final

    def load(self, path: Path) -> RunState:
        """Put weights, optimizer and random states back; all ranks call it. Reads the run's own engine files."""
        partly: dict[str, bool] = {}
        if self.trained is not None:
            partly = {"load_module_strict": False} if self.on_deepspeed else {"strict": False}
            if not self.on_deepspeed:
                refuse_names(str(path), "lacks tensors that were trained", self.trained - stored_names(path))
        self.accelerator.load_state(str(path), **partly)
        return read_state(path)


def stored_names(path: Path) -> set[str]:
    """The tensors that Accelerate wrote for one process or DDP."""
    names: set[str] = set()
    for file in path.glob("model*.safetensors"):
        with damage_told(file), safe_open(file, framework="pt") as tensors:
            names |= {name.removeprefix("module.") for name in tensors.keys()}  # noqa: SIM118 - not a dict
    return names


def read_state(path: Path) -> RunState:
    return RunState(**json.loads((path / "run_state.json").read_text(encoding="utf-8")))


def list_checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step_*") if (path / "run_state.json").exists())


def latest_checkpoint(run_folder: Path) -> Path | None:
    found = list_checkpoints(run_folder / "checkpoints")
    return found[-1] if found else None


def save_pretrained(accelerator: Any, model: Any, processor: Any, folder: Path) -> None:
    """Write a plain Hugging Face folder, weights as safetensors, with the processor; all ranks call it.

    Of a model with an adapter it is the adapter's folder, as peft writes them.
    """
    from modeling.processors import save_processor

    bare = bare_model(model)
    weights = accelerator.get_state_dict(model)  # collective: under ZeRO-3 the parameters are gathered
    if accelerator.is_main_process:
        partial = folder.with_name(f".partial_{folder.name}")
        shutil.rmtree(partial, ignore_errors=True)
        if has_adapter(bare):
            save_adapter(bare, weights, partial)
        else:
            if bare.config.tie_word_embeddings:
                weights.pop("proj_out.weight", None)  # DeepSpeed's copy no longer shares memory with the embeddings
            bare.save_pretrained(partial, state_dict=weights, safe_serialization=True)
        save_processor(processor, partial)
        put_in_place(partial, folder)
    accelerator.wait_for_everyone()


def save_blueprint(model: Any, processor: Any, folder: Path) -> None:
    """Write all that a plain Hugging Face folder holds but the weights; called by one process.

    A resumable checkpoint has weights alone: with this it can be exported without what the run was begun from.
    """
    from transformers.dynamic_module_utils import custom_object_save

    from modeling.processors import save_processor

    bare = bare_model(model)
    partial = folder.with_name(f".partial_{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if has_adapter(bare):
        save_adapter(bare, None, partial)
        save_processor(processor, partial)
        put_in_place(partial, folder)
        return
    bare.config.architectures = [type(bare).__name__]
    if type(bare)._auto_class is not None:  # code that is not transformers' own travels along
        custom_object_save(bare, partial, config=bare.config)
    bare.config.save_pretrained(partial)
    bare.generation_config.save_pretrained(partial)
    save_processor(processor, partial)
    put_in_place(partial, folder)


def put_in_place(partial: Path, final: Path) -> None:
    """Rename a folder that is whole to its name, in place of what bears it."""
    old = final.with_name(f".old_{final.name}")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    partial.rename(final)
    shutil.rmtree(old, ignore_errors=True)
