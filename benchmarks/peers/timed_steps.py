"""A few timed steps of the usual recipe, in a process of its own: `python -m benchmarks.peers.timed_steps JOB RESULT`.

Job and result are those of :mod:`benchmarks.memory.cell_process`, so that both sides are measured by the same code. The
recipe's data loader has as many workers as the job's config gives ``data.workers``.
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.memory.cell_process import attempt, leave, peak_bytes
from benchmarks.memory.jobs import Job
from benchmarks.peers.seq2seq_trainer import StepTimes, build_trainer
from data.batches.features import WINDOW_FRAMES
from data.batches.labels import IGNORED
from trainer.memory.cells import with_settings

FRAMES_PER_SECOND = 100


def watch_labels(trainer: Any) -> list[torch.Tensor]:
    """The labels of each microbatch that the trainer will compute, in order; filled while it trains."""
    labels: list[torch.Tensor] = []
    original = trainer.training_step

    def training_step(model: Any, inputs: dict[str, Any], *more: Any, **named: Any) -> Any:
        labels.append(inputs["labels"])
        return original(model, inputs, *more, **named)

    trainer.training_step = training_step
    return labels


def measure(job: Job, folder: Path) -> dict[str, Any]:
    """As :func:`benchmarks.memory.cell_process.measure`; a clip's seconds are those that the model gets, 30."""
    steps = job.warmup + job.steps
    config = with_settings(job.run_config(), "training", steps=steps)
    rows = steps * config.training.batch_size * config.training.accumulation
    times = StepTimes()
    trainer = build_trainer(config, folder, times, rows, config.data.workers)
    labels = watch_labels(trainer)
    trainer.train()
    timed = labels[job.warmup * config.training.accumulation :]
    return {
        "step_seconds": times.seconds[job.warmup :],
        "data_wait_seconds": 0.0,
        "batches": [
            {
                "seconds": [WINDOW_FRAMES / FRAMES_PER_SECOND] * len(one),
                "tokens": one.shape[1],
                "targets": int((one != IGNORED).sum()),
            }
            for one in timed
        ],
        "peak_bytes": peak_bytes(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
    }


if __name__ == "__main__":
    # transformers' trainer takes all GPUs that it sees, under DataParallel.
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    leave(attempt(measure, sys.argv[1:]))
