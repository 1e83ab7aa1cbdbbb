"""Readable names of tokens: a token may be a single space, or half of a character's bytes."""

from collections.abc import Sequence
from typing import Any

from data.inspection.characters import visible

END = "⟨end⟩"
SPACE = "␣"
LONGEST_CHARACTER = 4  # most bytes of a character in UTF-8, so the most tokens that share one


def token_names(tokenizer: Any, ids: Sequence[int], end_of_text: int) -> list[str]:
    """A name for each id: its text with spaces made visible, ``ə 1/2`` and ``ə 2/2`` for two that share a character.

    The end-of-text token is ``⟨end⟩``.
    """
    names: list[str] = []
    while len(names) < len(ids):
        at = len(names)
        if ids[at] == end_of_text:
            names.append(END)
            continue
        text, size = sharing(tokenizer, ids[at : at + LONGEST_CHARACTER])
        shown = visible(text.replace(" ", SPACE))
        names += [shown] if size == 1 else [f"{shown} {number}/{size}" for number in range(1, size + 1)]
    return names


def sharing(tokenizer: Any, ids: Sequence[int]) -> tuple[str, int]:
    """The text of the fewest first tokens that make whole characters, and the number of those tokens."""
    for size in range(1, len(ids) + 1):
        text = tokenizer.decode(ids[:size], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        if text and "\ufffd" not in text:
            return text, size
    return tokenizer.convert_ids_to_tokens(ids[0]), 1  # no valid character; an untrained model can say this
