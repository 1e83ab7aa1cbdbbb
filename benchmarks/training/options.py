"""What each option of speed and memory gains on this machine: one training step with it and without it.

    python -m benchmarks.training.options --output benchmarks/results/options.json
    python -m benchmarks.training.options --only onednn --only cache_encoder
    python -m benchmarks.training.options --config configs/small.yaml training.batch_size=16

Every side runs in a fresh process; rounds take turns through all sides, so that what else the machine does falls on all
of them alike. A step is the whole of ``Trainer.train_step`` on the same few batches. Seconds are the mean
of the fastest round, since what disturbs a machine only adds; processor seconds likewise, over all threads; bytes are
the most that tensors made within one more step held at one time (on a GPU, as its allocator counts), so neither
parameters nor optimizer states.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.decoding.live_bytes import peak_live_bytes
from benchmarks.machine import describe_machine
from benchmarks.memory.jobs import Job
from benchmarks.written import add_output, table_head, write_result
from trainer.command_line import CommandLine, number, run_command
from trainer.config.microbatches import in_microbatches
from trainer.config.reading import ConfigError, load_config
from trainer.config.run import RunConfig
from trainer.engine.device import wait_for

CONFIG = "benchmarks/results/strategies/base.yaml"
DUAL = ("model.dual_attention=true",)
GROUPS = 3  # batches that are trained on again and again
PEAK = "peak_step_bytes"


@dataclass(frozen=True)
class Option:
    """An option by the overrides without it and with it."""

    name: str
    without: tuple[str, ...]
    with_it: tuple[str, ...]
    on_gpu_only: bool = False


FULL, FROZEN = ("model.strategy=full",), ("model.strategy=frozen_encoder",)
NOISE = ("data.augmentation.noise.folder=recordings/noise", "data.augmentation.noise_share=1", "noise.loss_weight=0.1")
OPTIONS = (
    Option("onednn", (*FULL, "performance.onednn=false"), FULL),
    Option("checkpointing_encoder", FULL, (*FULL, "model.gradient_checkpointing=encoder")),
    Option("checkpointing_decoder", FULL, (*FULL, "model.gradient_checkpointing=decoder")),
    Option("checkpointing_all", FULL, (*FULL, "model.gradient_checkpointing=all")),
    Option("frozen_encoder", FULL, FROZEN),
    Option("cache_encoder", FROZEN, (*FROZEN, "performance.cache_encoder={folder}/cache")),
    Option("noise_loss", FULL, (*FULL, *NOISE)),
    Option("ema", FULL, (*FULL, "training.ema=0.999")),
    Option("offload_activations", FULL, (*FULL, "performance.offload_activations=true"), on_gpu_only=True),
    Option("tf32", (*FULL, "engine.precision=fp32"), (*FULL, "engine.precision=fp32", "performance.tf32=true"), True),
)


def measure_side(config: RunConfig, steps: int) -> dict[str, float]:
    """Seconds of a step, of the clock and of the processor, and the peak of one."""
    from benchmarks.memory.cell_process import build
    from trainer.engine.stopping import StopRequest

    folder = Path(config.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    trainer = build(Job(config.model_dump(mode="json"), data="stream"), config, folder, StopRequest())
    groups = [trainer.find_data() for _ in range(GROUPS)]
    batches: Any = trainer.batches
    batches.next_group = lambda microbatches: groups[0][0]
    device = trainer.accelerator.device
    for group, targets in groups:  # the optimizer's states are made, the cache is filled
        trainer.train_step(group, targets)
    wait_for(device)
    started, worked = time.perf_counter(), time.process_time()
    for number_ in range(steps):
        trainer.train_step(*groups[number_ % GROUPS])
    wait_for(device)
    seconds, processor_seconds = time.perf_counter() - started, time.process_time() - worked
    longest = max(groups, key=lambda pair: pair[0].batches[0].audio.shape[1])
    peak = peak_live_bytes(lambda: trainer.train_step(*longest), device)
    trainer.batches.close()
    trainer.journal.close()
    return {"seconds": seconds / steps, "processor_seconds": processor_seconds / steps, PEAK: peak}


def run_side(path: str, overrides: Sequence[str], threads: int, steps: int) -> dict[str, Any]:
    """:func:`measure_side` in a process of its own; a line ``failed`` where it did not end well."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.training.options", "--side", "--config", path]
        command += ["--steps", str(steps), "--threads", str(threads)]
        command += [*in_folder(overrides, folder), f"output_dir={folder}/run"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        return {"failed": (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]}
    return json.loads(ended.stdout.strip().splitlines()[-1])


def in_folder(overrides: Sequence[str], folder: str) -> list[str]:
    return [override.replace("{folder}", folder) for override in overrides]


def compare(rounds: dict[tuple[str, ...], list[dict[str, Any]]], option: Option) -> dict[str, Any]:
    """Both sides' fastest rounds, and the ratios without : with."""
    sides = {"without": rounds[option.without], "with": rounds[option.with_it]}
    result: dict[str, Any] = {"option": option.name, "overrides": list(option.with_it)}
    for side, figures in sides.items():
        failed = [each["failed"] for each in figures if "failed" in each]
        if failed:
            return result | {"failed": failed[0]}
        result[side] = {key: min(each[key] for each in figures) for key in figures[0]}
        result[side]["seconds_of_rounds"] = [each["seconds"] for each in figures]
    for ratio, key in (("times_faster", "seconds"), ("times_less_work", "processor_seconds"), ("times_smaller", PEAK)):
        result[ratio] = round(result["without"][key] / max(result["with"][key], 1e-9), 3)
    return result


def as_lines(results: list[dict[str, Any]]) -> list[str]:
    """The table that is printed and goes into the documentation."""
    peak = "step's peak MB, without → with"
    lines = [table_head(("option", "seconds a step, without → with", "faster", peak, "smaller"))]
    for row in results:
        if "failed" in row:
            lines.append(f"| {row['option']} | {row['failed']} | | | |")
            continue
        without, with_it = row["without"], row["with"]
        lines.append(
            f"| {row['option']} | {without['seconds']:.2f} → {with_it['seconds']:.2f} | {row['times_faster']:.2f} "
            f"| {without[PEAK] / 1e6:,.0f} → {with_it[PEAK] / 1e6:,.0f} | {row['times_smaller']:.2f} |"
        )
    return lines


def chosen(names: Sequence[str], on_gpu: bool) -> list[Option]:
    """The options to measure here.

    Raises:
        ConfigError: for a name that is none, or one that only a GPU can measure where there is none.
    """
    known = {option.name: option for option in OPTIONS}
    for name in names:
        if name not in known:
            raise ConfigError(f"--only is {name!r}; the options are {', '.join(known)}")
        if known[name].on_gpu_only and not on_gpu:
            raise ConfigError(f"--only is {name!r}, which only a CUDA GPU can measure; there is none here")
    wanted = [known[name] for name in names] or list(OPTIONS)
    return [option for option in wanted if on_gpu or not option.on_gpu_only]


def main(arguments: list[str]) -> int:
    parser = CommandLine(__doc__)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="over the config's values, on both sides")
    parser.add_argument("--config", default=CONFIG)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="may be given several times")
    parser.add_argument("--rounds", type=number(int, 1, 99), default=2)
    parser.add_argument("--steps", type=number(int, 1, 10_000), default=6)
    parser.add_argument("--threads", type=number(int, 1, 1024), default=torch.get_num_threads())
    add_output(parser)
    parser.add_argument("--side", action="store_true", help="measure this config and nothing else; used by itself")
    options = parser.parse_args(arguments)
    if options.side:
        torch.set_num_threads(options.threads)
        config = in_microbatches(load_config(options.config, options.overrides), 1)
        print(json.dumps(measure_side(config, options.steps)))
        return 0
    wanted = chosen(options.only, torch.cuda.is_available())
    torch.set_num_threads(options.threads)
    shared = (*(DUAL if options.config == CONFIG else ()), *options.overrides)
    sides = list(dict.fromkeys(side for option in wanted for side in (option.without, option.with_it)))
    for side in sides:  # a mistake is told now and not after minutes
        load_config(options.config, [*shared, *in_folder(side, "cache")])
    rounds: dict[tuple[str, ...], list[dict[str, Any]]] = {side: [] for side in sides}
    for _ in range(options.rounds):
        for side in sides:
            rounds[side].append(run_side(options.config, (*shared, *side), options.threads, options.steps))
            print(f"{' '.join(side)}: {rounds[side][-1]}", file=sys.stderr, flush=True)
    results = [compare(rounds, option) for option in wanted]
    print("\n".join(as_lines(results)))
    device = torch.device("cuda") if torch.cuda.is_available() else None
    command = " ".join(["python -m benchmarks.training.options", *arguments])
    written = {"machine": describe_machine(device), "command": command, "config": options.config}
    write_result(options.output, written | {"rounds": options.rounds, "steps": options.steps, "options": results})
    return int(any("failed" in row for row in results))


if __name__ == "__main__":
    run_command(main)
