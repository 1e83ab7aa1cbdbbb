"""The whole table of predictions: every published size, strategy and engine, what the public project ran, and what was
measured on a GPU, so that a report can set one beside the other.

A cell here is a description (:meth:`trainer.memory.cells.Cell.describe`) and what was predicted of it, as JSON.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modeling.published import published_shape
from trainer.memory.advice import HEADROOM, fits, largest_batch, remedies
from trainer.memory.cells import CONFIG_KEYS, DECODER_POSITIONS, Cell, cell_of, with_settings
from trainer.memory.flops import step_flops, utterance_flops
from trainer.memory.gpus import Gpu, find_gpu
from trainer.memory.prediction import COLLECTIVES_BYTES, CONTEXT_BYTES, WORKSPACE_BYTES, StepMemory

from .jobs import whisper_config

SECONDS = 30.0
PRECISION = "bf16"
BATCHES = (1, 8, 16, 32)
GPUS_SHOWN = ("A10 24GB", "A100 40GB", "A100 80GB")  # of 24 GB cards the one with least; an H100 80GB has as much
MODELS = ("small", "medium", "large-v3", "large-v3-turbo", "base", "tiny")
STRATEGIES = ("full", "frozen_encoder", "lora")
ENGINES = ((0, 1), (0, 8), (2, 8), (3, 8))  # ZeRO's stage and processes: one process, DDP, ZeRO-2, ZeRO-3
CHECKPOINTED = ("medium", "large-v3", "large-v3-turbo")  # what the recipes train with gradient checkpointing
PUBLIC_GPU = "A100 40GB"
PUBLIC_BATCHES = {"small": (8, 16, 24), "medium": (8, 16, 24, 28)}  # of the public project, on such a GPU
PUBLIC_STRATEGIES = ("frozen_encoder", "full")


@dataclass(frozen=True)
class Wanted:
    """A step whose memory is asked for.

    Attributes:
        settings: dotted keys of a config.
        batches: sizes to be told.
        public_batches: of these too, with what makes fit what does not.
        measured: sizes that were measured; then nothing but these is told.
    """

    settings: dict[str, Any]
    processes: int = 1
    seconds: float = SECONDS
    tokens: int = DECODER_POSITIONS
    batches: tuple[int, ...] = BATCHES
    public_batches: tuple[int, ...] = ()
    measured: tuple[int, ...] = ()

    def cell(self) -> Cell:
        """The step at its first batch size."""
        first = (self.batches or self.measured)[0]
        config = whisper_config(self.settings | {"training.batch_size": first})
        precision = config.engine.precision
        return cell_of(config, precision=precision, seconds=self.seconds, tokens=self.tokens, processes=self.processes)

    def name(self) -> str:
        """For the terminal, and to choose by."""
        kept = {key: value for key, value in self.settings.items() if key != "engine.precision"}
        return f"{' '.join(f'{key}={value}' for key, value in kept.items())} processes={self.processes}"


def table() -> Iterator[Wanted]:
    """Every cell of the table, those that most people ask about first."""
    for engine in ENGINES:
        for model in MODELS:
            for strategy in STRATEGIES:
                yield wanted(model, strategy, engine)
    for model in CHECKPOINTED:
        for engine in ENGINES:
            yield wanted(model, "full", engine, gradient_checkpointing=True)


def wanted(model: str, strategy: str, engine: tuple[int, int], gradient_checkpointing: bool = False) -> Wanted:
    """A published size in its worst case, with the dual decoder."""
    stage, processes = engine
    settings: dict[str, Any] = {
        "model.checkpoint": f"openai/whisper-{model}",
        "model.strategy": strategy,
        "engine.zero_stage": stage,
        "engine.precision": PRECISION,
    }
    if gradient_checkpointing:
        settings["model.gradient_checkpointing"] = True
    is_public = engine == (0, 1) and strategy in PUBLIC_STRATEGIES and not gradient_checkpointing
    return Wanted(settings, processes, public_batches=PUBLIC_BATCHES.get(model, ()) if is_public else ())


def measured_cells(folder: Path) -> list[dict[str, Any]]:
    """What the folder's ``measured*.json`` hold of CUDA memory in steps of synthetic tensors."""
    files = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("measured*.json"))]
    on_gpu = [
        cell for file in files for cell in file.get("cells", ()) if (cell.get("peak_bytes") or {}).get("allocated")
    ]
    return [cell for cell in on_gpu if cell["data"] == "synthetic" and published_shape(cell["model"]) is not None]


def of_measured(cells: Iterable[dict[str, Any]]) -> list[Wanted]:
    """The steps that were measured, each with all its batch sizes."""
    batches: dict[str, tuple[dict[str, Any], set[int]]] = {}
    for cell in cells:
        settings = settings_of(cell)
        key = json.dumps([settings, cell["processes"], cell["seconds"], cell["tokens"]])
        batches.setdefault(key, (cell, set()))[1].add(cell["batch_size"])
    shape = ("processes", "seconds", "tokens")
    return [
        Wanted(settings_of(cell), **{key: cell[key] for key in shape}, batches=(), measured=tuple(sorted(sizes)))
        for cell, sizes in batches.values()
    ]


def settings_of(description: dict[str, Any]) -> dict[str, Any]:
    """The config's keys and values that a cell's description holds."""
    settings = {key: description[name] for name, key in CONFIG_KEYS.items()}
    if description["optimizer"] not in ("adamw", "cpu_adam"):  # those are what auto stands for
        settings["optimizer.name"] = description["optimizer"]
    if "second_recording" in description:
        settings |= {"data.train.second": "copy", "model.second_recording": description["second_recording"]}
        settings["model.second_recording_layers"] = description.get("second_recording_layers", 0)
    return settings


def predict(one: Wanted) -> dict[str, Any]:
    """What is predicted: ``cells``, and of a cell of the table ``largest`` and ``public``."""
    cell = one.cell()
    memory = StepMemory(cell)
    told = [predicted_cell(memory, batch) for batch in one.measured or one.batches]
    found: dict[str, Any] = {"name": one.name(), "cells": told}
    if one.measured:
        return found
    largest = {name: largest_batch(memory, find_gpu(name)) for name in GPUS_SHOWN}
    shared = {key: value for key, value in told[0].items() if key not in ("batch_size", "predicted")}
    del shared["model_flops_per_step"]
    shared["model_flops_per_utterance"] = utterance_flops(cell)
    found["largest"] = {**shared, "largest_batch": largest}
    found["public"] = [public_cell(memory, batch, find_gpu(PUBLIC_GPU)) for batch in one.public_batches]
    return found


def predicted_cell(memory: StepMemory, batch: int) -> dict[str, Any]:
    """A cell's description and prediction."""
    cell = at_batch(memory.cell, batch)
    return {
        **cell.describe(),
        "model_flops_per_step": step_flops(cell),
        "predicted": memory.at(batch).describe(),
    }


def at_batch(cell: Cell, batch: int) -> Cell:
    return replace(cell, config=with_settings(cell.config, "training", batch_size=batch), batch_size=batch)


def public_cell(memory: StepMemory, batch: int, gpu: Gpu) -> dict[str, Any]:
    """A cell of the public project: whether it fits as it is and, if not, what the advice changes."""
    as_it_is = memory.at(batch)
    tried = () if fits(as_it_is, gpu) else remedies(memory.cell, batch, gpu)
    return {
        **at_batch(memory.cell, batch).describe(),
        "gpu": gpu.name,
        "gpu_bytes": gpu.memory_bytes,
        "fits": fits(as_it_is, gpu),
        "predicted": as_it_is.describe(),
        "advice": [
            {"settings": one.settings, "fits": one.fits, "predicted": one.prediction.describe()} for one in tried
        ],
    }


def assumptions() -> list[str]:
    """What all figures rest on."""
    return [
        f"every clip {SECONDS:g} s long and {DECODER_POSITIONS} decoder positions of each utterance filled, the worst "
        "that a config lets through",
        f"a batch fits where {HEADROOM:.0%} of the GPU's memory stays free; memory as drivers report it",
        f"{CONTEXT_BYTES / 2**20:.0f} MiB of CUDA context, {WORKSPACE_BYTES / 2**20:.0f} MiB of cuBLAS workspace and, "
        f"with several processes, {COLLECTIVES_BYTES / 2**20:.0f} MiB of NCCL",
        "flash attention; nothing else on the GPU",
        "float32 weights under autocast in one process and under DDP; DeepSpeed's own half precision under ZeRO",
        "tensors of a step counted from fake tensors, no GPU used; reserved memory from a simulated caching allocator",
    ]
