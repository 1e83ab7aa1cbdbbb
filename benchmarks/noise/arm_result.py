"""What is kept of an arm: its figures by condition and speaker, which suffice for every comparison."""

import json
from pathlib import Path
from typing import Any

from trainer.evaluation.error_rates import Edits
from trainer.record.journal import whole_rows

Row = dict[str, Any]
KEPT_OF_SUITE = ("date", "hardware", "versions", "seconds")
KEPT_OF_CONDITION = (
    "kind", "ratio", "word_error_rate", "character_error_rate", "substitutions", "deletions", "insertions",
)  # fmt: skip


def suite_figures(folder: Path) -> Row:
    """The figures of a suite of one checkpoint: error rates by condition, errors and words by speaker, attention odds.

    Returns:
        ``conditions`` by name, with ``speakers``, as :func:`by_speaker` has them.
    """
    suite = json.loads((folder / "noise_suite.json").read_text(encoding="utf-8"))
    checkpoint = suite["checkpoints"][0]
    conditions = {}
    for name, figures in checkpoint["conditions"].items():
        kept = {key: figures[key] for key in KEPT_OF_CONDITION if key in figures}
        predictions = folder / "predictions" / checkpoint["name"] / f"{name}.jsonl"
        conditions[name] = kept | {"speakers": by_speaker(predictions)}
    odds = checkpoint["attention_odds"]
    return {key: suite[key] for key in KEPT_OF_SUITE} | {"conditions": conditions, "attention_odds": odds}


def by_speaker(predictions: Path) -> dict[str, list[int]]:
    """By speaker the word errors, the words, and the errors if each utterance counts at most as many as its words.

    A decoder in a loop otherwise makes as many errors in one utterance as there are in ten others.
    """
    sums: dict[str, list[int]] = {}
    for row in whole_rows(predictions):
        words = Edits(row["hits"], row["substitutions"], row["deletions"], row["insertions"])
        counts = (words.errors, words.tokens, min(words.errors, words.tokens))
        name = str(row["columns"].get("speaker", row["id"]))
        sums[name] = [sum(pair) for pair in zip(sums.get(name, [0, 0, 0]), counts, strict=True)]
    return dict(sorted(sums.items()))


def training_figures(folder: Path) -> Row:
    """The run's summary, and what it logged last: losses, gates, the distance of the two attentions."""
    rows = whole_rows(folder / "metrics.jsonl")
    last = {kind: next((row for row in reversed(rows) if row["kind"] == kind), None) for kind in ("train", "attention")}
    seconds = [row["seconds_per_step"] for row in rows if row["kind"] == "train"]
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    middle = sorted(seconds)[len(seconds) // 2] if seconds else None
    return {"summary": summary, "last_logged": last, "median_seconds_per_step": middle}
