"""Columns of numbers that stand for names: `datasets`' ClassLabel, whose names are in the metadata of a schema."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

ClassNames = Mapping[str, tuple[str, ...]]  # of each column that has them, by number


@dataclass(frozen=True)
class UnnamedLabel:
    """A number of a column of classes for which that has no name."""

    number: int
    names: int

    def __str__(self) -> str:
        return f"{self.number}, but only 0 to {self.names - 1} have names in the column's ClassLabel"


def class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """The names of each column of classes, as `datasets` writes them into the metadata of Arrow and Parquet.

    See ``datasets.ClassLabel``. Columns whose classes lie deeper, such as lists of them, are no columns of names.
    """
    try:
        described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = described.get("info", described).get("features") or {}
        return dict(names_among(features.items()))
    except (ValueError, AttributeError, TypeError):  # written by something else
        return {}


def names_among(features: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, tuple[str, ...]]]:
    """Column and names of the classes among features, as `datasets` has them or as they are in metadata."""
    for column, feature in features:
        if isinstance(feature, dict):
            kind, names = feature.get("_type"), feature.get("names")
        else:
            kind, names = type(feature).__name__, getattr(feature, "names", None)
        if kind == "ClassLabel" and names:
            yield column, tuple(map(str, names))


def named(row: dict[str, Any], names: ClassNames) -> dict[str, Any]:
    """A row with the names of its classes. The number -1 and null are missing values, as in `datasets`."""
    found = {column: named_value(row[column], of) for column, of in names.items() if column in row}
    return row | found if found else row


def named_value(value: Any, names: tuple[str, ...]) -> Any:
    """The name of a class; :class:`UnnamedLabel` where there is none of this number. Texts stay as they are."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if value == -1:
        return None
    return names[value] if 0 <= value < len(names) else UnnamedLabel(value, len(names))


def wanted_names(wanted: Iterable[Any], names: tuple[str, ...]) -> frozenset[str]:
    """Values to choose by as names: a number is that of a class, unless a class is called so."""
    texts = list(map(str, wanted))
    numbers = {str(number): name for number, name in enumerate(names)} | {"-1": "None"}
    return frozenset(text if text in names else numbers.get(text, text) for text in texts)
