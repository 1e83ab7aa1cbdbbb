"""small from the stream: audio, features and all, at two batch sizes, and a profile of three steps; and what second
recordings cost in a step of base."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks.memory.jobs import Job

from ..setting import Part, Setting
from ..stand_ins import checkpoint, clips, run_values
from ..steps import profile_of, timed, trainer_of
from ..table import SMALL_BATCHES
from .second_recording import a_step

ON_CPU = {4: 3, 8: 2}


def small(setting: Setting) -> Iterator[Part]:
    yield Part("stand-in", lambda: {"checkpoint": checkpoint(setting, "small").name, "clips": clips(setting).name})
    for size, steps in setting.size(SMALL_BATCHES, ON_CPU).items():
        yield Part(f"batch {size}", partial(from_stream, setting, size, steps))
    yield Part("second recordings, a step", lambda: a_step(setting))


def from_stream(setting: Setting, batch_size: int, steps: int) -> dict[str, Any]:
    """Speeds of a batch size, and where the time of three steps goes."""
    job = Job(run_values(setting, "small"), batch_size, data="stream", warmup=setting.size(5, 1), steps=steps)
    with trainer_of(job) as trainer:
        return timed(trainer, job) | {"profile": profile_of(trainer, setting, setting.size(3, 1))}
