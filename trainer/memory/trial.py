"""A step's passes tried in the worst shape that a config lets through, without a trace: nothing of the run changes.

There is no collective in it, so that a rank that runs out of memory leaves no other waiting.
"""

import gc
import random
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from data.batches.loader import BatchGroup
from data.utterance import AudioBatch

from ..config.run import RunConfig
from ..engine.device import wait_for
from ..engine.free_memory import address_space_limit, address_space_within, give_back
from ..engine.optimizer import optimizer_name
from ..engine.running_out import is_out_of_memory
from ..step.agreement import Targets
from ..step.attention_watch import AttentionWatch
from ..step.loss import TrainingLoss
from ..step.teacher import open_teacher
from .cells import cell_of, synthetic_group, with_settings
from .engines import average_bytes, state_bytes


def failure_of(config: RunConfig, accelerator: Any, model: Any, size: int, most: int | None = None) -> Exception | None:
    """What a microbatch of so many utterances fails with where memory runs out, its tensors let go; None where it fits.

    Args:
        model: not prepared by the engine yet, on the accelerator's device.
        most: address space, in bytes, beyond which the try fails, where the system would end the process without a
            word; None: not limited, as on a GPU.
    """
    limited = most is not None or address_space_limit() is not None
    failure: Exception | None = None
    try:
        with address_space_within(most):
            try_step(config, accelerator, model, size)
    except Exception as error:
        if not is_out_of_memory(error, limited):
            raise
        failure = error
        traceback.clear_frames(error.__traceback__)  # they hold the step's tensors
    for parameter in model.parameters():
        parameter.grad = None
    gc.collect()
    if accelerator.device.type == "cuda":
        torch.cuda.empty_cache()
    else:
        give_back()
    return failure


def try_step(config: RunConfig, accelerator: Any, model: Any, size: int) -> None:
    """Forward and backward pass of noise with labels that fill the decoder, beside what the optimizer will hold.

    Raises:
        Exception: what torch raises where memory runs out; gradients are then left.
    """
    device, training = accelerator.device, config.training
    alone = with_settings(config, "training", accumulation=1)  # one microbatch is made
    without_cache = with_settings(config, "performance", cache_encoder=None)
    if config.noise.teacher is not None:
        # The model's own encoder, which is as large as another checkpoint's and is not read anew for each try.
        teaching = config.noise.teacher.model_copy(update={"cache": None, "checkpoint": None})
        without_cache = with_settings(without_cache, "noise", teacher=teaching)
    cell = cell_of(alone, precision="fp32", batch_size=size)
    audio = synthetic_group(cell, model.config.vocab_size).batches[0]
    assert isinstance(audio, AudioBatch)
    was_training = model.training
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with random_states_kept(device):
        model.train()
        try:
            name = optimizer_name(config)
            numbers = [parameter.numel() for parameter in trained]
            sizes = [state_bytes(name, one) + int(average_bytes(config, one)) for one in numbers]
            held = [torch.empty(size, dtype=torch.uint8, device=device) for size in sizes]
            if training.accumulation > 1 or accelerator.num_processes > 1:  # of microbatches before, or DDP's buckets
                for parameter in trained:
                    parameter.grad = torch.zeros_like(parameter)
            teacher = open_teacher(without_cache, accelerator, model)
            loss_of = TrainingLoss(without_cache, accelerator, model, AttentionWatch(accelerator, model), teacher)
            with accelerator.autocast():
                group = BatchGroup([audio], exhausted=False)
                loss = loss_of(audio, Targets(group.target_tokens, group.noisy_tokens, group.noisy_frames), 1)
            loss.backward()
            wait_for(device)
            del held
        finally:
            model.train(was_training)


@contextmanager
def random_states_kept(device: torch.device) -> Iterator[None]:
    """Python's, numpy's and torch's random states are afterwards what they were before."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)
