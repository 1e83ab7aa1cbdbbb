"""The batch that each recipe of configs/ carries is the one that the prediction advises for the GPU its comment names.

Whoever changes what a step takes finds here, in the message of what fails, what to write into the recipe.
"""

import re
from dataclasses import dataclass, replace
from functools import cache

import pytest

from tests.trainer.config.test_recipes import SIZE_AND_ENGINE, recipe
from trainer.memory.advice import advise, fits
from trainer.memory.cells import cell_of
from trainer.memory.decoding_peak import evaluation_bytes
from trainer.memory.gpus import GIB, find_gpu
from trainer.memory.prediction import StepMemory
from trainer.memory.verdict import precision_on

SAID = re.compile(r"# Predicted on (.+): ([\d.]+) GiB at this batch; at most (\d+) fit")
QUICK = {("tiny", ""), ("tiny", "_zero2"), ("base", "_ddp")}
TOLERANCE = 0.02  # other releases of the libraries keep a little more or less
CHOSEN = [
    pytest.param(size, engine, marks=() if (size, engine) in QUICK else pytest.mark.slow)
    for size, engine in SIZE_AND_ENGINE
]


@dataclass(frozen=True)
class Advised:
    """What the prediction says of a recipe on the GPU that it names."""

    gpu: str
    batch_size: int
    accumulation: int
    used: float
    largest: int
    evaluation_fits: bool

    def comment(self) -> str:
        return f"# Predicted on {self.gpu}: {self.used:.1f} GiB at this batch; at most {self.largest} fit"


@cache
def advised(size: str, engine: str) -> Advised:
    """The batch that keeps a step at 64 utterances, as ``python -m benchmarks.memory predict`` prints it."""
    config, text = recipe(size, engine)
    found, step = SAID.search(text), re.search(r"# (\d+) GPUs? x", text)
    assert found and step, "the comment names no GPU"
    gpu, processes = find_gpu(found[1]), int(step[1])
    cell = cell_of(config, precision=precision_on(config, gpu), processes=processes)
    memory = StepMemory(cell)
    advice = advise(memory, gpu)
    assert advice.largest, f"not one utterance fits {found[1]}"
    step_memory = memory.at(advice.batch_size)
    assert fits(step_memory, gpu)
    others = (step_memory.device_used_bytes or 0) - (step_memory.reserved_bytes or 0)
    evaluating = replace(step_memory, device_used_bytes=evaluation_bytes(cell) + others)
    used = (step_memory.device_used_bytes or 0) / GIB
    return Advised(found[1], advice.batch_size, advice.accumulation, used, advice.largest, fits(evaluating, gpu))


@pytest.mark.parametrize(("size", "engine"), SIZE_AND_ENGINE)
def test_a_recipe_says_what_is_predicted(size: str, engine: str) -> None:
    config, text = recipe(size, engine)
    found = SAID.search(text)
    assert found, "the comment names no GPU"
    assert config.training.batch_size <= int(found[3])
    assert float(found[2]) * GIB <= 0.95 * find_gpu(found[1]).memory_bytes


@pytest.mark.parametrize(("size", "engine"), CHOSEN)
def test_a_recipe_carries_the_batch_advised(size: str, engine: str) -> None:
    config, text = recipe(size, engine)
    right = advised(size, engine)
    lines = f"batch_size: {right.batch_size}, accumulation: {right.accumulation}, {right.comment()}"
    told = f"write into configs/{size}.yaml for the engine {engine[1:] or 'of one GPU'}: {lines}"
    assert config.training.batch_size <= right.largest, told
    assert (config.training.batch_size, config.training.accumulation) == (right.batch_size, right.accumulation), told
    found = SAID.search(text)
    assert found
    assert float(found[2]) == pytest.approx(right.used, rel=TOLERANCE, abs=0.06), told
    assert int(found[3]) == pytest.approx(right.largest, rel=TOLERANCE, abs=1), told
    assert right.evaluation_fits, f"evaluation.batch_size {config.evaluation.batch_size} does not fit {right.gpu}"
