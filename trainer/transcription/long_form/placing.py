"""Where the words of a whole recording's normalised text stand: which segments, or which timed words, they are of.

A text is normalised as a whole, since numbers and contractions may reach over the ends of segments. So the words of
the whole are aligned with those that each part has when it is normalised by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from ...evaluation.error_rates import align, one_space
from ...evaluation.normalizers import Normalizer
from .known import Unit


@dataclass(frozen=True)
class Span:
    """The first and the last unit that a normalised word is of; numbers of units."""

    first: int
    last: int


def placed_words(units: Sequence[Unit], whole: Sequence[str], normalize: Normalizer) -> list[Span]:
    """For each word of the whole text the units that it is of; none where there are no units.

    Args:
        units: the text's parts, in order.
        whole: the normalised words of all of it.
    """
    if not units:
        return []
    own = [(word, number) for number, unit in enumerate(units) for word in one_space(normalize(unit.text)).split()]
    if [word for word, _ in own] == list(whole):
        return [Span(number, number) for _, number in own]
    (steps,) = align([(" ".join(word for word, _ in own), " ".join(whole))])
    spans: list[Span] = []
    at = 0  # of the parts' words
    for is_equal, group in groupby(steps, lambda step: step[0] == "equal"):
        kinds = [kind for kind, _, _ in group]
        parts = sum(kind != "insert" for kind in kinds)
        words = sum(kind != "delete" for kind in kinds)
        numbers = [number for _, number in own[at : at + parts]]
        at += parts
        if is_equal:
            spans += [Span(number, number) for number in numbers]
        elif numbers:
            # Several words of the parts make one of the whole (nine six: 96), or one makes several.
            for place in range(words):
                first, last = place * parts // words, max(place * parts // words, -(-(place + 1) * parts // words) - 1)
                spans.append(Span(numbers[first], numbers[last]))
        else:
            nearest = spans[-1].last if spans else 0
            spans += [Span(nearest, nearest)] * words
    return spans


def begins(spans: Sequence[Span], word: int) -> bool:
    """Whether a word is the first one of the unit that it begins in."""
    return word == 0 or spans[word - 1].last != spans[word].first


def ends(spans: Sequence[Span], word: int) -> bool:
    """Whether a word is the last one of the unit that it ends in."""
    return word == len(spans) - 1 or spans[word + 1].first != spans[word].last
