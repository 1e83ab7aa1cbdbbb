"""Where the errors lie: by column, by length, by word, by utterance."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from .error_rates import ScoredUtterance, corpus_rates
from .intervals import rate_intervals, totals

Item = TypeVar("Item")

LENGTHS = (0, 2, 5, 10, 20, math.inf)  # seconds; a bin holds its lower edge
MOST_CONFUSED = 50
WORST = 20


def breakdowns(
    scored: Sequence[ScoredUtterance], columns: Sequence[str], cluster: str | None
) -> dict[str, list[dict[str, Any]]]:
    """Error rates by the values of each column, by length, and by language where there are several."""
    by = {column: groups((one.prediction.columns[column], one) for one in scored) for column in columns}
    if len({one.prediction.language for one in scored}) > 1:
        by.setdefault("language", groups((one.prediction.language or "", one) for one in scored))
    lengths = groups((length_bin(one.prediction.seconds), one) for one in scored)
    rows = {}
    for column, parts in by.items():
        drawn = None if column == cluster else cluster  # within one speaker, utterances are drawn
        rows[column] = [rates_of(value, part, drawn) for value, part in parts.items()]
    return rows | {"seconds": [rates_of(value, part, cluster) for value, part in lengths.items()]}


def groups(valued: Iterable[tuple[str, Item]]) -> dict[str, list[Item]]:
    """Items by value: numbers first and by size, then words."""
    parts: dict[str, list[Item]] = defaultdict(list)
    for value, one in valued:
        parts[value].append(one)
    return {value: parts[value] for value in sorted(parts, key=natural_order)}


def natural_order(value: str) -> tuple[float, str]:
    """Numbers and ranges by size, then names."""
    try:
        number = float(value.split("-")[0])
    except ValueError:
        number = math.inf
    return (number if number == number else math.inf), value


def length_bin(seconds: float) -> str:
    """``2-5`` for 2 up to but not including 5 seconds; ``20-`` for the longest."""
    low = max(edge for edge in LENGTHS if edge <= seconds)
    high = LENGTHS[LENGTHS.index(low) + 1]
    return f"{low}-{'' if math.isinf(high) else high}"


def rates_of(value: str, part: Sequence[ScoredUtterance], cluster: str | None) -> dict[str, Any]:
    rates = corpus_rates(part)
    return {
        "value": value,
        "utterances": rates.utterances,
        "words": rates.words,
        "word_error_rate": rates.word_error_rate,
        "character_error_rate": rates.character_error_rate,
        "word_error_rate_interval": rate_intervals(totals(part, cluster)[:, :2])[0],
    }


def confusions(scored: Sequence[ScoredUtterance]) -> list[tuple[str, str, int]]:
    """The word said, the word heard in its place, and how often; the most frequent pairs first."""
    pairs = Counter((said, heard) for one in scored for kind, said, heard in one.alignment if kind == "substitute")
    ordered = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    return [(said, heard, number) for (said, heard), number in ordered[:MOST_CONFUSED]]


def worst(scored: Sequence[ScoredUtterance]) -> list[str]:
    """Ids of the utterances with the most word errors, of equal ones those with fewer words first."""
    wrong = [one for one in scored if one.words.errors]
    return [one.id for one in sorted(wrong, key=lambda one: (-one.words.errors, one.words.tokens, one.id))[:WORST]]
