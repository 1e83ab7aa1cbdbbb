"""Whisper's own tokens where a transcript spells them out: a tokenizer would take them for tokens, not for words.

Found here by how they are written, without a tokenizer, so that preparing, training and evaluating leave out the same
rows; :class:`data.batches.labels.LabelEncoder` sees to what a tokenizer has besides.
"""

import re
from typing import Any

from ..sources.languages import CODES

MARK = re.compile(r"<\|([^<>|]{1,24})\|>")
TIMESTAMP = re.compile(r"<\|\d{1,2}\.\d\d\|>")
NAMES = frozenset(
    ("endoftext", "startoftranscript", "translate", "transcribe", "startoflm", "startofprev", "nospeech", "nocaptions",
     "notimestamps")
)  # fmt: skip


def special_token_in(text: str) -> str | None:
    """The first special or timestamp token that a text spells out, in any Whisper's vocabulary."""
    if "<|" not in text:
        return None
    for mark in MARK.finditer(text):
        name = mark.group(1)
        if name in NAMES or name in CODES or TIMESTAMP.fullmatch(mark.group()):
            return mark.group()
    return None


def own_tokens(tokenizer: Any) -> dict[int, str]:
    """A tokenizer's special and timestamp tokens by their ids; no words that a user has added to it."""
    added = {number: (token.content, token.special) for number, token in tokenizer.added_tokens_decoder.items()}
    # Timestamps are special in no release.
    return {number: token for number, (token, is_special) in added.items() if is_special or MARK.fullmatch(token)}


def complaint(token: str) -> str:
    """What is wrong with a special token in a text, and what would be right."""
    if TIMESTAMP.fullmatch(token):
        return f"the timestamp {token!r}, and training with timestamps is not supported: give the words alone"
    return f"{token!r}, which is a special token of Whisper's and no word: give the words alone"
