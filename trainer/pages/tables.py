"""A table of text that the terminal, Markdown and pages share."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class FigureTable:
    """A table whose cells are text.

    Attributes:
        weights: a number for each row, which a page shows as a bar; may be empty.
        numbers: indices of columns that are aligned to the right.
        note: a remark on rows that were left out.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, ...]]
    weights: tuple[float, ...] = ()
    numbers: Collection[int] = ()
    note: str = ""

    @classmethod
    def of(
        cls,
        title: str,
        items: Iterable[Item],
        columns: Mapping[str, Callable[[Item], str]],
        numbers: Collection[int] = (),
    ) -> Self:
        """A table with a row for each item.

        Args:
            columns: by its head what gives a column's text.
        """
        rows = [tuple(text(item) for text in columns.values()) for item in items]
        return cls(title, tuple(columns), rows, numbers=numbers)
