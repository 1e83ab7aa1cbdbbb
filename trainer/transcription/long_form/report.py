"""What an evaluation on long recordings leaves: evaluation.json, recordings.jsonl, and a table for the console."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data.terminal import print_table

from ...evaluation.report import shown_interval
from ...record.durable import write_text
from .results import NEAR, NEAR_WORD, RecordingsEvaluation, figures

SHOWN_RECORDINGS = 6
NONE = "–"


def write_evaluation(
    folder: Path | None, checkpoint: str, evaluation: RecordingsEvaluation, *, options: Sequence[str], recordings: str
) -> dict[str, Any]:
    """Write both files, each whole before it gets its name, where there is a folder; returns the figures.

    Args:
        options: of ``launch/transcribe.py``.
        recordings: where they lie.
    """
    asked = {"checkpoint": checkpoint, "source": recordings, "options": list(options)}
    found = {**asked, **figures(evaluation)}
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "recordings.jsonl", "".join(lines(evaluation)))
        write_text(folder / "evaluation.json", json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    return found


def lines(evaluation: RecordingsEvaluation) -> list[str]:
    """A line for each recording: its texts, counts and alignment, what was written when, and what was measured."""
    return [
        json.dumps(
            {
                **one.row(),
                "segments": [asdict(segment) for segment in written.segments],
                "words": [asdict(word) for word in written.words],
                "measures": asdict(measures),
            },
            ensure_ascii=False,
        )
        + "\n"
        for one, written, measures in zip(evaluation.scored, evaluation.written, evaluation.measures, strict=True)
    ]


def print_evaluation(found: dict[str, Any], folder: Path | None) -> None:
    """The main figures, and the recordings with the most errors."""
    from rich.console import Console

    console = Console(soft_wrap=True, highlight=False)
    print_table(("", found["checkpoint"]), rows(found))
    console.print(f"normalizer: {found['normalizer']}; intervals: 95 %, bootstrap over recordings")
    ordered = sorted(found["by_recording"], key=lambda row: -row["word_error_rate"])
    shown = [f"{row['name']} {row['word_error_rate']:.1%}" for row in ordered[:SHOWN_RECORDINGS]]
    more = f" and {len(ordered) - SHOWN_RECORDINGS} more" if len(ordered) > SHOWN_RECORDINGS else ""
    if len(ordered) > 1:
        console.print(f"word error rate by recording: {', '.join(shown)}{more}", markup=False)
    if folder is not None:
        console.print(f"written to {folder}", markup=False)


def rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The table's rows."""
    shown = []
    for key in ("word_error_rate", "character_error_rate"):
        shown.append((key.replace("_", " "), f"{found[key]:.2%}{shown_interval(found[f'{key}_interval'])}"))
    edits = ("substitutions", "deletions", "insertions")
    shown.append(("subst., deletions, insert.", ", ".join(str(found[kind]) for kind in edits)))
    for key, what in (
        ("deletion_bursts", "deleted"),
        ("insertion_bursts", "inserted"),
        ("repetition_bursts", "repeated"),
    ):
        shown.append((f"5 words or more {what}", f"{found[key]['count']} times, {found[key]['words']} words"))
    silence = found["where_nobody_speaks"]
    per_hour = NONE if silence["words_per_hour"] is None else f"{silence['words_per_hour']:.0f} an hour"
    shown.append(("words where nobody speaks", f"{silence['words']}, {per_hour} of {silence['seconds'] / 60:.1f} min"))
    shown.append(("segments recognised", f"{found['matched_segments']} of {found['segments']}"))
    for key, what, near in (
        ("boundaries", "segment", NEAR),
        ("boundaries_by_words", "segment, by words", NEAR),
        ("word_times", "word", NEAR_WORD),
    ):
        for side in ("starts", "ends"):
            if found[key] is not None:
                shown.append((f"{what} {side}", shown_errors(found[key][side], near)))
    shown.append(("recordings, words", f"{found['recordings']}, {found['words']}"))
    shown.append(("audio, real-time factor", f"{found['audio_seconds']:.1f} s, {found['real_time_factor']:.3f}"))
    return shown


def shown_errors(errors: dict[str, Any], near: float) -> str:
    """Errors of times in one cell."""
    if not errors["compared"]:
        return f"{NONE}, 0 compared"
    off = f"median {errors['median']:.2f} s, 95 % within {errors['percentile_95']:.2f} s"
    return f"{off}, {errors['near_share']:.0%} within {near:g} s, {errors['compared']} compared"
