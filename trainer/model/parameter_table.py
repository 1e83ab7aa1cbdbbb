"""What of a model is trained, part by part, as a table to read before a GPU is paid for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # seconds to import
    from modeling.parameters import Part


def parameter_rows(parts: Sequence[Part]) -> list[tuple[str, str, str, str]]:
    """A head, each part's parameters, those trained, and their share in per cent; last the whole model."""
    counts = [(part.name, part.parameters, part.trained) for part in parts]
    counts.append(("together", sum(part.parameters for part in parts), sum(part.trained for part in parts)))
    rows = [("", "parameters", "trained", "")]
    for name, every, trained in counts:
        rows.append((name, f"{every:,}", f"{trained:,}", f"{trained / every:.2%}" if trained else "frozen"))
    return rows


def parameter_table(parts: Sequence[Part]) -> str:
    """The rows as lines of text, without a frame."""
    rows = parameter_rows(parts)
    name, number = max(len(row[0]) for row in rows), max(len(row[1]) for row in rows)
    lines = (f"{row[0]:<{name}}  {row[1]:>{number}}  {row[2]:>{number}}  {row[3]:>7}" for row in rows)
    return "\n".join(line.rstrip() for line in lines)
