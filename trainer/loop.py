"""The training loop. A step is one optimizer update.

The loss is computed in step/loss.py, its sums over tokens in modeling/network/losses.py. What the ranks must agree on,
such as that one of them cannot read its data, goes into one all-reduce before each backward pass: step/agreement.py. It
is read after the backward pass, so that a GPU never runs out of work for it.
"""

import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data.batches.loader import BatchGroup, TrainingBatches
from data.errors import DataError
from data.utterance import SAMPLING_RATE, AudioBatch

from .config.run import RunConfig
from .engine.accelerator import bare_model
from .engine.moving_average import MovingAverage
from .engine.optimizer import logged_learning_rates, set_learning_rates
from .engine.stopping import StopRequest
from .evaluation.decoding_limits import DecodingLimits
from .evaluation.validation import Validation
from .memory.halving import Halved, go_on_halved, halved, keep_for_resume, let_go
from .record.best import out_of_patience
from .record.checkpoints import Checkpoints, RunState, save_pretrained
from .record.journal import Journal
from .step.agreement import Agreement, Report, Targets, Verdict
from .step.attention_watch import AttentionWatch
from .step.first_step import FirstStep
from .step.gradients import Gradients
from .step.loss import TrainingLoss
from .step.meter import Meter
from .step.splitting import split_group
from .step.supply import Supply
from .step.teacher import CleanTeacher

MIN_ROWS_TO_JUDGE = 100  # the share of broken rows is taken of at least this many


@dataclass
class Trainer:
    """Everything a run needs, prepared for the engine; :meth:`train` runs it.

    Attributes:
        halves: microbatches are halved where memory runs out in a step.
        teacher: the clean teacher, where the config has one.
    """

    config: RunConfig
    accelerator: Any
    model: Any
    optimizer: Any
    processor: Any
    batches: TrainingBatches
    validation: Validation | None
    checkpoints: Checkpoints
    journal: Journal
    state: RunState
    stop: StopRequest
    average: MovingAverage | None = None
    halves: bool = False
    teacher: CleanTeacher | None = None

    def __post_init__(self) -> None:
        training = self.config.training
        planned = training.accumulation if training.step_utterances is None else 1  # split later, as memory allows
        self.supply = Supply(self.accelerator, self.batches, planned, self.stop, self.journal)
        self.watch = AttentionWatch(self.accelerator, self.model)
        self.loss = TrainingLoss(self.config, self.accelerator, self.model, self.watch, self.teacher)
        self.gradients = Gradients(
            self.accelerator, self.model, self.optimizer, training.max_gradient_norm, Path(self.config.output_dir)
        )
        self.meter = Meter()
        self.limits = DecodingLimits(self.accelerator, self.model, self.processor, self.state, self.journal)
        self.data_state: dict[str, Any] = {}  # where this rank's data stood after the last step
        self.saved_step = self.state.step
        self.final_step: int | None = None  # the step whose weights this start has written to final/
        self.read_ahead = self.updating = False  # in a step: the next group is there; its passes are over

    def train(self) -> bool:
        """Train to the last step, or until a stop is asked for; the state is then saved. False if it was stopped."""
        self.model.train()  # a checkpoint opens in evaluation mode, without dropout and gradient checkpointing
        stopped = self.begin()
        found: tuple[BatchGroup, Targets] | None = None
        if not (stopped or self.finished):
            with self.stop.nothing_to_save():
                found = self.find_data()
            stopped = found is None
        first_step: FirstStep | None = FirstStep(bare_model(self.model))
        while found is not None and not (stopped or self.finished):
            verdict = self.take_step(*found)
            if first_step is not None:
                first_step.check(self.accelerator)
                first_step = None
            self.log_step()
            self.check_quarantine()
            stopped = self.end_step(verdict.stop)
            if not (stopped or self.finished):
                found = self.find_data(verdict)
                stopped = found is None
        if self.loss.encoder_cache is not None:
            self.journal.say(f"performance.cache_encoder: {self.loss.encoder_cache.describe()}")
        if self.teacher is not None and self.teacher.cache is not None:
            self.journal.say(f"noise.teacher.cache: {self.teacher.cache.describe()}")
        if not stopped:
            self.save_final()
        return not stopped

    def take_step(self, group: BatchGroup, targets: Targets) -> Verdict:
        """:meth:`train_step`, in smaller microbatches where it runs out of memory and these may be halved.

        What the last step left is whole then, since nothing was updated, and is saved first.
        """
        way: Halved | None = None
        while True:
            figures = self.watch.sums, self.watch.losses, self.watch.heard
            training = self.config.training
            parts = training.accumulation if training.step_utterances is not None else 1
            try:
                return self.train_step(split_group(group, parts), targets)
            except Exception as error:
                if self.halves and not self.updating:
                    way = halved(self.config, self.accelerator, self.model, error)
                if way is None:
                    raise
                if not way.here:
                    keep_for_resume(way, error)
                    raise
                if self.loss.offload is not None:
                    self.loss.offload.drop_fetched()
                let_go(error, self.accelerator, self.model)
            self.watch.sums, self.watch.losses, self.watch.heard = figures
            if self.saved_step != self.state.step:
                self.save_checkpoint()
            go_on_halved(way, self.accelerator)
            before, self.config, way = self.config.training.microbatch, way.config, None
            self.loss.parts = self.accelerator.num_processes * self.config.training.accumulation
            self.journal.say(
                f"step {self.state.step + 1}: memory ran out with microbatches of {before} utterances; it goes on with "
                f"{self.config.training.accumulation} of {self.config.training.microbatch}"
            )

    def train_step(self, group: BatchGroup, targets: Targets) -> Verdict:
        """One optimizer update on ``group``, which has ``targets`` on all ranks together.

        Returns:
            What was agreed on in the last microbatch, also of the group that comes next.

        Raises:
            NonFiniteLoss: on every rank, before anything is updated; DeepSpeed, whose update is part of the backward
                pass, leaves it out itself. Of a gradient it may come a step later; the update was left out then, too.
        """
        started, step = time.perf_counter(), self.state.step + 1
        self.updating, verdicts = False, list[Verdict]()
        set_learning_rates(self.optimizer, self.config.optimizer, step, self.config.training.steps)
        for number, audio in enumerate(group.batches, start=1):
            with self.accelerator.accumulate(self.model):
                loss = self.loss(audio, targets, step)
                report = self.report(group, audio, is_last=number == len(group.batches))
                agreement = Agreement(self.accelerator, report, loss, self.gradients.unchecked_norm)
                self.accelerator.backward(loss)
                verdict = agreement.verdict()  # only now, so that a GPU has the backward pass to do meanwhile
                self.gradients.heed(verdict, step, loss, audio)
                self.updating = self.accelerator.sync_gradients
                self.gradients.clip(step, audio)
                self.optimizer.step()
                self.optimizer.zero_grad()
            verdicts.append(verdict)
        if self.average is not None:
            self.average.update()
        self.read_ahead = False
        for one in verdicts:  # all at once: a step that fails half way counts for nothing
            self.meter.add(one, self.loss.parts)
            self.state.utterances += one.utterances
        self.state.step, self.data_state = step, group.state
        self.state.rows += verdict.rows
        self.state.broken += verdict.broken
        self.limits.see(group.batches)
        self.journal.batch(step, [audio.ids if audio else [] for audio in group.batches])
        self.journal.quarantine(group.skipped)
        seconds = time.perf_counter() - started
        self.state.seconds += seconds
        self.meter.end_step(seconds)
        return verdict

    def report(self, group: BatchGroup, audio: AudioBatch | None, is_last: bool) -> Report:
        """This rank's part in what the ranks agree on; with the last microbatch, also of the next group, then read."""
        report = Report()
        if is_last:
            if not self.read_ahead:  # a step that is taken anew has read it already
                self.supply.read()
            self.read_ahead = True
            broken = sum(row.broken for row in group.skipped)
            report = replace(self.supply.report(), rows=group.rows, broken=broken)
        if audio is None:
            return report
        seconds = float(audio.audio_lengths.sum()) / SAMPLING_RATE
        return replace(report, utterances=len(audio.ids), audio_seconds=seconds)

    def begin(self) -> bool:
        """Evaluate what a resumed run has not evaluated yet, else one batch; true if a stop was asked for meanwhile."""
        if self.validation is None or self.validation.is_due or self.finished:
            return self.evaluate_if_due()
        return self.validation.rehearse()

    def find_data(self, verdict: Verdict | None = None) -> tuple[BatchGroup, Targets] | None:
        """The next group to train on, and its targets on all ranks; None, with everything saved, if asked to stop.

        Args:
            verdict: of the step before; None before the first.

        Raises:
            DataError, OSError, RuntimeError: on every rank, if one cannot read its data; everything is saved.
        """
        found = self.supply.find(verdict)
        if found is None:
            if self.saved_step != self.state.step:
                self.save_checkpoint()
            self.supply.raise_failure()
        return found

    def end_step(self, stop: bool) -> bool:
        """Save if a checkpoint is due, and only then evaluate, which may fail; true if the run is to stop.

        A checkpoint that is due only because of the evaluation, or because of a stop meanwhile, is saved after it. The
        first evaluation always comes after a checkpoint, so that a run that is killed then can be resumed beside its
        ``best/``.
        """
        state, config = self.state, self.config
        is_last = state.step >= config.training.steps
        is_first = self.saved_step == 0 and self.validation is not None and self.validation.is_due
        saved = stop or is_last or is_first or state.step % config.checkpoints.every_steps == 0
        if saved:
            self.save_checkpoint()
            if is_last and not stop:
                self.save_final()
        stopped = stop or self.evaluate_if_due()
        if not saved and (stopped or self.finished):
            self.save_checkpoint()
        return stopped

    @property
    def finished(self) -> bool:
        """All steps are done, or evaluations have run out of patience."""
        return self.state.step >= self.config.training.steps or out_of_patience(self.state, self.config.evaluation)

    def check_quarantine(self) -> None:
        """Save and raise a DataError on every rank, if too many rows are broken."""
        share, state = self.config.data.max_skipped_share, self.state
        if state.broken > share * max(state.rows, MIN_ROWS_TO_JUDGE):
            self.save_checkpoint()
            raise DataError(
                f"{state.broken} of {state.rows} rows cannot be used (data.max_skipped_share is {share:g}); "
                f"{self.journal.folder / 'quarantine.jsonl'} names each with its reason"
            )

    def log_step(self) -> None:
        """Write and show the figures since the last time, if the config wants them now."""
        step, noise = self.state.step, self.config.noise
        expects_noise = noise.loss_weight > 0 or noise.teacher is not None
        if step % self.config.logging.every_steps and step != 1:
            return
        self.gradients.check()
        steps, values = self.meter.steps, self.meter.read(self.gradients.norm)
        if expects_noise:
            values |= self.watch.read_losses(values["loss"], max(steps, 1) * self.loss.parts)
        rates = logged_learning_rates(self.optimizer)
        self.journal.write(step, "train", values | {**rates, "epoch": self.batches.epoch})
        shown = {"loss": values["loss"], "rate": rates["learning_rate"]}
        self.journal.show(step, shown | {"utterances/s": values["utterances_per_second"]})
        self.watch.report(self.journal, step, expects_noise)

    def evaluate_if_due(self) -> bool:
        """Evaluate if the config wants it now and it was not done; true if a stop was asked for meanwhile."""
        if self.validation is None or not self.validation.is_due:
            return False
        self.gradients.check()
        self.limits.lift()
        stopped = self.validation.evaluate(self.limits)
        if self.saved_step == self.state.step:
            self.checkpoints.note_evaluation(self.state)
        return stopped

    def save_checkpoint(self) -> None:
        """Write a resumable checkpoint of this step."""
        self.gradients.check()
        self.limits.lift()
        self.state.processes = self.accelerator.num_processes
        path = self.checkpoints.save(self.state, self.data_state)
        self.saved_step = self.state.step
        self.journal.say(f"step {self.state.step}: saved {path}")

    def save_final(self) -> None:
        """Write ``final/``, unless it holds this step's weights already; with ``training.ema`` their average."""
        if self.final_step != self.state.step:
            with self.average.in_place() if self.average is not None else nullcontext():
                save_pretrained(self.accelerator, self.model, self.processor, self.journal.folder / "final")
            self.final_step = self.state.step
