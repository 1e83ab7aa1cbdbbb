"""What ``best/`` is: the step, the figure it was chosen by, and what that figure was measured on and how."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from ..config.reading import dump_config, flatten
from ..config.run import RunConfig
from ..evaluation.evaluator import Evaluation, gather_objects
from .checkpoints import RunState
from .durable import put_in_place

BEST = "best"
RECORD = "best_evaluation.json"  # in best/
# What of a config decides what an evaluation measures. Batches do not: logits do not depend on them.
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
        utterances, skipped: how many were decoded, and how many rows could not be.
        rows: digest of the ids of all rows, skipped ones too.
        references: digest of ids and references of what was decoded.
        measured: the config's keys in :data:`MEASURED` and their values.
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

    def described(self) -> str:
        shown = f"{self.value:.2%}" if self.metric.endswith("rate") else f"{self.value:g}"
        return f"step {self.step}, {self.metric.replace('_', ' ')} {shown}"


def record_of(evaluation: Evaluation, step: int, config: RunConfig) -> BestRecord:
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


def measured_by(config: RunConfig) -> dict[str, Any]:
    settings = flatten(yaml.safe_load(dump_config(config)))
    return {key: value for key, value in settings.items() if key.startswith(MEASURED)}


def digest_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def read_record(folder: Path) -> BestRecord | None:
    """The record in ``best/``; None where there is none, as of older versions, or it is damaged."""
    try:
        return BestRecord(**json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def record_text(record: BestRecord) -> str:
    return json.dumps(asdict(record), indent=2) + "\n"


def difference(record: BestRecord, config: RunConfig) -> str | None:
    """How the config measures otherwise than the record was, in words; None where it does not."""
    now = measured_by(config)
    for key in sorted(record.measured.keys() | now.keys()):
        before, after = record.measured.get(key), now.get(key)
        if before != after:
            return f"{key} was {before!r} and is {after!r}"
    return None


def data_difference(record: BestRecord, new: BestRecord) -> str | None:
    """How the validation data are others than the record's, in words; None where they are not.

    A row that could not be read this time is no difference.
    """
    if record.rows != new.rows:
        return f"data.validation has other utterances ({record.utterances} were decoded, now {new.utterances})"
    if record.skipped == new.skipped and record.references != new.references:
        return "data.validation has other transcripts"
    return None


def recall_best(accelerator: Any, state: RunState, config: RunConfig) -> tuple[BestRecord | None, str | None]:
    """What ``best/`` is, taken into the state of a run that goes on; all ranks call it.

    The folder itself counts: it may be of a later step than the checkpoint. One whose figure was measured otherwise is
    renamed after its step.

    Returns the record, and a line for the user where the best so far counts no more.
    """
    folder = Path(config.output_dir)
    there, record = gather_objects(accelerator, ((folder / BEST).exists(), read_record(folder / BEST)))[0]
    if record is None:
        if state.best is None or there:  # of an older version's best/ the state knows more
            return None, None
        forget_best(state)
        return None, f"{folder / BEST} is gone: the next evaluation will be the best so far"
    if config.data.validation is not None and (why := difference(record, config)) is not None:
        return None, put_aside(accelerator, state, folder, record, why)
    state.best, state.best_step = record.value, record.step
    state.best_word_error_rate, state.best_character_error_rate = record.word_error_rate, record.character_error_rate
    return record, None


def put_aside(accelerator: Any, state: RunState, folder: Path, record: BestRecord, why: str) -> str:
    """Forget the best so far and rename its folder; all ranks call it. Returns the line that says so."""
    forget_best(state)
    aside = folder / f"{BEST}_step_{record.step:08d}"
    if accelerator.is_main_process:
        put_in_place(folder / BEST, aside)
    accelerator.wait_for_everyone()
    return f"the best so far ({record.described()}) counts no more: {why}; it is kept as {aside}"


def forget_best(state: RunState) -> None:
    state.best = state.best_step = state.best_word_error_rate = state.best_character_error_rate = None
    state.patience_from, state.without_improvement = None, 0
    state.evaluated_step = 0  # measured anew, where an evaluation is due
