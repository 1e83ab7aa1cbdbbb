"""A run from its config to its summary: checks first, then everything built, trained and written."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.batches.labels import LabelEncoder
from data.batches.loader import TrainingBatches
from data.sources.source import Source

from . import library_output
from .config.augmentation_check import check_augmentation
from .config.reading import ConfigError
from .config.run import RunConfig
from .engine.accelerator import bare_model, build_accelerator, check_engine, describe_engine, end_engine, prepare
from .engine.optimizer import check_optimizer
from .engine.stopping import StopRequest
from .evaluation.decoding_limits import take_out_ignored
from .evaluation.evaluator import Evaluator, check_evaluation, check_positions
from .evaluation.validation import Validation
from .model.languages import check_language, label_encoder
from .model.parameter_table import parameter_table
from .record.best import describe_patience, out_of_patience, recall_best
from .record.checkpoints import BLUEPRINT, Checkpoints, RunState, read_state, save_blueprint
from .record.disk import files_of_a_run, full_disk_told
from .record.folder import changed_settings, check_output_dir, write_config, write_summary
from .record.journal import Journal
from .record.lock import holds_something
from .record.resuming import checkpoints_to_resume, whole_checkpoint
from .record.saving import RunLock, save_together


def train(config: RunConfig, resume: bool = False) -> dict[str, Any]:
    """Train as the config says; returns the summary.

    Args:
        resume: go on from the latest checkpoint in ``output_dir``, or begin where there is none yet.

    Raises:
        ConfigError, DataError, CheckpointError: for what the user can put right; nothing was written then.
        NonFiniteLoss: if training diverged.
        OutOfMemory: told where, and with what takes less.
    """
    with StopRequest(listening=False) as stop:
        check_engine(config)
        check_optimizer(config)
        check_language(config)
        start = look_at_folder(config, resume)
        sources = training_sources(config)
        validation = Source(config.data.validation, "data.validation") if config.data.validation else None
        for opened in filter(None, (*sources, validation)):
            opened.check_columns()
        if validation is not None:
            check_evaluation(config, validation)
        check_augmentation(config.data)
        from .model.building import build_model  # seconds to import
        from .out_of_memory import MemoryTold

        model, processor = build_model(config)
        if validation is not None:
            check_positions(config.evaluation, model)
        labels = label_encoder(config, model, processor)
        accelerator = build_accelerator(config)
        folder = Path(config.output_dir)
        with full_disk_told(folder), RunLock(folder, start.was_empty) as lock:
            with MemoryTold(config, accelerator):
                trainer = assemble(
                    config, accelerator, model, processor, labels, sources, validation, start, stop, lock
                )
            return train_to_the_end(trainer, model)


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
    from .out_of_memory import MemoryTold

    trainer.stop.listen()
    try:
        with MemoryTold(config, accelerator, state):
            finished = trainer.train()
    finally:
        trainer.batches.close()
        trainer.journal.close()
    summary: dict[str, Any] = {}
    if accelerator.is_main_process:
        from modeling.strategies import parameters_by_part

        summary = write_summary(config, trainer.state, describe_engine(accelerator), parameters_by_part(model))
    if not finished:
        trainer.journal.say(f"stopped at step {trainer.state.step}; go on with --resume")
    end_engine(accelerator)
    return summary


@dataclass(frozen=True)
class Start:
    """What the output folder held before the run began to write.

    Attributes:
        was_empty: there was no run in it.
        checkpoints: those to go on from, newest first.
        lines: what the user is told of checkpoints that cannot be used.
        changes: what the user is told of settings that have changed since the run began.
    """

    was_empty: bool
    checkpoints: list[Path] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)


def look_at_folder(config: RunConfig, resume: bool) -> Start:
    """Raises: ConfigError, CheckpointError: if the run can neither begin nor go on there; nothing is written."""
    check_output_dir(config, resume)
    folder = Path(config.output_dir)
    if not holds_something(folder):
        return Start(True, lines=[f"--resume: there is no run in {folder} yet; it begins at step 0"] if resume else [])
    changes = changed_settings(config)
    return Start(False, *checkpoints_to_resume(folder), changes)


def training_sources(config: RunConfig) -> list[Source]:
    named = zip(config.data.training_sources, config.data.train_names, strict=True)
    return [Source(source, name) for source, name in named]


def training_batches(
    config: RunConfig, accelerator: Any, labels: LabelEncoder, sources: list[Source], state: dict[str, Any]
) -> TrainingBatches:
    """This rank's batches, from where ``state`` says."""
    training = config.training
    return TrainingBatches(
        sources,
        config.data,
        labels,
        training.batch_size,
        training.seed,
        accelerator.process_index,
        accelerator.num_processes,
        state,
        training.batch_seconds,
        config.performance.pin_memory and accelerator.device.type == "cuda",
    )


def assemble(
    config: RunConfig,
    accelerator: Any,
    model: Any,
    processor: Any,
    labels: LabelEncoder,
    sources: list[Source],
    validation: Source | None,
    start: Start,
    stop: StopRequest,
    lock: RunLock,
) -> Any:
    """Everything a run needs, prepared for the engine and put back to where the newest whole checkpoint was."""
    import torch

    from modeling.strategies import parameters_by_part

    from .loop import Trainer

    folder, training = Path(config.output_dir), config.training
    checkpoint, damaged = whole_checkpoint(accelerator, folder, start.checkpoints)
    state = read_state(checkpoint) if checkpoint else RunState()
    if checkpoint and config.engine.zero_stage and state.processes != accelerator.num_processes:
        raise ConfigError(
            f"{checkpoint} was written by {state.processes} processes, and ZeRO's shards fit no other number; there "
            f"are {accelerator.num_processes} now"
        )
    expected = files_of_a_run(config, model)
    model, optimizer = prepare(config, accelerator, model)
    torch.manual_seed(training.seed + accelerator.process_index)
    np.random.seed((training.seed + accelerator.process_index) % 2**32)  # Whisper's apply_spec_augment draws from it
    checkpoints = Checkpoints(folder, config.checkpoints, accelerator, model, expected)
    lines = [*start.lines, *damaged, *filter(None, [take_out_ignored(bare_model(model))])]
    if checkpoint:
        check_base(model, folder / BLUEPRINT)
        state = checkpoints.load(checkpoint)
        lines += checkpoints.not_restored(checkpoint)
    batches = training_batches(config, accelerator, labels, sources, state.data)
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
    if validation is not None:
        evaluator = build_evaluator(config, accelerator, processor, validation)
        evaluations = Validation(config, evaluator, model, processor, journal, state, stop)
    begun = f"from {checkpoint}, the run's own engine files (pickles)" if checkpoint else "from the beginning"
    for line in lines:
        journal.say(line)
    journal.say(f"{describe_engine(accelerator)}; {begun}")
    for change in start.changes:
        journal.say(f"changed since the run began: {change}")
    if start.changes:
        journal.write(state.step, "resumed", {"changed": start.changes})
    if lost:
        journal.say(lost)
    journal.say(parameter_table(parameters_by_part(bare_model(model))))
    if batches.lanes % accelerator.num_processes:
        journal.say(f"{batches.lanes} data lanes for {accelerator.num_processes} processes: some will wait for others")
    return Trainer(
        config, accelerator, model, optimizer, processor, batches, evaluations, checkpoints, journal, state, stop
    )


def build_evaluator(
    config: RunConfig, accelerator: Any, processor: Any, source: Source, in_training: bool = True
) -> Evaluator:
    return Evaluator(
        accelerator,
        processor,
        source,
        language=source.config.language or config.data.language,
        task=config.data.task,
        config=config.evaluation,
        in_training=in_training,
    )


def check_base(model: Any, blueprint: Path) -> None:
    """Refuse to go on with an adapter whose base is not what it was: its checkpoints hold no weight of it."""
    from modeling.adapters import read_base

    before, now = read_base(blueprint), getattr(bare_model(model), "adapter_base", None)
    if before is not None and now is not None and before.fingerprint != now.fingerprint:
        raise ConfigError(
            f"model.checkpoint is {now.checkpoint!r}, whose weights are not those that the run was begun with: the "
            "adapter fits those alone"
        )
