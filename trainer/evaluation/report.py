"""What an evaluation leaves: evaluation.json and predictions.jsonl, and a short table for the console."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.terminal import print_table

from ..record.durable import write_text
from .breakdown import breakdowns, confusions, worst
from .intervals import Difference, Interval, paired_difference, rate_intervals, totals

if TYPE_CHECKING:  # brings torch
    from .result import Evaluation

BASELINE = "baseline_plain"  # the folder of plain Whisper's files, in that of the checkpoint's
SHOWN_VALUES = 8  # of a column, on the console
SHOWN_CONFUSIONS = 6


def figures(checkpoint: str, split: str, evaluation: Evaluation) -> dict[str, Any]:
    """What evaluation.json holds."""
    scored = evaluation.utterances
    word_interval, character_interval = rate_intervals(totals(scored, evaluation.cluster))
    return {
        "checkpoint": checkpoint,
        "split": split,
        "normalizer": evaluation.normalizer,
        "beams": evaluation.beams,
        "with_second_recording": evaluation.with_second,
        **({} if evaluation.language_model is None else {"language_model": evaluation.language_model}),
        **asdict(evaluation.rates),
        "word_error_rate_interval": word_interval,
        "character_error_rate_interval": character_interval,
        "interval_units": evaluation.cluster or "utterances",
        "seconds": evaluation.seconds,
        "audio_seconds": evaluation.audio_seconds,
        "real_time_factor": evaluation.real_time_factor,
        "by": breakdowns(scored, evaluation.columns, evaluation.cluster),
        "confusions": confusions(scored),
        "worst": worst(scored),
        "skipped": evaluation.skipped,
        "repeated": evaluation.repeated,
    }


def write_evaluation(folder: Path, checkpoint: str, split: str, evaluation: Evaluation) -> dict[str, Any]:
    """Write both files, each whole before it gets its name; returns the figures."""
    folder.mkdir(parents=True, exist_ok=True)
    found = figures(checkpoint, split, evaluation)
    lines = (json.dumps(one.row(), ensure_ascii=False) + "\n" for one in evaluation.utterances)
    write_text(folder / "predictions.jsonl", "".join(lines))
    write_text(folder / "evaluation.json", json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    return found


def print_evaluation(
    checkpoint: str, evaluation: Evaluation, *baseline: Evaluation, folder: Path | None = None
) -> None:
    """The main figures, beside a baseline's if there is one, and where the errors lie."""
    from rich.console import Console

    console = Console(soft_wrap=True, highlight=False)
    sides = [figures(checkpoint, "", side) for side in (evaluation, *baseline)]
    rows: list[tuple[str, ...]] = []
    for key in ("word_error_rate", "character_error_rate"):
        shown = (f"{side[key]:.2%}{shown_interval(side[f'{key}_interval'])}" for side in sides)
        rows.append((key.replace("_", " "), *shown))
        rows.append(("  of raw text", *(f"{side[f'raw_{key}']:.2%}" for side in sides)))
    edits = ("substitutions", "deletions", "insertions")
    rows.append(("subst., deletions, insert.", *(", ".join(str(side[kind]) for kind in edits) for side in sides)))
    rows.append(("utterances, words", *(f"{side['utterances']}, {side['words']}" for side in sides)))
    if any(side["with_second_recording"] for side in sides):
        rows.append(("second recordings heard", *(str(side["with_second_recording"]) for side in sides)))
    speeds = (f"{side['audio_seconds']:.1f} s, {side['real_time_factor']:.3f}" for side in sides)
    rows.append(("audio, real-time factor", *speeds))
    print_table(("", checkpoint, "plain Whisper")[: 1 + len(sides)], rows)
    for plain in baseline:
        difference = paired_difference(evaluation.utterances, plain.utterances, evaluation.cluster)
        console.print(f"word error rate less plain Whisper's: {shown_difference(difference)}")
    units = sides[0]["interval_units"]
    if evaluation.language_model is not None:
        console.print(f"language model: {shown_language_model(evaluation.language_model)}", markup=False)
    console.print(f"normalizer: {sides[0]['normalizer']}; intervals: 95 %, bootstrap over {units}")
    for column, values in sides[0]["by"].items():
        if column in evaluation.columns and len(values) > 1:
            console.print(shown_values(column, values), markup=False)
    confused = [f"{said} → {heard} ({number})" for said, heard, number in sides[0]["confusions"][:SHOWN_CONFUSIONS]]
    if confused:
        console.print(f"confused most: {', '.join(confused)}", markup=False)
    for what, number in (("skipped", len(evaluation.skipped)), ("repeated ids, counted once", evaluation.repeated)):
        if number:
            console.print(f"{what}: {number}")
    if folder is not None:
        console.print(f"written to {folder}", markup=False)


def shown_language_model(noted: dict[str, Any]) -> str:
    """Which it was, its weights, and how many of the sentences it was made of."""
    seen = noted["seen"]
    told = "nothing tells what sentences it is of" if seen is None else f"{seen} of the sentences are in its text"
    return f"{noted['file']}, weight {noted['weight']:.3g}, word bonus {noted['word_bonus']:.3g}; {told}"


def shown_interval(interval: Interval | None) -> str:
    return "" if interval is None else f" ({100 * interval[0]:.2f} to {100 * interval[1]:.2f})"


def shown_difference(difference: Difference) -> str:
    """In percentage points, with the interval and how sure the sign is."""
    text = f"{100 * difference.value:+.2f} points"
    if difference.interval is None or difference.improved is None:
        return text
    low, high = (100 * end for end in difference.interval)
    return f"{text} ({low:+.2f} to {high:+.2f}), lower in {difference.improved:.1%} of the draws"


def shown_values(column: str, rows: list[dict[str, Any]]) -> str:
    """The word error rates of a column's values, the highest first."""
    ordered = sorted(rows, key=lambda row: -row["word_error_rate"])
    shown = [f"{row['value'] or 'none'} {row['word_error_rate']:.1%}" for row in ordered[:SHOWN_VALUES]]
    more = f" and {len(rows) - SHOWN_VALUES} more" if len(rows) > SHOWN_VALUES else ""
    return f"word error rate by {column}: {', '.join(shown)}{more}"
