"""A run from its config to its summary: checks first, then everything built, trained and written."""

from pathlib import Path
from typing import Any

from data.labels import LabelEncoder
from data.loader import TrainingBatches
from data.sources import Source

from . import library_output
from .augmentation_check import check_augmentation
from .checkpoints import BLUEPRINT, Checkpoints, RunState, read_state, save_blueprint, save_pretrained
from .config import RunConfig
from .config_file import ConfigError
from .engine import bare_model, build_accelerator, check_engine, describe_engine
from .evaluation import Evaluator, check_evaluation, check_positions
from .improvement import describe_patience, out_of_patience
from .journal import Journal
from .languages import check_language, label_encoder
from .optimizer import build_optimizer, check_optimizer
from .parameter_table import parameter_table
from .run_folder import changed_settings, check_output_dir, write_config, write_summary
from .stopping import StopRequest


def train(config: RunConfig, resume: bool = False) -> dict[str, Any]:
    """Train as the config says; returns the summary.

    Args:
        resume: go on from the latest checkpoint in ``output_dir``, or begin where there is none yet.

    Raises:
        ConfigError, DataError, CheckpointError: for what the user can put right; nothing was written then.
        NonFiniteLoss: if training diverged.
    """
    with StopRequest(listening=False) as stop:
        check_engine(config)
        check_optimizer(config)
        check_language(config)
        checkpoint = check_output_dir(config, resume)
        changes = changed_settings(config) if resume else []
        sources = training_sources(config)
        validation = Source(config.data.validation, "data.validation") if config.data.validation else None
        for opened in filter(None, (*sources, validation)):
            opened.check_columns()
        if validation is not None:
            check_evaluation(config, validation)
        check_augmentation(config.data)
        from .model import build_model  # seconds to import

        model, processor = build_model(config)
        if validation is not None:
            check_positions(config.evaluation, model)
        labels = label_encoder(config, model, processor)
        accelerator = build_accelerator(config)
        trainer = assemble(config, accelerator, model, processor, labels, sources, validation, checkpoint, stop)
        if out_of_patience(trainer.state, config.evaluation):
            trainer.journal.say(f"finished already: {describe_patience(trainer.state, config.evaluation)}")
        elif trainer.state.step >= config.training.steps:
            trainer.journal.say(f"finished already at step {trainer.state.step}; raise training.steps to go on")
        stop.listen()
        for change in changes:
            trainer.journal.say(f"changed since the run began: {change}")
        try:
            finished = trainer.train()
            if finished:
                save_pretrained(accelerator, trainer.model, processor, Path(config.output_dir) / "final")
        finally:
            trainer.batches.close()
            trainer.journal.close()
        summary: dict[str, Any] = {}
        if accelerator.is_main_process:
            from modeling.strategies import parameters_by_part

            summary = write_summary(config, trainer.state, describe_engine(accelerator), parameters_by_part(model))
        if not finished:
            trainer.journal.say(f"stopped at step {trainer.state.step}; go on with --resume")
        accelerator.wait_for_everyone()  # no rank takes its end of the connections away while another still uses them
        accelerator.end_training()
        return summary


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


def prepare(config: RunConfig, accelerator: Any, model: Any) -> tuple[Any, Any]:
    """The model and its optimizer, wrapped by the engine that the config asks for.

    Raises:
        ConfigError: if the optimizer cannot be had, or another engine was built.
    """
    optimizer = build_optimizer(model, config, accelerator.device)
    model, optimizer = accelerator.prepare(model, optimizer)
    check_prepared(config, accelerator, model)
    return model, optimizer


def assemble(
    config: RunConfig,
    accelerator: Any,
    model: Any,
    processor: Any,
    labels: LabelEncoder,
    sources: list[Source],
    validation: Source | None,
    checkpoint: Path | None,
    stop: StopRequest,
) -> Any:
    """Everything a run needs, prepared for the engine and put back to where the checkpoint was."""
    import torch

    from modeling.strategies import parameters_by_part

    from .loop import Trainer

    state = read_state(checkpoint) if checkpoint else RunState()
    if checkpoint and config.engine.zero_stage and state.processes != accelerator.num_processes:
        raise ConfigError(
            f"{checkpoint} was written by {state.processes} processes, and ZeRO's shards fit no other number; there "
            f"are {accelerator.num_processes} now"
        )
    folder = Path(config.output_dir)
    training = config.training
    model, optimizer = prepare(config, accelerator, model)
    torch.manual_seed(training.seed + accelerator.process_index)
    checkpoints = Checkpoints(folder, config.checkpoints, accelerator, model)
    if checkpoint:
        check_base(model, folder / BLUEPRINT)
        state = checkpoints.load(checkpoint)
    batches = training_batches(config, accelerator, labels, sources, state.data)
    if accelerator.is_main_process and (checkpoint is None or state.step < training.steps):
        # Not sooner: whatever refuses the config must leave the folder as it was.
        write_config(config)
        save_blueprint(model, processor, folder / BLUEPRINT)
    accelerator.wait_for_everyone()
    library_output.keep_in(folder, accelerator.process_index)
    journal = Journal(
        folder,
        is_main=accelerator.is_main_process,
        rank=accelerator.process_index,
        total_steps=training.steps,
        from_step=state.step,
        record_batches=config.logging.record_batches,
    )
    evaluator = build_evaluator(config, accelerator, processor, validation) if validation else None
    begun = f"from {checkpoint}, the run's own engine files (pickles)" if checkpoint else "from the beginning"
    journal.say(f"{describe_engine(accelerator)}; {begun}")
    journal.say(parameter_table(parameters_by_part(bare_model(model))))
    if batches.lanes % accelerator.num_processes:
        journal.say(f"{batches.lanes} data lanes for {accelerator.num_processes} processes: some will wait for others")
    return Trainer(
        config, accelerator, model, optimizer, processor, batches, evaluator, checkpoints, journal, state, stop
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


def check_prepared(config: RunConfig, accelerator: Any, model: Any) -> None:
    """The engine that runs must be the one that was asked for; libraries have swapped it without a word."""
    stage = model.zero_optimization_stage() if type(model).__name__ == "DeepSpeedEngine" else 0
    if stage != config.engine.zero_stage:
        raise ConfigError(
            f"engine.zero_stage is {config.engine.zero_stage}, but {type(model).__name__} with stage {stage} was built"
        )
