"""Hold the prediction against torch.profiler, cell by cell, on CPUs.

    python -m benchmarks.memory check --output benchmarks/results/memory/check.json
    python -m benchmarks.memory check --only zero

Each cell is a real training step in fresh processes, with random weights; what it allocates is read from the
profiler's memory events (:mod:`.profiled`) and compared with what was predicted before.
"""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from trainer.command_line import CommandLine, number
from trainer.config import RunConfig
from trainer.config_file import ConfigError

from .jobs import Job, write_whole
from .measuring import outcome_of, run_ranks
from .prediction import StepMemory

LIMIT = 0.05  # of the profiler's peak, that a prediction may be off
SHORT, LONG = (3.4, 24), (30.0, 448)  # seconds, decoder positions
ALL: dict[str, Any] = {"training.steps": 10, "data.train": {"files": "none.parquet"}, "output_dir": "runs/none"}
BASE, SMALL = {"model.checkpoint": "openai/whisper-base"}, {"model.checkpoint": "openai/whisper-small"}
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
    ("8-bit AdamW", {"optimizer.name": "adamw_8bit"}, 4, SHORT, 1),
    ("bf16", {"engine.precision": "bf16"}, 4, SHORT, 1),
    ("accumulation", {"training.accumulation": 2}, 4, SHORT, 1),
    ("base, full", BASE, 4, SHORT, 1),
    ("base, lora", BASE | {"model.strategy": "lora"}, 2, (10.0, 100), 1),
    ("small, frozen encoder", SMALL | {"model.strategy": "frozen_encoder"}, 1, SHORT, 1),
    ("DDP", {}, 4, SHORT, 2),
    ("DDP, frozen encoder", {"model.strategy": "frozen_encoder"}, 4, SHORT, 2),
    ("ZeRO-1", {"engine.zero_stage": 1}, 4, SHORT, 2),
    ("ZeRO-1, bf16", {"engine.zero_stage": 1, "engine.precision": "bf16"}, 4, SHORT, 2),
    ("ZeRO-2", {"engine.zero_stage": 2}, 4, SHORT, 2),
    ("ZeRO-2, bf16", {"engine.zero_stage": 2, "engine.precision": "bf16"}, 4, SHORT, 2),
    ("ZeRO-2, bf16, base", BASE | {"engine.zero_stage": 2, "engine.precision": "bf16"}, 4, SHORT, 2),
    ("ZeRO-3", {"engine.zero_stage": 3}, 4, SHORT, 2),
    ("ZeRO-3, bf16", {"engine.zero_stage": 3, "engine.precision": "bf16"}, 4, SHORT, 2),
    ("ZeRO-2, lora", {"engine.zero_stage": 2, "model.strategy": "lora"}, 4, SHORT, 2),
)  # fmt: skip


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
    settings: dict[str, Any], batch_size: int, shape: tuple[float, int], processes: int, timeout: float
) -> dict[str, Any]:
    """A cell's prediction, what the profiler says, and by how much they differ, in shares of the latter."""
    config = config_of(settings)
    seconds, tokens = shape
    job = Job(config.model_dump(mode="json"), batch_size, seconds, tokens, processes, threads=1)
    cell = job.cell(config.engine.precision)
    predicted = StepMemory(cell, on_gpu=False).at(batch_size)
    with tempfile.TemporaryDirectory(prefix="check-") as folder:
        job.write(Path(folder) / "job.json")
        ranks, timed_out = run_ranks(job, Path(folder), timeout, "benchmarks.memory.profiled")
    status, reason = outcome_of(ranks, timeout if timed_out else None)
    found = {**cell.describe(), "status": status, "reason": reason}
    found["predicted"] = {key: value for key, value in asdict(predicted).items() if value is not None}
    if status == "measured":
        found["profiled_bytes"] = max(rank.result["profiled"]["peak_bytes"] for rank in ranks)
        found["before_bytes"] = ranks[0].result["profiled"]["before_bytes"]
        found["off_by"] = predicted.peak_bytes / found["profiled_bytes"] - 1
    return found


def main(arguments: list[str]) -> int:
    """0 if every cell could be measured and is within the limit, else 1."""
    parser = CommandLine(__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="cells whose name holds it")
    parser.add_argument("--output", type=Path, metavar="FILE", help="for the figures, as JSON")
    parser.add_argument("--timeout", type=number(float, 1, 1e5), default=300.0, help="seconds a cell may take")
    options = parser.parse_args(arguments)
    chosen = [cell for cell in CELLS if options.only.lower() in cell[0].lower()]
    if not chosen:
        raise ConfigError(
            f"--only {options.only!r} is in the name of no cell; they are {'; '.join(c[0] for c in CELLS)}"
        )
    found: dict[str, Any] = {"machine": describe_machine(), "command": "python -m benchmarks.memory check", "cells": []}
    print("| cell | profiler, MiB | predicted, MiB | off by |\n|---|---|---|---|")
    for name, settings, batch_size, shape, processes in chosen:
        cell = {"name": name} | check_cell(settings, batch_size, shape, processes, options.timeout)
        found["cells"].append(cell)
        predicted = f"{cell['predicted']['peak_bytes'] / 2**20:,.1f}"
        if cell["status"] == "measured":
            print(
                f"| {name} | {cell['profiled_bytes'] / 2**20:,.1f} | {predicted} | {cell['off_by']:+.2%} |", flush=True
            )
        else:
            print(f"| {name} | {cell['status']}: {cell['reason']} | {predicted} | |", flush=True)
        if options.output:
            options.output.parent.mkdir(parents=True, exist_ok=True)
            write_whole(options.output, found)
    off = [abs(cell["off_by"]) if "off_by" in cell else 1.0 for cell in found["cells"]]
    within = sum(value <= LIMIT for value in off)
    print(f"\n{within} of {len(off)} cells within {LIMIT:.0%}; the worst {max(off):.2%}")
    return 0 if within == len(off) else 1
