"""Utterances where arms differ most, word by word; every text is escaped here."""

from collections.abc import Sequence
from dataclasses import dataclass

from data.preparation.inspection_page import escaped

from .charts import by_rate, run_name
from .comparison import Comparison
from .reading import Prediction

MOST_EXAMPLES = 10
MOST_SETBACKS = 4
MOST_WORDS = 60  # of an alignment; more are counted


@dataclass(frozen=True)
class Example:
    """An utterance by its place, and how far apart the arms are on it, in errors."""

    place: int
    spread: int


def widest(comparison: Comparison) -> list[Example]:
    """Where the arms are furthest apart, counting no utterance for more errors than it has words."""
    predictions = [arm.predictions for arm in comparison.arms]
    found = []
    for place, row in enumerate(zip(*predictions, strict=True)):
        errors = [min(prediction.errors, max(prediction.words, 1)) for prediction in row]
        if max(errors) > min(errors):
            found.append(Example(place, max(errors) - min(errors)))
    return sorted(found, key=lambda example: (-example.spread, example.place))[:MOST_EXAMPLES]


def setbacks(comparison: Comparison, already: Sequence[Example]) -> list[Example]:
    """Where the arm with the lowest word error rate does worst against the baseline."""
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


def example_cards(comparison: Comparison, examples: Sequence[Example]) -> str:
    return "".join(card(comparison, example.place) for example in examples)


def card(comparison: Comparison, place: int) -> str:
    """What was said, and what each arm heard."""
    first = comparison.arms[0].predictions[place]
    known: dict[str, str | None] = {}
    for arm in comparison.arms:
        known |= arm.predictions[place].columns
    facts = "".join(f"<span>{escaped(key)} {escaped(value)}</span>" for key, value in known.items() if value)
    rows = "".join(
        f'<dt>{run_name(comparison, index)}</dt><dd dir="auto"><span class="count-of">{errors_of(prediction)}</span>'
        f"{marked(prediction)}</dd>"
        for index in by_rate(comparison)
        for prediction in (comparison.arms[index].predictions[place],)
    )
    return (
        f'<article class="example"><p class="facts"><code dir="auto">{escaped(first.id)}</code>'
        f"<span>{first.seconds:.1f} s</span>{facts}</p>"
        f'<p class="said" dir="auto">{escaped(first.reference, 400)}</p><dl>{rows}</dl></article>'
    )


def errors_of(prediction: Prediction) -> str:
    return f"{prediction.errors} of {prediction.words}"


def marked(prediction: Prediction) -> str:
    """The words heard; wrong ones bold and underlined, missed ones struck through."""
    if not prediction.errors:
        return '<span class="right">as spoken</span>'
    if not prediction.alignment:
        return escaped(prediction.normalized_hypothesis, 400)
    words = []
    for kind, said, heard in prediction.alignment[:MOST_WORDS]:
        if kind == "equal":
            words.append(escaped(heard))
            continue
        missed = f"<del>{escaped(said)}</del>" if said else ""
        wrong = f"<ins>{escaped(heard)}</ins>" if heard else ""
        words.append(missed + wrong)
    more = len(prediction.alignment) - MOST_WORDS
    if more > 0:
        words.append(f'<span class="right">… {more:,} more words</span>')
    return " ".join(words)
