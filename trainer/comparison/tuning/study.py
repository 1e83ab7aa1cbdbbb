"""Which values come next, and which trial is given up: optuna's study, kept in a journal. Knows no training.

The one place that touches optuna. Trials go one after the other; the caller holds the folder's lock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...config.reading import ConfigError
from .space import Dimension, Space

NAME = "tuning"
RANDOM = 4  # trials before values are drawn by what the others gave
UNPRUNED = 2  # finished trials before one is given up
SECONDS, FAILED = "seconds", "failed"  # what is noted of a trial beside its figures

State = Literal["finished", "pruned", "failed", "unfinished"]


@dataclass(frozen=True)
class Trial:
    """A set of values and what came of it.

    Attributes:
        values: by key, as YAML holds them.
        seconds: of all its starts.
        objective: what is minimised; None where the trial was not finished.
        reason: of a failed trial, what its log says.
    """

    number: int
    values: dict[str, Any]
    state: State
    seconds: float = 0.0
    objective: float | None = None
    reason: str = ""


class Study:
    """The trials of a folder, also those of earlier starts.

    Values are drawn by a tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011), each time from a seed of the
    trial's number: an interrupted search draws what one in a single go would. A trial is given up where its lowest
    figure so far lies above the median of the finished ones at the same step.

    Args:
        path: of the journal.
        starts: the values of the first trials.
        unpruned_steps: steps before which no trial is given up.

    Raises:
        ConfigError: if optuna is missing.
    """

    def __init__(self, path: Path, space: Space, starts: Sequence[dict[str, Any]], unpruned_steps: int) -> None:
        try:
            import optuna
            from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
        except ImportError:
            raise ConfigError("the search needs optuna, which is missing here", "pip install optuna") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        mend(path)
        self.optuna, self.space = optuna, space
        backend = JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path)))
        self.study = optuna.create_study(
            storage=optuna.storages.JournalStorage(backend),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED, n_warmup_steps=unpruned_steps),
            study_name=NAME,
            load_if_exists=True,
        )
        begun = len(self.study.trials)
        for values in starts[begun:]:
            self.study.enqueue_trial({one.key: one.written(values[one.key]) for one in space})

    @property
    def trials(self) -> list[Trial]:
        """Trials that were begun, in order."""
        kept = [one for one in self.study.trials if one.state != self.optuna.trial.TrialState.WAITING]
        return [self.told(frozen) for frozen in kept]

    def told(self, frozen: Any) -> Trial:
        states = self.optuna.trial.TrialState
        named: dict[Any, State] = {states.COMPLETE: "finished", states.PRUNED: "pruned"}
        reason = frozen.user_attrs.get(FAILED, "")
        return Trial(
            number=frozen.number,
            values={one.key: one.read(frozen.params[one.key]) for one in self.space if one.key in frozen.params},
            state="failed" if reason else named.get(frozen.state, "unfinished"),
            seconds=frozen.user_attrs.get(SECONDS, 0.0),
            objective=frozen.value if frozen.state == states.COMPLETE else None,
            reason=reason,
        )

    def begin(self) -> "Begun":
        """The trial that an earlier start left unfinished, or else a new one."""
        states = self.optuna.trial.TrialState
        left = [one for one in self.study.trials if one.state == states.RUNNING]
        number = left[0].number if left else len(self.trials)
        self.study.sampler = self.optuna.samplers.TPESampler(seed=number, n_startup_trials=RANDOM)
        if left:
            trial = self.optuna.trial.Trial(self.study, left[0]._trial_id)
            for one in self.space:  # a kill may have come before all were drawn
                trial._suggest(one.key, self.distribution(one))
            return Begun(self, trial)
        return Begun(self, self.study.ask({one.key: self.distribution(one) for one in self.space}))

    def distribution(self, dimension: Dimension) -> Any:
        """What optuna draws a dimension's values from."""
        kinds = self.optuna.distributions
        if dimension.range is None:
            return kinds.CategoricalDistribution(dimension.labels)
        kind = kinds.IntDistribution if dimension.is_whole else kinds.FloatDistribution
        return kind(dimension.range.low, dimension.range.high, log=dimension.range.log)


class Begun:
    """A trial at work."""

    def __init__(self, study: Study, trial: Any) -> None:
        self.study, self.trial = study, trial

    @property
    def record(self) -> Trial:
        """The trial as it stands."""
        return self.study.told(self.study.study.trials[self.trial.number])

    def report(self, step: int, figure: float) -> bool:
        """Note the figure of an evaluation, once for each step; whether the trial is to be given up."""
        if step not in self.study.study.trials[self.trial.number].intermediate_values:
            self.trial.report(figure, step)
        return bool(self.trial.should_prune())

    def add_seconds(self, seconds: float) -> None:
        """Count the time of a start."""
        self.trial.set_user_attr(SECONDS, self.record.seconds + seconds)

    def finish(self, objective: float) -> None:
        """The trial ran to its end."""
        self.study.study.tell(self.trial, objective)

    def prune(self) -> None:
        """The trial was given up; the figures that were reported count."""
        self.study.study.tell(self.trial, state=self.study.optuna.trial.TrialState.PRUNED)

    def fail(self, reason: str) -> None:
        """The trial has no result; it counts as given up, so that its values are avoided."""
        self.trial.set_user_attr(FAILED, reason)
        self.prune()


def mend(path: Path) -> None:
    """Take a last line that a kill cut off out of the journal, which optuna could not read any more."""
    if not path.exists():
        return
    text = path.read_bytes()
    whole = text.rfind(b"\n") + 1
    if whole < len(text):
        with path.open("r+b") as file:
            file.truncate(whole)
