"""How likely words are after others: looked up in a model's n-grams, or by KenLM where it is installed."""

import importlib
import importlib.util
import math
from bisect import bisect_left
from pathlib import Path
from typing import Any, Protocol

from .arpa import read_arpa
from .levels import END, Ngrams

OF_TEN = math.log(10)
AFTER_ALL = "\U0010ffff"  # the last code point
MOST_KEPT = 1_000_000  # contexts whose places are kept, and prefixes
LARGE = 400_000_000  # bytes of an ARPA file that KenLM reads, where it is installed: it takes a third of the memory


class Scores(Protocol):
    """A language model, as decoding uses it. A context is whatever the model makes of the words so far."""

    def begin(self) -> Any:
        """The context at the beginning of a sentence."""
        ...

    def score(self, context: Any, word: str) -> tuple[float, Any]:
        """The natural logarithm of a word's probability, as an unknown one where it is, and the context after it."""
        ...

    def end(self, context: Any) -> float:
        """The natural logarithm of the probability that the sentence ends. Empty ones end as any do."""
        ...

    def ahead(self, context: Any, prefix: str) -> float | None:
        """An upper bound of the scores of the words that begin with a prefix; None if there are none."""
        ...

    def knows(self, word: str) -> bool: ...


class NgramScores:
    """Our own look-up, which finds the likeliest of all words with a prefix after a context, too.

    A context is the ids of the last words, as many as matter.
    """

    def __init__(self, ngrams: Ngrams) -> None:
        self.ngrams = ngrams
        self.unknown, self.first, self.last = (len(ngrams.words) + place for place in range(3))
        self.places: dict[tuple[int, ...], int] = {}
        self.unigrams: dict[str, float | None] = {}

    def begin(self) -> tuple[int, ...]:
        return self.after((), self.first)

    def knows(self, word: str) -> bool:
        return self.number(word) != self.unknown

    def number(self, word: str) -> int:
        """The id of a word, or that of unknown ones."""
        words = self.ngrams.words
        place = bisect_left(words, word)
        return place if place < len(words) and words[place] == word else self.unknown

    def score(self, context: tuple[int, ...], word: str) -> tuple[float, tuple[int, ...]]:
        number = self.number(word)
        return OF_TEN * self.log10(context, number), self.after(context, number)

    def end(self, context: tuple[int, ...]) -> float:
        likely = self.log10(context, self.last)
        if context == self.begin():
            likely = max(likely, self.log10((), self.last))
        return OF_TEN * likely

    def log10(self, context: tuple[int, ...], number: int) -> float:
        """Of the probability of a word after a context of the model's."""
        levels, total = self.ngrams.levels, 0.0
        for start in range(len(context)):
            place = self.place(context[start:])
            if place < 0:
                continue
            length = len(context) - start
            found = self.child(length, place, number)
            if found >= 0:
                return total + float(levels[length].log10[found])
            total += float(levels[length - 1].backoff[place])
        return total + float(levels[0].log10[number])

    def after(self, context: tuple[int, ...], number: int) -> tuple[int, ...]:
        """The context after a word: the last words that n-grams begin with."""
        longest = (*context, number)[max(0, len(context) + 2 - self.ngrams.order) :] if self.ngrams.order > 1 else ()
        while longest and self.place(longest) < 0:
            longest = longest[1:]
        return longest

    def place(self, context: tuple[int, ...]) -> int:
        """Of an n-gram in its level; -1 if it is not there."""
        found = self.places.get(context)
        if found is None:
            found = context[0]
            for length, number in enumerate(context[1:], 1):
                found = self.child(length, found, number)
                if found < 0:
                    break
            if len(self.places) >= MOST_KEPT:
                self.places.clear()
            self.places[context] = found
        return found

    def child(self, level: int, place: int, number: int) -> int:
        """The place in a level of the n-gram that continues one of the level below with a word; -1 if there is none."""
        keys = self.ngrams.levels[level].keys
        key = place * self.ngrams.size + number
        found = int(keys.searchsorted(key))
        return found if found < len(keys) and keys[found] == key else -1

    def ahead(self, context: tuple[int, ...], prefix: str) -> float | None:
        best = self.unigram_ahead(prefix)
        if best is None:
            return None
        low, high = self.range_of(prefix)
        for start in reversed(range(len(context))):
            place = self.place(context[start:])
            if place < 0:
                continue
            length = len(context) - start
            best += float(self.ngrams.levels[length - 1].backoff[place])
            level, base = self.ngrams.levels[length], place * self.ngrams.size
            begin, end = level.keys.searchsorted((base + low, base + high))
            if begin < end:
                best = max(best, float(level.log10[begin:end].max()))
        return OF_TEN * best

    def unigram_ahead(self, prefix: str) -> float | None:
        """The highest log10 of the words with a prefix, whatever is before them."""
        if prefix not in self.unigrams:
            if len(self.unigrams) >= MOST_KEPT:
                self.unigrams.clear()
            low, high = self.range_of(prefix)
            best = float(self.ngrams.levels[0].log10[low:high].max()) if low < high else None
            self.unigrams[prefix] = best
        return self.unigrams[prefix]

    def range_of(self, prefix: str) -> tuple[int, int]:
        """The ids of the words with a prefix: from the first up to but not including the second."""
        words = self.ngrams.words
        low = bisect_left(words, prefix)
        return low, bisect_left(words, prefix + AFTER_ALL, low)


class KenlmScores:
    """KenLM's look-up, for models too large for ours. It looks ahead by the probabilities of single words.

    A context is a state of KenLM's.
    """

    def __init__(self, path: str, unigrams: Ngrams) -> None:
        """``unigrams``: the model's single words."""
        self.kenlm = importlib.import_module("kenlm")
        self.model = self.kenlm.LanguageModel(path)
        self.words = NgramScores(unigrams)

    def begin(self) -> Any:
        state = self.kenlm.State()
        self.model.BeginSentenceWrite(state)
        return state

    def knows(self, word: str) -> bool:
        return word in self.model

    def score(self, context: Any, word: str) -> tuple[float, Any]:
        after = self.kenlm.State()
        return OF_TEN * self.model.BaseScore(context, word, after), after

    def end(self, context: Any) -> float:
        none, after = self.kenlm.State(), self.kenlm.State()
        self.model.NullContextWrite(none)
        likely = self.model.BaseScore(context, END, after)
        return OF_TEN * (max(likely, self.model.BaseScore(none, END, after)) if context == self.begin() else likely)

    def ahead(self, context: Any, prefix: str) -> float | None:
        best = self.words.unigram_ahead(prefix)
        return None if best is None else OF_TEN * best


def open_scores(path: str | Path) -> Scores:
    """The model in an ARPA file, read by ourselves; a large one by KenLM where it is installed.

    Raises:
        DataError: if there is no such file, or it is no whole ARPA file.
    """
    file = Path(path)
    if file.exists() and file.stat().st_size > LARGE and importlib.util.find_spec("kenlm") is not None:
        return kenlm_scores(file)
    return NgramScores(read_arpa(file))


def kenlm_scores(path: Path) -> KenlmScores:
    """The model in an ARPA file, read by KenLM."""
    return KenlmScores(str(path), read_arpa(path, longest=1))
