"""The search: trials one after the other, each a training in a process of its own, given up where it lags behind.

A trial's word error rate is that of ``data.validation``. No trial is told where the test is.
"""

import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from ...config.reading import ConfigError, flatten, nested, read_yaml, settings_of
from ...config.run import RunConfig
from ...errors import CommandFailed
from ...pages.formats import percent
from ...record.best import BEST
from ...record.durable import write_text
from ...record.journal import whole_rows
from ..differences import NOT_SHOWN, shown
from ..planning import PlannedArm
from ..running import Runner, Stopped, is_finished, run_arm
from .space import Space, changed, text_of
from .study import Begun, Study, Trial

LEAST_EVALUATIONS = 4  # of a trial, so that a bad one can be given up
TIE = 1e-3  # of the character error rate, which decides between trials whose best_metric is the same
UNPRUNED_SHARE = 1 / 3  # of a trial's steps: too early to give it up
STEP_UP = 3.0  # the second trial's rates over the config's own
MOST_FAILURES = 3  # in a row, before the search is given up
SPLIT = "validation"
WEIGHTS = ("checkpoints", "final")  # of a trial, removed once it has ended; best/ too unless it is kept


@dataclass(frozen=True)
class Measured:
    """An evaluation of a trial.

    Attributes:
        figure: the config's ``evaluation.best_metric``.
        errors: wrong words.
    """

    step: int
    figure: float
    word_error_rate: float
    character_error_rate: float
    errors: int

    @property
    def objective(self) -> float:
        """What is minimised. With few utterances many trials have as many wrong words; characters tell them apart."""
        return self.figure + TIE * self.character_error_rate

    @property
    def words(self) -> int | None:
        """How many were said; unknown without any error."""
        return round(self.errors / self.word_error_rate) if self.word_error_rate else None


@dataclass(frozen=True)
class Search:
    """What is searched, and where.

    Attributes:
        config: what all trials share.
        output: a folder for each trial, with its config and log beside it, and the study's journal.
    """

    config: RunConfig
    space: Space
    output: Path

    def arm(self, trial: Trial) -> PlannedArm:
        """A trial as the runner takes it."""
        name = f"trial_{trial.number:03d}"
        config = changed(self.config, trial.values | {"output_dir": str(self.output / name)}, name)
        return PlannedArm(name, config, SPLIT, is_trained=True)

    def folder(self, trial: Trial) -> Path:
        return self.output / f"trial_{trial.number:03d}"

    def curve(self, trial: Trial) -> list[Measured]:
        """The evaluations of a trial so far, by step."""
        return curve_of(self.folder(trial), self.config.evaluation.best_metric)

    def open_study(self) -> Study:
        optimizer, early = self.config.optimizer, int(UNPRUNED_SHARE * self.config.training.steps)
        unpruned = max(optimizer.warmup_steps, optimizer.primary_frozen_steps, early)
        return Study(self.output / "journal.log", self.space, starts(self.space), unpruned)


def shared_by_trials(config: RunConfig, output: Path) -> RunConfig:
    """The config of all trials: evaluated often enough to be given up, one checkpoint kept, without the test."""
    steps, every = config.training.steps, config.evaluation.every_steps
    changes: dict[str, Any] = {"output_dir": str(output), "checkpoints.keep": 1, "data.test": None}
    if steps < LEAST_EVALUATIONS * every:
        changes["evaluation.every_steps"] = -(-steps // LEAST_EVALUATIONS)
        changes |= {"evaluation.patience": None, "evaluation.minimum_improvement": 0.0}  # counted in evaluations
    return changed(config, changes)


def starts(space: Space) -> list[dict[str, Any]]:
    """The first trials: the config's own values, then its rates a step higher."""
    own = {one.key: one.own for one in space}
    higher = {
        one.key: one.read(min(STEP_UP * one.own, one.range.high))
        for one in space
        if one.range is not None and one.key.endswith("learning_rate")
    }
    return [own, own | higher] if own | higher != own else [own]


def curve_of(folder: Path, metric: str) -> list[Measured]:
    """The evaluations in a run's journal; of the weights and their average the one that may become ``best/``."""
    rows = [row for row in whole_rows(folder / "metrics.jsonl") if row.get("kind") == SPLIT]
    return [
        Measured(
            step=row["step"],
            figure=row[of + metric],
            word_error_rate=row[of + "word_error_rate"],
            character_error_rate=row[of + "character_error_rate"],
            errors=sum(row[of + kind] for kind in ("substitutions", "deletions", "insertions")),
        )
        for row in rows
        for of in ["average_" if row.get(f"average_{metric}", math.inf) < row[metric] else ""]
    ]


class Watch:
    """Whether the trial at work is to end: the user has asked for it, or its curve lies too high."""

    def __init__(self, search: Search, begun: Begun, stop: Callable[[], bool]) -> None:
        self.search, self.begun, self.stop = search, begun, stop
        self.trial = begun.record
        self.metrics = search.folder(self.trial) / "metrics.jsonl"
        self.size, self.seen, self.gives_up = 0, set[int](), False

    def __call__(self) -> bool:
        if not self.gives_up:
            size = self.metrics.stat().st_size if self.metrics.exists() else 0
            if size != self.size:
                self.size = size
                self.look()
        return self.gives_up or self.stop()

    def look(self) -> None:
        """Report what is new; the last evaluation comes too late to give the trial up."""
        for measured in self.search.curve(self.trial):
            if measured.step not in self.seen:
                self.seen.add(measured.step)
                lags = self.begun.report(measured.step, measured.objective)
                self.gives_up = lags and measured.step < self.search.config.training.steps


class TrainingAlone:
    """Nothing is measured beyond what training writes."""

    def is_done(self, arm: PlannedArm) -> bool:
        return False

    def prepare(self, arm: PlannedArm, config: Path) -> None:
        pass

    def measure(self, arm: PlannedArm, config: Path, runner: Runner) -> str | None:
        return None


def run_trials(search: Search, study: Study, runner: Runner, most: int | None, minutes: float | None) -> str:
    """Run trials until there are enough; returns why the search ended.

    Args:
        most: trials in all, those of earlier starts too.
        minutes: of all starts together; no trial is begun that would end later, if it takes as long as the first.

    Raises:
        Stopped: if a stop was asked for; the trial at work was saved.
        CommandFailed: if the first trial fails, or several in a row.
    """
    while (why := reached(study.trials, most, minutes)) is None:
        begun = study.begin()
        print(f"{described(begun.record)}", flush=True)
        run_trial(search, begun, runner)
        print(ended(search, study.trials), flush=True)
        tidy(search, study.trials)
    tidy(search, study.trials)  # of a start that was killed
    return why


def reached(trials: list[Trial], most: int | None, minutes: float | None) -> str | None:
    """Which limit of the search is reached, in words; None if another trial may be begun."""
    over = [trial for trial in trials if trial.state != "unfinished"]
    failed = over[-MOST_FAILURES:]
    if len(failed) == MOST_FAILURES and all(trial.state == "failed" for trial in failed):
        raise CommandFailed(f"the last {MOST_FAILURES} trials failed: {failed[-1].reason}")
    if len(over) < len(trials):
        return None  # one was saved
    if most is not None and len(over) >= most:
        return f"{len(over)} trials were asked for"
    spent = sum(trial.seconds for trial in trials)
    if minutes is not None and over and spent + over[0].seconds > 60 * minutes:
        return f"{spent / 60:.0f} of {minutes:g} minutes are spent, and the first trial took {over[0].seconds / 60:.1f}"
    return None


def run_trial(search: Search, begun: Begun, runner: Runner) -> None:
    """Train with a trial's values, and tell the study what came of it."""
    arm, number = search.arm(begun.record), begun.record.number
    watch, started = Watch(search, begun, runner.stop), time.monotonic()
    reason: str | None = None
    try:
        reason = run_arm(arm, TrainingAlone(), replace(runner, stop=watch))
    except Stopped:
        if runner.stop():
            raise
    finally:
        begun.add_seconds(time.monotonic() - started)
    if reason is not None and number == 0:  # not told to the study: the same command tries again
        raise CommandFailed(f"the first trial, with the config's own values, failed: {reason}")
    curve = search.curve(begun.record)
    if watch.gives_up and not is_finished(arm):
        begun.prune()
    elif reason is None and curve:
        begun.finish(min(measured.objective for measured in curve))
    else:
        begun.fail(reason or f"{arm.folder} has no evaluation")


def best_of(trials: list[Trial]) -> Trial | None:
    """The finished trial with the lowest objective; of equal ones the first."""
    finished = [trial for trial in trials if trial.objective is not None]
    return min(finished, key=lambda trial: trial.objective or 0.0, default=None)


def lowest(curve: list[Measured]) -> Measured:
    """The evaluation that a trial is judged by."""
    return min(curve, key=lambda measured: measured.objective)


def tidy(search: Search, trials: list[Trial]) -> None:
    """Remove the weights of trials that have ended; ``best/`` of the first and of the best one stay."""
    best = best_of(trials)
    for trial in trials:
        if trial.state == "unfinished":
            continue
        kept = trial.number == 0 or trial == best
        for name in WEIGHTS if kept else (*WEIGHTS, BEST):
            shutil.rmtree(search.folder(trial) / name, ignore_errors=True)


def described(trial: Trial) -> str:
    """A trial's values in a line."""
    values = ", ".join(f"{key}={text_of(value)}" for key, value in trial.values.items())
    return f"trial {trial.number}{' (the config as it is)' if trial.number == 0 else ''}: {values}"


def ended(search: Search, trials: list[Trial]) -> str:
    """What came of the last trial, in a line."""
    trial, curve = trials[-1], search.curve(trials[-1])
    if trial.state == "failed" or not curve:
        return f"trial {trial.number} failed: {trial.reason}"
    at = lowest(curve)
    rates = (
        f"word error rate {percent(at.word_error_rate)} %, character error rate {percent(at.character_error_rate)} %"
    )
    if trial.state == "pruned":
        return f"trial {trial.number} given up after step {curve[-1].step}: {rates}"
    is_best = len(trials) > 1 and trial == best_of(trials)
    return f"trial {trial.number}: {rates} at step {at.step}{', the best so far' if is_best else ''}"


def is_within(key: str, settings: Mapping[str, Any]) -> bool:
    """Whether a key lies in a section that is not given in the settings."""
    sections = key.split(".")[:-1]
    return any(".".join(sections[:number]) in settings for number in range(1, len(sections) + 1))


def check_begun(search: Search) -> None:
    """Refuse a folder whose search was begun with another config or space; else write down what this one begins with.

    Raises:
        ConfigError: naming the first key that differs.
    """
    path = search.output / "search.yaml"
    settings = {key: value for key, value in settings_of(search.config).items() if not key.startswith(NOT_SHOWN)}
    space = {one.key: [str(one.described())] for one in search.space}
    if not path.exists():
        search.output.mkdir(parents=True, exist_ok=True)
        write_text(path, yaml.safe_dump({"config": nested(settings), "space": space}, sort_keys=False))
        return
    before = read_yaml(path)
    old = flatten(before.get("config", {}))
    new = flatten(nested(settings))
    pairs = [(key, old[key], value) for key, value in new.items() if key in old]
    pairs += [(key, None, value) for key, value in new.items() if is_within(key, old) and value is not None]
    pairs += [(key, value, None) for key, value in old.items() if is_within(key, new) and value is not None]
    spaces = {key: (before.get("space", {}).get(key), space.get(key)) for key in before.get("space", {}) | space}
    pairs += [(f"the space of {key}", *both) for key, both in spaces.items()]
    for key, then, now in pairs:
        if then != now:
            raise ConfigError(
                f"{key} is {shown(now)}, but the search in {search.output} was begun with {shown(then)}: set it back, "
                "or choose another --output"
            )
