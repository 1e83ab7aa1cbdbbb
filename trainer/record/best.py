"""Which checkpoint is the best, and what it was measured on; also when a run that no longer improves ends.

evaluation/validation.py writes the weights into ``best/``.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..config.evaluation import EvaluationConfig
from ..config.reading import settings_of
from ..config.run import RunConfig
from ..engine.accelerator import gather_objects
from .checkpoints import RunState
from .durable import put_in_place

BEST = "best"
RECORD = "best_evaluation.json"  # in best/
# The config's keys that decide what an evaluation measures. Batch sizes do not: logits do not depend on batch mates.
MEASURED = (
    "data.language",
    "data.task",
    "data.validation",
    "evaluation.beams",
    "evaluation.best_metric",
    "evaluation.max_new_tokens",
    "evaluation.max_seconds",
    "evaluation.normalizer",
    "evaluation.utterances",
    "model.encoder_padding",
)


@dataclass(frozen=True)
class BestRecord:
    """What ``best/`` was chosen by.

    Attributes:
        step: the step whose weights lie in the folder.
        metric, value: the metric and its lowest value so far; rates are fractions.
        word_error_rate, character_error_rate: at that step, as fractions.
        utterances, skipped: rows that were decoded, and rows that could not be.
        rows: digest of the ids of all rows, skipped ones too.
        references: digest of the ids and references of decoded rows.
        measured: the config's keys in :data:`MEASURED` and their values.
        averaged: the folder holds the moving average of the weights (``training.ema``), not the weights of the step.
    """

    step: int
    metric: str
    value: float
    word_error_rate: float
    character_error_rate: float
    utterances: int
    skipped: int
    rows: str
    references: str
    measured: dict[str, Any]
    averaged: bool = False

    def described(self) -> str:
        """The step and its figure, in words."""
        shown = f"{self.value:.2%}" if self.metric.endswith("rate") else f"{self.value:g}"
        average = ", the average" if self.averaged else ""
        return f"step {self.step}{average}, {self.metric.replace('_', ' ')} {shown}"


def measured_by(config: RunConfig) -> dict[str, Any]:
    """The config's keys in :data:`MEASURED` with their values."""
    return {key: value for key, value in settings_of(config).items() if key.startswith(MEASURED)}


def digest_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def read_record(folder: Path) -> BestRecord | None:
    """The record in ``best/``; None if there is none, as in what older versions wrote, or if it is damaged."""
    try:
        return BestRecord(**json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def record_text(record: BestRecord) -> str:
    return json.dumps(asdict(record), indent=2) + "\n"


def difference(record: BestRecord, config: RunConfig) -> str | None:
    """In words, what the config measures differently from the record; None if nothing."""
    now = measured_by(config)
    for key in sorted(record.measured.keys() | now.keys()):
        before, after = record.measured.get(key), now.get(key)
        if before != after:
            return f"{key} was {before!r} and is {after!r}"
    return None


def data_difference(record: BestRecord, new: BestRecord) -> str | None:
    """In words, how the validation data differ from the record's; None if they do not.

    A row that could not be read this time does not count as a difference.
    """
    if record.rows != new.rows:
        return f"data.validation has other utterances ({record.utterances} were decoded, now {new.utterances})"
    if record.skipped == new.skipped and record.references != new.references:
        return "data.validation has other transcripts"
    return None


def recall_best(accelerator: Any, state: RunState, config: RunConfig) -> str | None:
    """Read what ``best/`` holds into the state of a resumed run; all ranks call it.

    The folder counts, not the checkpoint, which may be of an earlier step. A folder whose figure was measured in
    another way is renamed after its step.

    Returns:
        A line for the user if the best so far no longer counts.
    """
    folder = Path(config.output_dir)
    there, record = gather_objects(accelerator, ((folder / BEST).exists(), read_record(folder / BEST)))[0]
    if record is None:
        if state.best is None or there:  # an older version's best/ has no record; the state knows it
            return None
        forget_best(state)
        return f"{folder / BEST} is gone: the next evaluation will be the best so far"
    if config.data.validation is not None and (why := difference(record, config)) is not None:
        return put_aside(accelerator, state, folder, record, why)
    put_best(state, record)
    return None


def put_aside(accelerator: Any, state: RunState, folder: Path, record: BestRecord, why: str) -> str:
    """Forget the best so far and rename its folder; all ranks call it. Returns a line for the user."""
    forget_best(state)
    aside = folder / f"{BEST}_step_{record.step:08d}"
    if accelerator.is_main_process:
        put_in_place(folder / BEST, aside)
    accelerator.wait_for_everyone()
    return f"the best so far ({record.described()}) no longer counts: {why}; it is kept as {aside}"


def forget_best(state: RunState) -> None:
    """Reset the state to that of a run without evaluations."""
    state.best = state.best_step = state.best_word_error_rate = state.best_character_error_rate = None
    state.best_averaged = False
    state.patience_from, state.without_improvement = None, 0
    state.evaluated_step = 0  # an evaluation that is due is then made again


def note_best(state: RunState, record: BestRecord, config: EvaluationConfig) -> bool:
    """Put an evaluation into the state; returns whether it is the best so far.

    The best has the lowest ``best_metric``, by any margin. An evaluation uses up patience unless its metric is at least
    ``minimum_improvement`` below that of the last one that did not, so that many small steps add up.
    """
    value = record.value
    if state.patience_from is None or (
        value < state.patience_from and state.patience_from - value >= config.minimum_improvement
    ):
        state.patience_from, state.without_improvement = value, 0
    else:
        state.without_improvement += 1
    if state.best is not None and value >= state.best:
        return False
    put_best(state, record)
    return True


def put_best(state: RunState, record: BestRecord) -> None:
    """Take a record's figures into the state."""
    state.best, state.best_step, state.best_averaged = record.value, record.step, record.averaged
    state.best_word_error_rate, state.best_character_error_rate = record.word_error_rate, record.character_error_rate


def out_of_patience(state: RunState, config: EvaluationConfig) -> bool:
    """Whether the run is to end early: the same on all ranks. A resumed run is judged by its config of now."""
    return config.patience is not None and state.without_improvement >= config.patience


def describe_patience(state: RunState, config: EvaluationConfig) -> str:
    """Why the run ended early, in words."""
    least = f" by {config.minimum_improvement:g}" if config.minimum_improvement else ""
    return (
        f"stopped early at step {state.step}: {state.without_improvement} evaluations without a lower "
        f"{config.best_metric.replace('_', ' ')}{least}; evaluation.patience is {config.patience}"
    )
