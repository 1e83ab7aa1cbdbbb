"""The n-grams of a model as sorted arrays: what is estimated, written, read and looked up."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"
SPECIAL = (UNKNOWN, BEGIN, END)  # their ids follow those of the words, in this order
NEVER = -99.0  # log10 of a probability of 0, as ARPA files write it


@dataclass(frozen=True)
class Level:
    """All n-grams of one length, sorted by words from the first to the last.

    Attributes:
        keys: int64 [n], ascending: the place of the n-gram's first words in the level below, times the size of the
            vocabulary, plus the id of its last word. Of single words the id.
        log10: float32 [n], of the probabilities of the last word after the others.
        backoff: float32 [n], log10 of the weight of shorter contexts after all of its words; 0 where it is no context.
    """

    keys: NDArray[np.int64]
    log10: NDArray[np.float32]
    backoff: NDArray[np.float32]


@dataclass(frozen=True)
class Ngrams:
    """A model's n-grams.

    Attributes:
        words: sorted by code points; the id of a word is its place. :data:`SPECIAL` follow.
        levels: by length, from 1.
    """

    words: list[str]
    levels: list[Level]

    @property
    def order(self) -> int:
        return len(self.levels)

    @property
    def size(self) -> int:
        """Of the vocabulary, with the special words."""
        return len(self.words) + len(SPECIAL)

    def ids(self, level: int) -> NDArray[np.int64]:
        """The words of the n-grams of a level (0 for single words), int64 [n, level + 1]."""
        columns, places = [], np.arange(len(self.levels[level].keys))
        for at in range(level, 0, -1):
            places, words = np.divmod(self.levels[at].keys[places], self.size)
            columns.append(words)
        return np.stack([places, *reversed(columns)], axis=1)
