"""Hold the prediction against real training steps, cell by cell, each in fresh processes with random weights.

    python -m benchmarks.memory check --output benchmarks/results/memory/check.json
    python -m benchmarks.memory check --only zero
    python -m benchmarks.memory check --output benchmarks/results/memory/check_gpu.json      (where a GPU is)

On CPUs the peak is read from the memory events of torch.profiler (:mod:`.profiled`). On a GPU, with cells of its own,
it is torch.cuda.max_memory_allocated, and what is taken of the device is compared too; nothing else may run there.
"""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe_machine
from benchmarks.written import write_whole
from trainer.command_line import CommandLine, number
from trainer.config.reading import ConfigError
from trainer.config.run import RunConfig
from trainer.memory.prediction import StepMemory

from .jobs import Job
from .measuring import MEASURED, measure_cell, outcome_of, run_ranks

LIMIT, DEVICE_LIMIT = 0.05, 0.10  # of what is measured, that a prediction of tensors and of the device may be off
# The same step peaked 15 % apart from run to run, with garbage collected between steps as well as without.
ZERO3_LIMIT = 0.15
SHORT, LONG = (3.4, 24), (30.0, 448)  # seconds, decoder positions
ALL: dict[str, Any] = {"training.steps": 10, "data.train": {"files": "none.parquet"}, "output_dir": "runs/none"}
BASE, SMALL = {"model.checkpoint": "openai/whisper-base"}, {"model.checkpoint": "openai/whisper-small"}
NOISE = {"noise.loss_weight": 0.1, "data.augmentation": {"silence_is_noise": True}}
# Name, settings, batch size, (seconds, tokens), processes.
CELLS: tuple[tuple[str, dict[str, Any], int, tuple[float, int], int], ...] = (
    ("full, batch 1", {}, 1, SHORT, 1),
    ("full, batch 4", {}, 4, SHORT, 1),
    ("full, batch 16", {}, 16, SHORT, 1),
    ("long clips", {}, 4, LONG, 1),
    ("30 s windows", {"model.encoder_padding": "window"}, 2, SHORT, 1),
    ("plain Whisper", {"model.dual_attention": False}, 4, SHORT, 1),
    ("plain Whisper, long clips", {"model.dual_attention": False}, 3, LONG, 1),
    ("frozen encoder", {"model.strategy": "frozen_encoder"}, 4, LONG, 1),
    ("frozen primary", {"model.strategy": "frozen_primary"}, 4, SHORT, 1),
    ("selective", {"model.strategy": "selective"}, 4, SHORT, 1),
    ("lora", {"model.strategy": "lora"}, 4, SHORT, 1),
    ("lora of plain Whisper", {"model.strategy": "lora", "model.dual_attention": False}, 8, SHORT, 1),
    ("qlora", {"model.strategy": "qlora"}, 4, SHORT, 1),
    ("gradient checkpointing", {"model.gradient_checkpointing": True}, 4, LONG, 1),
    ("gradient checkpointing, short", {"model.gradient_checkpointing": True}, 8, SHORT, 1),
    ("dropout", {"model.dropout": 0.1}, 8, SHORT, 1),
    ("noise loss", NOISE, 8, SHORT, 1),
    ("noise loss, long clips", NOISE, 3, LONG, 1),
    ("noise loss, gradient checkpointing", NOISE | {"model.gradient_checkpointing": True}, 4, LONG, 1),
    ("8-bit AdamW", {"optimizer.name": "adamw_8bit"}, 4, SHORT, 1),
    ("bf16", {"engine.precision": "bf16"}, 4, SHORT, 1),
    ("accumulation", {"training.accumulation": 2}, 4, SHORT, 1),
    ("base, full", BASE, 4, SHORT, 1),
    ("base, lora", BASE | {"model.strategy": "lora"}, 2, (10.0, 100), 1),
    ("small, frozen encoder", SMALL | {"model.strategy": "frozen_encoder"}, 1, SHORT, 1),
    ("DDP", {}, 4, SHORT, 2),
    ("DDP, accumulation", {"training.accumulation": 2}, 4, SHORT, 2),
    ("DDP, frozen encoder", {"model.strategy": "frozen_encoder"}, 4, SHORT, 2),
    ("ZeRO-1", {"engine.zero_stage": 1}, 4, SHORT, 2),
    ("ZeRO-1, bf16", {"engine.zero_stage": 1, "engine.precision": "bf16"}, 4, SHORT, 2),
    ("ZeRO-2", {"engine.zero_stage": 2}, 4, SHORT, 2),
    ("ZeRO-1, accumulation", {"engine.zero_stage": 1, "training.accumulation": 2}, 4, SHORT, 2),
    ("ZeRO-2, accumulation", {"engine.zero_stage": 2, "training.accumulation": 2}, 4, SHORT, 2),
    ("ZeRO-2, bf16", {"engine.zero_stage": 2, "engine.precision": "bf16"}, 4, SHORT, 2),
    ("ZeRO-2, bf16, base", BASE | {"engine.zero_stage": 2, "engine.precision": "bf16"}, 4, SHORT, 2),
    ("ZeRO-3", {"engine.zero_stage": 3}, 4, SHORT, 2),
    ("ZeRO-3, bf16", {"engine.zero_stage": 3, "engine.precision": "bf16"}, 4, SHORT, 2),
    ("ZeRO-2, lora", {"engine.zero_stage": 2, "model.strategy": "lora"}, 4, SHORT, 2),
)  # fmt: skip

GPU_CELLS: tuple[tuple[str, dict[str, Any], int, tuple[float, int], int], ...] = (
    *(
        (
            f"{size}, {strategy}, checkpointing {checkpointing}",
            {
                "model.checkpoint": f"openai/whisper-{size}",
                "model.strategy": strategy,
                "model.gradient_checkpointing": checkpointing,
                "engine.precision": "bf16",
            },
            8,
            LONG,
            1,
        )
        for size in ("base", "small", "medium")
        for strategy in ("full", "frozen_encoder", "selective", "lora")
        for checkpointing in ("none", "all")
    ),
    ("small, float32", SMALL | {"engine.precision": "fp32"}, 8, LONG, 1),
    ("small, 30 s windows", SMALL | {"model.encoder_padding": "window", "engine.precision": "bf16"}, 16, LONG, 1),
    ("small, 8-bit AdamW", SMALL | {"optimizer.name": "adamw_8bit", "engine.precision": "bf16"}, 16, LONG, 1),
    ("small, short clips", SMALL | {"engine.precision": "bf16"}, 64, SHORT, 1),
    ("small, ZeRO-2", SMALL | {"engine.zero_stage": 2, "engine.precision": "bf16"}, 8, LONG, 1),
)


def config_of(settings: dict[str, Any]) -> RunConfig:
    """A config of whisper-tiny, with these dotted keys."""
    values: dict[str, Any] = {"model": {"checkpoint": "openai/whisper-tiny"}, "engine": {"precision": "fp32"}}
    for key, value in (ALL | settings).items():
        place = values
        *sections, last = key.split(".")
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    values["data"]["language"] = "en"
    return RunConfig.model_validate(values)


def check_cell(
    settings: dict[str, Any],
    batch_size: int,
    shape: tuple[float, int],
    processes: int,
    timeout: float,
    on_gpu: bool = False,
) -> dict[str, Any]:
    """A cell's prediction, what was measured, and by how much they differ, in shares of the latter."""
    config = config_of(settings)
    seconds, tokens = shape
    job = Job(config.model_dump(mode="json"), batch_size, seconds, tokens, processes, threads=None if on_gpu else 1)
    cell = job.cell(config.engine.precision)
    predicted = StepMemory(cell, on_gpu).at(batch_size)
    found: dict[str, Any] = cell.describe()
    found["predicted"] = {key: value for key, value in asdict(predicted).items() if value is not None}
    if on_gpu:
        measured = measure_cell(job, timeout)
        found |= {key: measured[key] for key in ("status", "reason", "peak_bytes")}
        if found["status"] == MEASURED:
            found["off_by"] = predicted.peak_bytes / measured["peak_bytes"]["allocated"] - 1
            found["device_off_by"] = (predicted.device_used_bytes or 0) / measured["peak_bytes"]["device_used"] - 1
        return found
    with tempfile.TemporaryDirectory(prefix="check-") as folder:
        job.write(Path(folder) / "job.json")
        ranks, timed_out = run_ranks(job, Path(folder), timeout, "benchmarks.memory.profiled")
    found["status"], found["reason"] = outcome_of(ranks, timeout if timed_out else None)
    if found["status"] == MEASURED:
        found["profiled_bytes"] = max(rank.result["profiled"]["peak_bytes"] for rank in ranks)
        found["before_bytes"] = ranks[0].result["profiled"]["before_bytes"]
        found["off_by"] = predicted.peak_bytes / found["profiled_bytes"] - 1
    return found


def row_of(cell: dict[str, Any]) -> str:
    """A cell's row in the table that is printed."""
    predicted = f"{cell['predicted']['peak_bytes'] / 2**20:,.1f}"
    if cell["status"] != MEASURED:
        return f"| {cell['name']} | {cell['status']}: {cell['reason']} | {predicted} | |"
    measured = cell.get("profiled_bytes") or cell["peak_bytes"]["allocated"]
    device = f", device {cell['device_off_by']:+.2%}" if "device_off_by" in cell else ""
    return f"| {cell['name']} | {measured / 2**20:,.1f} | {predicted} | {cell['off_by']:+.2%}{device} |"


def limit_of(cell: dict[str, Any]) -> float:
    return ZERO3_LIMIT if cell["zero_stage"] == 3 else LIMIT


def is_near(cell: dict[str, Any]) -> bool:
    return abs(cell.get("off_by", 1.0)) <= limit_of(cell) and abs(cell.get("device_off_by", 0.0)) <= DEVICE_LIMIT


def main(arguments: list[str]) -> int:
    """0 if every cell could be measured and is within the limit, else 1."""
    parser = CommandLine(__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="cells whose name holds it")
    parser.add_argument("--output", type=Path, metavar="FILE", help="for the figures, as JSON")
    parser.add_argument("--timeout", type=number(float, 1, 1e5), default=300.0, help="seconds a cell may take")
    parser.add_argument("--cpu", action="store_true", help="the CPU's cells, though there is a GPU")
    options = parser.parse_args(arguments)
    on_gpu = torch.cuda.is_available() and not options.cpu
    cells: Any = GPU_CELLS if on_gpu else CELLS
    chosen = [cell for cell in cells if options.only.lower() in cell[0].lower()]
    if not chosen:
        names = "; ".join(cell[0] for cell in cells)
        raise ConfigError(f"--only {options.only!r} is in the name of no cell; they are {names}")
    found: dict[str, Any] = {"machine": describe_machine(torch.device("cuda") if on_gpu else None)}
    found |= {"command": "python -m benchmarks.memory check", "cells": []}
    print("| cell | measured, MiB | predicted, MiB | off by |\n|---|---|---|---|")
    for name, *cell in chosen:
        found["cells"].append({"name": name} | check_cell(*cell, timeout=options.timeout, on_gpu=on_gpu))
        print(row_of(found["cells"][-1]), flush=True)
        if options.output:
            options.output.parent.mkdir(parents=True, exist_ok=True)
            write_whole(options.output, found)
    near = sum(map(is_near, found["cells"]))
    worst = max(abs(cell.get("off_by", 1.0)) for cell in found["cells"])
    print(f"\n{near} of {len(chosen)} cells within {LIMIT:.0%} (ZeRO-3: {ZERO3_LIMIT:.0%}); the worst {worst:.2%}")
    return 0 if near == len(chosen) else 1
