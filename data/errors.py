"""What a user did wrong with data: told in one line, exit code 2."""

import difflib
from collections.abc import Iterable


class DataError(ValueError):
    """A source that is missing, empty, or not what the config says it is."""

    exit_code = 2


def nearest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the known name most like ``name``, or nothing."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""
