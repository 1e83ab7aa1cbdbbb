"""Evaluations during training: when one is due, and what it changes in the state, ``best/`` and the journal."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from data.utterance import Skipped

from ..config.run import RunConfig
from ..engine.accelerator import gather_objects
from ..engine.moving_average import MovingAverage
from ..engine.stopping import StopRequest
from ..record.best import (
    BEST,
    RECORD,
    BestRecord,
    data_difference,
    describe_patience,
    digest_of,
    measured_by,
    note_best,
    out_of_patience,
    put_aside,
    read_record,
    record_text,
)
from ..record.checkpoints import RunState, save_pretrained
from ..record.journal import Journal
from .decoding_limits import DecodingLimits
from .evaluator import Evaluator, Interrupted
from .result import Evaluation


@dataclass
class Validation:
    """Evaluates the model of a run that is training; all ranks call its methods, and get the same results.

    Attributes:
        average: of the weights, evaluated beside them or in their place; None where the run has none.
    """

    config: RunConfig
    evaluator: Evaluator
    model: Any
    processor: Any
    journal: Journal
    state: RunState
    stop: StopRequest
    average: MovingAverage | None = None

    @property
    def measured(self) -> tuple[bool, ...]:
        """What an evaluation decodes with: the weights (false), their average (true), or both."""
        if self.average is None:
            return (False,)
        return (True,) if self.config.evaluation.average == "alone" else (False, True)

    def weights(self, averaged: bool) -> AbstractContextManager[None]:
        """A context in which the model has its weights, or their average."""
        return self.average.in_place() if averaged and self.average is not None else nullcontext()

    @property
    def is_due(self) -> bool:
        """The config wants an evaluation after this step, and it has not been made."""
        step, config = self.state.step, self.config
        due = step > 0 and (step % config.evaluation.every_steps == 0 or step == config.training.steps)
        return due and self.state.evaluated_step != step

    def rehearse(self) -> bool:
        """Decode one batch, so that a failure ends the run before it trains. Returns whether a stop was asked for."""
        try:
            self.evaluator.run(self.model, self.stop, first_batch_alone=True)
        except Interrupted:
            return True
        return False

    def evaluate(self, limits: DecodingLimits) -> bool:
        """Evaluate the weights, their average or both, and keep the better if it is the best so far; all ranks call it.

        Args:
            limits: looks for references that the model's generation config makes impossible.

        Returns:
            True if a stop was asked for meanwhile; the evaluation is then given up.
        """
        state, budget = self.state, self.config.evaluation.budget
        rows = state.evaluation_rows if state.evaluation_budget in (None, budget) else None
        found: dict[bool, Evaluation] = {}
        for averaged in self.measured:
            with self.weights(averaged):
                try:
                    found[averaged] = self.evaluator.run(self.model, self.stop, rows)
                except Interrupted:
                    return True
            rows = found[averaged].rows  # of the average the same ones, whatever time is left
        first = found[self.measured[0]]
        limits.look_at_references(first)
        if self.config.evaluation.max_seconds is not None:
            state.evaluation_rows, state.evaluation_budget = first.rows, budget
        self.note(first, found.get(True))
        metric = self.config.evaluation.best_metric
        better = min(found, key=lambda averaged: found[averaged].metrics()[metric])  # of equal ones the weights
        with self.weights(better):
            self.keep_if_best(found[better], better)
        state.evaluated_step = state.step
        return False

    def note(self, evaluation: Evaluation, of_average: Evaluation | None = None) -> None:
        """Write the figures and some texts into the journal; those of the average with ``average_`` before their names.

        Where the average alone was evaluated, its figures also stand where the weights' would.
        """
        journal, step = self.journal, self.state.step
        journal.quarantine(Skipped(row["id"], row["reason"]) for row in evaluation.skipped)
        if evaluation.repeated:
            journal.say(f"data.validation: {evaluation.repeated} rows bear an id that others bear: counted once")
        figures = of_average.metrics() if of_average is not None else {}
        averaged = {f"average_{name}": value for name, value in figures.items()}
        journal.write(step, "validation", evaluation.metrics() | averaged)
        journal.texts(step, evaluation.samples(self.config.evaluation.samples))

    def keep_if_best(self, evaluation: Evaluation, averaged: bool = False) -> None:
        """Write ``best/`` if no evaluation before was better on the same data; say what was found.

        Args:
            averaged: the model has the average in place of its weights.
        """
        config, rates, step = self.config.evaluation, evaluation.rates, self.state.step
        accelerator, folder = self.evaluator.accelerator, self.journal.folder
        record = record_of(evaluation, step, self.config, averaged)
        before = gather_objects(accelerator, read_record(folder / BEST))[0]
        if before is not None and (why := data_difference(before, record)) is not None:
            self.journal.say(put_aside(accelerator, self.state, folder, before, why))
        better = note_best(self.state, record, config)
        which = f"step {step}, the average" if averaged else f"step {step}"
        self.journal.say(
            f"{which}: word error rate {rates.word_error_rate:.2%}, character error rate "
            f"{rates.character_error_rate:.2%} of {rates.utterances} utterances{', the best so far' if better else ''}"
        )
        if better:
            save_pretrained(accelerator, self.model, self.processor, folder / BEST, {RECORD: record_text(record)})
        if out_of_patience(self.state, config):
            self.journal.say(describe_patience(self.state, config))


def record_of(evaluation: Evaluation, step: int, config: RunConfig, averaged: bool = False) -> BestRecord:
    """What ``best/`` would be chosen by, if this evaluation of ``step`` is the best."""
    decoded = sorted((one.prediction.id, one.prediction.reference) for one in evaluation.utterances)
    every = sorted({name for name, _ in decoded} | {row["id"] for row in evaluation.skipped})
    metric = config.evaluation.best_metric
    return BestRecord(
        step=step,
        metric=metric,
        value=evaluation.metrics()[metric],
        word_error_rate=evaluation.rates.word_error_rate,
        character_error_rate=evaluation.rates.character_error_rate,
        utterances=len(decoded),
        skipped=len(evaluation.skipped),
        rows=digest_of(every),
        references=digest_of(decoded),
        measured=measured_by(config),
        averaged=averaged,
    )
