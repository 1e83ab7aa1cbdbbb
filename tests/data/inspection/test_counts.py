"""What an inspection counts with: bounded, mergeable, and at home in the world's scripts."""

from itertools import permutations

import numpy as np
import pytest

from data.inspection.characters import oddities, words_of
from data.inspection.counts import Example, Examples, Histogram, KnownNames, Scale, Tally


def test_what_has_a_bound_keeps_the_same_things_in_any_order() -> None:
    words = [f"{'x' * (number % 7)}{number % 50}" for number in range(400)]
    outcomes = set()
    for order in permutations([words[:100], words[100:150], words[150:]]):
        tally, names = Tally(limit=5), KnownNames(limit=5)
        for part in order:
            partial, partial_names = Tally(limit=5), KnownNames(limit=5)
            for word in part:
                partial.add([word])
                partial_names.add(words.index(word) + 1, word, rank=len(word))
            tally.merge(partial)
            names.merge(partial_names)
        outcomes.add((tuple(tally.top()), tally.distinct, tally.was_cut, tuple(names.of(range(1, 1001)))))
    (outcome,) = outcomes
    assert outcome[1:3] == (5, True)
    assert all(count == words.count(word) for word, count in outcome[0])
    examples = Examples(limit=2)
    for score in (3, 1, 9, 4, 9, 2, 0, 7, 5, 6):
        examples.add(Example("id", "place", str(score), "text"), score)
    assert (examples.count, [e.detail for e in examples.listed]) == (10, ["9", "9"])


def test_quantiles_lie_within_a_bin_of_the_exact() -> None:
    values = np.random.default_rng(0).gamma(4, 1.0, 5000)
    for scale in (Scale(0, 60, 600), Scale(0.1, 102.4, 200, is_log=True)):
        histogram = Histogram(scale)
        for value in values:
            histogram.add(float(value))
        for share in (0.05, 0.5, 0.9):
            exact = float(np.quantile(values, share))
            assert histogram.quantile(share) == pytest.approx(exact, abs=0.1, rel=0.04)
        assert histogram.quantile(1.0) == histogram.largest == values.max()
    assert Histogram(scale).quantile(0.5) is None


def test_text_of_other_scripts_is_not_odd() -> None:
    for text in (
        "Bu gün hava gözəldir",
        "می\u200cخواهم",
        "Tシャツを買った",
        "क\u094dष",
        "Wi-Fi сеть",
        "¿Qué?",
        "GESÙ” e »ÀÅ«",
    ):
        assert oddities(text) == {}, text
    assert set(oddities("\u200cLatin")) == {"invisible"}
    assert set(oddities("nÉ™cÉ™sÉ™n")) == {"misread"}


def test_words_are_lower_case_without_punctuation() -> None:
    assert words_of("“Hello,” she said—it's O.K. –") == ["hello", "she", "said—it's", "o.k"]
    assert words_of("İki ILIQ", "az") == ["iki", "ılıq"]
