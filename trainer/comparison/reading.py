"""Reads run folders and evaluations from disk, and refuses those that cannot be compared. Computes nothing."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from ..config.reading import ConfigError, flatten, read_yaml, validated
from ..evaluation.report import BASELINE
from ..record.journal import whole_rows
from .changes import Change, changes_of

CHECKPOINTS = ("best", "final")  # the first that exists is the one compared
SPLITS = ("test", "validation")
PLAIN = "plain Whisper"


class Stored(BaseModel):
    """The required fields of a file; other fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Prediction(Stored):
    """A line of predictions.jsonl; counts refer to normalised words and characters."""

    id: str
    reference: str
    normalized_reference: str
    normalized_hypothesis: str
    seconds: float
    hits: int
    substitutions: int
    deletions: int
    insertions: int
    character_errors: int
    characters: int
    columns: dict[str, str | None] = {}
    alignment: tuple[tuple[Literal["equal", "substitute", "delete", "insert"], str, str], ...] = ()

    @property
    def words(self) -> int:
        return self.hits + self.substitutions + self.deletions

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions


class Evaluation(Stored):
    """The fields of evaluation.json that a comparison uses."""

    checkpoint: str
    split: str
    normalizer: str
    beams: int = 1
    word_error_rate: float
    character_error_rate: float
    real_time_factor: float
    interval_units: str = "utterances"
    utterances: int


class Summary(Stored):
    """summary.json of a run; times in seconds, memory in bytes."""

    steps: int
    best_step: int | None = None
    seconds: float
    utterances_per_second: float
    parameters: int
    trainable_parameters: int
    peak_memory_bytes: int | None = None
    strategy: str | None = None
    dual_attention: bool | None = None
    stopped_early: bool = False
    hardware: str | None = None
    engine: str | None = None


class Arm(Stored):
    """One system of a comparison: a run, or the evaluation of a model that was not trained here.

    Attributes:
        config: flattened; None without training.
        metrics: lines of metrics.jsonl.
        state: "finished", "stopped early", "unfinished: step 300 of 1000" or "not trained".
    """

    name: str
    folder: Path
    evaluation: Evaluation
    predictions: tuple[Prediction, ...]
    config: dict[str, Any] | None = None
    summary: Summary | None = None
    metrics: tuple[dict[str, Any], ...] = ()
    state: str = "not trained"

    @property
    def evaluated_step(self) -> int | None:
        """The step whose weights were evaluated; None if unknown."""
        name = Path(self.evaluation.checkpoint).name
        if self.summary is None or name not in CHECKPOINTS:
            return None
        return self.summary.best_step if name == CHECKPOINTS[0] else self.summary.steps

    @property
    def changes(self) -> list[Change]:
        """Config values that changed when the run was resumed."""
        return changes_of(self.metrics)

    @property
    def is_trained(self) -> bool:
        return self.config is not None

    @property
    def is_finished(self) -> bool:
        return not self.state.startswith("unfinished")


def read_arms(folders: Sequence[Path], split: str | None = None) -> list[Arm]:
    """The arms of a comparison in the given order, then evaluations of plain Whisper found beside the runs.

    Raises:
        ConfigError: for a folder without results, or arms that were not evaluated alike.
    """
    twice = [
        folder for index, folder in enumerate(folders) if folder.resolve() in [f.resolve() for f in folders[:index]]
    ]
    if twice:
        raise ConfigError(f"{twice[0]} is given twice")
    places = {folder: evaluation_folder(folder, split or common_split(folders)) for folder in folders}
    names = names_of(folders)
    arms = [read_arm(names[folder], folder, place) for folder, place in places.items()]
    bare = {arm.evaluation.checkpoint for arm in arms if not arm.is_trained}
    plain: dict[str, Arm] = {}
    for place in places.values():
        beside = place / BASELINE
        if (beside / "evaluation.json").exists():
            arm = read_arm(PLAIN, beside, beside)
            plain.setdefault(arm.evaluation.checkpoint, arm)
    added = [arm for checkpoint, arm in plain.items() if checkpoint not in bare]
    begun_from = {flatten(arm.config).get("model.checkpoint") for arm in arms if arm.config is not None}
    if len(added) > 1 or len(begun_from) > 1:  # else a reader would think that all runs began from it
        added = [arm.model_copy(update={"name": f"{PLAIN} {Path(arm.evaluation.checkpoint).name}"}) for arm in added]
    arms += added
    check_comparable(arms)
    return arms


def names_of(folders: Sequence[Path]) -> dict[Path, str]:
    """Names for the folders: their last path parts, as many as are needed to tell them apart."""
    whole = {folder: folder.resolve().parts for folder in folders}
    for parts in range(1, max(map(len, whole.values()))):
        names = {folder: "/".join(path[-parts:]) for folder, path in whole.items()}
        if len(set(names.values())) == len(names):
            return names
    return {folder: str(folder) for folder in folders}


def common_split(folders: Sequence[Path]) -> str:
    """``test`` if any run was evaluated on it, else ``validation``."""
    for split in SPLITS:
        if any((folder / "evaluations" / f"{name}_{split}").is_dir() for folder in folders for name in CHECKPOINTS):
            return split
    return SPLITS[0]


def evaluation_folder(folder: Path, split: str) -> Path:
    """The folder of a run's evaluation on a split: of ``best`` if there is one, else of ``final``.

    Raises:
        ConfigError: naming what is missing and the command that makes it.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; name a run's, such as runs/small")
    if not (folder / "config.yaml").exists():
        if (folder / "evaluation.json").exists():
            return folder
        raise ConfigError(
            f"{folder} is neither a run (no config.yaml) nor an evaluation (no evaluation.json); make one with: python "
            f"launch/train.py --config CONFIG.yaml output_dir={folder}"
        )
    for name in CHECKPOINTS:
        place = folder / "evaluations" / f"{name}_{split}"
        if (place / "evaluation.json").exists():
            return place
    if (folder / "evaluation.json").exists():  # a run whose weights were deleted
        return folder
    made = [name for name in CHECKPOINTS if (folder / name).is_dir()]
    if not made:
        raise ConfigError(
            f"{folder} has no best/ or final/ model yet; go on with: python launch/train.py --config "
            f"{folder / 'config.yaml'} --resume"
        )
    raise ConfigError(
        f"{folder} has no evaluation on {split}; make one with: python launch/eval.py --checkpoint {folder / made[0]} "
        f"--split {split}"
    )


def read_arm(name: str, folder: Path, place: Path) -> Arm:
    """A run with the evaluation in ``place``; only the evaluation if the folder has no config.yaml."""
    evaluation = stored(Evaluation, place / "evaluation.json")
    predictions = read_predictions(place, evaluation)
    if not (folder / "config.yaml").exists():
        return Arm(name=name, folder=folder, evaluation=evaluation, predictions=predictions)
    config = read_yaml(folder / "config.yaml")
    summary = stored(Summary, folder / "summary.json") if (folder / "summary.json").exists() else None
    metrics = tuple(row for row in whole_rows(folder / "metrics.jsonl") if isinstance(row.get("step"), int))
    return Arm(
        name=name,
        folder=folder,
        evaluation=evaluation,
        predictions=predictions,
        config=flatten(config),
        summary=summary,
        metrics=metrics,
        state=state_of(config, summary, metrics),
    )


def state_of(config: dict[str, Any], summary: Summary | None, metrics: Sequence[dict[str, Any]]) -> str:
    """How a run ended, as in :attr:`Arm.state`."""
    wanted = (config.get("training") or {}).get("steps")
    if summary is not None and summary.stopped_early:
        return "stopped early"
    if summary is not None and isinstance(wanted, int) and summary.steps >= wanted:
        return "finished"
    reached = max([row["step"] for row in metrics] + [summary.steps if summary else 0])
    return f"unfinished: step {reached} of {wanted}"


def read_predictions(place: Path, evaluation: Evaluation) -> tuple[Prediction, ...]:
    """The lines of predictions.jsonl, sorted by id.

    Raises:
        ConfigError: if lines are missing or their counts disagree with evaluation.json.
    """
    path = place / "predictions.jsonl"
    again = (
        f"evaluate again with: python launch/eval.py --checkpoint {evaluation.checkpoint} --split {evaluation.split}"
    )
    if not path.exists():
        raise ConfigError(f"{path} is missing; {again}")
    predictions = [parsed(Prediction, row, path, again) for row in whole_rows(path)]
    if len(predictions) != evaluation.utterances:
        found = f"{len(predictions)} predictions, but evaluation.json speaks of {evaluation.utterances}"
        raise ConfigError(f"{path} holds {found}; {again}")
    words = sum(prediction.words for prediction in predictions)
    errors = sum(prediction.errors for prediction in predictions)
    if words and abs(errors / words - evaluation.word_error_rate) > 1e-6:
        found = f"a word error rate of {errors / words:.4f}, but evaluation.json says {evaluation.word_error_rate:.4f}"
        raise ConfigError(f"{path} gives {found}; {again}")
    return tuple(sorted(predictions, key=lambda prediction: prediction.id))


Model = TypeVar("Model", bound=Stored)


def stored(model: type[Model], path: Path) -> Model:
    """A JSON file of a run as a model. Raises: ConfigError: if it is no JSON, or lacks what the model wants."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {error}") from None
    return parsed(model, values, path, "write it anew")


def parsed(model: type[Model], values: Any, path: Path, remedy: str) -> Model:
    """As :func:`validated`, of a file's values; the message ends with what to do."""
    try:
        return validated(model, values, str(path))
    except ConfigError as error:
        raise ConfigError(f"{error}; {remedy}") from None


def check_comparable(arms: Sequence[Arm]) -> None:
    """Check that all arms have the same utterances, references, split and normalisation.

    Raises:
        ConfigError: naming two arms and the first difference between them.
    """
    first = arms[0]
    texts = {prediction.id: prediction for prediction in first.predictions}
    for arm in arms[1:]:
        pair = f"{first.name} and {arm.name} cannot be compared"
        for key in ("split", "normalizer"):
            ours, theirs = getattr(first.evaluation, key), getattr(arm.evaluation, key)
            if ours != theirs:
                raise ConfigError(f"{pair}: evaluated with {key} {ours!r} and {theirs!r}; evaluate both alike")
        others = {prediction.id: prediction for prediction in arm.predictions}
        alone = sorted(texts.keys() ^ others.keys())
        if alone:
            of = first.name if alone[0] in texts else arm.name
            found = f"{len(alone)} utterances are in one alone, such as {alone[0]!r} of {of}"
            raise ConfigError(f"{pair}: {found}; evaluate both on the same data")
        for key, prediction in texts.items():
            other = others[key]
            if (prediction.reference, prediction.normalized_reference) != (other.reference, other.normalized_reference):
                found = f"utterance {key!r} has the references {prediction.reference!r} and {other.reference!r}"
                raise ConfigError(f"{pair}: {found}; evaluate both on the same data")
