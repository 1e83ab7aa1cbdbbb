"""Hold the prediction against real training steps, cell by cell, each in fresh processes with random weights.

    python -m benchmarks.memory check --output benchmarks/results/memory/check.json
    python -m benchmarks.memory check --only zero
    python -m benchmarks.memory check --output benchmarks/results/memory/check_gpu.json      (where a GPU is)

On CPUs the peak is read from the memory events of torch.profiler (:mod:`.profiled`). On a GPU, with cells of its own,
it is torch.cuda.max_memory_allocated, and what is taken of the device is compared too; nothing else may run there.
"""

from typing import Any, NamedTuple

import torch

from benchmarks.machine import describe_machine
from benchmarks.written import add_output, table_head, write_result
from modeling.network.linear import onednn_is_faster
from trainer.command_line import CommandLine, number
from trainer.config.reading import ConfigError
from trainer.memory.prediction import StepMemory

from .jobs import Job, whisper_config
from .measuring import MEASURED, measure_cell, run_job, told_outcome

LIMIT, DEVICE_LIMIT = 0.05, 0.10  # of what is measured, that a prediction of tensors and of the device may be off
# The same step peaked 15 % apart from run to run, with garbage collected between steps as well as without.
ZERO3_LIMIT = 0.15
SHORT, LONG = (3.4, 24), (30.0, 448)  # seconds, decoder positions
BASE, SMALL = {"model.checkpoint": "openai/whisper-base"}, {"model.checkpoint": "openai/whisper-small"}
BF16 = {"engine.precision": "bf16"}
NOISE = {"noise.loss_weight": 0.1, "data.augmentation": {"silence_is_noise": True}}
SECOND = {"data.train.second": "copy", "model.second_recording": "attention"}
JOINED = SECOND | {"model.second_recording": "joined", "model.dual_attention": False}


class Checked(NamedTuple):
    """A cell to check, a config of whisper-tiny with these dotted keys; ``shape`` is seconds and decoder positions."""

    name: str
    settings: dict[str, Any]
    batch_size: int
    shape: tuple[float, int] = SHORT
    processes: int = 1


CELLS = (
    Checked("full, batch 1", {}, 1),
    Checked("full, batch 4", {}, 4),
    Checked("full, batch 16", {}, 16),
    Checked("long clips", {}, 4, LONG),
    Checked("30 s windows", {"model.encoder_padding": "window"}, 2),
    Checked("plain Whisper", {"model.dual_attention": False}, 4),
    Checked("plain Whisper, long clips", {"model.dual_attention": False}, 3, LONG),
    Checked("frozen encoder", {"model.strategy": "frozen_encoder"}, 4, LONG),
    Checked("frozen primary", {"model.strategy": "frozen_primary"}, 4),
    Checked("selective", {"model.strategy": "selective"}, 4),
    Checked("lora", {"model.strategy": "lora"}, 4),
    Checked("lora of plain Whisper", {"model.strategy": "lora", "model.dual_attention": False}, 8),
    Checked("qlora", {"model.strategy": "qlora"}, 4),
    Checked("gradient checkpointing", {"model.gradient_checkpointing": True}, 4, LONG),
    Checked("gradient checkpointing, short", {"model.gradient_checkpointing": True}, 8),
    Checked("dropout", {"model.dropout": 0.1}, 8),
    Checked("noise loss", NOISE, 8),
    Checked("noise loss, long clips", NOISE, 3, LONG),
    Checked("noise loss, gradient checkpointing", NOISE | {"model.gradient_checkpointing": True}, 4, LONG),
    Checked("8-bit AdamW", {"optimizer.name": "adamw_8bit"}, 4),
    Checked("bf16", BF16, 4),
    Checked("accumulation", {"training.accumulation": 2}, 4),
    Checked("base, full", BASE, 4),
    Checked("base, lora", BASE | {"model.strategy": "lora"}, 2, (10.0, 100)),
    Checked("small, frozen encoder", SMALL | {"model.strategy": "frozen_encoder"}, 1),
    Checked("second recording, attention", SECOND, 4),
    Checked("second recording, attention, long clips", SECOND, 2, LONG),
    Checked("second recording, joined", JOINED, 4),
    Checked("second recording, joined, long clips", JOINED, 2, LONG),
    Checked("second recording, joined, 30 s windows", JOINED | {"model.encoder_padding": "window"}, 1),
    Checked("second recording, before", JOINED | {"model.second_recording": "before"}, 4),
    Checked("second recording, two encoder layers", SECOND | {"model.second_recording_layers": 2}, 4),
    Checked("second recording, frozen encoder", SECOND | {"model.strategy": "frozen_encoder"}, 4, LONG),
    Checked("second recording, noise loss", SECOND | NOISE, 4),
    Checked("second recording, base", BASE | SECOND, 4),
    Checked("second recording, joined, base", BASE | JOINED, 4),
    Checked("second recording, gradient checkpointing", SECOND | {"model.gradient_checkpointing": True}, 4, LONG),
    Checked("DDP", {}, 4, processes=2),
    Checked("DDP, accumulation", {"training.accumulation": 2}, 4, processes=2),
    Checked("DDP, frozen encoder", {"model.strategy": "frozen_encoder"}, 4, processes=2),
    Checked("ZeRO-1", {"engine.zero_stage": 1}, 4, processes=2),
    Checked("ZeRO-1, bf16", BF16 | {"engine.zero_stage": 1}, 4, processes=2),
    Checked("ZeRO-2", {"engine.zero_stage": 2}, 4, processes=2),
    Checked("ZeRO-1, accumulation", {"engine.zero_stage": 1, "training.accumulation": 2}, 4, processes=2),
    Checked("ZeRO-2, accumulation", {"engine.zero_stage": 2, "training.accumulation": 2}, 4, processes=2),
    Checked("ZeRO-2, bf16", BF16 | {"engine.zero_stage": 2}, 4, processes=2),
    Checked("ZeRO-2, bf16, base", BASE | BF16 | {"engine.zero_stage": 2}, 4, processes=2),
    Checked("ZeRO-3", {"engine.zero_stage": 3}, 4, processes=2),
    Checked("ZeRO-3, bf16", BF16 | {"engine.zero_stage": 3}, 4, processes=2),
    Checked("ZeRO-2, lora", {"engine.zero_stage": 2, "model.strategy": "lora"}, 4, processes=2),
)  # fmt: skip

GPU_CELLS = (
    *(
        Checked(
            f"{size}, {strategy}, checkpointing {checkpointing}",
            BF16
            | {
                "model.checkpoint": f"openai/whisper-{size}",
                "model.strategy": strategy,
                "model.gradient_checkpointing": checkpointing,
            },
            8,
            LONG,
        )
        for size in ("base", "small", "medium")
        for strategy in ("full", "frozen_encoder", "selective", "lora")
        for checkpointing in ("none", "all")
    ),
    Checked("small, float32", SMALL | {"engine.precision": "fp32"}, 8, LONG),
    Checked("small, 30 s windows", SMALL | BF16 | {"model.encoder_padding": "window"}, 16, LONG),
    Checked("small, 8-bit AdamW", SMALL | BF16 | {"optimizer.name": "adamw_8bit"}, 16, LONG),
    Checked("small, short clips", SMALL | BF16, 64),
    Checked("small, second recording, attention", SMALL | BF16 | SECOND, 8, LONG),
    Checked("small, second recording, joined", SMALL | BF16 | JOINED, 8, LONG),
    Checked("small, ZeRO-2", SMALL | BF16 | {"engine.zero_stage": 2}, 8, LONG),
)


def job_of(checked: Checked, on_gpu: bool) -> Job:
    """The job that measures a cell."""
    place: Any = {} if on_gpu else {"threads": 1, "on_cpu": True}
    # Each process would find out for itself which products are faster, and a busy machine tells them different things.
    settings = checked.settings if on_gpu else {"performance.onednn": onednn_is_faster()} | checked.settings
    values = whisper_config(settings).model_dump(mode="json")
    return Job(values, checked.batch_size, *checked.shape, processes=checked.processes, **place)


def predict(checked: Checked, on_gpu: bool) -> dict[str, Any]:
    """A cell, its name and its prediction."""
    job = job_of(checked, on_gpu)
    cell = job.cell(job.run_config().engine.precision)
    predicted = StepMemory(cell, on_gpu).at(checked.batch_size)
    return {"name": checked.name, **cell.describe(), "predicted": predicted.describe()}


def measure(checked: Checked, timeout: float, on_gpu: bool) -> dict[str, Any]:
    """A cell's status, reason and peak."""
    job = job_of(checked, on_gpu)
    if on_gpu:
        measured = measure_cell(job, timeout)
        return {key: measured[key] for key in ("status", "reason", "peak_bytes")}
    ranks, status, reason = run_job(job, timeout, "benchmarks.memory.profiled")
    found: dict[str, Any] = {"status": status, "reason": reason}
    if status == MEASURED:
        found["profiled_bytes"] = max(rank.result["profiled"]["peak_bytes"] for rank in ranks)
        found["before_bytes"] = ranks[0].result["profiled"]["before_bytes"]
    return found


def compared(predicted: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    """Both together, and by how much they differ, in shares of what was measured."""
    found = predicted | measured
    if found["status"] != MEASURED:
        return found
    foreseen = found["predicted"]
    if "profiled_bytes" in found:
        return found | {"off_by": foreseen["peak_bytes"] / found["profiled_bytes"] - 1}
    peaks = found["peak_bytes"]
    return found | {
        "off_by": foreseen["peak_bytes"] / peaks["allocated"] - 1,
        "device_off_by": (foreseen["device_used_bytes"] or 0) / peaks["device_used"] - 1,
    }


def check_cell(checked: Checked, timeout: float, on_gpu: bool = False) -> dict[str, Any]:
    """A cell's prediction, what was measured, and by how much they differ, in shares of the latter."""
    return compared(predict(checked, on_gpu), measure(checked, timeout, on_gpu))


def row_of(cell: dict[str, Any]) -> str:
    """A cell's row in the table that is printed."""
    predicted = f"{cell['predicted']['peak_bytes'] / 2**20:,.1f}"
    if cell["status"] != MEASURED:
        return f"| {cell['name']} | {told_outcome(cell)} | {predicted} | |"
    measured = cell.get("profiled_bytes") or cell["peak_bytes"]["allocated"]
    device = f", device {cell['device_off_by']:+.2%}" if "device_off_by" in cell else ""
    return f"| {cell['name']} | {measured / 2**20:,.1f} | {predicted} | {cell['off_by']:+.2%}{device} |"


def is_near(cell: dict[str, Any]) -> bool:
    """Whether the prediction was as near as it should be."""
    limit = ZERO3_LIMIT if cell["zero_stage"] == 3 else LIMIT
    return abs(cell.get("off_by", 1.0)) <= limit and abs(cell.get("device_off_by", 0.0)) <= DEVICE_LIMIT


def main(arguments: list[str]) -> int:
    """0 if every cell could be measured and is within the limit, else 1."""
    parser = CommandLine(__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="cells whose name holds it")
    add_output(parser)
    parser.add_argument("--timeout", type=number(float, 1, 1e5), default=300.0, help="seconds a cell may take")
    parser.add_argument("--cpu", action="store_true", help="the CPU's cells, though there is a GPU")
    options = parser.parse_args(arguments)
    on_gpu = torch.cuda.is_available() and not options.cpu
    cells = GPU_CELLS if on_gpu else CELLS
    chosen = [cell for cell in cells if options.only.lower() in cell.name.lower()]
    if not chosen:
        names = "; ".join(cell.name for cell in cells)
        raise ConfigError(f"--only {options.only!r} is in the name of no cell; they are {names}")
    found: dict[str, Any] = {"machine": describe_machine(torch.device("cuda") if on_gpu else None)}
    found |= {"command": "python -m benchmarks.memory check", "cells": []}
    print(table_head(("cell", "measured, MiB", "predicted, MiB", "off by")))
    for cell in chosen:
        found["cells"].append(check_cell(cell, options.timeout, on_gpu))
        print(row_of(found["cells"][-1]), flush=True)
        write_result(options.output, found)
    near = sum(map(is_near, found["cells"]))
    worst = max(abs(cell.get("off_by", 1.0)) for cell in found["cells"])
    print(f"\n{near} of {len(chosen)} cells within {LIMIT:.0%} (ZeRO-3: {ZERO3_LIMIT:.0%}); the worst {worst:.2%}")
    return 0 if near == len(chosen) else 1
