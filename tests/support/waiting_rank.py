"""A rank that trains and then waits, as under NCCL, in native code that no signal interrupts.

``python -m tests.support.waiting_rank`` answers each line of its input: it goes on to the next thing that it does.
"""

import ctypes
import sys

from trainer.command_line import run_command
from trainer.engine import lost_rank, stopping


def wait_for_ever() -> None:
    """Without the interpreter's lock, as torch waits for a GPU: a lock that this thread holds already."""
    library, lock = ctypes.CDLL(None), ctypes.create_string_buffer(128)
    library.pthread_mutex_init(lock, None)
    library.pthread_mutex_lock(lock)
    library.pthread_mutex_lock(lock)


def at(what: str) -> None:
    print(what, flush=True)
    sys.stdin.readline()


def trains(arguments: list[str]) -> None:
    import torch

    stopping.PATIENCE = 0.2
    torch.distributed.init_process_group("gloo", init_method="env://")
    with stopping.StopRequest():
        at("every rank is alive")
        with stopping.not_cut_off():
            lost_rank.own_store().set(lost_rank.KEY, "1")
            at("another has ended, this one writes")
        print("waits", flush=True)
        wait_for_ever()


if __name__ == "__main__":
    run_command(trains)
