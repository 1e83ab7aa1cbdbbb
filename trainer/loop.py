"""The training loop. A step is one optimizer update; what the ranks must agree on goes into one all-reduce before each
backward pass."""

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from data.batches.features import LogMel
from data.batches.loader import BatchGroup, TrainingBatches
from data.errors import DataError
from data.utterance import SAMPLING_RATE, AudioBatch, Skipped
from modeling.decoding import encoder_padding

from .config.run import RunConfig
from .engine.accelerator import bare_model
from .engine.optimizer import logged_learning_rates, set_learning_rates
from .engine.stopping import StopRequest
from .evaluation.decoding_limits import DecodingLimits
from .evaluation.validation import Validation
from .record.attention_watch import AttentionWatch
from .record.checkpoints import Checkpoints, RunState, save_pretrained
from .record.journal import Journal
from .record.meter import Meter
from .record.patience import out_of_patience
from .step.agreement import Targets, Verdict, agree
from .step.batch import silent_batch, to_batch
from .step.clipping import clip_in_step, fused_optimizer, gradient_norm
from .step.encoder_cache import open_encoder_cache
from .step.first_step import FirstStep
from .step.noise_target import noise_arguments
from .step.non_finite import FiniteCheck
from .step.offload import OffloadedActivations

MIN_ROWS_TO_JUDGE = 100  # the share of broken rows is taken of at least so many


@dataclass
class Trainer:
    """Everything a run needs, prepared for the engine; :meth:`train` runs it."""

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

    def __post_init__(self) -> None:
        bare = bare_model(self.model)
        self.padding = encoder_padding(bare)
        self.log_mel = LogMel(bare.config.num_mel_bins, self.accelerator.device)
        self.silence = silent_batch([bare.config.decoder_start_token_id])
        self.parts = self.accelerator.num_processes * self.config.training.accumulation  # the engine divides by it
        self.meter = Meter()
        self.limits = DecodingLimits(self.accelerator, self.model, self.processor, self.state, self.journal)
        self.watch = AttentionWatch(self.accelerator, self.model)
        self.fused = fused_optimizer(self.accelerator, self.optimizer)
        self.finite = FiniteCheck(self.accelerator, Path(self.config.output_dir))
        self.failure: Exception | None = None  # why this rank has no more data
        self.trained: dict[str, Any] | None = None  # where the data stood after the last step
        self.saved_step = self.state.step
        self.final_step: int | None = None  # whose weights final/ holds, as far as this start wrote it
        self.offload = OffloadedActivations(bare.parameters()) if self.config.performance.offload_activations else None
        self.encoder_cache = open_encoder_cache(self.config, self.accelerator, bare, self.log_mel, self.padding)

    def train(self) -> bool:
        """Train to the last step, or until a stop is asked for; the state is then saved. False if it was stopped."""
        self.model.train()  # a checkpoint opens in evaluation mode, without dropout and gradient checkpointing
        stopped = self.begin()
        found: tuple[BatchGroup, Targets] | None = None
        if not (stopped or self.finished):
            with self.stop.nothing_to_save():
                found = self.find_data(self.next_group())
            stopped = found is None
        proof: FirstStep | None = FirstStep(bare_model(self.model))
        while found is not None and not (stopped or self.finished):
            group, targets = found
            started = time.perf_counter()
            upcoming, verdict = self.train_step(group, targets)
            seconds = time.perf_counter() - started
            if proof is not None:
                proof.check(self.accelerator)
                proof = None
            self.state.seconds += seconds
            self.meter.end_step(seconds)
            self.log_step(verdict)
            self.check_quarantine(group.state)
            self.trained = group.state
            stopped = self.end_step(group.state, verdict.stop)
            if not (stopped or self.finished):
                found = self.find_data(upcoming, verdict)
                stopped = found is None
        if self.encoder_cache is not None:
            self.journal.say(f"performance.cache_encoder: {self.encoder_cache.describe()}")
        if not stopped:
            self.save_final()
        return not stopped

    def begin(self) -> bool:
        """Evaluate what a resumed run has not evaluated yet, else one batch; true if a stop was asked for meanwhile."""
        if self.validation is None or self.validation.is_due or self.finished:
            return self.evaluate_if_due()
        return self.validation.rehearse()

    def end_step(self, data_state: dict[str, Any], stop: bool) -> bool:
        """Save what is due and only then evaluate, which may fail; true if the run is to stop.

        A checkpoint that is due only because of the evaluation, or of a stop meanwhile, is saved after it. The first
        evaluation always has one: a run that is killed after it can be resumed beside its best/.
        """
        state, config = self.state, self.config
        is_last = state.step >= config.training.steps
        is_first = self.saved_step == 0 and self.validation is not None and self.validation.is_due
        saved = stop or is_last or is_first or state.step % config.checkpoints.every_steps == 0
        if saved:
            self.save_checkpoint(data_state)
            if is_last and not stop:
                self.save_final()
        stopped = stop or self.evaluate_if_due()
        if not saved and (stopped or self.finished):
            self.save_checkpoint(data_state)
        return stopped

    def save_final(self) -> None:
        if self.final_step != self.state.step:
            save_pretrained(self.accelerator, self.model, self.processor, self.journal.folder / "final")
            self.final_step = self.state.step

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
                upcoming = self.next_group() if reached_end else BatchGroup([], True)
                verdict = agree(
                    accelerator,
                    loss=loss,
                    failed=self.failure is not None,
                    gradient_norm=self.finite.norm,
                    stop=self.stop.asked,
                    next_tokens=upcoming.target_tokens,
                    next_noisy=upcoming.noisy_tokens,
                    exhausted=upcoming.exhausted,
                    rows=group.rows if reached_end else 0,
                    broken=sum(row.broken for row in group.skipped) if reached_end else 0,
                    utterances=len(audio.ids) if audio else 0,
                    audio_seconds=float(audio.audio_lengths.sum()) / SAMPLING_RATE if audio else 0.0,
                )
                self.finite.heed(verdict, self.state.step)
                if not verdict.finite:
                    self.finite.refuse(step, "loss", loss.detach(), audio if not torch.isfinite(loss) else None)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    self.meter.gradient_norm = norm = self.clip_gradients()
                    if norm is not None and accelerator.mixed_precision != "fp16":  # whose scaling skips such a step
                        self.finite.note(step, norm, audio)
                    if self.fused is None:  # which leaves everything alone where the norm is not finite
                        self.finite.check()
                self.optimizer.step()
                self.optimizer.zero_grad()
            self.meter.add(verdict, self.parts)
            self.state.utterances += verdict.utterances
        self.state.step = step
        self.state.rows += verdict.rows
        self.state.broken += verdict.broken
        self.limits.see(group.batches)
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

    def find_data(self, group: BatchGroup, verdict: Verdict | None = None) -> tuple[BatchGroup, Targets] | None:
        """The next group with targets on any rank, and their numbers on all; a new epoch where all have run out.

        Rows that groups without targets skipped are counted with the group that is found. None, with everything saved,
        where a stop is asked for meanwhile.
        """
        fresh_epochs, rows = 0, 0
        skipped: list[Skipped] = []
        while True:
            if verdict is None:
                ready, noisy = group.target_tokens, group.noisy_tokens
                verdict = agree(
                    self.accelerator,
                    stop=self.stop.asked,
                    failed=self.failure is not None,
                    next_tokens=ready,
                    next_noisy=noisy,
                    exhausted=group.exhausted,
                )
            if verdict.failed or verdict.stop:
                if self.trained is not None and self.saved_step != self.state.step:
                    self.save_checkpoint(self.trained)
                if verdict.stop:
                    return None
                raise self.failure or DataError("another rank could not read its data; its message says why")
            rows, skipped = rows + group.rows, skipped + group.skipped
            if verdict.next_tokens:
                return replace(group, rows=rows, skipped=skipped), verdict.next_targets
            if verdict.exhausted:
                fresh_epochs += 1
                if fresh_epochs > 1:
                    self.journal.quarantine(skipped)
                    described = ", ".join(source.config.described for source in self.batches.batching.sources)
                    first = f"; the first is {skipped[0].id}: {skipped[0].reason}" if skipped else ""
                    raise DataError(f"{described}: not one utterance can be trained on{first}")
                self.batches.next_epoch()
            group, verdict = self.next_group(), None

    def next_group(self) -> BatchGroup:
        """This rank's microbatches of the next step; none where a stop is asked for before they come, nor where they
        cannot be had, and ``failure`` says why."""
        nothing = BatchGroup([], True)
        try:
            return self.stop.unless_asked(nothing, self.batches.next_group, self.config.training.accumulation)
        except (DataError, OSError, RuntimeError) as error:  # a worker that died is a RuntimeError
            self.failure = error
            return nothing

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
            self.finite.check()
            steps, values = self.meter.steps, self.meter.read()
            if self.config.noise.loss_weight:
                values |= self.watch.read_losses(values["loss"], max(steps, 1) * self.parts)
            rates = logged_learning_rates(self.optimizer)
            values |= {**rates, "epoch": self.batches.epoch}
            self.journal.write(self.state.step, "train", values)
            shown = {"loss": values["loss"], "rate": rates["learning_rate"]}
            self.journal.show(self.state.step, shown | {"utterances/s": values["utterances_per_second"]})
            self.watch.report(self.journal, self.state.step, self.config.noise.loss_weight > 0)

    def evaluate_if_due(self) -> bool:
        """Evaluate where the config says so and it was not done; true if a stop was asked for meanwhile."""
        if self.validation is None or not self.validation.is_due:
            return False
        self.finite.check()
        self.limits.lift()
        stopped = self.validation.evaluate(self.limits)
        if self.saved_step == self.state.step:
            self.checkpoints.note_evaluation(self.state)
        return stopped

    def save_checkpoint(self, data_state: dict[str, Any]) -> None:
        self.finite.check()
        self.limits.lift()
        self.state.processes = self.accelerator.num_processes
        path = self.checkpoints.save(self.state, data_state)
        self.saved_step = self.state.step
        self.journal.say(f"step {self.state.step}: saved {path}")
