"""Memory that runs out in a step of a run that found its microbatches itself: they are halved.

Data are planned in batches of a step's whole share, so that the same step can be taken anew in smaller microbatches.
"""

import gc
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..config.microbatches import settled
from ..config.run import RunConfig
from ..engine.accelerator import bare_model, set_microbatches
from ..engine.free_memory import address_space_limit
from ..engine.running_out import is_out_of_memory
from ..pages.formats import counted
from ..record.folder import write_config


@dataclass(frozen=True)
class Halved:
    """What becomes of a step that ran out of memory.

    Attributes:
        config: with microbatches of half the size.
        here: the step can be taken anew by this process; otherwise by a start with ``--resume``.
    """

    config: RunConfig
    here: bool


def halved(config: RunConfig, accelerator: Any, model: Any, error: Exception) -> Halved | None:
    """The way on after an error in a step's passes; None where there is none: it is another error, or they are of one.

    Other ranks wait in a collective that this one cannot join any more, and DeepSpeed's and DDP's engines hold half a
    step's gradients. Only a process without them goes on.
    """
    size = config.training.microbatch
    if size == 1 or not is_out_of_memory(error, limited=address_space_limit() is not None):
        return None
    smaller = settled(config, accelerator.num_processes, size // 2)
    return Halved(smaller, accelerator.num_processes == 1 and bare_model(model) is model)


def let_go(error: Exception, accelerator: Any, model: Any) -> None:
    """Free what a step that failed has left: its tensors in the error's frames, and its gradients."""
    traceback.clear_frames(error.__traceback__)
    model.zero_grad(set_to_none=True)
    gc.collect()
    if accelerator.device.type == "cuda":
        torch.cuda.empty_cache()


def go_on_halved(way: Halved, accelerator: Any) -> None:
    """Have the engine split the step anew, and a resume too."""
    set_microbatches(accelerator, way.config)
    write_config(way.config)


def keep_for_resume(way: Halved, error: Exception) -> None:
    """Write the halved microbatches for a resume, and have the error's message say so; the failing rank calls it."""
    write_config(way.config)
    place, size = Path(way.config.output_dir) / "config.yaml", way.config.training.microbatch
    error.add_note(
        f"training.batch_size is auto: {place} now has microbatches of {counted(size, 'utterance')}, "
        "with which --resume goes on."
    )
