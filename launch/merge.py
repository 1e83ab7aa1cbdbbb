"""The mean of runs or checkpoints as one model: python launch/merge.py runs/a runs/b runs/c --output merged

Of one run's step checkpoints: python launch/merge.py runs/a --last 3 --output merged
Mixed with the model before training, the best by held-out speech:
python launch/merge.py runs/a --interpolate 0,0.25,0.5,0.75,1 --output merged
See docs/merging.md.
"""

import argparse
from pathlib import Path

from trainer.command_line import CommandLine, number, run_command


def numbers(text: str) -> list[float]:
    """Numbers with commas between them."""
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not numbers with commas between them, like 0.7,0.3") from None


def main(arguments: list[str]) -> None:
    parser = CommandLine(__doc__)
    add = parser.add_argument
    add("given", nargs="+", metavar="RUN", help="a run (its best/), a checkpoint's or adapter's folder, or a hub name")
    add("--output", required=True, type=Path, metavar="FOLDER", help="empty, or not there yet")
    add("--weights", type=numbers, metavar="W,W", help="one for each model, with the sum 1; default: equal")
    steps = number(int, 1, 10**6)
    add("--last", type=steps, metavar="N", help="of each run the last N step checkpoints it has kept")
    add("--best", type=steps, metavar="N", help="of each run the N best of the step checkpoints it has kept")
    add(
        "--interpolate",
        type=numbers,
        metavar="S,S",
        help="shares of training, from 0 (the model before it) to 1; the best on data.validation is written",
    )
    add("--config", type=Path, help="for --interpolate; default: that of the first run. key.path=value may follow")
    options = parser.parse_intermixed_args(arguments)
    from trainer.export.merging.merging import merge
    from trainer.export.merging.options import MergeOptions

    overrides = [word for word in options.given if "=" in word and not Path(word).exists()]
    given = [word for word in options.given if word not in overrides]
    if not given:
        parser.error("name a run or a checkpoint")
    merge(
        MergeOptions(
            given,
            options.output,
            weights=options.weights,
            last=options.last,
            best=options.best,
            shares=options.interpolate or (),
            config=options.config,
            overrides=overrides,
        )
    )


if __name__ == "__main__":
    run_command(main)
