"""Reads from metrics.jsonl which config values changed when a run was resumed."""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

RESUMED = re.compile(r"([\w.]+): (.+) -> (.+)")  # as a resumed run logs it
NOT_TRAINED = ("output_dir", "logging.", "checkpoints.", "data.workers")  # these do not affect the model


@dataclass(frozen=True)
class Change:
    """A config key that had the value ``old`` until ``step`` and ``new`` after the run was resumed."""

    step: int
    key: str
    old: Any
    new: Any


def changes_of(metrics: Sequence[dict[str, Any]]) -> list[Change]:
    """The changes in the order in which they were made."""
    found: dict[tuple[int, str], Change] = {}
    for row in metrics:
        for line in row.get("changed", ()) if row.get("kind") == "resumed" else ():
            told = RESUMED.fullmatch(str(line))
            if told is None or told[1].startswith(NOT_TRAINED):
                continue
            place = (row["step"], told[1])
            before = found.get(place)  # resumed twice at the same step: nothing was trained in between
            old = before.old if before else plain_value(told[2])
            found[place] = Change(row["step"], told[1], old, plain_value(told[3]))
    return list(found.values())


def plain_value(text: str) -> Any:
    """The value of a text that Python's ``repr`` wrote; the text itself if it is none."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
