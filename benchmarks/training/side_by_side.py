"""Training as it is usually done and as it is done here, in one run: utterances a second of each, and their ratio.

    python -m benchmarks.training.side_by_side --output side_by_side.json \
        --config benchmarks/results/strategies/base.yaml
    python -m benchmarks.training.side_by_side --config benchmarks/results/strategies/base.yaml \
        --peer-batch-sizes 16,32,64 --batch-sizes 32,64,128,256 --peer-workers 12 --steps 20 --own-steps 60 --rounds 2 \
        model.checkpoint=openai/whisper-small engine.precision=bf16 data.workers=4

The usual recipe is transformers' Seq2SeqTrainer with plain Whisper, every clip padded to 30 s
(benchmarks/peers/seq2seq_trainer.py); its features are made before the clock starts. Here the loop trains all of the
same checkpoint with the dual decoder, from the stream, decoding and log-mel included. Data, precision, threads and,
unless said otherwise, the batch are the same; training.batch_seconds, which the usual recipe does not know, is left out
on both sides. Each side runs in fresh processes, in turn where there are several rounds, and warms up before it is
timed. Where several batch sizes are given, each side is taken at its own fastest.

Utterances a second are all that were trained on in the timed steps over all their seconds: batches here differ in
length, so that single steps say little, and --own-steps should be many. Beside the ratio of
speeds it reports that of the operations per utterance, which benchmarks/training/operations.py counts on the same
batches.
"""

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.memory.jobs import Job
from benchmarks.memory.measure_command import batch_sizes
from benchmarks.memory.measuring import MEASURED, measure_cell, told_outcome
from benchmarks.training.operations import own_operations, peer_operations
from benchmarks.written import add_output, table_head, write_result
from trainer.command_line import CommandLine, number, run_command
from trainer.config.microbatches import in_microbatches
from trainer.config.reading import ConfigError, load_config
from trainer.config.run import RunConfig
from trainer.memory.cells import with_settings

PEER = "benchmarks.peers.timed_steps"
OWN = "benchmarks.memory.cell_process"
COUNTED = "torch.utils.flop_counter over forward and backward on the meta device, in the shapes of the timed batches"
# Of a cell of the peer, what is not its own: the clips' true lengths and waits are not known there.
NOT_OF_THE_PEER = (
    "audio_seconds_per_second",
    "mean_clip_seconds",
    "model_flops_per_step",
    "flops_per_second",
    "utilisation",
    "data_wait_share",
)


def side_configs(path: str, overrides: list[str], peer_workers: int) -> dict[str, RunConfig]:
    """The config of each side, without training.batch_seconds, by which only one of them could make its batches.

    Raises:
        ConfigError: if the config trains from nothing, or is wrong.
    """
    config = in_microbatches(load_config(path, overrides), 1)
    if config.model.checkpoint is None:
        raise ConfigError(f"{path} has no model.checkpoint, and the usual recipe fine-tunes one")
    config = with_settings(config, "training", batch_seconds=None)
    return {
        "peer": with_settings(config, "data", workers=peer_workers, lanes=None),
        "own": with_settings(config, "model", dual_attention=True, strategy="full", selective=None, lora=None),
    }


def fastest(cells: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The measured cell with the most utterances a second; None where none was measured."""
    measured = [cell for cell in cells if cell["status"] == MEASURED]
    return max(measured, key=lambda cell: cell["utterances_per_second"], default=None)


def compare(jobs: dict[str, list[Job]], rounds: int, run: Callable[[str, Job], dict[str, Any]]) -> dict[str, Any]:
    """All cells of both sides, and from those of the fastest batch the figures of the comparison.

    The ratio of a round is there where both sides were measured in it.

    Args:
        jobs: by side, one a batch size.
        run: measures a job of a side.

    Raises:
        RuntimeError: if nothing of a side could be measured.
    """
    cells: dict[str, list[dict[str, Any]]] = {side: [] for side in jobs}
    taken: dict[str, list[dict[str, Any]]] = {side: [] for side in jobs}  # one a round
    for turn in range(rounds):
        for side, own in jobs.items():
            found = [run(side, with_seed(job, turn)) for job in own]
            cells[side] += found
            best = fastest(found) or found[-1]
            if turn == 0 and best["status"] != MEASURED:
                raise RuntimeError(f"{side}: {told_outcome(best)}")
            taken[side].append(best)
        if turn == 0:
            size = {side: one[0]["batch_size"] for side, one in taken.items()}
            jobs = {side: [job for job in own if job.batch_size == size[side]] for side, own in jobs.items()}
    by_round = [
        own["utterances_per_second"] / peer["utterances_per_second"]
        for own, peer in zip(taken["own"], taken["peer"], strict=True)
        if own["status"] == peer["status"] == MEASURED
    ]
    sides = {side: summary([cell for cell in one if cell["status"] == MEASURED]) for side, one in taken.items()}
    return {
        **sides,
        "ratio": sides["own"]["utterances_per_second"] / sides["peer"]["utterances_per_second"],
        "ratio_of_rounds": by_round,
        "ratio_of_operations": sides["peer"]["operations_per_utterance"] / sides["own"]["operations_per_utterance"],
        "operations": COUNTED,
        "cells": cells,
    }


def summary(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """A side's timed steps of all rounds together."""
    seconds = [second for cell in cells for second in cell["step_seconds"]]
    trained = sum(cell["utterances_per_second"] * sum(cell["step_seconds"]) for cell in cells)
    return {
        "batch_size": cells[0]["batch_size"],
        "timed_steps": len(seconds),
        "timed_utterances": round(trained),
        "utterances_per_second": trained / sum(seconds),
        "median_step_seconds": median(seconds),
        "operations_per_utterance": sum(cell["operations"] for cell in cells) / trained,
    }


def with_seed(job: Job, turn: int) -> Job:
    """The job with batches of its own, so that rounds are no repetitions of the same clips."""
    training = job.config["training"]
    return replace(job, config=job.config | {"training": training | {"seed": training["seed"] + turn}})


def measure_side(side: str, job: Job, timeout: float) -> dict[str, Any]:
    """Measure a job of a side, print what was found and count its operations."""
    is_peer = side == "peer"
    cell = measure_cell(job, timeout, PEER if is_peer else OWN, keep_batches=True)
    said = told_outcome(cell)
    if cell["status"] == MEASURED:
        config, batches = job.run_config(), cell.pop("batches")
        checkpoint = str(config.model.checkpoint)
        cell["operations"] = peer_operations(checkpoint, batches) if is_peer else own_operations(config, batches)
        said = f"{cell['utterances_per_second']:.2f} utterances a second"
    print(f"{side}, batch {cell['batch_size']}: {said}", flush=True)
    return {key: value for key, value in cell.items() if not (is_peer and key in NOT_OF_THE_PEER)}


def table(result: dict[str, Any]) -> str:
    """The comparison as Markdown."""
    rows = []
    for side, name in (("peer", "Seq2SeqTrainer, plain Whisper, 30 s"), ("own", "this loop, dual decoder")):
        one = result[side]
        operations = f"{one['operations_per_utterance'] / 1e9:.0f} G"
        rows.append(
            f"| {name} | {one['batch_size']} | {one['utterances_per_second']:.2f} | {one['median_step_seconds']:.2f} s "
            f"| {one['timed_utterances']} in {one['timed_steps']} steps | {operations} |"
        )
    machine = result["machine"]
    head = ("", "batch", "utterances a second", "median step", "timed", "operations an utterance")
    return "\n".join(
        [
            f"{machine['device']}, {machine['cores']} cores, {machine['threads']} threads, {machine['date']}",
            "",
            table_head(head),
            *rows,
            f"| ratio | | {result['ratio']:.1f} | | | {result['ratio_of_operations']:.1f} |",
        ]
    )


def main(arguments: list[str]) -> int:
    parser = CommandLine(__doc__)
    parser.add_argument("--config", required=True, help="a run's config; model.checkpoint is a plain Whisper")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings in place of the config's")
    parser.add_argument("--batch-sizes", type=batch_sizes, help="16,32: to try here; without, the config's")
    parser.add_argument(
        "--peer-batch-sizes", type=batch_sizes, help="to try in the usual recipe; without, the config's"
    )
    parser.add_argument("--peer-workers", type=number(int, 0, 256), default=0, help="processes that load its data")
    parser.add_argument("--steps", type=number(int, 1, 10_000), default=3, help="of the usual recipe, timed")
    parser.add_argument("--own-steps", type=number(int, 1, 10_000), default=20, help="here, timed")
    parser.add_argument("--warmup", type=number(int, 0, 1000), default=1, help="steps before, not timed")
    parser.add_argument("--rounds", type=number(int, 1, 100), default=1, help="of both sides in turn")
    parser.add_argument("--timeout", type=number(float, 1, 86_400), default=1800, help="seconds for each process")
    add_output(parser, with_table=True)
    options = parser.parse_intermixed_args(arguments)
    configs = side_configs(options.config, options.overrides, options.peer_workers)
    seconds = load_config(options.config, options.overrides).training.batch_seconds
    if seconds is not None:
        print(f"training.batch_seconds is {seconds:g}, which the usual recipe does not know: left out on both sides")
    jobs = {}
    asked = {"peer": (options.peer_batch_sizes, options.steps), "own": (options.batch_sizes, options.own_steps)}
    for side, (sizes, steps) in asked.items():
        base = Job(configs[side].model_dump(mode="json"), data="stream", warmup=options.warmup, steps=steps)
        jobs[side] = [replace(base, batch_size=size) for size in sizes or [configs[side].training.microbatch]]
    found = compare(jobs, options.rounds, partial(measure_side, timeout=options.timeout))
    machines = [cell.pop("machine", None) for cells in found["cells"].values() for cell in cells]
    result = {
        "machine": next(filter(None, machines), None) or describe_machine(),
        "command": shlex.join(["python", "-m", "benchmarks.training.side_by_side", *arguments]),
        "config": json.loads(json.dumps(jobs["own"][0].config)),
        **found,
    }
    print(table(result))
    write_result(options.output, result, table(result) + "\n")
    return 0


if __name__ == "__main__":
    run_command(main)
