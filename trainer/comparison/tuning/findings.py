"""What a search found: the best values as lines for a config, how sure that is, and reasons to doubt it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from data.errors import some_of
from data.opening import open_source
from data.sources.filters import speakers_of

from ...config.reading import apply_overrides, merge, nested
from ...config.run import RunConfig
from ...pages.formats import bracketed, compared_probability, counted, percent, signed
from ..comparison import Comparison, Pair, compare
from ..reading import read_arms
from ..running import Runner, SplitEvaluation
from ..tables import turned
from .search import SPLIT, Measured, Search, best_of, lowest
from .space import text_of
from .study import Trial

FEW_FINISHED = 4
Rows = list[tuple[Trial, list[Measured]]]


@dataclass(frozen=True)
class Findings:
    """Trials with their curves, and the best of them.

    Attributes:
        search: what was searched.
        own_every: the config's own ``evaluation.every_steps``.
        rows: trials with at least one evaluation or a reason, in order.
        comparison: the config's own values and the best ones on the same utterances; None where they are the same, or
            were not evaluated yet.
        remarks: on the data.
    """

    search: Search
    own_every: int
    rows: Rows
    comparison: Comparison | None = None
    remarks: Sequence[str] = ()

    @property
    def trials(self) -> list[Trial]:
        return [trial for trial, _ in self.rows]

    @cached_property
    def best(self) -> Trial | None:
        """The finished trial with the fewest errors."""
        return best_of(self.trials)

    @property
    def own(self) -> Trial | None:
        """The finished trial of the config's own values."""
        return next((trial for trial in self.trials if trial.number == 0 and trial.objective is not None), None)

    def at(self, trial: Trial) -> Measured:
        """The evaluation that a trial is judged by."""
        return lowest(next(curve for one, curve in self.rows if one.number == trial.number))

    @property
    def ranked(self) -> Rows:
        """Finished trials from the lowest objective up, then those given up and those that failed."""
        rank = {"finished": 0, "pruned": 1, "unfinished": 2, "failed": 3}

        def place(row: tuple[Trial, list[Measured]]) -> tuple[int, float]:
            trial, curve = row
            return rank[trial.state], lowest(curve).objective if curve else 0.0

        return sorted(self.rows, key=place)

    @property
    def is_better(self) -> bool:
        """Whether other values than the config's own are the best."""
        return self.best is not None and self.best.number != 0

    @property
    def pair(self) -> Pair | None:
        return None if self.comparison is None else self.comparison.pairs[0]

    @property
    def lines(self) -> dict[str, Any]:
        """The best values, by keys with dots; without those that are the config's own. Empty where all are."""
        if self.best is None or not self.is_better:
            return {}
        values = self.best.values
        found = {one.key: values[one.key] for one in self.search.space if text_of(values[one.key]) != text_of(one.own)}
        every = self.search.config.evaluation.every_steps
        if every != self.own_every and self.at(self.best).step != self.search.config.training.steps:
            found["evaluation.every_steps"] = every  # or the best weights would be passed over
        return found

    @property
    def pasted(self) -> str:
        """The best values as YAML for a config."""
        return yaml_of(self.lines)

    @property
    def on_command_line(self) -> str:
        """The best values as they follow ``--config FILE``."""
        return " ".join(f"'{key}={text_of(value)}'" for key, value in self.lines.items())

    @property
    def verdict(self) -> str:
        """What was found, in one or two sentences."""
        if self.best is None:
            return "No trial has ended yet."
        at = self.at(self.best)
        rate = f"word error rate {percent(at.word_error_rate)} % of {SPLIT}"
        if not self.is_better:
            return f"Of {counted(len(self.rows), 'trial')} none is better than the config's own values: {rate}."
        told = f"Trial {self.best.number} has the fewest errors of {counted(len(self.rows), 'trial')}: {rate}"
        if self.own is None:
            return f"{told}."
        own = self.at(self.own)
        beside = f"{told}, the config's own values {percent(own.word_error_rate)} %"
        if own.errors == at.errors:
            rates = [f"{percent(one.character_error_rate, 2)} %" for one in (at, own)]
            return f"{beside}. They are as many wrong words; of characters {rates[0]} are wrong, and {rates[1]}."
        return f"{beside}: {signed(at.word_error_rate - own.word_error_rate, 1)} points{self.certainty()}."

    def certainty(self) -> str:
        """The interval of the difference and whether it may be chance."""
        if self.pair is None:
            return ""
        interval = turned(self.pair, 1)[1]
        chance = (
            f", p {compared_probability(self.pair.p_adjusted)}" if self.pair.differs else ", which may be chance at 5 %"
        )
        return f"{bracketed(interval, 1, signed)}{chance}"

    @property
    def warnings(self) -> list[str]:
        """Reasons to doubt what was found."""
        best = self.best
        if best is None:
            return list(self.remarks)
        at, found = self.at(best), list(self.remarks)
        for one in self.search.space:
            if one.range is not None and (side := one.edge(best.values[one.key])):
                found.append(
                    f"{one.key} {text_of(best.values[one.key])} lies at the {side} end of its range, {one.range.low:g} "
                    f"to {one.range.high:g}: better values may lie beyond it; widen it in a --space file"
                )
        near = self.within_chance(at, best)
        if near:
            named = some_of([f"trial {number}" for number in near], 5)
            found.append(
                f"As far as {at.words:,} words can tell, {named} made as few errors as the best (a rough "
                "rule: twice the square root of both counts of errors)"
            )
        if self.pair is not None and not self.pair.differs:
            found.append("The best values cannot be told from the config's own at 5 %: more utterances set aside would")
        finished = sum(trial.objective is not None for trial in self.trials)
        if finished < FEW_FINISHED:
            found.append(f"Only {counted(finished, 'trial')} ran to the end: a search this short is a guess")
        steps = self.search.config.training.steps
        if at.step < steps:
            found.append(f"The best figure came after step {at.step} of {steps}: fewer steps may do")
        if self.is_better:
            found.append(
                f"The best of {len(self.rows)} figures on the same utterances flatters itself, and each is of one "
                "training seed: train with the lines and evaluate on the test, which the search has not seen"
            )
        return found

    def within_chance(self, at: Measured, best: Trial) -> list[int]:
        """Finished trials whose wrong words differ from the best one's by no more than chance explains."""
        others = [trial for trial in self.trials if trial.objective is not None and trial.number != best.number]
        errors = {trial.number: self.at(trial).errors for trial in others}
        return [
            number
            for number, count in errors.items()
            if at.words and count - at.errors < 2 * (count + at.errors) ** 0.5
        ]


def yaml_of(values: Mapping[str, Any]) -> str:
    """Keys with dots as nested YAML."""
    return yaml.safe_dump(nested(values), sort_keys=False, allow_unicode=True) if values else ""


def found(search: Search, own_every: int, trials: Sequence[Trial], remarks: Sequence[str]) -> Findings:
    """What the trials say without further decoding."""
    rows = [(trial, search.curve(trial)) for trial in trials]
    return Findings(search, own_every, [row for row in rows if row[1] or row[0].reason], None, remarks)


def compared(findings: Findings, runner: Runner) -> Comparison | None:
    """Decode ``data.validation`` once with the config's own and with the best weights; compare utterance by utterance.

    Returns None where the two are the same, or decoding failed.
    """
    best, own = findings.best, findings.own
    if best is None or own is None or best.number == 0:
        return None
    arms = [findings.search.arm(trial) for trial in (own, best)]
    for arm in arms:
        reason = SplitEvaluation().measure(arm, runner.output / f"{arm.name}.yaml", runner)
        if reason is not None:
            print(f"{arm.name} could not be evaluated: {reason}", flush=True)
            return None
    return compare(read_arms([arm.folder for arm in arms], SPLIT))


def best_config(findings: Findings, config: Path, overrides: Sequence[str]) -> str:
    """A config that extends the user's with what was set on the command line and the best values."""
    values: dict[str, Any] = {"extends": os.path.relpath(config, findings.search.output)}
    values = apply_overrides(values, overrides)
    for key, value in findings.lines.items():
        values = merge(values, nested({key: value}))
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def data_remarks(config: RunConfig) -> list[str]:
    """Open the training data and ``data.validation``; a line for speakers who are in both, as far as columns tell.

    Raises:
        DataError: if a source is missing or lacks a column.
    """
    data = config.data
    named = dict(zip(data.train_names, data.training_sources, strict=True))
    assert data.validation is not None
    sources = {name: open_source(one, name) for name, one in named.items()}
    aside = open_source(data.validation, "data.validation")
    for source in (*sources.values(), aside):
        source.check_columns()
    told, lines = speakers_of(aside), []
    for name, source in sources.items():
        both = sorted((told or set()) & (speakers_of(source) or set()))
        if both:
            lines.append(
                f"{counted(len(both), 'speaker')} of data.validation also speak in {name} ({some_of(both)}): what "
                "suits voices that the model knows need not suit others"
            )
    return lines
