"""What was heard under a condition, kept on disk as soon as it is known, so that a suite that was ended goes on."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..evaluation.error_rates import Prediction, ScoredUtterance, score
from ..evaluation.normalizers import Normalizer
from ..evaluation.result import Evaluation
from ..record.durable import write_text

ODDS = "attention_odds.json"


@dataclass(frozen=True)
class Measured:
    """One checkpoint under one condition.

    Attributes:
        scored: each utterance with its errors, sorted by id.
        skipped: id and reason of rows that could not be measured.
        seconds: of decoding, on the slowest rank.
        settings: all that the texts depend on.
        noises_unreadable: id and reason of recordings of noise that could not be used, as far as was known by then.
    """

    scored: list[ScoredUtterance]
    normalizer: str
    skipped: list[dict[str, str]]
    seconds: float
    real_time_factor: float
    settings: dict[str, Any]
    noises_unreadable: list[dict[str, str]] = field(default_factory=list)


def measured(evaluation: Evaluation, settings: dict[str, Any], noises_unreadable: list[dict[str, str]]) -> Measured:
    return Measured(
        evaluation.utterances,
        evaluation.normalizer,
        evaluation.skipped,
        evaluation.seconds,
        evaluation.real_time_factor,
        settings,
        noises_unreadable,
    )


def keep(folder: Path, name: str, found: Measured) -> None:
    """Write the predictions, then what says that they are complete."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(one.row(), ensure_ascii=False) + "\n" for one in found.scored)
    (folder / f"{name}.json").unlink(missing_ok=True)
    write_text(folder / f"{name}.jsonl", "".join(lines))
    about = {
        "settings": found.settings,
        "utterances": len(found.scored),
        "normalizer": found.normalizer,
        "skipped": found.skipped,
        "noises_unreadable": found.noises_unreadable,
        "seconds": found.seconds,
        "real_time_factor": found.real_time_factor,
    }
    write_text(folder / f"{name}.json", json.dumps(about, indent=2, ensure_ascii=False) + "\n")


def kept(
    folder: Path, name: str, settings: dict[str, Any], normalizer_of: Callable[[str | None], Normalizer]
) -> Measured | None:
    """What :func:`keep` wrote, if that was under the same settings; None otherwise, and where a file is damaged."""
    try:
        about = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        if about["settings"] != json.loads(json.dumps(settings)):
            return None
        lines = (folder / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
        predictions = [prediction_of(json.loads(line)) for line in lines]
        if len(predictions) != about["utterances"]:
            return None
        unreadable = list(about.get("noises_unreadable", []))
        figures = (about["normalizer"], about["skipped"], about["seconds"], about["real_time_factor"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Measured(score(predictions, normalizer_of), *figures, settings, unreadable)


def keep_odds(folder: Path, settings: dict[str, Any], figures: dict[str, Any] | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    about = {"settings": settings, "figures": figures}
    write_text(folder / ODDS, json.dumps(about, indent=2, ensure_ascii=False) + "\n")


def kept_odds(folder: Path, settings: dict[str, Any]) -> tuple[bool, dict[str, Any] | None]:
    """Whether the attention odds are known under these settings, and what they are."""
    try:
        about = json.loads((folder / ODDS).read_text(encoding="utf-8"))
        is_known = about["settings"] == json.loads(json.dumps(settings))
        return is_known, about["figures"] if is_known else None
    except (OSError, ValueError, KeyError, TypeError):
        return False, None


def prediction_of(row: dict[str, Any]) -> Prediction:
    """A line of the predictions' file, read back."""
    texts = (row["id"], row["reference"], row["hypothesis"], row["language"])
    return Prediction(*texts, row["seconds"], dict(row["columns"]))
