"""Which batch fits a GPU, and what would make a batch fit that does not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..config.reading import merge, nested
from ..config.run import RunConfig
from ..config.strategies import STRATEGIES
from ..engine.optimizer import optimizer_name
from .cells import Cell
from .gpus import Gpu
from .prediction import Prediction, StepMemory

HEADROOM = 0.05  # of the GPU's memory, left free
MOST = 4096  # utterances; more are not looked for


@dataclass(frozen=True)
class Remedy:
    """Settings, on top of those before, and what the step then takes at the wanted batch."""

    settings: dict[str, Any]
    cell: Cell
    prediction: Prediction
    fits: bool


def fits(prediction: Prediction, gpu: Gpu, headroom: float = HEADROOM) -> bool:
    """Whether the device has room for it and a share to spare."""
    return (prediction.device_used_bytes or prediction.peak_bytes) <= gpu.memory_bytes * (1 - headroom)


def search(fits: Callable[[int], bool], start: int = 1, most: int = MOST) -> int:
    """The largest batch for which ``fits`` is true, taking it to be true of all smaller ones; 0 if of none.

    Doubles the batch while it fits, then halves what is between the largest that did and the smallest that did not.

    Args:
        start: the first size; where it does not fit, smaller ones are tried.
        most: none larger is tried.

    Raises:
        ValueError: unless 1 <= start <= most.
    """
    if not 1 <= start <= most:
        raise ValueError(f"a search begins with a batch from 1 to {most}, not {start}")
    largest, too_large, size = 0, most + 1, start
    while largest + 1 < too_large:
        if fits(size):
            largest = size
        else:
            too_large = size
        size = (largest + too_large) // 2 if too_large <= most else min(2 * largest, most)
    return largest


def largest_batch(memory: StepMemory, gpu: Gpu, headroom: float = HEADROOM) -> int:
    """The largest batch size that fits by prediction; 0 if not even one utterance does."""
    return search(lambda size: fits(memory.at(size), gpu, headroom))


@dataclass(frozen=True)
class Advice:
    """What to write into the config.

    Attributes:
        largest: the largest batch that fits; 0: none does.
        batch_size, accumulation: what keeps a step's utterances, or comes nearest.
        limit: the largest batch that fits with that accumulation.
    """

    largest: int
    batch_size: int
    accumulation: int
    limit: int


def advise(memory: StepMemory, gpu: Gpu, headroom: float = HEADROOM) -> Advice:
    """The largest batch, and the batches that keep a step's utterances.

    Accumulation keeps gradients between microbatches, which takes memory too. If the advice accumulates and the config
    does not, or the other way round, the batches are predicted for the accumulation that is advised.
    """
    config = memory.cell.config
    largest = largest_batch(memory, gpu, headroom)
    if not largest:
        return Advice(0, 0, 0, 0)
    batch, accumulation = batch_to_paste(config, largest)
    limit = largest
    if (accumulation > 1) != (config.training.accumulation > 1):
        other = StepMemory(changed(memory.cell, {"training.accumulation": accumulation}), memory.on_gpu)
        most = largest_batch(other, gpu, headroom)
        if not most:  # it fits without accumulation alone
            return Advice(largest, largest, 1, largest)
        if accumulation > 1:
            limit = min(largest, most)
            batch, accumulation = batch_to_paste(config, limit)
    return Advice(largest, batch, accumulation, limit)


def why_not_the_largest(advice: Advice, wanted: int) -> str:
    """Why the batch to paste is not the largest that fits, in whole sentences; empty where it is.

    Args:
        wanted: utterances of a step on each GPU, as the config has them.
    """
    batch, limit = advice.batch_size, advice.limit
    told = []
    if limit < advice.largest:
        told.append(f"With accumulation, which keeps gradients between microbatches, at most {limit} fit.")
    if batch * advice.accumulation < wanted:
        told.append(f"There is no room to accumulate, so a step has {batch} utterances on each GPU, not {wanted}.")
    elif batch * advice.accumulation > wanted:
        told.append(
            f"{batch} does not divide the {wanted} utterances of a step on each GPU, and "
            f"{largest_divisor(wanted, limit)}, which does, would use at most half of what fits: the step becomes "
            f"{batch * advice.accumulation}."
        )
    elif batch == wanted < limit:
        told.append(f"It stays at {batch}, since the config's step has no more than {wanted} utterances on each GPU.")
    elif batch < limit:
        told.append(
            f"{limit} does not divide the {wanted} utterances of a step on each GPU; {batch} is the largest that does, "
            "so the step stays as it is."
        )
    return " ".join(told)


def batch_to_paste(config: RunConfig, largest: int) -> tuple[int, int]:
    """Batch size and accumulation that keep a step's utterances, or come nearest above, with batches that fit."""
    wanted = config.training.microbatch * config.training.accumulation
    even = largest_divisor(wanted, largest)
    # A batch much smaller than what fits wastes more than a few utterances more in a step.
    if even * 2 > min(largest, wanted):
        return even, wanted // even
    return largest, -(-wanted // largest)


def largest_divisor(number: int, most: int) -> int:
    """Of a whole number, the largest divisor that is at most ``most``."""
    return next(divisor for divisor in range(min(number, most), 0, -1) if number % divisor == 0)


def changed(cell: Cell, settings: dict[str, Any]) -> Cell:
    """The cell with these dotted keys of its config.

    Raises:
        ValidationError: if they do not fit the rest of it.
    """
    values = merge(cell.config.model_dump(mode="json"), nested(settings))
    return replace(cell, config=RunConfig.model_validate(values))


def candidates(cell: Cell) -> Iterator[dict[str, Any]]:
    """Settings that make a step smaller, the cheapest first; keys that would then be refused are set to null."""
    model, engine, optimizer = cell.config.model, cell.config.engine, cell.config.optimizer
    if model.gradient_checkpointing == "none":
        yield {"model.gradient_checkpointing": "encoder" if model.trains_encoder else "all"}
    if model.gradient_checkpointing in ("encoder", "decoder"):
        yield {"model.gradient_checkpointing": "all"}
    if cell.processes > 1 and engine.zero_stage < 2:
        yield {"engine.zero_stage": 2}
    if optimizer_name(cell.config) == "adamw" and engine.cpu_offload == "none":
        yield {"optimizer.name": "adamw_8bit"}
    if engine.cpu_offload == "none" and (engine.zero_stage or cell.processes == 1):
        yield {"optimizer.name": "auto", "engine.zero_stage": engine.zero_stage or 2, "engine.cpu_offload": "optimizer"}
    cleared: dict[str, Any] = {"model.selective": None} if model.selective else {}
    if optimizer.encoder_learning_rate is not None:
        cleared["optimizer.encoder_learning_rate"] = None
    has_cache, has_teacher = cell.config.performance.cache_encoder is not None, cell.config.noise.teacher is not None
    for name in model.chosen_strategy.lighter if model.checkpoint is not None else ():
        useless = dict(cleared)
        if has_cache and STRATEGIES[name].trains_encoder:
            useless["performance.cache_encoder"] = None
        if has_teacher and not STRATEGIES[name].trains_encoder:
            useless["noise.teacher"] = None
        yield {"model.strategy": name} | useless


def remedies(cell: Cell, batch_size: int, gpu: Gpu, headroom: float = HEADROOM) -> Iterator[Remedy]:
    """One setting after the other, each on top of those before, until the batch fits or nothing is left to try."""
    settings: dict[str, Any] = {}
    tried: set[tuple[tuple[str, Any], ...]] = set()
    while True:
        following = next((c for c in candidates(cell) if tuple(c.items()) not in tried), None)
        if following is None:
            return
        tried.add(tuple(following.items()))
        settings = settings | following
        cell = changed(cell, following)
        prediction = StepMemory(cell).at(batch_size)
        yield Remedy(settings, cell, prediction, fits(prediction, gpu, headroom))
        if fits(prediction, gpu, headroom):
            return
