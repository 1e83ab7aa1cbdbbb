"""The usual recipe on the same clips: transformers' Seq2SeqTrainer with plain Whisper, each clip padded to 30 s."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.memory.jobs import Job
from benchmarks.memory.measuring import Rank, figures
from benchmarks.peers import timed_steps
from benchmarks.training.side_by_side import NOT_OF_THE_PEER
from trainer.engine.accelerator import resolve_precision

from ..setting import Part, Setting
from ..stand_ins import run_values

BATCH = 64


def usual_recipe(setting: Setting) -> Iterator[Part]:
    size = setting.size(BATCH, 2)
    yield Part(f"batch {size}", lambda: of_the_peer(setting, size))


def of_the_peer(setting: Setting, batch_size: int) -> dict[str, Any]:
    """Speeds of the recipe, its features made before; processes load them."""
    keys = {"data.workers": setting.size(8, 0), "training.batch_size": batch_size}
    job = Job(
        run_values(setting, "small", keys),
        batch_size,
        data="stream",
        warmup=1,
        steps=setting.size(4, 1),
    )
    with tempfile.TemporaryDirectory() as folder:
        result = timed_steps.measure(job, Path(folder))
    machine = describe_machine(None if setting.on_cpu else setting.device)
    found = figures(job.cell(resolve_precision("auto")), job, [Rank(0, result | {"machine": machine}, "")])
    steps = found.pop("step_seconds")
    kept = {name: value for name, value in found.items() if name not in NOT_OF_THE_PEER}
    return {"batch_size": batch_size, **kept, "seconds_a_step": sum(steps) / len(steps)}
