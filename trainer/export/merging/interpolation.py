"""Mixtures of a trained model and the model before training: each is decoded on data.validation, the best is kept."""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from data.sources.source import Source as Data
from data.terminal import print_table
from modeling.checkpoint_files import Checkpoint

from ...config.reading import ConfigError, load_config
from ...config.run import RunConfig
from ...engine.accelerator import end_engine, launched_processes
from ...evaluation.checkpoint import decode_split, open_split, without_zero
from ...model.building import model_before_training, starting_checkpoint
from ...record.durable import write_text
from ..exporting import write_weights
from .agreement import check_tensors
from .means import SHARD_SIZE, write_mean
from .options import MergeOptions
from .sources import Source, root_of, root_of_config, run_of, tensors_in

CURVE = "interpolation.json"


def interpolate(options: MergeOptions, sources: Sequence[Source], weights: Sequence[float], folder: Path) -> None:
    """Write the mixture with the lowest ``evaluation.best_metric`` into an empty folder, and the curve of all.

    Of equal mixtures the one with the larger share of training is taken. Memory: one model, and what decoding takes.

    Raises:
        ConfigError, DataError, CheckpointError: for what the user can correct.
    """
    config = config_of(options, sources)
    data = open_split(config, "validation")
    scratch = folder / ".mixtures"
    scratch.mkdir()
    before = write_before(config, sources, scratch / "before")
    points = Sweep(config, data, scratch, options.output.resolve()).run(
        sorted(set(options.shares)), sources, weights, before
    )
    metric = config.evaluation.best_metric
    chosen = min(points, key=lambda point: (point[metric], -point["share"]))
    for path in (scratch / "best").iterdir():
        path.rename(folder / path.name)
    shutil.rmtree(scratch)
    told = {"metric": metric, "split": "validation", "chosen": chosen["share"], "points": points}
    write_text(folder / CURVE, json.dumps(told, indent=2) + "\n")
    rows = [
        (
            f"{point['share']:g}" + (" *" if point is chosen else ""),
            f"{point['word_error_rate']:.2%}",
            f"{point['character_error_rate']:.2%}",
        )
        for point in points
    ]
    print_table(("share of training", "word error rate", "character error rate"), rows)
    print(f"* the lowest {metric.replace('_', ' ')} on data.validation, {points[0]['utterances']} utterances")


def config_of(options: MergeOptions, sources: Sequence[Source]) -> RunConfig:
    """The config that says what the model was before training, and what to choose on.

    Raises ConfigError if there is none, if it begins from another model than the sources, or if more than one process
    was launched.
    """
    if launched_processes() > 1:
        raise ConfigError("--interpolate runs in one process: start it without a launcher")
    path = options.config
    if path is None:
        run = run_of(Path(sources[0].name))
        if run is None:
            raise ConfigError(
                f"{sources[0].name} lies in no run's folder, whose config says what the model was before training",
                "give --config FILE",
            )
        path = run / "config.yaml"
    config = without_zero(load_config(path, list(options.overrides)))
    beginning = root_of_config(config.model_dump(mode="json"))
    for source in sources:
        known = root_of(source.parts.name if source.is_adapter else source.name)
        if known is not None and known != beginning:
            raise ConfigError(
                f"{source.name} was trained from {known}, but {path} begins from {beginning}: give the run's own config"
            )
    return config


def write_before(config: RunConfig, sources: Sequence[Source], folder: Path) -> Source:
    """The model before training, written as a folder. Raises CheckpointError if it has no mean with the sources."""
    folder.mkdir()
    model, _ = model_before_training(config, starting_checkpoint(config))
    write_weights(model, folder, torch.float32, SHARD_SIZE)
    name = config.model.checkpoint or "the new model"
    before = Source(f"{name} before training", sources[0].parts, tensors_in(sorted(folder.glob("*.safetensors"))))
    if not sources[0].is_adapter:
        check_tensors(sources[0], before)
    return before


class Sweep:
    """Writes and decodes the mixtures one after the other; the folder of the best so far is kept as ``best``."""

    def __init__(self, config: RunConfig, data: Data, scratch: Path, target: Path) -> None:
        self.config, self.data, self.scratch, self.target = config, data, scratch, target
        self.metric = config.evaluation.best_metric

    def run(
        self, shares: Sequence[float], sources: Sequence[Source], weights: Sequence[float], before: Source
    ) -> list[dict[str, Any]]:
        """The figures of each mixture, by rising share."""
        accelerator: Any = None
        points: list[dict[str, Any]] = []
        lowest = math.inf
        for share in shares:
            folder = self.scratch / "mixture"
            folder.mkdir()
            scaled = [share * weight / math.fsum(weights) for weight in weights]
            # Decoded where it lies now, with its base found from there.
            write_mean(sources, scaled, folder, folder, before)
            accelerator, found = decode_split(self.config, accelerator, Checkpoint(str(folder)), self.data)
            figures = found.metrics()
            points.append({"share": share, **figures})
            print(f"share {share:g}: word error rate {found.rates.word_error_rate:.2%}", flush=True)
            if figures[self.metric] <= lowest:
                lowest = figures[self.metric]
                shutil.rmtree(self.scratch / "best", ignore_errors=True)
                folder.rename(self.scratch / "best")
            else:
                shutil.rmtree(folder)
        end_engine(accelerator)
        return points
