"""What launch/eval.py --noise-suite does with its arguments."""

import argparse
import os
from pathlib import Path

from ..config.reading import ConfigError
from .checkpoints import named_checkpoints
from .config import load_suite
from .suite import run_suite
from .tables import print_tables

DECODING = ("language_model", "tune_language_model", "n_best", "beams", "allow_seen")  # options of other evaluations


def measure_and_print(options: argparse.Namespace) -> None:
    """Run the suite, print its tables and say where everything is.

    Args:
        options: launch/eval.py's.

    Raises:
        ConfigError, DataError, CheckpointError: for what the user can put right.
    """
    if options.baseline is not None:
        raise ConfigError("--baseline goes without --noise-suite: name plain Whisper as another --checkpoint")
    for name in DECODING:
        if getattr(options, name):
            raise ConfigError(
                f"--{name.replace('_', '-')} goes without --noise-suite, which decodes as its config says"
            )
    suite = load_suite(options.noise_suite, options.overrides)
    output = output_folder(options.output, options.checkpoint)
    result = run_suite(suite, options.checkpoint, output, config=options.config, split=options.split)
    if result is not None:
        print_tables(result)
        print(f"written to {output}: noise_suite.html, .md, .json, .png, predictions/")


def output_folder(output: str | None, checkpoints: list[str]) -> Path:
    """Where the suite is written: ``--output``, or noise_suite/ in the run's folder of the first checkpoint.

    Raises:
        ConfigError: where neither is there.
    """
    if output is not None:
        return Path(output)
    first = named_checkpoints(checkpoints)[0]
    if first.run_config is None:
        raise ConfigError(f"--output is missing, and {first.path} does not lie in a run's folder")
    return Path(os.path.relpath(first.run_config.parent / "noise_suite"))
