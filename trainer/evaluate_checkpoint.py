"""Word and character error rate of a checkpoint on a split of a config's data."""

import json
from dataclasses import asdict
from pathlib import Path

from data.sources import Source

from .config import RunConfig
from .config_file import ConfigError
from .engine import build_accelerator
from .evaluation import Evaluation
from .journal import append


def run_config_of(checkpoint: str) -> Path:
    """The config of the run that a checkpoint folder such as ``runs/medium/best`` belongs to.

    Raises:
        ConfigError: if there is none beside it.
        CheckpointError: if that is because it is no checkpoint.
    """
    path = Path(checkpoint).resolve().parent / "config.yaml"
    if not path.exists():
        from modeling.checkpoints import check_name, checkpoint_kind

        check_name(checkpoint)
        if Path(checkpoint).is_dir():
            checkpoint_kind(checkpoint)  # a run's folder instead of its best/ is told so
        raise ConfigError(f"--config is missing, and {checkpoint} does not lie in a run's folder")
    return path


def evaluate_checkpoint(
    config: RunConfig, checkpoint: str, split: str | None = None, output: str | None = None
) -> Evaluation | None:
    """Evaluate on all processes; the first one writes the files and returns the result, the others None.

    The checkpoint's own padding is followed: plain Whisper gets 30 s windows.

    Raises:
        ConfigError, DataError, CheckpointError: for what the user can put right.
    """
    split = split or ("test" if config.data.test else "validation")
    source_config = getattr(config.data, split)
    if source_config is None:
        there = [name for name in ("train", "validation", "test") if getattr(config.data, name)]
        raise ConfigError(f"the config has no data.{split} to evaluate on; it has {', '.join(there)}")
    if isinstance(source_config, tuple):
        raise ConfigError(f"data.{split} is a list of sources, mixed without end: evaluate one of them as data.test")
    if output is not None and any(path.is_file() for path in (Path(output), *Path(output).parents)):
        raise ConfigError(f"--output is {output!r}, which is a file or lies in one: name a folder")
    source = Source(source_config, f"data.{split}")
    source.check_columns()
    from modeling.checkpoints import open_model, open_processor

    from .languages import check_known
    from .run import build_evaluator

    if config.engine.zero_stage:  # nothing is trained: one copy a process is simplest
        config = config.model_copy(
            update={"engine": config.engine.model_copy(update={"zero_stage": 0, "cpu_offload": "none"})}
        )
    model, processor = open_model(checkpoint), open_processor(checkpoint)
    check_known({"data.language": config.data.language, f"data.{split}.language": source_config.language}, model)
    accelerator = build_accelerator(config)
    model.to(accelerator.device)
    evaluation = build_evaluator(config, accelerator, processor, source).run(model)
    accelerator.end_training()
    if not accelerator.is_main_process:
        return None
    if output is not None:
        write_evaluation(Path(output), checkpoint, split, evaluation)
    return evaluation


def write_evaluation(folder: Path, checkpoint: str, split: str, evaluation: Evaluation) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "checkpoint": checkpoint,
        "split": split,
        **asdict(evaluation.rates),
        "seconds": evaluation.seconds,
        "audio_seconds": evaluation.audio_seconds,
        "real_time_factor": evaluation.real_time_factor,
        "skipped": evaluation.skipped,
    }
    (folder / "evaluation.json").write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    predictions = folder / "predictions.jsonl"
    predictions.unlink(missing_ok=True)
    for row in evaluation.predictions:
        append(predictions, row)


def print_evaluation(checkpoint: str, evaluation: Evaluation) -> None:
    from rich.console import Console
    from rich.table import Table

    rates = evaluation.rates
    table = Table(checkpoint, "", title=None)
    table.add_row("word error rate", f"{rates.word_error_rate:.2%}")
    table.add_row("character error rate", f"{rates.character_error_rate:.2%}")
    edits = f"{rates.substitutions} substitutions, {rates.deletions} deletions, {rates.insertions} insertions"
    table.add_row("word errors", f"{edits} of {rates.words} words")
    table.add_row("utterances", f"{rates.utterances} ({len(evaluation.skipped)} skipped)")
    table.add_row("decoding", f"{evaluation.seconds:.1f} s for {evaluation.audio_seconds:.1f} s of audio")
    Console(soft_wrap=True).print(table)
