"""What is said when memory runs out in training or evaluation: where, what was there, and which keys would take less.

Where it was is read from the error's traceback, so that the loop and the evaluation need not keep book of it.
"""

import gc
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Literal

import torch

from data.utterance import SAMPLING_RATE, AudioBatch

from .config.run import RunConfig
from .engine.accelerator import prepare
from .evaluation.evaluator import Evaluator
from .evaluation.validation import Validation
from .loop import Trainer
from .memory.running_out import address_space_limit, is_out_of_memory, memory_told, size
from .memory.savings import Question, Saving, ask, settings_to_try
from .record.checkpoints import RunState, latest_checkpoint
from .record.folder import FIXED
from .step.gradients import Gradients
from .step.loss import TrainingLoss

KEYS = 3  # that are told
UPDATE = "optimizer's step"
# What a step calls, by the function's own code or by the name of a library's method.
FORWARD, CLIPPING = TrainingLoss.__call__.__code__, Gradients.clip.__code__
STEP, DECODING = Trainer.train_step.__code__, Evaluator.decode.__code__
PREPARING = prepare.__code__
SAVING = {Trainer.save_checkpoint.__code__, Trainer.save_final.__code__, Validation.keep_if_best.__code__}


class OutOfMemory(RuntimeError):
    """Memory ran out; the message says where, and what would take less of it."""

    in_lines = True


class MemoryTold:
    """Context in which running out of memory ends in a message instead of a traceback.

    Args:
        config: whose keys are named.
        state: of a training run; None before it, and where only an evaluation runs.

    Raises:
        OutOfMemory: in place of what torch raised.
    """

    def __init__(self, config: RunConfig, accelerator: Any, state: RunState | None = None) -> None:
        self.config, self.accelerator, self.state = config, accelerator, state

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            return
        if not is_out_of_memory(error, limited=address_space_limit() is not None):
            return
        place = place_of(trace, self.state.step if self.state else None)
        told = memory_told(error, self.accelerator.device)
        what = f"{place.what}: {self.device_name} ran out of memory{place.batch_told}; {told}"
        traceback.clear_frames(trace)  # they hold the step's tensors
        gc.collect()
        if self.accelerator.device.type == "cuda":
            torch.cuda.empty_cache()
        lines = [what, *self.advice(place), *self.going_on()]
        raise OutOfMemory("\n".join(lines)) from None

    @property
    def device_name(self) -> str:
        device = self.accelerator.device
        return f"GPU {device.index or 0}" if device.type == "cuda" else "this machine"

    def advice(self, place: "Place") -> Iterator[str]:
        """The keys, with what each would have saved as far as that can be predicted."""
        if place.audio is None and place.kind != "update":
            return
        question = Question(
            config=self.config.model_dump(mode="json"),
            kind=place.kind,
            utterances=len(place.audio.ids) if place.audio else self.config.training.batch_size,
            seconds=place.longest if place.audio else self.config.data.max_seconds,
            tokens=place.audio.labels.shape[1] if place.audio and place.audio.labels is not None else 0,
            processes=self.accelerator.num_processes,
            precision={"no": "fp32"}.get(self.accelerator.mixed_precision, self.accelerator.mixed_precision),
            on_gpu=self.accelerator.device.type == "cuda",
            in_training=self.state is not None,
        )
        print(f"{place.what}: {self.device_name} ran out of memory; predicting what takes less", file=sys.stderr)
        chosen = choose(settings_to_try(question), ask(question))
        if not chosen:
            return
        known = any(saving.before is not None for saving in chosen)
        yield f"These take less{', as predicted for this config and such a batch' if known else ''}. In the config:"
        width = max(len(as_written(saving.settings)) for saving in chosen)
        for saving in chosen:
            told = [remark(self.config, saving.settings)]
            if saving.before is not None and saving.after is not None:
                told.insert(0, f"{size(saving.saved)} less ({size(saving.after)} instead of {size(saving.before)})")
            if self.state is not None and any(key in FIXED for key in saving.settings):
                told.append("for a new run, not with --resume")
            yield f"  {as_written(saving.settings):{width}}  {'; '.join(filter(None, told))}"

    def going_on(self) -> Iterator[str]:
        """What is saved, and how to go on from it."""
        if self.state is None:
            return
        saved = latest_checkpoint(Path(self.config.output_dir))
        if saved is None:
            yield "There is no checkpoint yet: begin again in another output_dir, or remove this one."
            return
        yield (
            f"{saved} is whole. --resume goes on from it, also with another batch size, accumulation, gradient "
            "checkpointing or evaluation section."
        )


@dataclass(frozen=True)
class Place:
    """Where memory ran out.

    Attributes:
        what: in words.
        audio: the batch at work; None where there was none.
        kind: as :class:`trainer.memory.savings.Question` has it.
    """

    what: str
    audio: AudioBatch | None = None
    kind: Literal["passes", "update", "decoding"] = "passes"

    @property
    def longest(self) -> float:
        """Seconds of the batch's longest clip."""
        assert self.audio is not None
        return float(self.audio.audio_lengths.max()) / SAMPLING_RATE

    @property
    def batch_told(self) -> str:
        if self.audio is None or self.kind == "update":
            return ""
        count, total = len(self.audio.ids), float(self.audio.audio_lengths.sum()) / SAMPLING_RATE
        clips = "clip" if count == 1 else "clips"
        return f" on {count} {clips} with {total:.1f} s of audio, the longest {self.longest:.1f} s"


def place_of(trace: TracebackType | None, step: int | None) -> Place:
    """Read from a traceback of :class:`Trainer` or :class:`Evaluator`; ``step`` is the last one done."""
    frames = [frame for frame, _ in traceback.walk_tb(trace)]
    after = "" if step is None else f" after step {step}" if step else " before step 1"
    for number, frame in enumerate(frames):
        if frame.f_code is DECODING:
            return Place(f"evaluation{after}", frame.f_locals.get("audio"), "decoding")
        if frame.f_code is PREPARING:
            return Place("preparing the model and the engine", kind="update")
        if frame.f_code in SAVING:
            return Place(f"saving{after}")
        if frame.f_code is STEP:
            local = frame.f_locals
            group, audio = local.get("group"), local.get("audio")
            at_work = phase(frames[number + 1 :])
            what, several = f"step {(step or 0) + 1}, {at_work}", group is not None and len(group.batches) > 1
            if at_work == UPDATE:
                return Place(what, audio, "update")
            which = f" of microbatch {local['number']} of {len(group.batches)}" if group and several else ""
            return Place(f"{what}{which}", audio)
    return Place("evaluation" if step is None else f"training{after}")


def phase(called: list[FrameType]) -> str:
    """What a step was at, from the frames below it."""
    if not called:
        return "between its passes"
    first, names = called[0].f_code, {frame.f_code.co_name for frame in called}
    if first is FORWARD:
        return "forward pass"
    if first is CLIPPING:
        return "clipping of gradients"
    if first.co_name == "backward":
        return UPDATE if "step" in names else "backward pass"  # DeepSpeed takes its step in backward
    return UPDATE if "step" in names else "between its passes"


def choose(tried: list[dict[str, Any]], predicted: list[Saving]) -> list[Saving]:
    """The first and those that save most; where nothing is predicted, the first ones as they are."""
    saving = [one for one in predicted if one.saved > 0]
    if saving:
        first = [one for one in saving if one.settings == tried[0]]
        rest = sorted((one for one in saving if one not in first), key=lambda one: -one.saved)
        return (first + rest)[:KEYS]
    return [Saving(settings) for settings in tried[:KEYS]]


def as_written(settings: dict[str, Any]) -> str:
    """Dotted keys as a config has them, on one line."""
    sections: dict[str, list[str]] = {}
    for key, value in settings.items():
        section, name = key.split(".")
        plain = {True: "true", False: "false"}.get(value, value) if isinstance(value, bool) else value
        sections.setdefault(section, []).append(
            f"{name}: {plain:g}" if isinstance(plain, float) else f"{name}: {plain}"
        )
    return ", ".join(f"{section}: {{{', '.join(values)}}}" for section, values in sections.items())


def remark(config: RunConfig, settings: dict[str, Any]) -> str:
    """What else a setting changes."""
    training = config.training
    if "training.batch_size" in settings:
        step = settings["training.batch_size"] * settings["training.accumulation"]
        return (
            "the step stays the same"
            if step == training.batch_size * training.accumulation
            else (f"a step is then {step} utterances on each process")
        )
    if "evaluation.beams" in settings or "evaluation.max_new_tokens" in settings:
        return "changes what is measured"
    if "model.strategy" in settings:
        return "trains less of the model"
    if "model.gradient_checkpointing" in settings:
        return "layers are computed twice"
    if "performance.offload_activations" in settings or "engine.cpu_offload" in settings:
        return "slower, through CPU memory"
    return ""


def evaluation_of(config: RunConfig, name: str, model: Any) -> RunConfig:
    """The config with another checkpoint as its model, for what its evaluation takes; the same where that fails."""
    from modeling.decoding import encoder_padding

    values = config.model_dump(mode="json", exclude={"optimizer", "noise", "performance"})
    dual = getattr(model.config, "dual_attention", False)
    values["model"] = {"checkpoint": name, "dual_attention": dual, "encoder_padding": encoder_padding(model)}
    try:
        return RunConfig.model_validate(values)
    except ValueError:
        return config
