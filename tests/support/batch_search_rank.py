"""One rank that looks for its largest batch: `torchrun ... -m tests.support.batch_search_rank FOLDER LIMIT LIMIT ...`.

A try allocates what it says; above the rank's own limit it raises what a GPU without memory raises.
"""

import json
import os
import sys
from pathlib import Path

import torch

from benchmarks.memory.batch_search import largest_on_all_ranks


def main(folder: Path, limits: list[int]) -> None:
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    tried = []

    def step(size: int) -> None:
        tried.append(size)
        held = torch.zeros(size, 1000)
        if len(held) > limits[rank]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more than there is.")

    largest = largest_on_all_ranks(step, start=2)
    (folder / f"rank{rank}.json").write_text(json.dumps({"largest": largest, "tried": tried}))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(text) for text in sys.argv[2:]])
    sys.stdout.flush()
    os._exit(0)
