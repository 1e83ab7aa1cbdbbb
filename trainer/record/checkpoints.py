"""Resumable checkpoints and plain Hugging Face folders, each written beside its place and renamed when whole."""

import json
import random
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from modeling.adapters import adapter_weights, has_adapter, kept_names, save_adapter, starts_of
from modeling.checkpoint_files import CheckpointError, explain_damage, refuse_names

from ..config.run import CheckpointConfig
from ..engine.accelerator import bare_model, begin_step, gather_objects
from ..engine.moving_average import MovingAverage
from ..errors import SaveError
from .disk import RunFiles, check_space
from .durable import PARTIAL, clean_up, new_partial, put_in_place, size_of, sync_tree, write_manifest, write_text
from .saving import save_together

BLUEPRINT = "model"  # the folder of a run that describes the model of its checkpoints
STATE = "run_state.json"


@dataclass
class RunState:
    """What a run must remember besides weights, optimizer and random states.

    Attributes:
        step: updates done.
        data: where the data of all ranks stand.
        best: the lowest ``evaluation.best_metric`` so far, None before the first evaluation;
            ``best_word_error_rate``, ``best_character_error_rate`` and ``best_step`` belong to it.
        best_averaged: it is that of the moving average, not of the weights.
        patience_from: ``best_metric`` when it last fell by ``evaluation.minimum_improvement``;
            ``without_improvement`` counts the evaluations since.
        evaluation_rows: rows that the first evaluation with a budget of time decoded; later ones take as many.
        evaluation_budget: the config's seconds and utterances when those rows were taken.
        seconds: training time so far, over all starts.
        utterances: trained on so far.
        rows, broken: rows read so far, and broken ones among them.
        evaluated_step: the step whose weights were evaluated last.
        processes: how many ranks wrote the checkpoint.
        lifted_limits: what was taken out of the generation config because labels needed it.
    """

    step: int = 0
    data: dict[str, Any] = field(default_factory=dict)
    best: float | None = None
    best_word_error_rate: float | None = None
    best_character_error_rate: float | None = None
    best_step: int | None = None
    best_averaged: bool = False
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

    For a model with an adapter only the trained weights are kept, since a resume opens the base again.

    Args:
        average: of the weights, kept beside them; or None.
    """

    def __init__(
        self,
        folder: Path,
        config: CheckpointConfig,
        accelerator: Any,
        model: Any,
        expected: RunFiles,
        *,
        average: MovingAverage | None = None,
    ) -> None:
        self.average = average
        self.folder, self.config, self.accelerator = folder / "checkpoints", config, accelerator
        self.expected = expected
        self.model = bare_model(model)
        self.trained = kept_names(self.model) if has_adapter(self.model) else None
        self.on_deepspeed = accelerator.distributed_type.name == "DEEPSPEED"
        if self.trained is not None and not self.on_deepspeed:
            accelerator.register_save_state_pre_hook(self.drop_base)

    def drop_base(self, models: list[Any], weights: list[dict[str, Any]], folder: str) -> None:
        """Take what is not trained out of the weights that Accelerate is about to write."""
        for state in weights:
            for key in [key for key in state if key.removeprefix("module.") not in (self.trained or ())]:
                del state[key]

    def save(self, state: RunState, data_state: dict[str, Any]) -> Path:
        """Write ``step_…`` whole or not at all; all ranks call it.

        Args:
            data_state: where this rank's data stand.

        Raises:
            SaveError: on every rank, if the disk is full on any. Nothing is left of the new checkpoint then, and
                earlier ones are untouched.
        """
        from data.batches.loader import join_states

        accelerator = self.accelerator
        final = self.folder / f"step_{state.step:08d}"
        state.data = join_states(gather_objects(accelerator, data_state))
        partial = final.with_name(PARTIAL + final.name)
        without_base = {"exclude_frozen_parameters": True} if self.trained is not None and self.on_deepspeed else {}

        def begin() -> None:
            clean_up(self.folder)
            earlier = list_checkpoints(self.folder)
            needed = size_of(earlier[-1]) if earlier else self.expected.checkpoint
            check_space(self.folder, needed, f"checkpoint {final.name}")
            new_partial(final)

        def write() -> None:
            accelerator.save_state(str(partial), safe_serialization=True, **without_base)
            if self.average is not None:
                self.average.write(partial, accelerator.is_main_process)

        def finish() -> None:
            write_manifest(partial)
            write_state(partial, state)
            put_in_place(partial, final)
            there = list_checkpoints(self.folder)
            here = there.index(final) + 1
            for other in (*there[:here][: -self.config.keep], *there[here:]):  # later ones: damaged, and passed over
                shutil.rmtree(other)

        try:
            save_together(accelerator, final, begin, main_alone=True)
            save_together(accelerator, final, write, waits=self.on_deepspeed)
            # Only now: until all ranks have written, their files change their names.
            save_together(accelerator, final, lambda: sync_tree(partial))
            save_together(accelerator, final, finish, main_alone=True)
        except SaveError as error:
            earlier = list_checkpoints(self.folder)
            left = f"the last checkpoint is {earlier[-1].name}" if earlier else "there is no checkpoint yet"
            raise SaveError(f"{error}; {left}") from error
        return final

    def note_evaluation(self, state: RunState) -> None:
        """Write what an evaluation found into the checkpoint of the same step, if there is one; all ranks call it."""
        final = self.folder / f"step_{state.step:08d}"
        if self.accelerator.is_main_process and final.exists():
            write_state(final, state)

    def load(self, path: Path) -> RunState:
        """Restore weights, optimizer and random states from the run's own engine files; all ranks call it.

        Raises CheckpointError if a file is missing or damaged.
        """
        partly: dict[str, Any] = {}
        starts = starts_of(self.model)
        if not self.on_deepspeed:
            partly["map_location"] = "cpu"  # Accelerate's default with several GPUs: there, beside the states in use
        if self.trained is not None:
            partly |= {"load_module_strict": False} if self.on_deepspeed else {"strict": False}
            if not self.on_deepspeed:
                refuse_names(str(path), "lacks tensors that were trained", self.trained - stored_names(path))
        with explain_damage(path):
            self.accelerator.load_state(str(path), **partly)
        for name, start in starts_of(self.model).items():
            if not torch.equal(start, starts[name]):
                raise CheckpointError(
                    f"{path}: model.lora.kind is pissa, and the singular vectors that the run began with are not those "
                    "found here: resume it on the machine that began it, or take its best/ as model.checkpoint of a "
                    "new run"
                )
        if self.average is not None:
            self.average.read(path)
        begin_step(self.accelerator)  # it loads the count of microbatches, of a step that was split otherwise perhaps
        return read_state(path)

    def not_restored(self, path: Path) -> list[str]:
        """Lines on what a checkpoint could not give back: random states of ranks, an average; all ranks call it."""
        lines = []
        if self.average is not None and not self.average.updates:
            lines += [f"training.ema: {path} has no average: it begins with the next step"]
        rank = self.accelerator.process_index
        file = path / f"random_states_{rank}.pkl"
        restored = file.exists() and random_states_restored(file)
        ranks = [str(rank) for rank, there in enumerate(gather_objects(self.accelerator, restored)) if not there]
        named = ", ".join(ranks)
        if ranks:
            lines += [f"{path} has no random states that fit rank {named} here: dropout goes on from the seed"]
        return lines


def random_states_restored(file: Path) -> bool:
    """Whether this process's random states are those in a checkpoint's file."""
    with explain_damage(file):
        saved = torch.load(file, map_location="cpu", weights_only=False)
    same = random.getstate() == saved["random_state"] and torch.equal(torch.get_rng_state(), saved["torch_manual_seed"])
    if not torch.cuda.is_available():
        return same
    devices, current = saved.get("torch_cuda_manual_seed", []), torch.cuda.current_device()
    return same and current < len(devices) and torch.equal(torch.cuda.get_rng_state(), devices[current])


def stored_names(path: Path) -> set[str]:
    """The names of the tensors that Accelerate wrote, for one process or DDP."""
    names: set[str] = set()
    for file in path.glob("model*.safetensors"):
        with explain_damage(file), safe_open(file, framework="pt") as tensors:
            names |= {name.removeprefix("module.") for name in tensors.keys()}  # noqa: SIM118 - not a dict
    return names


def write_state(checkpoint: Path, state: RunState) -> None:
    """Write ``run_state.json``, which no manifest lists: an evaluation changes it later."""
    write_text(checkpoint / STATE, json.dumps(asdict(state)))


def read_state(path: Path) -> RunState:
    """Raises: CheckpointError: if ``run_state.json`` is missing or damaged."""
    with explain_damage(path / STATE):
        return RunState(**json.loads((path / STATE).read_text(encoding="utf-8")))


def list_checkpoints(folder: Path) -> list[Path]:
    """A run's finished checkpoints, oldest first; they may have been damaged since."""
    return sorted(path for path in folder.glob("step_*") if (path / STATE).exists())


def latest_checkpoint(run_folder: Path) -> Path | None:
    """The newest checkpoint of a run; None if there is none yet."""
    found = list_checkpoints(run_folder / "checkpoints")
    return found[-1] if found else None


def save_pretrained(
    accelerator: Any, model: Any, processor: Any, folder: Path, beside: dict[str, str] | None = None
) -> None:
    """Write a plain Hugging Face folder, weights as safetensors, with the processor; all ranks call it.

    For a model with an adapter it is the adapter's folder, as peft writes them.

    Args:
        beside: more files for the folder: their texts by name.

    Raises:
        SaveError: on every rank, if the disk is full; ``folder`` is then as it was.
    """
    bare = bare_model(model)
    weights = accelerator.get_state_dict(model)  # collective: under ZeRO-3 the parameters are gathered

    def write() -> None:
        if bare.config.tie_word_embeddings:
            weights.pop("proj_out.weight", None)  # DeepSpeed's copy no longer shares memory with the embeddings
        stored = adapter_weights(weights) if has_adapter(bare) else weights
        needed = sum(tensor.numel() * tensor.element_size() for tensor in stored.values())
        check_space(folder.parent, needed, str(folder))
        write_folder(bare, weights, processor, folder, beside or {})

    save_together(accelerator, folder, write, main_alone=True)


def save_blueprint(accelerator: Any, model: Any, processor: Any, folder: Path) -> None:
    """Write a plain Hugging Face folder without weights; all ranks call it. Raises as :func:`save_pretrained`.

    A resumable checkpoint holds only weights. With this folder it can be exported without the run's first checkpoint.
    """
    bare = bare_model(model)
    save_together(accelerator, folder, lambda: write_folder(bare, None, processor, folder, {}), main_alone=True)


def write_folder(
    bare: Any, weights: dict[str, Any] | None, processor: Any, folder: Path, beside: dict[str, str]
) -> None:
    """Write a model's or an adapter's folder and put it in place; if ``weights`` is None, without weights."""
    from transformers.dynamic_module_utils import custom_object_save

    from modeling.processors import save_processor

    partial = new_partial(folder)
    if has_adapter(bare):
        save_adapter(bare, weights, partial)
    elif weights is not None:
        bare.save_pretrained(partial, state_dict=weights, safe_serialization=True)
    else:
        bare.config.architectures = [type(bare).__name__]
        if type(bare)._auto_class is not None:  # code that is not transformers' own travels along
            custom_object_save(bare, partial, config=bare.config)
        bare.config.save_pretrained(partial)
        bare.generation_config.save_pretrained(partial)
    save_processor(processor, partial)
    for name, text in beside.items():
        (partial / name).write_text(text, encoding="utf-8")
    put_in_place(partial, folder)
