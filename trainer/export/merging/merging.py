"""``launch/merge.py``: the mean of runs or checkpoints as one folder, or the best mix with the model before training.

A mixture with the model before training is Wortsman et al., arXiv 2109.01903 (WiSE-FT).
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...config.reading import ConfigError
from ...pages.formats import listed
from ...record.disk import check_space
from ...record.durable import check_place, put_in_place, write_text
from ..exporting import BESIDE_WEIGHTS, partial_folder
from .agreement import check_adapter, check_agreement
from .means import write_adapter, write_model
from .sources import Source, source_of, steps_of

RECORD = "merged.json"
WEIGHTS_SUM = 1e-6  # how far from 1 the weights' sum may be


@dataclass(frozen=True)
class MergeOptions:
    """What to merge and where; :meth:`check` checks all that needs no reading.

    Attributes:
        given: runs, checkpoints and hub names.
        weights: one for each model, with the sum 1; None: equal ones.
        last, best: of each run so many of its last, or best, step checkpoints instead of its ``best/``.
        shares: of training, to interpolate between the model before it (0) and after it (1); empty: none.
        config: of the data to choose a share on; None: that of the run.
        overrides: ``key=value`` for it.
    """

    given: Sequence[str]
    output: Path
    weights: Sequence[float] | None = None
    last: int | None = None
    best: int | None = None
    shares: Sequence[float] = ()
    config: Path | None = None
    overrides: Sequence[str] = field(default=())

    @property
    def steps(self) -> int | None:
        return self.last or self.best

    def check(self) -> None:
        """Raises: ConfigError: for arguments that cannot be used."""
        if self.last is not None and self.best is not None:
            raise ConfigError("--last and --best are two choices of step checkpoints: give one")
        for option, number in (("--last", self.last), ("--best", self.best)):
            if number is not None and number < 1:
                raise ConfigError(f"{option} is {number}; it must be at least 1")
        models = len(self.given) * (self.steps or 1)
        if models == 1 and not self.shares:
            raise ConfigError(
                f"{self.given[0]} alone has no mean",
                "name another run, or give --last or --best for its step checkpoints, or --interpolate to mix it with "
                "the model before training",
            )
        if self.weights is not None:
            check_weights(self.weights, models)
        wrong = [share for share in self.shares if not 0 <= share <= 1]
        if wrong:
            raise ConfigError(f"--interpolate has {wrong[0]:g}; shares of training are from 0 to 1")
        if not self.shares and (self.config is not None or self.overrides):
            what = "--config" if self.config is not None else self.overrides[0]
            raise ConfigError(f"{what} goes with --interpolate, which chooses by error rates")
        check_place(self.output, "--output")
        if self.output.is_dir() and any(self.output.iterdir()):
            raise ConfigError(f"--output is {str(self.output)!r}, which is not empty: choose another")


def check_weights(weights: Sequence[float], models: int) -> None:
    """Raises: ConfigError: for weights that are not one for each model, are negative or have another sum than 1."""
    if len(weights) != models:
        raise ConfigError(f"--weights has {len(weights)} numbers for {models} models")
    wrong = [weight for weight in weights if not (math.isfinite(weight) and weight >= 0)]
    if wrong:
        raise ConfigError(f"--weights has {wrong[0]:g}; a weight must be 0 or more")
    if abs(math.fsum(weights) - 1) > WEIGHTS_SUM:
        raise ConfigError(f"--weights sum to {math.fsum(weights):g}, not to 1")


def merge(options: MergeOptions) -> None:
    """Write the merged folder, or nothing.

    Raises:
        ConfigError, CheckpointError, DataError: for what the user can correct.
        ExportError, SaveError: if it cannot be written.
    """
    options.check()
    sources = sources_of(options)
    check_agreement(sources)
    for source in sources if sources[0].is_adapter else ():
        check_adapter(source)
    weights = [weight / math.fsum(options.weights) for weight in options.weights] if options.weights else None
    weights = weights or [1.0] * len(sources)
    target = options.output.resolve()
    check_space(target, 4 * numbers_of(sources) + BESIDE_WEIGHTS, str(target))
    with partial_folder(target) as partial:
        if options.shares:
            from .interpolation import interpolate

            interpolate(options, sources, weights, partial)
        else:
            write_mean(sources, weights, partial, target)
        put_in_place(partial, target)
    print(f"written to {options.output}: {described(sources, weights)}", flush=True)


def sources_of(options: MergeOptions) -> list[Source]:
    """The models that are merged, in the order of the weights."""
    if options.steps is None:
        return [source_of(name) for name in options.given]
    return [source for run in options.given for source in steps_of(run, options.steps, best=options.best is not None)]


def numbers_of(sources: Sequence[Source]) -> int:
    """The numbers in the merged folder, at most."""
    many = len(sources) if sources[0].is_adapter else 1
    return many * sum(math.prod(one.shape) for one in sources[0].tensors.values())


def write_mean(
    sources: Sequence[Source], weights: Sequence[float], folder: Path, target: Path, before: Source | None = None
) -> None:
    """Write the mean of sources, and of the model before training where it is given, into an empty folder.

    Args:
        weights: of the sources. With ``before`` they sum to the share of training, else only their ratios count.
        target: where the folder will lie.
    """
    shares = list(weights)
    if sources[0].is_adapter:
        if before is None:
            shares = [weight / math.fsum(shares) for weight in shares]
        write_adapter(sources, shares, folder, target, before.new_modules() if before is not None else None)
    elif before is None:
        write_model(sources, shares, folder)
    else:
        write_model([*sources, before], [*shares, 1.0 - math.fsum(shares)], folder)
    told: dict[str, Any] = {
        "sources": [{"name": one.name, "weight": share} for one, share in zip(sources, shares, strict=True)]
    }
    if before is not None:
        told["before_training"] = 1.0 - math.fsum(shares)
    write_text(folder / RECORD, json.dumps(told, indent=2) + "\n")


def described(sources: Sequence[Source], weights: Sequence[float]) -> str:
    """The models and their shares, in words."""
    whole = math.fsum(weights)
    if len(sources) == 1:
        return sources[0].name
    return "the mean of " + listed([f"{one.name} ({w / whole:.3g})" for one, w in zip(sources, weights, strict=True)])
