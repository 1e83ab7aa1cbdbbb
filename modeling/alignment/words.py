"""The tokens of a text as its words, in scripts with and without spaces. It knows tokenizers, and no times."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LONGEST_CHARACTER = 4  # most bytes of a character in UTF-8, so the most tokens that share one
REPLACEMENT = "\ufffd"  # what bytes that are no text are decoded to
OPENING = ("Ps", "Pi")  # Unicode's categories of brackets and quotes that open
ALSO_OPENING = "¿¡"


@dataclass(frozen=True)
class SpelledWord:
    """A word with its punctuation, and its tokens; ``spelled`` is its text with the spaces that the tokens hold."""

    spelled: str
    tokens: tuple[int, ...]

    @property
    def text(self) -> str:
        """Without spaces around it, and with one at most between its parts."""
        return " ".join(self.spelled.split())

    def __add__(self, other: "SpelledWord") -> "SpelledWord":
        return SpelledWord(self.spelled + other.spelled, self.tokens + other.tokens)


def words_of(tokenizer: Any, tokens: Sequence[int], has_spaces: bool = True) -> list[SpelledWord]:
    """The words of a text; together their tokens are the text's.

    Words begin at spaces; where the script has none, at every whole character that a token or several begin with.
    Combining marks, and ASCII after ASCII, stay with what is before them. Punctuation that stands alone belongs to the
    word before it, opening punctuation to the one after.

    Args:
        tokens: ids of the text alone, without prompt, timestamps and end.
        has_spaces: whether the language is written with spaces between words.
    """
    parts: list[SpelledWord] = []
    for part in characters(tokenizer, tokens):
        if parts and is_continued(parts[-1].spelled, part.spelled, has_spaces):
            parts[-1] += part
        else:
            parts.append(part)
    words: list[SpelledWord] = []
    waiting = SpelledWord("", ())
    for part in parts:
        if opens(part.text) or (not words and is_punctuation(part.text)):
            waiting += part
        elif words and is_punctuation(part.text):
            words[-1] += waiting + part
            waiting = SpelledWord("", ())
        else:
            words.append(waiting + part)
            waiting = SpelledWord("", ())
    if waiting.tokens and words:
        words[-1] += waiting
    elif waiting.tokens:
        words.append(waiting)
    return words


def is_continued(before: str, text: str, has_spaces: bool) -> bool:
    """Whether a text goes on with the same word, whose end ``before`` is."""
    if not before.strip() or not text:
        return True
    if before[-1].isspace() or text[0].isspace():
        return False
    return has_spaces or unicodedata.category(text[0]).startswith("M") or (before[-1].isascii() and text[0].isascii())


def is_punctuation(text: str) -> bool:
    return all(unicodedata.category(character).startswith("P") for character in text if not character.isspace())


def opens(text: str) -> bool:
    """Whether it is punctuation that begins what follows."""
    return bool(text) and all(
        unicodedata.category(character) in OPENING or character in ALSO_OPENING for character in text
    )


def characters(tokenizer: Any, tokens: Sequence[int]) -> list[SpelledWord]:
    """The text in the smallest parts that are whole characters; tokens of Whisper's own are without text."""
    found, at = [], 0
    while at < len(tokens):
        text, size = whole_characters(tokenizer, tokens[at:], skip_special_tokens=True)
        found.append(SpelledWord(text, tuple(tokens[at : at + size])))
        at += size
    return found


def whole_characters(tokenizer: Any, tokens: Sequence[int], **options: Any) -> tuple[str, int]:
    """The text of the fewest first tokens that make whole characters, and the number of those tokens.

    One token, with its replacement characters, where the first ones are no text; an untrained model can say this.

    Args:
        options: of the tokenizer's ``decode``.
    """

    def text_of(size: int) -> str:
        return tokenizer.decode(list(tokens[:size]), clean_up_tokenization_spaces=False, **options)

    for size in range(1, min(LONGEST_CHARACTER, len(tokens)) + 1):
        text = text_of(size)
        if REPLACEMENT not in text:
            return text, size
    return text_of(1), 1
