"""``training.batch_size: auto``: how many utterances a microbatch may have, by the memory that is there.

They are predicted for the rank with the least memory, tried on every rank in the worst shape that the config lets
through, halved where that fails, and agreed on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from data.batches.loader import read_ahead

from ..config.microbatches import settled, share_of
from ..config.reading import ConfigError
from ..config.run import RunConfig
from ..engine.accelerator import gather_objects
from ..engine.free_memory import address_space_for, address_space_within, gpu_room, process_room
from ..engine.running_out import size as as_size
from .advice import HEADROOM, search
from .cells import cell_of
from .gpus import Gpu
from .needs import Needs, kept_predictions
from .out_of_memory import OutOfMemory
from .trial import failure_of, try_step

MARGIN = 0.10  # of what is there, left free where a step cannot be tried, and on CPUs, whose allocator leaves gaps
HELD = 2  # batches of data that a step holds at once: its own and the next one's
SAMPLE_BYTES = 4 * 16_000  # a second of audio


def largest_microbatch(needs: Callable[[int, bool], int], share: int, limit: float) -> int:
    """The most utterances, up to ``share``, whose step stays within ``limit`` bytes; 0 where not even one does.

    Args:
        needs: bytes by the utterances of a microbatch, and by whether a step has several.
        share: utterances of a step on one process.
    """
    if needs(share, False) <= limit:
        return share
    return search(lambda size: needs(size, True) <= limit, most=share - 1) if share > 1 else 0


@dataclass(frozen=True)
class Found:
    """What ``auto`` finds: microbatches of so many utterances, how many of them a step has, and bytes that it takes."""

    size: int
    accumulation: int
    used: int


def found_on(needs: Needs, gpu: Gpu, headroom: float) -> Found | None:
    """What a run with ``step_utterances`` finds on a kind of GPU by prediction; None if not even one utterance fits.

    Args:
        headroom: share of the memory left free.

    Raises:
        ConfigError: without ``step_utterances``, if only the hub knows the model's shape, or if the processes cannot
            share a step out.
    """
    config, processes = needs.cell.config, needs.cell.processes
    if config.training.step_utterances is None:
        raise ConfigError("training.step_utterances is null, so that auto has no step to split", "give a number")
    share = share_of(config.training.step_utterances, processes)
    size = largest_microbatch(needs, share, gpu.memory_bytes * (1 - headroom))
    if not size:
        return None
    training = settled(config, processes, size).training
    used = needs(training.microbatch, training.accumulation > 1)
    return Found(training.microbatch, training.accumulation, used)


def headroom_of(config: RunConfig, on_gpu: bool = True) -> float:
    """The share of the memory that a step leaves free."""
    return HEADROOM if on_gpu and not config.engine.zero_stage else MARGIN


def find_microbatch(config: RunConfig, accelerator: Any, model: Any) -> RunConfig:
    """The config settled with the microbatches that fit every rank; all ranks call it, before the engine is prepared.

    Args:
        config: of ``auto``, settled without a size.
        model: is moved to the device; otherwise it is left as it is.

    Raises:
        OutOfMemory: on every rank, where one of them has no room for a single utterance. On that rank it is torch's own
            error, for :class:`~trainer.memory.out_of_memory.ExplainOutOfMemory`.
    """
    device, processes = accelerator.device, accelerator.num_processes
    assert config.training.step_utterances is not None
    share = share_of(config.training.step_utterances, processes)
    room = room_here(config, device, share)
    rooms = gather_objects(accelerator, room)
    least = min((one for one in rooms if one is not None), default=None)
    guess = predicted_size(config, accelerator, share, least) if accelerator.is_main_process else None
    size, told, is_close = gather_objects(accelerator, guess)[0]
    failure, limit = None, None
    if config.engine.zero_stage or not is_close:
        told += ", not tried"
    else:
        model.to(device)
        limit = None if device.type == "cuda" or room is None else address_space_for(room)
        told += ", tried"
        while True:
            found = settled(config, processes, size)
            size = found.training.microbatch
            failure = failure_of(found, accelerator, model, size, limit)
            if failure is None or size == 1:
                break
            smaller = size // 2
            rank = f"rank {accelerator.process_index}: " if processes > 1 else ""
            print(f"{rank}memory ran out in trying microbatches of {size} utterances; trying {smaller}", flush=True)
            size = smaller
    sizes = gather_objects(accelerator, 0 if failure else size)
    if failure is not None:
        with address_space_within(limit):
            try_step(found, accelerator, model, 1)  # fails again, in frames that tell of its batch
        raise failure
    if not all(sizes):
        raise OutOfMemory(f"rank {sizes.index(0)} has no memory for a single utterance; its message says more")
    found = settled(config, processes, min(sizes))
    if accelerator.is_main_process:
        training = found.training
        times = f"{training.accumulation} of them a step{' on each process' if processes > 1 else ''}"
        print(f"training.batch_size auto: microbatches of {training.batch_size}, {times}; {told}", flush=True)
    return found


def room_here(config: RunConfig, device: Any, share: int) -> int | None:
    """Bytes that a step may take on this rank, as :class:`Needs` counts them; None where the system does not say.

    On a CPU the batches that are read ahead lie in the same memory.
    """
    if device.type == "cuda":
        from .prediction import CONTEXT_BYTES

        return gpu_room(device) + CONTEXT_BYTES
    room = process_room()
    if room is None:
        return None
    batches = HELD + (read_ahead(share) + 1) * config.data.workers  # a thread holds one more while it waits for room
    recordings = 2 if any(source.has_second for source in config.data.training_sources) else 1
    return max(0, room - round(batches * share * recordings * config.data.longest_seconds * SAMPLE_BYTES))


def predicted_size(config: RunConfig, accelerator: Any, share: int, room: int | None) -> tuple[int, str, bool]:
    """A size by prediction, at least 1; words on it; whether it is close enough to what is there to be tried.

    On a CPU a step takes long, so that one that leaves half of the memory free is not tried.
    """
    on_gpu = accelerator.device.type == "cuda"
    if room is None:
        return share, "how much memory is free is not known", True
    precision = {"no": "fp32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
    cell = cell_of(config, precision=precision, processes=accelerator.num_processes)
    needs = Needs(cell, on_gpu, kept_predictions())
    try:
        size = largest_microbatch(needs, share, room * (1 - headroom_of(config, on_gpu)))
        taken = needs(max(1, size), size != share)
    except (ValueError, RuntimeError) as error:  # only the hub knows the model's shape, or no prediction can be made
        return share, f"not predicted: {error}", True
    told = f"predicted to take {as_size(taken)} of {as_size(room)} that are free"
    return max(1, size), told, on_gpu or 2 * taken > room
