"""What is said when memory runs out in training or evaluation: where, what was there, and which keys would take less.

Where it was is read from the frames of the error's traceback, so that nothing in a step has to note where it is.
"""

import gc
import math
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Literal, TypeVar

import torch
import yaml

from data.batches.loader import BatchGroup
from data.utterance import SAMPLING_RATE, AudioBatch

from ..config.reading import nested
from ..config.run import RunConfig
from ..engine.free_memory import address_space_limit
from ..engine.running_out import is_out_of_memory, memory_message, size
from ..record.checkpoints import RunState, latest_checkpoint
from ..record.folder import FIXED
from .savings import Question, Saving, ask, settings_to_try

KEYS = 3  # at most, that are named
PREPARING, STEP, SAVING, EVALUATION = "preparing the model and the engine", "step", "saving", "evaluation"
UPDATE = "optimizer's step"
TRYING = "trying a microbatch of one utterance before step 1"
# What else a setting changes, by one of its keys.
REMARKS = {
    "evaluation.beams": "changes what is measured",
    "evaluation.max_new_tokens": "changes what is measured",
    "model.strategy": "trains less of the model",
    "model.gradient_checkpointing": "layers are computed twice",
    "performance.offload_activations": "slower, through CPU memory",
    "engine.cpu_offload": "slower, through CPU memory",
}
Local = TypeVar("Local")


class OutOfMemory(RuntimeError):
    """Memory ran out; the message says where, and what would take less of it, in several lines."""

    exit_code = 1
    in_lines = True


class ExplainOutOfMemory:
    """Context in which running out of memory ends in a message instead of a traceback.

    Args:
        config: whose keys are named.
        state: of a training run; None before it, and where only an evaluation runs.
        places: functions, and what is said of an error that came up in them: PREPARING, STEP, SAVING, EVALUATION, or
            what a function does within a step. The outermost counts; without any it is an evaluation.

    Raises:
        OutOfMemory: in place of what torch raised.
    """

    def __init__(
        self,
        config: RunConfig,
        accelerator: Any,
        state: RunState | None = None,
        places: Mapping[Callable[..., Any], str] | None = None,
    ) -> None:
        self.config, self.accelerator, self.state = config, accelerator, state
        self.places = {function.__code__: told for function, told in (places or {}).items()}

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            return
        if not is_out_of_memory(error, limited=address_space_limit() is not None):
            return
        place = self.place_of([frame for frame, _ in traceback.walk_tb(trace)])
        told = memory_message(error, self.accelerator.device)
        what = f"{place.what}: {self.device_name} ran out of memory{place.batch_described}; {told}"
        traceback.clear_frames(trace)  # they hold the step's tensors
        gc.collect()
        if self.accelerator.device.type == "cuda":
            torch.cuda.empty_cache()
        lines = [what, *self.advice(place), *self.going_on(), *getattr(error, "__notes__", ())]
        raise OutOfMemory("\n".join(lines)) from None

    @property
    def device_name(self) -> str:
        device = self.accelerator.device
        return f"GPU {device.index or 0}" if device.type == "cuda" else "this machine"

    def advice(self, place: "Place") -> Iterator[str]:
        """The keys that take less, each with what it would have saved, as far as that can be predicted."""
        if place.audio is None and place.kind != "update":
            return
        question = Question(
            config=self.config.model_dump(mode="json"),
            kind=place.kind,
            utterances=len(place.audio.ids) if place.audio else self.config.training.microbatch,
            seconds=longest_of(place.recordings) if place.audio else self.config.data.longest_seconds,
            tokens=place.audio.labels.shape[1] if place.audio and place.audio.labels is not None else 0,
            processes=self.accelerator.num_processes,
            precision={"no": "fp32"}.get(self.accelerator.mixed_precision, self.accelerator.mixed_precision),
            on_gpu=self.accelerator.device.type == "cuda",
            in_training=self.state is not None,
            has_second=len(place.recordings) > 1 if place.audio else None,
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

    def place_of(self, frames: list[FrameType]) -> "Place":
        """Where an error came up, from its frames, the outermost first."""
        known = [
            (self.places[frame.f_code], number) for number, frame in enumerate(frames) if frame.f_code in self.places
        ]
        what, number = known[0] if known else ("training" if self.state else EVALUATION, 0)
        audio = local_of(AudioBatch, frames[number:])
        if what == STEP:
            return self.place_in_step(known[1:], frames[number:], audio)
        if what == TRYING:
            return Place(what, audio)
        if what == PREPARING:
            return Place(what, kind="update")
        after = "" if self.state is None else f" after step {self.state.step}" if self.state.step else " before step 1"
        return Place(what + after, audio if what == EVALUATION else None, "decoding")

    def place_in_step(self, known: list[tuple[str, int]], frames: list[FrameType], audio: AudioBatch | None) -> "Place":
        called = {frame.f_code.co_name for frame in frames[1:]}
        if known:
            at_work = known[0][0]
        elif "step" in called:  # DeepSpeed takes its step in backward
            at_work = UPDATE
        else:
            at_work = "backward pass" if "backward" in called else "between its passes"
        what = f"step {(self.state.step if self.state else 0) + 1}, {at_work}"
        if at_work == UPDATE:
            return Place(what, audio, "update")
        batches = group.batches if (group := local_of(BatchGroup, frames)) else []
        number = next((number for number, batch in enumerate(batches, start=1) if batch is audio), 0)
        return Place(
            what + (f" of microbatch {number} of {len(batches)}" if number and len(batches) > 1 else ""), audio
        )

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
    def recordings(self) -> list[torch.Tensor]:
        """Samples of the batch's clips, and of their second recordings where there are any; empty without a batch."""
        if self.audio is None:
            return []
        second = self.audio.second
        return [self.audio.audio_lengths] if second is None else [self.audio.audio_lengths, second.audio_lengths]

    @property
    def batch_described(self) -> str:
        if self.kind == "update":
            return ""
        described = [
            f"{len(lengths)} {name}{'' if len(lengths) == 1 else 's'} with "
            f"{float(lengths.sum()) / SAMPLING_RATE:.1f} s of audio, the longest {longest_of([lengths]):.1f} s"
            for lengths, name in zip(self.recordings, ("clip", "second recording"), strict=False)
        ]
        return f" on {', and '.join(described)}" if described else ""


def longest_of(recordings: Iterable[torch.Tensor]) -> float:
    """Seconds of the longest of recordings, by their samples."""
    return float(max(lengths.max() for lengths in recordings)) / SAMPLING_RATE


def local_of(kind: type[Local], frames: list[FrameType]) -> Local | None:
    """The first local variable of a type, from the outermost frame on."""
    return next((value for frame in frames for value in frame.f_locals.values() if type(value) is kind), None)


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
    written: str = yaml.safe_dump(nested(settings), default_flow_style=True, sort_keys=False, width=math.inf)
    return written.strip()[1:-1]  # without the outer braces


def remark(config: RunConfig, settings: dict[str, Any]) -> str:
    """What else a setting changes; empty where nothing."""
    if "training.batch_size" not in settings:
        return next((told for key, told in REMARKS.items() if key in settings), "")
    if config.training.step_utterances is not None:
        return "the step stays the same"
    step = settings["training.batch_size"] * settings["training.accumulation"]
    same = step == config.training.microbatch * config.training.accumulation
    return "the step stays the same" if same else f"a step is then {step} utterances on each process"


def evaluation_of(config: RunConfig, name: str, model: Any) -> RunConfig:
    """The config with another checkpoint as its model, for what its evaluation takes; the same where that fails."""
    from modeling.decoding import encoder_padding

    values = config.model_dump(mode="json", exclude={"optimizer", "noise", "performance"})
    dual = getattr(model.config, "dual_attention", False)
    values["model"] = {"checkpoint": name, "dual_attention": dual, "encoder_padding": encoder_padding(model)}
    values["model"]["second_recording"] = getattr(model.config, "second_recording", "none")
    try:
        return RunConfig.model_validate(values)
    except ValueError:
        return config
