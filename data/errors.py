"""What a user did wrong with data: told in one line, exit code 2."""

import contextlib
import difflib
import itertools
from collections.abc import Collection, Iterable, Iterator


class DataError(ValueError):
    """A source that is missing, empty, or not what the config says it is."""

    exit_code = 2


def nearest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the known name most like ``name``, or nothing."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""


def some_of(names: Collection[str], most: int = 3) -> str:
    """The first few names, and how many more there are: ``a, b, c and 4 more``."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(itertools.islice(names, most)) + more


def check_column(column: str, columns: Collection[str], place: str) -> None:
    """Raises: DataError: beginning with ``place``, if a column is not among those that are there."""
    if column not in columns:
        there = ", ".join(sorted(columns))
        raise DataError(f"{place} has no column {column!r}{nearest(column, columns)}; it has {there}")


@contextlib.contextmanager
def placed(place: str) -> Iterator[None]:
    """Put the place that is wrong before the message of a DataError."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{place}: {error}") from None
