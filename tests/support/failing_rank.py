"""``python -m tests.support.failing_rank ERROR CONFIG ...`` under torchrun: the last rank fails while it trains.

ERROR is where it fails: ``bug`` in the loop, ``batch`` while a batch is made. The others wait for it as under NCCL.
"""

import os
import sys
from typing import Any

import launch.train
import trainer.loop
import trainer.step.loss
from trainer.command_line import run_command

from .waiting_rank import wait_for_ever

ERROR, *ARGUMENTS = sys.argv[1:]
FAILS = os.environ["RANK"] != "0"


def train(arguments: list[str]) -> None:
    where = (trainer.step.loss, "to_batch") if ERROR == "batch" else (trainer.loop, "Agreement")
    original, calls = getattr(*where), 0

    def in_the_second(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls < 2:
            return original(*arguments, **options)
        if FAILS:
            raise KeyError("it broke")
        return wait_for_ever()

    setattr(*where, in_the_second)
    launch.train.main(ARGUMENTS)


if __name__ == "__main__":
    run_command(train)
