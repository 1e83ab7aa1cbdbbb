"""What the engine leaves behind when a run has ended."""

import gc
import weakref

import torch

from trainer.engine.accelerator import leave_process_group


def test_a_process_group_that_was_left_is_not_destroyed() -> None:
    """Its destructor has hung ranks whose run was done; see :func:`leave_process_group`."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    group = weakref.ref(torch.distributed.group.WORLD)
    leave_process_group()
    gc.collect()
    assert not torch.distributed.is_initialized()
    assert group() is not None
    leave_process_group()  # where there is none
