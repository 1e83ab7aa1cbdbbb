"""medium with clips of 30 s that are all alike, and with clips of spread lengths: how much of the GPU is used."""

from collections.abc import Iterator
from typing import Any

from benchmarks.memory.jobs import Job
from benchmarks.memory.spread_lengths import spread_group
from trainer.engine.accelerator import resolve_precision
from trainer.engine.running_out import is_out_of_memory
from trainer.memory.cells import synthetic_group

from ..device import empty_memory
from ..setting import Part, Setting
from ..stand_ins import run_values
from ..steps import timed, trainer_of, with_groups

BATCHES = (32, 16, 8)  # the first that fits
SECONDS, TOKENS = 30.0, 128  # of speech, and what is said in it
SPREAD = 0.2  # the shortest clips' share of the longest
GROUPS = 3


def medium(setting: Setting) -> Iterator[Part]:
    yield Part("equal lengths", lambda: first_that_fits(setting, spread=False))
    yield Part("spread lengths", lambda: first_that_fits(setting, spread=True))


def first_that_fits(setting: Setting, spread: bool) -> dict[str, Any]:
    """The figures of the largest batch size that the GPU's memory holds."""
    tried = []
    for size in setting.size(BATCHES, (3, 2)):
        try:
            return at_batch(setting, size, spread) | {"did_not_fit": tried}
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            tried.append(size)
        empty_memory(setting.device)
    raise MemoryError(f"not even {tried[-1]} fit")


def at_batch(setting: Setting, size: int, spread: bool) -> dict[str, Any]:
    values = run_values(setting, "medium") if setting.on_cpu else published(setting)
    seconds, tokens = setting.size((SECONDS, TOKENS), (2.0, 16))
    job = Job(values, size, seconds, tokens, warmup=setting.size(3, 1), steps=setting.size(10, 2))
    with trainer_of(job) as trainer:
        cell = job.cell(resolve_precision(job.run_config().engine.precision))
        groups = [synthetic_group(cell, trainer.model.config.vocab_size, seed) for seed in range(GROUPS)]
        if spread:
            groups = [spread_group(group, SPREAD, seed) for seed, group in enumerate(groups)]
        with_groups(trainer, groups)
        return timed(trainer, job)


def published(setting: Setting) -> dict[str, Any]:
    """medium by its name: weights are random, and nothing is opened, neither checkpoint nor data."""
    return {
        "output_dir": str(setting.path / "unused"),
        "model": {"checkpoint": "openai/whisper-medium", "strategy": "full"},
        "data": {"language": "en", "train": {"files": "unused.parquet"}},
        "training": {"steps": 1000},
        "engine": {"precision": "auto"},
    }
