"""What ``launch/merge.py`` is asked for, checked before anything is read."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...config.reading import ConfigError
from ...record.durable import check_place

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
