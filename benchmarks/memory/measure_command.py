"""Memory and speed of a config's training steps, measured, each cell in fresh processes.

    python -m benchmarks.memory measure --config configs/small.yaml --batch-sizes 16,32,64
    python -m benchmarks.memory measure --config configs/small.yaml --data both --output small.json
    python -m benchmarks.memory measure --config configs/medium_zero2.yaml --processes 8 --search
    torchrun --nproc_per_node 8 -m benchmarks.memory measure --config configs/small_ddp.yaml --search
    python -m benchmarks.memory measure --config configs/tiny.yaml --cpu --seconds 5 --tokens 32

Without --seconds and --tokens synthetic steps are as large as the config allows: clips data.max_seconds long, labels
that fill the decoder. They need no weights of a published Whisper; the stream needs the config's data and checkpoint.
Cells that run out of memory, are killed or take too long are reported, and the others go on.
"""

import os
import shlex
from argparse import Namespace
from dataclasses import replace
from typing import Any

from benchmarks.memory.jobs import MOST, Job
from benchmarks.memory.measuring import (
    KILLED,
    MEASURED,
    OUT_OF_MEMORY,
    SYSTEMS_KILL,
    TABLE_HEAD,
    measure_cells,
    table_row,
)
from benchmarks.written import add_output, write_result
from trainer.command_line import CommandLine, number
from trainer.config.microbatches import in_microbatches
from trainer.config.reading import ConfigError, load_config
from trainer.config.run import RunConfig
from trainer.engine.accelerator import launched_processes
from trainer.errors import CommandFailed
from trainer.memory.advice import batch_to_paste, search


def batch_sizes(text: str) -> list[int]:
    """An argument's type: ``1,2,4``."""
    return [number(int, 1, MOST)(part) for part in text.split(",")]


def parser() -> CommandLine:
    own = CommandLine(__doc__)
    own.prog = "python -m benchmarks.memory measure"
    own.add_argument("--config", required=True, help="a run's config")
    own.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings in place of the config's")
    own.add_argument("--batch-sizes", type=batch_sizes, help="1,2,4: utterances of a microbatch; without, the config's")
    own.add_argument("--seconds", type=number(float, 0.1, 30), help="of audio in each clip; without, data.max_seconds")
    own.add_argument("--tokens", type=number(int, 5, 448), help="decoder positions; without, all 448")
    own.add_argument("--steps", type=number(int, 1, 10_000), default=3, help="timed")
    own.add_argument("--warmup", type=number(int, 0, 1000), default=1, help="steps before, not timed")
    kinds = ("synthetic", "stream", "both")
    own.add_argument("--data", choices=kinds, default="synthetic", help="worst-case tensors, the config's stream, both")
    own.add_argument("--cpu", action="store_true", help="on the CPU, whose memory is the resident one")
    own.add_argument("--processes", type=number(int, 1, 64), default=1, help="ranks on this machine, one a GPU")
    own.add_argument(
        "--timeout", type=number(float, 1, 86_400), default=900, help="seconds for a cell, loading included"
    )
    own.add_argument(
        "--limit-gib", type=number(float, 0.1, 1e6), help="of memory for each process, with --cpu on Linux"
    )
    own.add_argument("--search", action="store_true", help="find the largest batch that trains, from the given one on")
    add_output(own)
    return own


def main(arguments: list[str]) -> int:
    options = parser().parse_intermixed_args(arguments)
    processes = launched_processes() if launched_processes() > 1 else options.processes
    config = in_microbatches(load_config(options.config, options.overrides), processes)
    check_device(options)
    if options.search and options.data == "both":
        raise ConfigError("--search tries one kind of data: --data synthetic (the worst case) or --data stream")
    own = {name: getattr(options, name) for name in ("seconds", "tokens", "processes", "warmup", "steps", "limit_gib")}
    base = Job(config.model_dump(mode="json"), **own, on_cpu=options.cpu)
    sizes = options.batch_sizes or [config.training.microbatch]
    if launched_processes() > 1:
        return search_under_launcher(base, sizes[0], options)
    kinds = ("synthetic", "stream") if options.data == "both" else (options.data,)
    command = shlex.join(["python", "-m", "benchmarks.memory", "measure", *arguments])
    print(TABLE_HEAD, flush=True)
    if options.search:
        return search_largest(replace(base, data=options.data), sizes[0], options, command)
    jobs = [replace(base, batch_size=size, data=kind) for size in sizes for kind in kinds]
    found = measure_cells(jobs, options.timeout, command, options.output, show)
    return 0 if any(cell["status"] == MEASURED for cell in found["cells"]) else 1


def check_device(options: Namespace) -> None:
    """Refuse to measure what is not here.

    Raises:
        ConfigError: without a GPU and without --cpu, or with fewer GPUs than processes.
    """
    import torch

    if options.cpu:
        return
    if options.limit_gib is not None:
        raise ConfigError("--limit-gib limits the memory of a CPU's processes: add --cpu, or leave it out")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus == 0:
        raise ConfigError(
            "no CUDA GPU is here to measure on; `python -m benchmarks.memory predict "
            f"--config {shlex.quote(options.config)}` needs none, and --cpu measures this machine's CPU"
        )
    if options.processes > gpus:
        raise ConfigError(f"--processes is {options.processes}, but torch sees {gpus} GPUs here")


def search_under_launcher(base: Job, start: int, options: Namespace) -> int:
    """``torchrun ... -m benchmarks.memory measure --search``: in the launcher's own processes, on all its nodes."""
    if not options.search or options.data == "stream" or options.output or options.processes > 1:
        raise ConfigError(
            "under a launcher only --search of synthetic steps runs, without --output; everything else starts its own "
            "processes: leave the launcher out and give --processes"
        )
    from benchmarks.memory.batch_search import search_in_place

    largest = search_in_place(base, start)
    return told_largest(largest, base.run_config()) if os.environ.get("RANK") == "0" else int(largest == 0)


def told_largest(largest: int, config: RunConfig) -> int:
    """Print what was found, and what it makes of the config's step; the exit code."""
    if largest == 0:
        print("not even one utterance fits; `python -m benchmarks.memory predict` says what would make it fit")
        return 1
    print(f"the largest batch that trained here; in the config:\ntraining:\n  batch_size: {largest}")
    accumulation = config.training.accumulation
    wanted, found = config.training.microbatch * accumulation, largest * accumulation
    if found != wanted:
        batch, parts = batch_to_paste(config, largest)
        keeps = "keeps it" if batch * parts == wanted else f"comes nearest, with {batch * parts}"
        print(
            f"With accumulation {accumulation} a step is then {found} utterances on each process, not the config's "
            f"{wanted}; batch {batch} x accumulation {parts} {keeps}"
        )
    return 0


def show(cell: dict[str, Any]) -> None:
    print(table_row(cell), flush=True)


def lacked_memory(cell: dict[str, Any]) -> bool:
    """Whether a cell ran out of memory: it said so, or the system killed it. A timeout does not count."""
    return cell["status"] == OUT_OF_MEMORY or (cell["status"] == KILLED and cell["reason"].endswith(SYSTEMS_KILL))


def search_largest(base: Job, start: int, options: Namespace, command: str) -> int:
    """Try sizes, each in fresh processes; print the largest and the line for the config."""
    found: dict[str, Any] = {"cells": []}

    def fits(size: int) -> bool:
        tried = measure_cells([replace(base, batch_size=size)], options.timeout, command, None, show)
        found.update(tried, cells=found["cells"] + tried["cells"])
        write_result(options.output, found)
        cell = tried["cells"][0]
        if cell["status"] != MEASURED and not lacked_memory(cell):
            raise CommandFailed(f"batch {size} ended for another reason than memory: {cell['reason']}")
        return bool(cell["status"] == MEASURED)

    largest = search(fits, start, MOST)
    write_result(options.output, found | {"largest_batch": largest})
    return told_largest(largest, base.run_config())
