"""Utterances where arms differ most."""

from collections.abc import Sequence
from dataclasses import dataclass

from .comparison import Comparison

MOST_EXAMPLES = 10
MOST_SETBACKS = 4


@dataclass(frozen=True)
class Example:
    """An utterance by its index, and by how many errors the arms differ on it."""

    place: int
    spread: int


def widest(comparison: Comparison) -> list[Example]:
    """Utterances where the arms differ most; errors beyond an utterance's number of words do not count."""
    predictions = [arm.predictions for arm in comparison.arms]
    found = []
    for place, row in enumerate(zip(*predictions, strict=True)):
        errors = [min(prediction.errors, max(prediction.words, 1)) for prediction in row]
        if max(errors) > min(errors):
            found.append(Example(place, max(errors) - min(errors)))
    return sorted(found, key=lambda example: (-example.spread, example.place))[:MOST_EXAMPLES]


def setbacks(comparison: Comparison, already: Sequence[Example]) -> list[Example]:
    """Utterances where the arm with the lowest word error rate has most more errors than the baseline."""
    if comparison.best == comparison.baseline:
        return []
    best, baseline = (comparison.arms[index].predictions for index in (comparison.best, comparison.baseline))
    seen = {example.place for example in already}
    found = [
        Example(place, ours.errors - theirs.errors)
        for place, (ours, theirs) in enumerate(zip(best, baseline, strict=True))
        if ours.errors > theirs.errors and place not in seen
    ]
    return sorted(found, key=lambda example: (-example.spread, example.place))[:MOST_SETBACKS]
