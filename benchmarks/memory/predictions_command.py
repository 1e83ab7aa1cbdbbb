"""The whole table of predicted memory, without a GPU: every published size, strategy and engine at 30 s clips.

    python -m benchmarks.memory predictions
    python -m benchmarks.memory predictions --only medium --output medium.json

Also the public project's cells on its 40 GB card, with settings that make the others fit; and, where
``measured*.json`` lie beside the output, what would have been predicted of each of their cells. Takes about five
minutes on two idle cores. The file is written after every cell, those that most people ask about first.
"""

import multiprocessing
import shlex
import signal
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.written import write_whole
from trainer.command_line import CommandLine, number
from trainer.config.reading import ConfigError

OUTPUT = Path("benchmarks/results/memory/predictions.json")


def start_worker() -> None:
    """One thread, since fake tensors compute nothing; interrupts are left to the parent process."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def main(arguments: list[str]) -> int:
    parser = CommandLine(__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="cells whose settings hold it, as whisper-medium")
    parser.add_argument("--workers", type=number(int, 1, 256), default=2, help="processes that predict; default: 2")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE", help=f"default: {OUTPUT}")
    options = parser.parse_args(arguments)
    from . import predictions

    measured = predictions.of_measured(predictions.measured_cells(options.output.parent))
    every = [one for one in (*measured, *predictions.table()) if options.only in one.name()]
    if not every:
        raise ConfigError(
            f"--only {options.only!r} matches no cell; an example is {next(predictions.table()).name()!r}"
        )
    found: dict[str, Any] = {
        "machine": describe_machine() | {"threads": 1},
        "command": shlex.join(["python", "-m", "benchmarks.memory", "predictions", *arguments]),
        "assumptions": predictions.assumptions(),
        "seconds": 0.0,
        "public_project": [],
        "largest_batches": [],
        "cells": [],
        "of_measured": [],
    }
    started = time.perf_counter()
    workers = min(options.workers, len(every))
    with multiprocessing.get_context("spawn").Pool(workers, start_worker) as pool:
        for count, told in enumerate(pool.imap(predictions.predict, every), 1):
            if "largest" in told:
                found["cells"] += told["cells"]
                found["largest_batches"].append(told["largest"])
                found["public_project"] += told["public"]
            else:
                found["of_measured"] += told["cells"]
            found["seconds"] = round(time.perf_counter() - started, 1)
            write_whole(options.output, found)
            print(f"{count} of {len(every)}, {found['seconds']:.0f} s: {told['name']}", flush=True)
    print(f"{options.output}: {len(found['cells']) + len(found['of_measured'])} cells")
    return 0
