"""Cells of tables as text and as numbers, and what is wrong with them."""

import math
from typing import Any

from ..sources.class_labels import UnnamedLabel


def decoded_twice(text: str) -> str | None:
    """What a text was before it was taken for Windows-1252, if all of its letters can come of that; ``Ã¼`` is ``ü``."""
    try:
        return text.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return None


def as_text(value: Any, column: str, faults: list[str]) -> str | None:
    """A cell as text; None where it is empty. Lists and objects are no text."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) != math.inf:
        return str(value)
    if isinstance(value, UnnamedLabel):
        faults.append(f"{column} is {value}")
        return None
    hint = " in UTF-8" if isinstance(value, bytes) else ""
    faults.append(f"{column} is {type(value).__name__}, not text{hint}")
    return None


def as_seconds(value: Any, column: str, faults: list[str]) -> float | None:
    """A cell as a number that is not negative; None where it is empty."""
    if value is None or value == "":
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 <= number < 1e9:
        said = "beyond reason" if isinstance(value, int) and abs(value) > 2**63 else repr(value)[:80]
        faults.append(f"{column} is {said}, not a number of at least 0")
        return None
    return number
