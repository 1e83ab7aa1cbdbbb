"""What a user did wrong with data: told in one line, exit code 2."""

import contextlib
import difflib
from collections.abc import Iterable, Iterator


class DataError(ValueError):
    """A source that is missing, empty, or not what the config says it is."""

    exit_code = 2


def nearest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the known name most like ``name``, or nothing."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""


@contextlib.contextmanager
def placed(place: str) -> Iterator[None]:
    """Put the place that is wrong before the message of a DataError."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{place}: {error}") from None
