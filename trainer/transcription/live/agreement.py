"""Which words of a stream are final: those that two successive hearings agree on.

LocalAgreement-2 of Macháček et al. (arXiv 2307.14743). Knows words and their tokens, no audio and no model.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile


@dataclass(frozen=True)
class Spoken:
    """A word: its text without spaces around it, its tokens, and whether a space stands before it."""

    text: str
    tokens: tuple[int, ...]
    spaced: bool = True

    @property
    def core(self) -> str:
        """What two hearings are compared by: without capitals and punctuation."""
        letters = "".join(one for one in self.text.casefold() if not unicodedata.category(one).startswith("P"))
        return letters or self.text


@dataclass
class Agreement:
    """The words of an utterance so far.

    Attributes:
        final: words that never change.
        tentative: those that the last hearing found after them.
    """

    final: list[Spoken] = field(default_factory=list)
    tentative: list[Spoken] = field(default_factory=list)

    @property
    def tokens(self) -> list[int]:
        """Of the final words."""
        return [token for word in self.final for token in word.tokens]

    def heard(self, words: Sequence[Spoken]) -> list[Spoken]:
        """Take what a hearing finds after the final words; returns those of them that have become final."""
        pairs = takewhile(lambda pair: pair[0].core == pair[1].core, zip(self.tentative, words, strict=False))
        agreed = [word for _, word in pairs]
        self.final += agreed
        self.tentative = list(words[len(agreed) :])
        return agreed

    def end(self) -> list[Spoken]:
        """The utterance is over: returns the tentative words, which are final now, and begins another."""
        left, self.final, self.tentative = self.tentative, [], []
        return left
