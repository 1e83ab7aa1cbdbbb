"""What a run was resumed with that it had not begun with, out of its metrics.jsonl."""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

RESUMED = re.compile(r"([\w.]+): (.+) -> (.+)")  # as a resumed run says it
NOT_TRAINED = ("output_dir", "logging.", "checkpoints.", "data.workers")  # what changes nothing of the model


@dataclass(frozen=True)
class Change:
    """A key of the config that had another value up to a step, after which the run was resumed."""

    step: int
    key: str
    old: Any
    new: Any


def changes_of(metrics: Sequence[dict[str, Any]]) -> list[Change]:
    """In the order in which they were made."""
    found: dict[tuple[int, str], Change] = {}
    for row in metrics:
        for line in row.get("changed", ()) if row.get("kind") == "resumed" else ():
            told = RESUMED.fullmatch(str(line))
            if told is None or told[1].startswith(NOT_TRAINED):
                continue
            place = (row["step"], told[1])
            before = found.get(place)  # resumed twice at one step: nothing was trained between
            old = before.old if before else plain_value(told[2])
            found[place] = Change(row["step"], told[1], old, plain_value(told[3]))
    return list(found.values())


def plain_value(text: str) -> Any:
    """A value as Python wrote it."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
