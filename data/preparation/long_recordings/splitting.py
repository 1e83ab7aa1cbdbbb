"""Segments that are longer than a clip may be, cut at their quietest places with their transcript.

Where the transcript is cut, the words tell that a model hears in each part.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np

from ..scores import Score, Sounding

MOST_ERRORS = 0.5  # of the words, beyond which what the model hears does not say where the transcript is to be cut
NO_LETTER = re.compile(r"\W+")


def split_text(
    text: str,
    parts: Sequence[np.ndarray],
    language: str | None,
    score: Callable[[Sequence[Sounding]], list[Score | None]],
) -> list[str] | None:
    """The transcript of each part of a segment; None where it cannot be told.

    Args:
        parts: float32 [samples] each, 16 kHz, that follow each other.
    """
    scores = score([Sounding(part, None, language) for part in parts])
    if any(one is None for one in scores):
        return None
    words = text.split()
    heard = [plain(one.hypothesis.split()) for one in scores if one is not None]
    cuts = boundaries(plain(words), heard)
    if cuts is None:
        return None
    found = [" ".join(words[begin:end]) for begin, end in zip([0, *cuts], [*cuts, len(words)], strict=True)]
    # Where nothing is heard, nothing is to be said.
    return found if all(bool(one) == bool(said) for one, said in zip(found, heard, strict=True)) else None


def boundaries(words: Sequence[str], heard: Sequence[Sequence[str]]) -> list[int] | None:
    """After how many words each part but the last ends, by the alignment with the fewest edits.

    None where several places are as good, or where more than half of the words differ.
    """
    every = [word for part in heard for word in part]
    before, after = edits(every, words), edits(every[::-1], words[::-1])[::-1, ::-1]
    fewest = int(before[-1, -1])
    if fewest > MOST_ERRORS * len(words):
        return None
    cuts = []
    for end in np.cumsum([len(part) for part in heard])[:-1].tolist():
        best = np.flatnonzero(before[end] + after[end] == fewest)
        if len(best) != 1:
            return None
        cuts.append(int(best[0]))
    return cuts


def edits(first: Sequence[str], second: Sequence[str]) -> np.ndarray:
    """Levenshtein's distances between all beginnings of two lists: int64 [len(first) + 1, len(second) + 1]."""
    found = np.zeros((len(first) + 1, len(second) + 1), np.int64)
    found[0] = np.arange(len(second) + 1)
    for row, word in enumerate(first, 1):
        found[row, 0] = row
        for column, other in enumerate(second, 1):
            change = found[row - 1, column - 1] + (word != other)
            found[row, column] = min(change, found[row - 1, column] + 1, found[row, column - 1] + 1)
    return found


def plain(words: Sequence[str]) -> list[str]:
    """Words without capitals and signs; one of signs alone stays as it is."""
    return [NO_LETTER.sub("", word).lower() or word for word in words]
