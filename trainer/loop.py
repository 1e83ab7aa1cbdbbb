"""The training loop. A step is one optimizer update; what the ranks must agree on goes into one all-reduce before each
backward pass."""

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from data.errors import DataError
from data.features import LogMel
from data.loader import BatchGroup, TrainingBatches
from data.utterance import SAMPLING_RATE, AudioBatch, Skipped
from modeling.decoding import encoder_padding

from .agreement import Targets, Verdict, agree
from .attention_watch import AttentionWatch
from .batch import silent_batch, to_batch
from .checkpoints import Checkpoints, RunState, save_pretrained
from .clipping import clip_in_step, fused_optimizer, gradient_norm
from .config import RunConfig
from .encoder_cache import open_encoder_cache
from .engine import bare_model
from .evaluation import Evaluation, Evaluator, Interrupted
from .first_step import FirstStep
from .improvement import describe_patience, note_evaluation, out_of_patience
from .journal import Journal, append
from .meter import Meter
from .noise_target import noise_arguments
from .offload import OffloadedActivations
from .optimizer import logged_learning_rates, set_learning_rates
from .stopping import StopRequest

MIN_ROWS_TO_JUDGE = 100  # the share of broken rows is taken of at least so many


class NonFiniteLoss(RuntimeError):
    """A rank's loss, or the gradient's norm, is not a finite number."""


class Unchecked(NamedTuple):
    """The gradient norm of a step that was taken, which nobody has waited for yet, and what it was taken on."""

    step: int
    norm: torch.Tensor
    audio: AudioBatch | None


@dataclass
class Trainer:
    """Everything a run needs, prepared for the engine; :meth:`train` runs it."""

    config: RunConfig
    accelerator: Any
    model: Any
    optimizer: Any
    processor: Any
    batches: TrainingBatches
    evaluator: Evaluator | None
    checkpoints: Checkpoints
    journal: Journal
    state: RunState
    stop: StopRequest

    def __post_init__(self) -> None:
        bare = bare_model(self.model)
        self.padding = encoder_padding(bare)
        self.log_mel = LogMel(bare.config.num_mel_bins, self.accelerator.device)
        self.silence = silent_batch([bare.config.decoder_start_token_id])
        self.parts = self.accelerator.num_processes * self.config.training.accumulation  # the engine divides by it
        self.meter = Meter()
        self.watch = AttentionWatch(self.accelerator, self.model)
        self.fused = fused_optimizer(self.accelerator, self.optimizer)
        self.unchecked: Unchecked | None = None
        offload = self.config.performance.offload_activations
        self.offload = OffloadedActivations(bare.parameters()) if offload else None
        self.encoder_cache = open_encoder_cache(self.config, self.accelerator, bare, self.log_mel, self.padding)

    def train(self) -> bool:
        """Train to the last step, or until a stop is asked for; the state is then saved. False if it was stopped."""
        config, state = self.config, self.state
        self.model.train()  # a checkpoint opens in evaluation mode, without dropout and gradient checkpointing
        stopped = self.evaluate_if_due(state.step)
        with self.stop.nothing_to_save():
            group, targets = self.find_data(self.batches.next_group(config.training.accumulation))
        proof: FirstStep | None = FirstStep(bare_model(self.model))
        while not (stopped or self.finished):
            started = time.perf_counter()
            upcoming, verdict = self.train_step(group, targets)
            seconds = time.perf_counter() - started
            if proof is not None:
                proof.check(self.accelerator)
                proof = None
            state.seconds += seconds
            self.meter.end_step(seconds)
            self.log_step(verdict)
            self.check_quarantine(group.state)
            stopped = verdict.stop or self.evaluate_if_due(state.step)
            last = self.finished
            if stopped or last or state.step % config.checkpoints.every_steps == 0:
                self.save_checkpoint(group.state)
            if not (stopped or last):
                group, targets = self.find_data(upcoming, verdict)
        if self.encoder_cache is not None:
            self.journal.say(f"performance.cache_encoder: {self.encoder_cache.describe()}")
        return not stopped

    @property
    def finished(self) -> bool:
        """All steps are done, or evaluations have stopped getting better for good."""
        return self.state.step >= self.config.training.steps or out_of_patience(self.state, self.config.evaluation)

    def train_step(self, group: BatchGroup, targets: Targets) -> tuple[BatchGroup, Verdict]:
        """One optimizer update on ``group``, which on all ranks has ``targets``.

        Returns the group that comes next, and what was agreed of it in the last microbatch.

        Raises:
            NonFiniteLoss: on every rank, before anything is updated. Of a gradient it may come a step later: the
                update was left out then, too.
        """
        accelerator, training, step = self.accelerator, self.config.training, self.state.step + 1
        set_learning_rates(self.optimizer, self.config.optimizer, step, training.steps)
        for number, audio in enumerate(group.batches, start=1):
            with accelerator.accumulate(self.model):
                loss = self.loss(audio, targets.tokens / self.parts, targets.noisy / self.parts)
                reached_end = number == training.accumulation
                ahead = training.accumulation if reached_end else 0
                upcoming = self.stop.unless_asked(BatchGroup([], True), self.batches.next_group, ahead)
                verdict = agree(
                    accelerator,
                    loss=loss,
                    gradient_norm=self.unchecked.norm if self.unchecked else None,
                    stop=self.stop.asked,
                    next_tokens=upcoming.target_tokens,
                    next_noisy=upcoming.noisy_tokens,
                    exhausted=upcoming.exhausted,
                    rows=group.rows if reached_end else 0,
                    broken=sum(row.broken for row in group.skipped) if reached_end else 0,
                    utterances=len(audio.ids) if audio else 0,
                    audio_seconds=float(audio.audio_lengths.sum()) / SAMPLING_RATE if audio else 0.0,
                )
                self.refuse_gradient(verdict)
                if not verdict.finite:
                    self.refuse(step, "loss", loss.detach(), audio if not torch.isfinite(loss) else None)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    self.meter.gradient_norm = norm = self.clip_gradients()
                    if norm is not None and accelerator.mixed_precision != "fp16":  # whose scaling skips such a step
                        self.unchecked = Unchecked(step, norm, audio)
                    if self.fused is None:  # which leaves everything alone where the norm is not finite
                        self.check_gradient()
                self.optimizer.step()
                self.optimizer.zero_grad()
            self.meter.add(verdict, self.parts)
            self.state.utterances += verdict.utterances
        self.state.step = step
        self.state.rows += verdict.rows
        self.state.broken += verdict.broken
        self.journal.batch(step, [audio.ids if audio else [] for audio in group.batches])
        self.journal.quarantine(group.skipped)
        return upcoming, verdict

    def loss(self, audio: AudioBatch | None, tokens: float, noisy: float) -> torch.Tensor:
        """The summed token loss over ``tokens`` and the weighed noise loss over ``noisy``; without data, of silence and
        at weight zero."""
        log_mel = self.log_mel if self.encoder_cache is None else None
        settings = self.config.noise
        options = (self.config.data.masks, settings.loss_weight > 0, settings.loss_frames == "speech")
        batch = to_batch(audio or self.silence, log_mel, self.padding, self.accelerator.device, *options)
        noise = noise_arguments(settings, batch.noise_target, batch.noise_positions, self.state.step + 1, noisy)
        with self.offload or nullcontext():
            output = self.model(
                batch.features,
                feature_lengths=batch.length_list,
                encoder_outputs=self.encoder_cache.outputs(audio or self.silence) if self.encoder_cache else None,
                decoder_input_ids=batch.decoder_input_ids,
                labels=batch.labels,
                target_positions=batch.target_positions,
                num_items_in_batch=tokens,
                loss_only=True,
                **noise,
            )
        if audio is None:
            return output.loss * 0.0
        self.watch.add(output, batch, noise.get("noise_weight", 0.0))
        return output.loss

    def clip_gradients(self) -> Any:
        """Clip, and return the norm before. DeepSpeed clips by itself, and knows the norm after its step."""
        if self.accelerator.distributed_type.name == "DEEPSPEED":
            return self.model.get_global_grad_norm()
        limit = self.config.training.max_gradient_norm
        if self.fused is not None:
            norm = gradient_norm(self.model.parameters())
            clip_in_step(self.fused, norm, limit)
            return norm
        return self.accelerator.clip_grad_norm_(self.model.parameters(), limit if limit > 0 else math.inf)

    def check_gradient(self) -> None:
        """Wait for the last step's gradient norm, and end the run on every rank if any rank's is not a finite number.

        All ranks must call it after the same step.
        """
        if self.unchecked is not None:
            norm = torch.as_tensor(self.unchecked.norm, device=self.accelerator.device)  # DeepSpeed's is a number
            self.refuse_gradient(agree(self.accelerator, gradient_norm=norm))

    def refuse_gradient(self, verdict: Verdict) -> None:
        """End the run if the ranks have agreed that the last step's gradient is none, whatever this rank's norm is."""
        unchecked, self.unchecked = self.unchecked, None
        if verdict.finite_gradient:
            return
        step, norm, audio = unchecked or (self.state.step, math.nan, None)
        self.refuse(step, "gradient", norm, None if math.isfinite(float(norm)) else audio)

    def find_data(self, group: BatchGroup, verdict: Verdict | None = None) -> tuple[BatchGroup, Targets]:
        """The next group with targets on any rank, and their numbers on all; a new epoch where all have run out.

        Rows that groups without targets skipped are counted with the group that is found.
        """
        fresh_epochs, rows = 0, 0
        skipped: list[Skipped] = []
        while True:
            if verdict is None:
                ready, noisy = group.target_tokens, group.noisy_tokens
                verdict = agree(self.accelerator, next_tokens=ready, next_noisy=noisy, exhausted=group.exhausted)
            rows, skipped = rows + group.rows, skipped + group.skipped
            if verdict.next_tokens:
                return replace(group, rows=rows, skipped=skipped), verdict.next_targets
            if verdict.exhausted:
                fresh_epochs += 1
                if fresh_epochs > 1:
                    self.journal.quarantine(skipped)
                    described = ", ".join(source.config.described for source in self.batches.sources)
                    first = f"; the first is {skipped[0].id}: {skipped[0].reason}" if skipped else ""
                    raise DataError(f"{described}: not one utterance can be trained on{first}")
                self.batches.next_epoch()
            group, verdict = self.batches.next_group(self.config.training.accumulation), None

    def refuse(self, step: int, what: str, value: Any, audio: AudioBatch | None) -> None:
        """End the run on every rank, this rank's batch written down if it is to blame; nothing is saved."""
        path = self.journal.folder / "non_finite_loss.jsonl"
        if audio is not None:
            rank = self.accelerator.process_index
            append(path, {"step": step, "rank": rank, what: str(float(value)), "ids": audio.ids})
        self.accelerator.wait_for_everyone()
        raise NonFiniteLoss(
            f"step {step}: the {what} is not a finite number; the step is not part of any checkpoint. The batch's ids "
            f"are in {path}; --resume goes on from the last checkpoint"
        )

    def check_quarantine(self, data_state: dict[str, Any]) -> None:
        """Stop, with everything saved, where too many rows are broken."""
        share, state = self.config.data.max_skipped_share, self.state
        if state.broken > share * max(state.rows, MIN_ROWS_TO_JUDGE):
            self.save_checkpoint(data_state)
            raise DataError(
                f"{state.broken} of {state.rows} rows cannot be used (data.max_skipped_share is {share:g}); "
                f"{self.journal.folder / 'quarantine.jsonl'} names each with its reason"
            )

    def log_step(self, verdict: Verdict) -> None:
        if self.state.step % self.config.logging.every_steps == 0 or self.state.step == 1:
            self.check_gradient()
            steps, values = self.meter.steps, self.meter.read()
            if self.config.noise.loss_weight:
                values |= self.watch.read_losses(values["loss"], max(steps, 1) * self.parts)
            rates = logged_learning_rates(self.optimizer)
            values |= {**rates, "epoch": self.batches.epoch}
            self.journal.write(self.state.step, "train", values)
            rate = rates["learning_rate"]
            shown = {"loss": values["loss"], "rate": rate, "utterances/s": values["utterances_per_second"]}
            self.journal.show(self.state.step, shown)
            self.watch.report(self.journal, self.state.step, self.config.noise.loss_weight > 0)

    def evaluate_if_due(self, step: int) -> bool:
        """Evaluate where the config says so and it was not done; true if a stop was asked for meanwhile."""
        due = step > 0 and (step % self.config.evaluation.every_steps == 0 or step == self.config.training.steps)
        if self.evaluator is None or not due or self.state.evaluated_step == step:
            return False
        self.check_gradient()
        state, budget = self.state, self.config.evaluation.budget
        rows = state.evaluation_rows if state.evaluation_budget in (None, budget) else None
        try:
            evaluation = self.evaluator.run(self.model, self.stop, rows)
        except Interrupted:
            return True
        state.evaluated_step = step
        if self.config.evaluation.max_seconds is not None:
            state.evaluation_rows, state.evaluation_budget = evaluation.rows, budget
        self.keep_if_best(evaluation)
        return False

    def keep_if_best(self, evaluation: Evaluation) -> None:
        config, rates, step = self.config.evaluation, evaluation.rates, self.state.step
        self.journal.quarantine(Skipped(row["id"], row["reason"]) for row in evaluation.skipped)
        if evaluation.repeated:
            self.journal.say(f"data.validation: {evaluation.repeated} rows bear an id that others bear: counted once")
        self.journal.write(step, "validation", evaluation.metrics())
        self.journal.texts(step, evaluation.samples(config.samples))
        better = note_evaluation(self.state, evaluation, config)
        self.journal.say(
            f"step {step}: word error rate {rates.word_error_rate:.2%}, character error rate "
            f"{rates.character_error_rate:.2%} of {rates.utterances} utterances{', the best so far' if better else ''}"
        )
        if better:
            save_pretrained(self.accelerator, self.model, self.processor, self.journal.folder / "best")
        if out_of_patience(self.state, config):
            self.journal.say(describe_patience(self.state, config))

    def save_checkpoint(self, data_state: dict[str, Any]) -> None:
        self.check_gradient()
        self.state.processes = self.accelerator.num_processes
        path = self.checkpoints.save(self.state, data_state)
        self.journal.say(f"step {self.state.step}: saved {path}")
