"""Evaluations during training: when one is due, and what it changes in the state, ``best/`` and the journal."""

from dataclasses import dataclass
from typing import Any

from data.utterance import Skipped

from ..config.run import RunConfig
from ..engine.accelerator import gather_objects
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
    """Evaluates the model of a run that is training; all ranks call its methods, and get the same results."""

    config: RunConfig
    evaluator: Evaluator
    model: Any
    processor: Any
    journal: Journal
    state: RunState
    stop: StopRequest

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
        """Evaluate, and keep the model if it is the best so far; all ranks call it.

        Args:
            limits: looks for references that the model's generation config makes impossible.

        Returns:
            True if a stop was asked for meanwhile; the evaluation is then given up.
        """
        state, budget = self.state, self.config.evaluation.budget
        rows = state.evaluation_rows if state.evaluation_budget in (None, budget) else None
        try:
            evaluation = self.evaluator.run(self.model, self.stop, rows)
        except Interrupted:
            return True
        limits.look_at_references(evaluation)
        if self.config.evaluation.max_seconds is not None:
            state.evaluation_rows, state.evaluation_budget = evaluation.rows, budget
        self.note(evaluation)
        self.keep_if_best(evaluation)
        state.evaluated_step = state.step
        return False

    def note(self, evaluation: Evaluation) -> None:
        """Write the figures and some texts into the journal."""
        journal, step = self.journal, self.state.step
        journal.quarantine(Skipped(row["id"], row["reason"]) for row in evaluation.skipped)
        if evaluation.repeated:
            journal.say(f"data.validation: {evaluation.repeated} rows bear an id that others bear: counted once")
        journal.write(step, "validation", evaluation.metrics())
        journal.texts(step, evaluation.samples(self.config.evaluation.samples))

    def keep_if_best(self, evaluation: Evaluation) -> None:
        """Write ``best/`` if no evaluation before was better on the same data; say what was found."""
        config, rates, step = self.config.evaluation, evaluation.rates, self.state.step
        accelerator, folder = self.evaluator.accelerator, self.journal.folder
        record = record_of(evaluation, step, self.config)
        before = gather_objects(accelerator, read_record(folder / BEST))[0]
        if before is not None and (why := data_difference(before, record)) is not None:
            self.journal.say(put_aside(accelerator, self.state, folder, before, why))
        better = note_best(self.state, record, config)
        self.journal.say(
            f"step {step}: word error rate {rates.word_error_rate:.2%}, character error rate "
            f"{rates.character_error_rate:.2%} of {rates.utterances} utterances{', the best so far' if better else ''}"
        )
        if better:
            save_pretrained(accelerator, self.model, self.processor, folder / BEST, {RECORD: record_text(record)})
        if out_of_patience(self.state, config):
            self.journal.say(describe_patience(self.state, config))


def record_of(evaluation: Evaluation, step: int, config: RunConfig) -> BestRecord:
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
    )
