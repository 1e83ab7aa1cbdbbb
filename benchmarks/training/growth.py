"""What growth costs on this machine's CPU: time and memory of a step against batch, clip length, model and processes.

    python -m benchmarks.training.growth --output benchmarks/results/memory/growth.json

Every cell is measured in fresh processes with one thread each, on synthetic tensors and random weights, from a middle
from which one thing grows at a time: whisper-tiny with the dual decoder, all of it trained, 2 clips of 5 s, 32 decoder
positions. Two processes are DDP over gloo, each with the batch of one.
"""

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.memory.jobs import Job, whisper_config
from benchmarks.memory.measuring import MEASURED, measure_cells, told_outcome
from benchmarks.written import add_output, table_head, write_result
from trainer.command_line import CommandLine, number, run_command

CHECKPOINT, BATCH, SECONDS, TOKENS = "openai/whisper-tiny", 2, 5.0, 32
BATCHES = (1, 2, 4, 8)
LENGTHS = (2.0, 5.0, 10.0, 20.0, 30.0)
MODELS = ("openai/whisper-tiny", "openai/whisper-base", "openai/whisper-small")
PROCESSES = (1, 2)


def config_of(checkpoint: str) -> dict[str, Any]:
    """A run's config around a published model, as plain values."""
    return whisper_config({"model.checkpoint": checkpoint, "training.batch_size": BATCH}).model_dump(mode="json")


def jobs(steps: int) -> Iterator[tuple[str, Job]]:
    """Each cell and what grows in it; the middle is one of each."""
    middle = Job(config_of(CHECKPOINT), BATCH, SECONDS, TOKENS, steps=steps, threads=1, on_cpu=True)
    for size in BATCHES:
        yield "batch_size", replace(middle, batch_size=size)
    for seconds in LENGTHS:
        yield "seconds", replace(middle, seconds=seconds)
    for checkpoint in MODELS:
        yield "model", replace(middle, config=config_of(checkpoint))
    for processes in PROCESSES:
        yield "processes", replace(middle, processes=processes)


def measure(every: list[tuple[str, Job]], timeout: float, command: str, output: Path | None) -> dict[str, Any]:
    """The measurements' object, each cell measured once, with what grows in it, ``grows``: the middle has several."""
    unlike: dict[str, tuple[Job, list[str]]] = {}
    for what, job in every:
        unlike.setdefault(repr(job), (job, []))[1].append(what)
    grows = iter([names for _, names in unlike.values()])

    def tell(cell: dict[str, Any]) -> None:
        cell["grows"] = next(grows)
        print(table_row(cell), flush=True)

    print(HEAD, flush=True)
    found = measure_cells([job for job, _ in unlike.values()], timeout, command, output, tell)
    # Once more, with what the last cell was told after it was written.
    write_result(output, found, "\n".join([HEAD, *map(table_row, found["cells"])]) + "\n")
    return found


COLUMNS = ("grows", "model", "clip", "batch", "processes", "a step", "utterances a second", "peak of a process")
HEAD = table_head(COLUMNS)


def table_row(cell: dict[str, Any]) -> str:
    """A cell as a row of Markdown under :data:`HEAD`."""
    shape = (
        f"| {', '.join(cell['grows']).replace('_', ' ')} | {cell['model'].removeprefix('openai/')} "
        f"| {cell['seconds']:g} s | {cell['batch_size']} | {cell['processes']} "
    )
    if cell["status"] != MEASURED:
        return f"{shape}| {told_outcome(cell)} | | |"
    return (
        f"{shape}| {1 / cell['steps_per_second']:.2f} s | {cell['utterances_per_second']:.2f} "
        f"| {(cell['peak_bytes']['resident'] or 0) / 2**30:.2f} GiB |"
    )


def main(arguments: list[str]) -> int:
    parser = CommandLine(__doc__)
    parser.add_argument("--steps", type=number(int, 1, 1000), default=3, help="timed steps of each cell")
    parser.add_argument("--timeout", type=number(float, 1, 86_400), default=300, help="seconds for a cell")
    add_output(parser, with_table=True)
    options = parser.parse_args(arguments)
    command = shlex.join(["python", "-m", "benchmarks.training.growth", *arguments])
    found = measure(list(jobs(options.steps)), options.timeout, command, options.output)
    return 0 if all(cell["status"] == MEASURED for cell in found["cells"]) else 1


if __name__ == "__main__":
    run_command(main)
