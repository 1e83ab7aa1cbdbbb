"""What rounding up a batch's mel frames costs, and how many different lengths it leaves: counted, nothing is run.

    python -m benchmarks.input.frames --output benchmarks/results/streaming/frames.json

Lengths of utterances are drawn as in :mod:`benchmarks.input.streaming`, and batches planned as a lane plans them. Only
log-mel and the convolutions work on the added frames; the encoder cuts them off after that.
"""

import numpy as np

from benchmarks.input.streaming import LENGTHS, WINDOW
from benchmarks.written import add_output, write_result
from data.batches.features import GPU_FRAMES, padded_frames, visible_frames
from data.batches.lanes import plan_batches
from data.utterance import SAMPLING_RATE
from trainer.command_line import CommandLine, run_command

WINDOWS = 64
BATCH_SIZES = (16, 64, 256)


def planned(batch_size: int, windows: int = WINDOWS) -> tuple[list[int], list[int]]:
    """The frames of each batch as its longest clip needs them, and as a GPU gets them."""
    exact, rounded = [], []
    for number in range(windows):
        generator = np.random.default_rng(number)
        drawn = generator.lognormal(np.log(LENGTHS["median"]), LENGTHS["spread"], WINDOW).clip(0.3, 30)
        for rows in plan_batches(drawn.tolist(), batch_size, generator):
            visible = [visible_frames(round(drawn[row] * SAMPLING_RATE)) for row in rows]
            exact.append(padded_frames(visible))
            rounded.append(padded_frames(visible, on_gpu=True))
    return exact, rounded


def cost(batch_size: int, windows: int = WINDOWS) -> dict[str, float]:
    """The mean frames of a batch, exact and rounded, and the different lengths among so many batches."""
    exact, rounded = planned(batch_size, windows)
    return {
        "batch_size": batch_size,
        "batches": len(exact),
        "mean_frames": float(np.mean(exact)),
        "mean_frames_rounded": float(np.mean(rounded)),
        "more_frames": sum(rounded) / sum(exact) - 1,
        "lengths": len(set(exact)),
        "lengths_rounded": len(set(rounded)),
    }


def table(costs: list[dict[str, float]]) -> str:
    """The figures as Markdown."""
    rows = [f"| batch | frames | rounded up to {GPU_FRAMES} | more | different lengths |", "|---|---|---|---|---|"]
    rows += [
        f"| {one['batch_size']} | {one['mean_frames']:.0f} | {one['mean_frames_rounded']:.0f} | "
        f"{one['more_frames']:.1%} | {one['lengths_rounded']} in {one['batches']:,} batches, else {one['lengths']} |"
        for one in costs
    ]
    return "\n".join(rows) + "\n"


def main(arguments: list[str]) -> None:
    parser = CommandLine(__doc__)
    add_output(parser, with_table=True)
    options = parser.parse_args(arguments)
    costs = [cost(size) for size in BATCH_SIZES]
    print(table(costs))
    write_result(options.output, {"multiple": GPU_FRAMES, "costs": costs}, table(costs))


if __name__ == "__main__":
    run_command(main)
