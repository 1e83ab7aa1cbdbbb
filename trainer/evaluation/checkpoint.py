"""Word and character error rate of a checkpoint on a split of a config's data, alone or beside plain Whisper."""

import shutil
import sys
from pathlib import Path
from typing import Any

from data.opening import open_source
from data.sources.source import Source

from ..config.reading import ConfigError
from ..config.run import RunConfig
from ..engine.accelerator import build_accelerator, end_engine, resolve_precision
from ..record.durable import check_place
from .beside import NOTHING, Beside, write_n_best
from .evaluator import build_evaluator, check_evaluation, check_positions
from .report import BASELINE, write_evaluation
from .result import Evaluation


def run_config_of(checkpoint: str) -> Path:
    """The config of the run that a checkpoint folder such as ``runs/medium/best`` belongs to.

    Raises:
        ConfigError: if the checkpoint lies in no run's folder.
        CheckpointError: if it is no checkpoint.
    """
    path = Path(checkpoint).resolve().parent / "config.yaml"
    if not path.exists():
        from modeling.checkpoint_files import Checkpoint, check_name

        check_name(checkpoint)
        if Path(checkpoint).is_dir():
            Checkpoint(checkpoint).kind  # noqa: B018 - raises for a run's folder instead of its best/
        raise ConfigError(
            f"{checkpoint} does not lie in a run's folder, whose config says what to evaluate on: give --config FILE"
        )
    return path


def output_folder(config: RunConfig, checkpoint: str, split: str | None, output: str | None) -> Path | None:
    """The folder of the results: ``output``, or one in the run's folder; None if the checkpoint lies in no run."""
    if output is not None:
        return Path(output)
    folder = Path(checkpoint).resolve()
    if not folder.is_dir() or not (folder.parent / "config.yaml").exists():
        return None
    return folder.parent / "evaluations" / f"{folder.name}_{chosen_split(config, split)}"


def chosen_split(config: RunConfig, split: str | None) -> str:
    return split or ("test" if config.data.test else "validation")


def open_split(config: RunConfig, split: str) -> Source:
    """The source of a split, columns checked. Raises ConfigError or DataError if it cannot be evaluated on."""
    source_config = getattr(config.data, split)
    if source_config is None:
        there = [name for name in ("train", "validation", "test") if getattr(config.data, name)]
        raise ConfigError(f"the config has no data.{split} to evaluate on; it has {', '.join(there)}")
    if isinstance(source_config, tuple):
        raise ConfigError(f"data.{split} is a list of sources, mixed without end: evaluate one of them as data.test")
    source = open_source(source_config, f"data.{split}")
    source.check_columns()
    check_evaluation(config, source)
    return source


def plain_checkpoint(config: RunConfig) -> Any:
    """The unmodified Whisper that a run began from. Raises ConfigError if it began from anything else."""
    from modeling.checkpoint_files import PLAIN

    from ..model.building import starting_checkpoint

    checkpoint = starting_checkpoint(config)
    if checkpoint is None:
        raise ConfigError("--baseline plain: the config has a model.architecture, trained from nothing, no checkpoint")
    if checkpoint.kind != PLAIN:
        found = f"{checkpoint.name!r}, a {checkpoint.kind!r} checkpoint, not a {PLAIN!r} one"
        raise ConfigError(f"--baseline plain: model.checkpoint is {found}")
    return checkpoint


def evaluate_checkpoint(
    config: RunConfig,
    checkpoint: str,
    split: str | None = None,
    output: str | None = None,
    baseline: bool = False,
    *,
    beside: Beside = NOTHING,
    writes: bool = True,
) -> list[Evaluation]:
    """Evaluate on all processes; the first one writes the files and returns the result, the others nothing.

    The input is padded as the checkpoint was trained: plain Whisper gets 30 s windows.

    Args:
        baseline: also evaluate the Whisper that the run began from; its result comes second.
        beside: a language model, and n-best lists; the baseline is decoded without.
        writes: False to write no files.

    Raises:
        ConfigError, DataError, CheckpointError: for what the user can correct.
    """
    split, folder = chosen_split(config, split), output_folder(config, checkpoint, split, output) if writes else None
    if folder is not None:
        check_place(folder, "--output")
    resolve_precision(config.engine.precision)
    source = open_split(config, split)
    beside = beside.checked(source, config)
    from modeling.checkpoint_files import Checkpoint  # seconds to import

    revision = config.model.revision if checkpoint == config.model.checkpoint else None
    compared = [Checkpoint(checkpoint, revision), *([plain_checkpoint(config)] if baseline else [])]
    config = without_zero(config)
    accelerator: Any = None
    found: list[Evaluation] = []
    for one in compared:
        accelerator, evaluation = decode_split(config, accelerator, one, source, beside if not found else NOTHING)
        found.append(evaluation)
        if accelerator.is_main_process and len(found) == 1:
            for remark in source.remarks:
                print(f"note: {source.name}.folder: {remark}", file=sys.stderr)
        if accelerator.is_main_process and folder is not None:
            if len(found) == 1:
                shutil.rmtree(folder / BASELINE, ignore_errors=True)  # an earlier one may be of other data
            write_evaluation(folder / BASELINE if len(found) > 1 else folder, one.name, split, evaluation)
            if len(found) == 1:
                write_n_best(folder, evaluation)
    end_engine(accelerator)
    return found if accelerator.is_main_process else []


def without_zero(config: RunConfig) -> RunConfig:
    """The config for decoding alone: nothing is trained, so each process holds a whole model."""
    engine = config.engine.model_copy(update={"zero_stage": 0, "cpu_offload": "none"})
    return config.model_copy(update={"engine": engine})


def decode_split(
    config: RunConfig, accelerator: Any, checkpoint: Any, source: Source, beside: Beside = NOTHING
) -> tuple[Any, Evaluation]:
    """Evaluate one checkpoint; without an accelerator one is built, after the checkpoint was opened."""
    from modeling.checkpoint_parts import check_parts
    from modeling.checkpoints import open_model

    from ..memory.out_of_memory import ExplainOutOfMemory, evaluation_of
    from ..model.languages import check_known
    from .decoding_limits import evaluation_remarks

    name, model, processor = checkpoint.name, open_model(checkpoint), checkpoint.processor
    check_parts(name, model, processor)
    check_known({"data.language": config.data.language, f"{source.name}.language": source.config.language}, model)
    check_positions(config.evaluation, model)
    accelerator = accelerator or build_accelerator(config)
    model.to(accelerator.device)
    evaluator = build_evaluator(config, accelerator, processor, source, in_training=False)
    beside.prepare(evaluator)
    with ExplainOutOfMemory(evaluation_of(config, name, model), accelerator):
        evaluation = beside.noted(evaluator.run(model), evaluator)
    if accelerator.is_main_process:
        for remark in evaluation_remarks(evaluation, model, processor.tokenizer):
            print(f"note: {name}: {remark}", file=sys.stderr)
    return accelerator, evaluation
