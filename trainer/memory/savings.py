"""What settings would have saved, once memory has run out, predicted in a separate process with a time limit.

Run as ``python -m trainer.memory.savings``: a question as JSON on standard input, an answer a line on standard output.
The process that ran out must not predict itself: it has no memory left.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ..config.run import RunConfig

SECONDS = 60.0  # for all answers; those that are there by then count
LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
ALONE = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@dataclass(frozen=True)
class Question:
    """What ran out of memory.

    Attributes:
        config: the run's, as plain values.
        kind: a step's passes, its update (what the optimizer holds and needs), or decoding in an evaluation.
        utterances, seconds, tokens: of the batch: how many, the longest, decoder positions (0 where it decodes).
        processes, precision: as the engine runs.
        on_gpu: whose memory ran out.
        in_training: the optimizer's states are in memory too.
        has_second: each utterance has a second recording, as long as the first; None: as the training data has it.
    """

    config: dict[str, Any]
    kind: Literal["passes", "update", "decoding"]
    utterances: int
    seconds: float
    tokens: int
    processes: int
    precision: str
    on_gpu: bool
    in_training: bool = True
    has_second: bool | None = None


@dataclass(frozen=True)
class Saving:
    """Dotted keys, and bytes without them and with them; None where nothing was predicted."""

    settings: dict[str, Any]
    before: int | None = None
    after: int | None = None

    @property
    def saved(self) -> int:
        return 0 if self.before is None or self.after is None else self.before - self.after


def ask(question: Question) -> list[Saving]:
    """All answers that another process gives within ``SECONDS``; none where it fails."""
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHERS} | ALONE
    root = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "trainer.memory.savings"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "timeout": SECONDS}
    told = b""
    with suppress(OSError, MemoryError):
        try:
            asked = json.dumps(asdict(question)).encode()
            told = subprocess.run(command, input=asked, env=environment, check=False, **pipes).stdout
        except subprocess.TimeoutExpired as late:
            told = late.stdout or b""
    answers = []
    for line in told.splitlines():
        with suppress(ValueError, TypeError):  # the last line may have been cut
            answers.append(Saving(**json.loads(line)))
    return answers


def settings_to_try(question: Question) -> list[dict[str, Any]]:
    """Keys that make the step or the decoding smaller, the first the one that changes the least."""
    config = RunConfig.model_validate(question.config)
    kinds = {"passes": smaller_passes, "update": smaller_updates, "decoding": smaller_evaluations}
    return list(kinds[question.kind](config, question))


def smaller_passes(config: RunConfig, question: Question) -> Iterator[dict[str, Any]]:
    """Settings that make a step's passes smaller and do not change what is learned."""
    training, engine = config.training, config.engine
    if training.step_utterances is not None:
        if (size := min(question.utterances, training.microbatch)) > 1:
            yield {"training.batch_size": size // 2}
    elif training.batch_seconds is not None and question.utterances < training.microbatch:
        half = max(training.batch_seconds / 2, config.data.longest_seconds)
        if half < training.batch_seconds:
            yield {"training.batch_seconds": half, "training.accumulation": 2 * training.accumulation}
    elif training.microbatch > 1:
        batch, accumulation = halved(config)
        yield {"training.batch_size": batch, "training.accumulation": accumulation}
    if config.model.gradient_checkpointing != "all":
        yield {"model.gradient_checkpointing": "all"}
    if question.processes > 1 and engine.zero_stage < 3:
        yield {"engine.zero_stage": max(2, engine.zero_stage + 1)}
    if not question.on_gpu or engine.cpu_offload != "none":
        return
    if config.optimizer.name in ("auto", "adamw"):
        yield {"optimizer.name": "adamw_8bit"}
    yield {"optimizer.name": "auto", "engine.zero_stage": engine.zero_stage or 2, "engine.cpu_offload": "optimizer"}
    if not config.performance.offload_activations:
        yield {"performance.offload_activations": True}


def smaller_updates(config: RunConfig, question: Question) -> Iterator[dict[str, Any]]:
    """Settings that make the optimizer's states smaller, whatever the batch; on a CPU they cannot be offloaded."""
    from .advice import candidates

    for settings in candidates(cell_asked(config, question)):
        if "model.gradient_checkpointing" not in settings and (question.on_gpu or "engine.cpu_offload" not in settings):
            yield settings


def halved(config: RunConfig) -> tuple[int, int]:
    """Half the batch and twice the accumulation; of an odd batch, what comes nearest to the same step."""
    from .advice import batch_to_paste

    batch, accumulation = config.training.microbatch, config.training.accumulation
    return (batch // 2, 2 * accumulation) if batch % 2 == 0 else batch_to_paste(config, batch // 2)


def smaller_evaluations(config: RunConfig, question: Question) -> Iterator[dict[str, Any]]:
    """Settings that make an evaluation smaller; beams and tokens change what is measured."""
    settings = config.evaluation
    if settings.batch_size > 1:
        yield {"evaluation.batch_size": settings.batch_size // 2}
    if settings.beams > 1:
        yield {"evaluation.beams": settings.beams // 2}
    if settings.max_new_tokens > 1:
        yield {"evaluation.max_new_tokens": settings.max_new_tokens // 2}
    if question.in_training:
        yield from (one for one in smaller_updates(config, question) if "model.strategy" not in one)


def savings(question: Question) -> Iterator[Saving]:
    """What each of :func:`settings_to_try` saves; those that cannot be predicted are left out."""
    from .advice import changed
    from .decoding_peak import evaluation_bytes
    from .prediction import StepMemory

    config = RunConfig.model_validate(question.config)
    cell = cell_asked(config, question)

    def bytes_of(settings: dict[str, Any]) -> int:
        other = changed(cell, settings)
        if question.kind == "decoding":
            return evaluation_bytes(other, question.on_gpu, cell.frames)
        found = StepMemory(other, question.on_gpu).at(rows_after(question, config, settings))
        return found.device_used_bytes or found.peak_bytes

    before = bytes_of({})
    for settings in settings_to_try(question):
        if "performance.offload_activations" in settings:  # not known to the prediction
            continue
        with suppress(ValueError, RuntimeError):
            yield Saving(settings, before, bytes_of(settings))


def cell_asked(config: RunConfig, question: Question) -> Any:
    """The batch in the terms of the prediction."""
    from .cells import DECODER_POSITIONS, cell_of

    return cell_of(
        config,
        precision=question.precision,
        batch_size=question.utterances,
        seconds=question.seconds,
        tokens=question.tokens or DECODER_POSITIONS,
        processes=question.processes,
        has_second=question.has_second,
    )


def rows_after(question: Question, config: RunConfig, settings: dict[str, Any]) -> int:
    """Utterances that the batch would have had with these settings."""
    training, rows = config.training, question.utterances
    if "training.batch_size" in settings:
        return max(1, -(-rows * settings["training.batch_size"] // training.microbatch))
    if "training.batch_seconds" in settings and training.batch_seconds:
        return max(1, int(rows * settings["training.batch_seconds"] / training.batch_seconds))
    return rows


if __name__ == "__main__":
    for one in savings(Question(**json.load(sys.stdin))):
        print(json.dumps(asdict(one)), flush=True)
