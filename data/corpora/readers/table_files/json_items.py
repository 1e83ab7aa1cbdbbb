"""JSON as tables need it: lists item by item, and keys that come once, as a second value would replace the first."""

import io
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ....audio.decoding import one_line
from ....errors import DataError

MAX_ITEM = 2**26  # bytes of a line, and characters of an item of a list


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of keys and values.

    Raises:
        ValueError: if a key comes twice.
    """
    row = dict(pairs)
    if len(row) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{twice[:80]!r} comes twice")
    return row


DECODER = json.JSONDecoder(object_pairs_hook=unique)


def list_items(file: str, content: io.BufferedReader) -> Iterator[Any]:
    """The items of a JSON list, decoded as they come."""
    text = io.TextIOWrapper(content, encoding="utf-8")
    number = 0
    try:
        buffer = text.read(2**16).lstrip()[1:].lstrip()
        while True:
            if buffer.startswith("]"):
                return
            try:
                item, end = DECODER.raw_decode(buffer)
                rest = buffer[end:].lstrip()
                if not rest or rest[0] not in ",]":
                    raise ValueError("',' or ']' is missing")
            except ValueError as error:
                more = text.read(max(2**16, len(buffer))) if len(buffer) < MAX_ITEM else ""
                if not more:
                    raise DataError(f"{file}: after item {number}: {one_line(error)}") from None
                buffer += more
                continue
            number += 1
            yield item
            buffer = rest[1:].lstrip() if rest[0] == "," else rest
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: after item {number}: not UTF-8: {one_line(error)}") from None
    except RecursionError:
        raise DataError(f"{file}: after item {number}: nested too deeply") from None
