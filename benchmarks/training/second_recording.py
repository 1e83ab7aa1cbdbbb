"""What second recordings cost in a training step: the same clips with them and without, step by step in turn.

    python -m benchmarks.training.second_recording --output benchmarks/results/second_recording/steps.json
    python -m benchmarks.training.second_recording --model openai/whisper-small --shape 4 10 60

All sides lie in one process and train on the same noise in clips of 0.8 to all of the length; second recordings have
lengths of their own, likewise. Each turn takes a step of each side, so that what else the machine does falls on all of
them; a ratio is the median of the turns'. Beside the clock's seconds stand the processor's (of all threads), which
another program disturbs less, and the operations of the model. Weights are random: time does not depend on them.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.machine import describe_machine
from benchmarks.memory.cell_process import build
from benchmarks.memory.jobs import Job, whisper_config
from benchmarks.memory.spread_lengths import spread_group
from benchmarks.written import add_output, table_head, write_result
from trainer.command_line import CommandLine, number, run_command
from trainer.engine.accelerator import resolve_precision
from trainer.engine.device import wait_for
from trainer.engine.stopping import StopRequest
from trainer.memory.flops import step_flops

SHAPES = ((8, 3.4, 24), (4, 10.0, 60))  # utterances, seconds, decoder positions
LEAST = 0.8  # the shortest recordings' share of the longest
MOST_TIMES = 2.0  # that a step may take with second recordings
PLAIN, THERE = {"model.dual_attention": False}, {"data.train.second": "copy"}
ATTENTION = {"model.second_recording": "attention"}
NONE_THERE = "attention, none there"  # a model that could hear them, and clips that have none
SIDES: Mapping[str, dict[str, Any]] = {
    "plain": PLAIN,
    "joined": PLAIN | THERE | {"model.second_recording": "joined"},
    "dual": {},
    "attention": THERE | ATTENTION,
    NONE_THERE: THERE | ATTENTION,
}
# With them, and without; the last costs nothing more.
PAIRS = (("joined", "plain"), ("attention", "dual"), ("attention", "plain"), (NONE_THERE, "dual"))
SECONDS, PROCESSOR = "seconds", "processor_seconds"


class Side:
    """A model in training, and a step's batch that it takes again and again."""

    def __init__(self, config: dict[str, Any], shape: tuple[int, float, int], stop: StopRequest, folder: Path) -> None:
        batch_size, seconds, tokens = shape
        job = Job(config, batch_size, seconds, tokens)
        self.trainer = build(job, job.run_config(), folder, stop)
        self.device = self.trainer.accelerator.device
        self.group, self.targets = self.trainer.find_data()
        spread_group(self.group, LEAST)
        self.cell = job.cell(resolve_precision(job.run_config().engine.precision))
        self.taken: list[dict[str, float]] = []

    def leave_out(self) -> None:
        """Take the second recordings away."""
        for batch in filter(None, self.group.batches):
            object.__setattr__(batch, "second", None)
        self.cell = replace(self.cell, has_second=False)

    def step(self) -> None:
        """A step, timed."""
        wait_for(self.device)
        started, worked = time.perf_counter(), time.process_time()
        self.trainer.train_step(self.group, self.targets)
        wait_for(self.device)
        self.taken.append({SECONDS: time.perf_counter() - started, PROCESSOR: time.process_time() - worked})

    def close(self) -> None:
        self.trainer.journal.close()
        self.trainer.accelerator.free_memory()
        vars(self.trainer).clear()


def compare(configs: Mapping[str, dict[str, Any]], shape: tuple[int, float, int], turns: int) -> dict[str, Any]:
    """Each side's seconds of a step, and the ratios of :data:`PAIRS`.

    Args:
        configs: by side, a run's config as plain values.
        shape: utterances, seconds of the longest recordings, decoder positions.
    """
    with ExitStack() as opened:
        stop = opened.enter_context(StopRequest(listening=False))
        sides: dict[str, Side] = {}
        for name, config in configs.items():
            folder = Path(opened.enter_context(TemporaryDirectory()))
            sides[name] = Side(config, shape, stop, folder)
            if name == NONE_THERE:
                sides[name].leave_out()
            opened.callback(sides[name].close)
        for _ in range(turns + 1):
            for side in sides.values():
                side.step()
        taken = {name: side.taken[1:] for name, side in sides.items()}  # the first makes the optimizer's states
        operations = {name: step_flops(side.cell) for name, side in sides.items()}
    found: dict[str, Any] = {"batch_size": shape[0], "clip_seconds": shape[1], "tokens": shape[2], "turns": turns}
    found["sides"] = {
        name: {key: median(one[key] for one in taken[name]) for key in (SECONDS, PROCESSOR)}
        | {"model_flops_per_step": operations[name]}
        for name in sides
    }
    found["ratios"] = [
        {"with": name, "without": other, "operations": operations[name] / operations[other]}
        | {key: ratio_of(taken[name], taken[other], key) for key in (SECONDS, PROCESSOR)}
        for name, other in PAIRS
        if name in sides and other in sides
    ]
    return found


def ratio_of(ours: Sequence[dict[str, float]], others: Sequence[dict[str, float]], key: str) -> float:
    """The median of the ratios of each turn."""
    return median(one[key] / other[key] for one, other in zip(ours, others, strict=True))


def configs_of(model: str) -> dict[str, dict[str, Any]]:
    """The sides' configs, by a published Whisper's name."""
    return {
        name: whisper_config({"model.checkpoint": model} | settings).model_dump(mode="json")
        for name, settings in SIDES.items()
    }


def table(found: dict[str, Any]) -> str:
    """A shape's ratios as rows of a Markdown table."""
    shape = f"{found['batch_size']} x {found['clip_seconds']:g} s"
    sides = found["sides"]
    return "\n".join(
        f"| {shape} | {one['with']} | {one['without']} | {sides[one['without']][SECONDS]:.2f} "
        f"| {sides[one['with']][SECONDS]:.2f} | {one[SECONDS]:.2f} | {one[PROCESSOR]:.2f} | {one['operations']:.2f} |"
        for one in found["ratios"]
    )


COLUMNS = (
    "clips",
    "with",
    "without",
    "without, s a step",
    "with, s a step",
    "ratio",
    "of processor seconds",
    "of operations",
)


def main(arguments: list[str]) -> int:
    """0 if no step takes more than twice as long with second recordings, 1 if one does."""
    parser = CommandLine(__doc__)
    parser.add_argument("--model", default="openai/whisper-base", help="a published Whisper; default: whisper-base")
    parser.add_argument(
        "--shape",
        action="append",
        nargs=3,
        type=number(float, 1, 448),
        metavar=("UTTERANCES", "SECONDS", "POSITIONS"),
        help="of a batch; may be given several times",
    )
    parser.add_argument("--turns", type=number(int, 1, 1000), default=5, help="timed steps of each side; default: 5")
    add_output(parser)
    options = parser.parse_args(arguments)
    shapes = [(int(size), seconds, int(tokens)) for size, seconds, tokens in options.shape or SHAPES]
    configs = configs_of(options.model)
    device = torch.device("cuda") if torch.cuda.is_available() else None
    command = " ".join(["python -m benchmarks.training.second_recording", *arguments])
    result: dict[str, Any] = {"machine": describe_machine(device), "command": command, "model": options.model}
    result["cells"] = []
    print(table_head(COLUMNS), flush=True)
    for shape in shapes:
        result["cells"].append(compare(configs, shape, options.turns))
        print(table(result["cells"][-1]), flush=True)
        write_result(options.output, result)
    ratios = [one for cell in result["cells"] for one in cell["ratios"]]
    return int(any(one[SECONDS] > MOST_TIMES for one in ratios if one["without"] != "plain" or one["with"] == "joined"))


if __name__ == "__main__":
    run_command(main)
