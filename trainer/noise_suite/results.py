"""Keeps what was heard under a condition on disk, so that an interrupted suite continues where it stopped."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..evaluation.error_rates import Prediction, ScoredUtterance, one_space, score
from ..evaluation.normalizers import Normalizer
from ..record.durable import write_text

KEPT = ("normalizer", "skipped", "noises_unreadable", "seconds", "real_time_factor")


@dataclass(frozen=True)
class Measured:
    """One checkpoint under one condition.

    Attributes:
        scored: each utterance with its errors, sorted by id.
        skipped: id and reason of rows that could not be measured.
        seconds: of decoding, on the slowest rank.
        settings: everything that the texts depend on.
        noises_unreadable: id and reason of recordings of noise that had turned out unusable by then.
        others: by id what one other voice says, under conditions in which there is one.
    """

    scored: list[ScoredUtterance]
    normalizer: str
    skipped: list[dict[str, str]]
    seconds: float
    real_time_factor: float
    settings: dict[str, Any]
    noises_unreadable: list[dict[str, str]] = field(default_factory=list)
    others: Mapping[str, str] = field(default_factory=dict)

    def words_of_other(self, one: ScoredUtterance) -> int:
        """Words of a transcript that the other voice said and the speaker did not, each as often as it was said."""
        other = one_space(one.normalizer(self.others.get(one.id, ""))).split()
        invented = Counter(one.normalized_hypothesis.split()) - Counter(one.normalized_reference.split())
        return (invented & Counter(other)).total()

    def row(self, one: ScoredUtterance) -> dict[str, Any]:
        """A line of the predictions' file."""
        if one.id not in self.others:
            return one.row()
        return one.row() | {"other": self.others[one.id], "words_of_other": self.words_of_other(one)}


def keep(folder: Path, name: str, found: Measured) -> None:
    """Write the predictions, then what says that they are complete."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(found.row(one), ensure_ascii=False) + "\n" for one in found.scored)
    (folder / f"{name}.json").unlink(missing_ok=True)
    write_text(folder / f"{name}.jsonl", "".join(lines))
    about = {key: getattr(found, key) for key in ("settings", *KEPT)}
    keep_figures(folder / f"{name}.json", about | {"utterances": len(found.scored)})


def kept(
    folder: Path, name: str, settings: dict[str, Any], normalizer_of: Callable[[str | None], Normalizer]
) -> Measured | None:
    """What :func:`keep` wrote, if that was under the same settings; None otherwise, and where a file is damaged."""
    about = kept_figures(folder / f"{name}.json", settings)
    try:
        lines = (folder / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
        rows = [json.loads(line) for line in lines]
        predictions = [prediction_of(row) for row in rows]
        others = {row["id"]: row["other"] for row in rows if "other" in row}
        if about is None or len(predictions) != about["utterances"]:
            return None
        figures = {"noises_unreadable": []} | about
        figures = {key: figures[key] for key in KEPT}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Measured(score(predictions, normalizer_of), settings=settings, others=others, **figures)


def keep_figures(path: Path, about: dict[str, Any]) -> None:
    """Write figures as JSON, among them the settings under which they were measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(about, indent=2, ensure_ascii=False) + "\n")


def kept_figures(path: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """What :func:`keep_figures` wrote under the same settings; None without it, and where the file is damaged."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        return about if about["settings"] == json.loads(json.dumps(settings)) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def prediction_of(row: dict[str, Any]) -> Prediction:
    """A line of the predictions' file, read back."""
    texts = (row["id"], row["reference"], row["hypothesis"], row["language"])
    return Prediction(*texts, row["seconds"], dict(row["columns"]))
