"""A run from its config to its summary: checks first, then everything built, trained and written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data.batches.labels import LabelEncoder
from data.batches.lanes import Batching
from data.batches.loader import TrainingBatches
from data.batches.mixture import mixing_rows, mixture_lines
from data.sources.source import Source

from . import library_output
from .checks import Inputs, counted_rows, stop_at_first
from .config.microbatches import counted_processes, settled, share_of
from .config.reading import ConfigError
from .config.run import RunConfig
from .engine.accelerator import (
    bare_model,
    build_accelerator,
    describe_engine,
    end_engine,
    gather_objects,
    launched_processes,
    prepare,
    set_microbatches,
)
from .engine.moving_average import moving_average
from .engine.stopping import StopRequest
from .evaluation.decoding_limits import take_out_ignored
from .evaluation.evaluator import Evaluator, build_evaluator
from .evaluation.validation import Validation
from .model.languages import label_encoder
from .model.parameter_table import parameter_table
from .pages.formats import counted
from .record.best import describe_patience, out_of_patience, recall_best
from .record.checkpoints import BLUEPRINT, Checkpoints, RunState, read_state, save_blueprint
from .record.disk import explain_full_disk, files_of_a_run
from .record.folder import ANEW, write_config, write_summary
from .record.journal import Journal
from .record.resuming import check_base, found_before, value_before, whole_checkpoint
from .record.saving import RunLock, save_together


def train(config: RunConfig, resume: bool = False) -> dict[str, Any]:
    """Train as the config says; returns the summary.

    Args:
        resume: go on from the latest checkpoint in ``output_dir``, or begin where there is none yet.

    Raises:
        ConfigError, DataError, CheckpointError: for what the user can put right; nothing was written then.
        NonFiniteLoss: if training diverged.
        OutOfMemory: the message says where, and which settings take less.
    """
    searches = config.training.batch_size == "auto"
    before = found_before(config, launched_processes()) if searches and resume else None
    config = settled(config, launched_processes(), before)
    with StopRequest(listening=False) as stop:
        from .memory.finding import find_microbatch  # seconds to import, as are models
        from .memory.out_of_memory import ExplainOutOfMemory
        from .model.building import build_model

        inputs = Inputs(config, build_model, resume, fetches=True)
        findings = stop_at_first(inputs, without=("data.test", "decoding"))
        model, processor = inputs.opened
        labels = label_encoder(config, model, processor)
        accelerator = build_accelerator(config)
        for remark in filter(None, (finding.remark for finding in findings)):
            accelerator.print(f"note: {remark}")
        folder = Path(config.output_dir)
        with explain_full_disk(folder), RunLock(folder, inputs.start.was_empty) as lock:
            with ExplainOutOfMemory(config, accelerator, places=places()):
                if searches and before is None:
                    inputs.config = find_microbatch(config, accelerator, model)
                    set_microbatches(accelerator, inputs.config)
                inputs.config = with_products_chosen(inputs.config, accelerator, model, resume)
                inputs.config = with_rows_counted(inputs, accelerator)
                trainer = assemble(inputs, accelerator, labels, stop, lock)
            trainer.halves = searches
            return train_to_the_end(trainer, model)


def with_products_chosen(config: RunConfig, accelerator: Any, model: Any, resume: bool) -> RunConfig:
    """The config with a value for ``performance.onednn`` on a CPU in float32; without one, measured when a run begins.

    A resumed run keeps it: measured again, it could come out otherwise, and figures would differ by rounding.
    """
    chosen = config.performance.onednn
    if chosen is None and accelerator.device.type == "cpu" and accelerator.mixed_precision == "no":
        from modeling.network.linear import choose_onednn, onednn_is_faster

        before = value_before(config, "performance", "onednn") if resume else None
        measured = before if isinstance(before, bool) else onednn_is_faster()
        chosen = gather_objects(accelerator, measured)[0]  # what is written is so of all ranks
        choose_onednn(model, chosen)
    return config.model_copy(update={"performance": config.performance.model_copy(update={"onednn": chosen})})


def with_rows_counted(inputs: Inputs, accelerator: Any) -> RunConfig:
    """The config with ``data.mixing_rows``, if there is a ``data.mixing_temperature``.

    A resumed run keeps what it counted when it began: with other shares in the middle of it, the window that is being
    read would be another.
    """
    config, data = inputs.config, inputs.config.data
    if data.mixing_temperature is None:
        return config
    counted = counted_rows(inputs)
    sources = config.model_dump(mode="json")["data"]["train"]
    before = value_before(config, "data", "mixing_rows") if inputs.resume else None
    if before and value_before(config, "data", "train") == sources:
        kept = [now or then for now, then in zip(data.mixing_rows or [None] * len(before), before, strict=True)]
        data = data.model_copy(update={"mixing_rows": tuple(kept)})
    rows = gather_objects(accelerator, mixing_rows(data, counted))[0]
    return config.model_copy(update={"data": data.model_copy(update={"mixing_rows": rows})})


def mixture_told(inputs: Inputs) -> list[str]:
    """The shares of a mixture, and sources that have not the rows by which they are weighed."""
    data = inputs.config.data
    if not data.is_mixture:
        return []
    lines = mixture_lines(data, [None] * len(data.training_sources))
    for number, (now, then) in enumerate(zip(counted_rows(inputs), data.mixing_rows or (), strict=False)):
        if now is not None and now != then:
            lines.append(
                f"{data.train_names[number]} has {now:,} rows and is drawn as if it had {then:,}, as the config says "
                "or the run counted when it began; data.mixing_rows changes that"
            )
    return lines


def train_to_the_end(trainer: Any, model: Any) -> dict[str, Any]:
    """Run a trainer that is ready; returns the summary, on the main process.

    Args:
        model: as it was before the engine prepared it: under ZeRO-3 its parameters can be counted no other way.
    """
    config, accelerator, state = trainer.config, trainer.accelerator, trainer.state
    if out_of_patience(state, config.evaluation):
        trainer.journal.say(f"finished already: {describe_patience(state, config.evaluation)}")
    elif state.step >= config.training.steps:
        trainer.journal.say(f"finished already at step {state.step}; raise training.steps to go on")
    from .memory.out_of_memory import ExplainOutOfMemory

    try:
        with ExplainOutOfMemory(config, accelerator, state, places()):
            finished = trainer.stop.heeded_by(trainer.train)
    finally:
        trainer.batches.close()
        trainer.journal.close()
    summary: dict[str, Any] = {}
    if accelerator.is_main_process:
        from modeling.parameters import parameters_by_part

        summary = write_summary(config, trainer.state, describe_engine(accelerator), parameters_by_part(model))
    if not finished:
        trainer.journal.say(f"stopped at step {trainer.state.step}; go on with --resume")
    end_engine(accelerator)
    return summary


def places() -> dict[Callable[..., Any], str]:
    """Functions of a run, by whose frames :class:`ExplainOutOfMemory` sees where memory ran out."""
    from .loop import Trainer
    from .memory.out_of_memory import EVALUATION, PREPARING, SAVING, STEP, TRYING
    from .memory.trial import try_step
    from .step.gradients import Gradients
    from .step.loss import TrainingLoss
    from .step.teacher import open_teacher

    return {
        prepare: PREPARING,
        open_teacher: PREPARING,
        try_step: TRYING,
        Trainer.train_step: STEP,
        TrainingLoss.__call__: "forward pass",
        Gradients.clip: "clipping of gradients",
        Trainer.save_checkpoint: SAVING,
        Trainer.save_final: SAVING,
        Validation.keep_if_best: SAVING,
        Evaluator.decode: EVALUATION,
    }


def training_batches(
    config: RunConfig,
    accelerator: Any,
    labels: LabelEncoder,
    sources: list[Source],
    state: dict[str, Any],
    *,
    hears_second: bool = True,
) -> TrainingBatches:
    """This rank's batches, from where ``state`` says; with second recordings where the model hears them."""
    training, size = config.training, config.training.microbatch
    if training.step_utterances is not None:  # which are split into microbatches later
        size = share_of(training.step_utterances, accelerator.num_processes)
    seconds = training.batch_seconds
    batching = Batching(
        sources,
        config.data,
        labels,
        size,
        training.seed,
        batch_seconds=seconds,
        hears_second=hears_second,
        keeps_clean=config.hears_recordings_clean,
    )
    pinned = config.performance.pin_memory is not False and accelerator.device.type == "cuda"
    return TrainingBatches(
        batching,
        accelerator.process_index,
        accelerator.num_processes,
        state,
        pin_memory=pinned,
        in_processes=accelerator.device.type != "cpu",
    )


def assemble(inputs: Inputs, accelerator: Any, labels: LabelEncoder, stop: StopRequest, lock: RunLock) -> Any:
    """Everything a run needs, prepared for the engine and put back to where the newest whole checkpoint was.

    Returns:
        The :class:`trainer.loop.Trainer`.
    """
    import torch

    from modeling.decoding import hears_second
    from modeling.parameters import parameters_by_part

    from .loop import Trainer
    from .step.teacher import open_teacher

    config, start, (model, processor) = inputs.config, inputs.start, inputs.opened
    folder, training = Path(config.output_dir), config.training
    checkpoint, damaged = whole_checkpoint(accelerator, folder, start.checkpoints)
    state = read_state(checkpoint) if checkpoint else RunState()
    if checkpoint and config.engine.zero_stage and state.processes != accelerator.num_processes:
        raise ConfigError(
            f"{checkpoint} was written by {counted_processes(state.processes)}, and ZeRO's shards fit no other number, "
            f"such as the {accelerator.num_processes} of now"
        )
    expected = files_of_a_run(config, model)
    teacher = open_teacher(config, accelerator, model)  # of the model before training, whole on every rank
    model, optimizer = prepare(config, accelerator, model)
    torch.manual_seed(training.seed + accelerator.process_index)
    np.random.seed((training.seed + accelerator.process_index) % 2**32)  # Whisper's apply_spec_augment draws from it
    average = moving_average(config, accelerator, model)
    checkpoints = Checkpoints(folder, config.checkpoints, accelerator, model, expected, average=average)
    lines = [*start.lines, *damaged, *filter(None, [take_out_ignored(bare_model(model))])]
    if checkpoint:
        check_base(model, folder / BLUEPRINT)
        state = checkpoints.load(checkpoint)
        lines += checkpoints.not_restored(checkpoint)
    sources, heard = inputs.training_sources, hears_second(bare_model(model))
    batches = training_batches(config, accelerator, labels, sources, state.data, hears_second=heard)
    # Not sooner: whatever refuses the config must leave the folder as it was.
    lock.take(accelerator)
    lost = recall_best(accelerator, state, config)
    if checkpoint is None or state.step < training.steps or lost:
        # The config first: without it a folder is taken for something else than a run.
        save_together(accelerator, folder / "config.yaml", lambda: write_config(config), main_alone=True)
        save_blueprint(accelerator, model, processor, folder / BLUEPRINT)
    accelerator.wait_for_everyone()
    library_output.keep_in(folder, accelerator.process_index)
    journal = Journal(
        folder,
        is_main=accelerator.is_main_process,
        rank=accelerator.process_index,
        total_steps=training.steps,
        from_step=state.step,
        record_batches=config.logging.record_batches,
        evaluated=state.evaluated_step == state.step,
    )
    evaluations: Validation | None = None
    if inputs.validation is not None:
        evaluations = Validation(
            config=config,
            evaluator=build_evaluator(config, accelerator, processor, inputs.validation),
            model=model,
            processor=processor,
            journal=journal,
            state=state,
            stop=stop,
            average=average,
        )
    begun = f"from {checkpoint}, the run's own engine files (pickles)" if checkpoint else "from the beginning"
    changes = (f"changed since the run began: {change}" for change in start.changes)
    lines += [f"{describe_engine(accelerator)}; {begun}", *changes]
    if checkpoint and training.step_utterances is not None and state.processes != accelerator.num_processes:
        before, now = (counted_processes(number) for number in (state.processes, accelerator.num_processes))
        lines += [f"a step was shared out over {before} before and is over {now} now: {ANEW}"]
    lines += [*filter(None, [lost]), *mixture_told(inputs), parameter_table(parameters_by_part(bare_model(model)))]
    if batches.lanes % accelerator.num_processes:
        lanes = counted(batches.lanes, "data lane")
        lines += [f"{lanes} for {accelerator.num_processes} processes: some will wait for others"]
    for line in lines:
        journal.say(line)
    if start.changes:
        journal.write(state.step, "resumed", {"changed": start.changes})
    return Trainer(
        config=config,
        accelerator=accelerator,
        model=model,
        optimizer=optimizer,
        processor=processor,
        batches=batches,
        validation=evaluations,
        checkpoints=checkpoints,
        journal=journal,
        state=state,
        stop=stop,
        teacher=teacher,
        average=average,
    )
