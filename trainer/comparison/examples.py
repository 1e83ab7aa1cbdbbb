"""Utterances where arms differ most, by their places in the predictions."""

from collections.abc import Sequence

from .comparison import Comparison

MOST_EXAMPLES = 10
MOST_SETBACKS = 4


def widest(comparison: Comparison) -> list[int]:
    """Utterances where the arms differ most; errors beyond an utterance's number of words do not count."""
    spreads = {}
    for place, row in enumerate(zip(*(arm.predictions for arm in comparison.arms), strict=True)):
        errors = [min(prediction.errors, max(prediction.words, 1)) for prediction in row]
        spreads[place] = max(errors) - min(errors)
    return largest(spreads, MOST_EXAMPLES)


def setbacks(comparison: Comparison, already: Sequence[int]) -> list[int]:
    """Utterances where the arm with the lowest word error rate has most more errors than the baseline."""
    best, baseline = (comparison.arms[index].predictions for index in (comparison.best, comparison.baseline))
    pairs = enumerate(zip(best, baseline, strict=True))
    more = {place: ours.errors - theirs.errors for place, (ours, theirs) in pairs if place not in already}
    return largest(more, MOST_SETBACKS)


def largest(values: dict[int, int], most: int) -> list[int]:
    """The places of the largest values above 0."""
    return sorted((place for place in values if values[place] > 0), key=lambda place: (-values[place], place))[:most]
