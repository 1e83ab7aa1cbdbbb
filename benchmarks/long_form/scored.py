"""What both measurements of long recordings share: what they were measured on, what is kept of each, and its cells."""

import hashlib
from pathlib import Path
from typing import Any

from trainer.transcription.long_form.known import Known
from trainer.transcription.long_form.report import NONE

RATES = ("recordings", "words", "word_error_rate", "word_error_rate_interval", "character_error_rate", "substitutions",
         "deletions", "insertions")  # fmt: skip
KEPT = (*RATES, "normalizer", "deletion_bursts", "insertion_bursts", "repetition_bursts", "segments",
        "matched_segments", "boundaries", "boundaries_by_words", "word_times", "where_nobody_speaks", "audio_seconds",
        "seconds", "cpu_seconds")  # fmt: skip


def digest_of(known: Known) -> str:
    """Changes when a recording's length, segments or language does."""
    described = [(one.path.name, one.segments, one.words, one.language, one.seconds) for one in known.recordings]
    return hashlib.blake2b(repr(described).encode(), digest_size=8).hexdigest()


def described(known: Known, folder: Path) -> dict[str, Any]:
    """What was measured on."""
    return {
        "recordings": folder.name,
        "digest": digest_of(known),
        "number": len(known.recordings),
        "audio_seconds": round(sum(one.seconds for one in known.recordings), 1),
        "speech_seconds": round(sum(part.end - part.start for one in known.recordings for part in one.segments), 1),
    }


def error_cells(figures: dict[str, Any]) -> list[str]:
    """Word error rate with its interval, bursts, and words where nobody speaks, as cells of a Markdown table."""
    low, high = figures["word_error_rate_interval"] or (None, None)
    interval = "" if low is None or high is None else f" ({100 * low:.1f} to {100 * high:.1f})"
    per_hour = figures["where_nobody_speaks"]["words_per_hour"]
    return [
        f"{100 * figures['word_error_rate']:.1f}{interval}",
        *(f"{figures[key]['count']} ({figures[key]['words']})" for key in ("deletion_bursts", "insertion_bursts")),
        NONE if per_hour is None else f"{per_hour:.0f}",
    ]


ERROR_COLUMNS = ("word error rate, %", "deletion bursts (words)", "insertion bursts (words)",
                 "words an hour where nobody speaks")  # fmt: skip


def time_cells(errors: dict[str, Any] | None) -> list[str]:
    """Median and 95th percentile of starts and ends, and how many were compared."""
    cells = []
    for side in ("starts", "ends"):
        found = None if errors is None else errors[side]
        if found is None or not found["compared"]:
            cells.append(NONE)
            continue
        off = f"{found['median']:.2f}, {found['percentile_95']:.2f}"
        cells.append(f"{off}, {100 * found['near_share']:.0f} % of {found['compared']}")
    return cells
