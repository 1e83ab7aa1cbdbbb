"""launch/train.py whose last rank has little memory: `torchrun ... -m tests.support.limited_rank --config FILE`."""

import os
import resource

import launch.train
from trainer.command_line import run_command
from trainer.engine.free_memory import linux_bytes

MORE = int(os.environ.get("MORE_MIB", "600")) * 2**20  # than what the libraries take


def main(arguments: list[str]) -> None:
    import trainer.loop
    import trainer.memory.finding
    import trainer.memory.out_of_memory
    import trainer.model.building  # noqa: F401 - what a run imports is there before the limit

    if int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1:
        taken = linux_bytes("/proc/self/status", "VmSize") or 0
        resource.setrlimit(resource.RLIMIT_AS, (taken + MORE, resource.getrlimit(resource.RLIMIT_AS)[1]))
    launch.train.main(arguments)


if __name__ == "__main__":
    run_command(main)
