"""``python -m tests.support.failing_rank ERROR CONFIG ...`` under torchrun: the last rank fails while it trains.

ERROR is the kind of the last rank's error: ``bug``, ``memory`` or ``batch``. The others wait for it as under NCCL.
"""

import os
import sys
import time
from typing import Any

import torch

import launch.train
import trainer.loop
import trainer.step.loss
from trainer.command_line import run_command

from .waiting_rank import wait_for_ever

ERROR, *ARGUMENTS = sys.argv[1:]
FAILS = os.environ["RANK"] != "0"
ERRORS: dict[str, type[Exception]] = {"bug": KeyError, "memory": torch.OutOfMemoryError, "batch": ValueError}


def fail(*arguments: Any, **options: Any) -> Any:
    print(f"fails at {time.time():.1f}", flush=True)
    raise ERRORS[ERROR]("it broke")


def train(arguments: list[str]) -> None:
    where = (trainer.step.loss, "to_batch") if FAILS and ERROR == "batch" else (trainer.loop, "agree")
    original, calls = getattr(*where), 0

    def second(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls < 3:
            return original(*arguments, **options)
        return fail() if FAILS else wait_for_ever()

    setattr(*where, second)
    launch.train.main(ARGUMENTS)


if __name__ == "__main__":
    run_command(train)
