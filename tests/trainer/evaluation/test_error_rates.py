"""Error rates over a corpus, as jiwer counts them; empty texts, alignments, raw and normalised side by side."""

import json
import random

import jiwer
import pytest

from data.errors import DataError
from trainer.evaluation.error_rates import Prediction, ScoredUtterance, corpus_rates, error_rates, score
from trainer.evaluation.normalizers import build_normalizer

AS_IS, BASIC = build_normalizer("none", None), build_normalizer("basic", None)
WORDS = ("sıfır", "bir", "iki", "üç", "don't", "2", "a")


def corpus(pairs: list[tuple[str, str]]) -> tuple[dict[str, str], dict[str, str]]:
    return (
        {f"u{number}": reference for number, (reference, _) in enumerate(pairs)},
        {f"u{number}": hypothesis for number, (_, hypothesis) in enumerate(pairs)},
    )


def scored(pairs: list[tuple[str, str]], kind: str = "none", language: str | None = None) -> list[ScoredUtterance]:
    said = [Prediction(f"u{n}", reference, heard, language) for n, (reference, heard) in enumerate(pairs)]
    return score(said, lambda own: build_normalizer(kind, own))


def random_pairs(number: int) -> list[tuple[str, str]]:
    generator = random.Random(0)
    return [
        (
            " ".join(generator.choices(WORDS, k=generator.randint(1, 9))),
            " ".join(generator.choices(WORDS, k=generator.randint(0, 9))),
        )
        for _ in range(number)
    ]


def test_edits_are_summed_over_the_corpus_not_averaged_over_utterances() -> None:
    rates = error_rates(*corpus([("a", "b"), ("a b c d e f g h i", "a b c d e f g h i")]), AS_IS)
    assert rates.word_error_rate == pytest.approx(1 / 10)  # the mean of 1 and 0 would be 1 / 2
    assert rates.words == 10
    assert rates.utterances == 2


def test_kinds_of_edits() -> None:
    rates = error_rates(*corpus([("one two three", "one too three four"), ("five six", "six")]), AS_IS)
    assert (rates.substitutions, rates.insertions, rates.deletions) == (1, 1, 1)
    assert rates.word_error_rate == pytest.approx(3 / 5)


def test_agrees_with_jiwer_to_the_last_digit() -> None:
    pairs = random_pairs(200)
    references, hypotheses = [reference for reference, _ in pairs], [hypothesis for _, hypothesis in pairs]
    rates = error_rates(*corpus(pairs), AS_IS)
    assert rates.word_error_rate == rates.raw_word_error_rate == jiwer.wer(references, hypotheses)
    assert rates.character_error_rate == rates.raw_character_error_rate == jiwer.cer(references, hypotheses)


def test_counts_of_utterances_add_up_to_those_of_the_corpus() -> None:
    pairs = random_pairs(100)
    rows = [one.row() for one in scored(pairs)]
    rates = error_rates(*corpus(pairs), AS_IS)
    for kind in ("substitutions", "deletions", "insertions"):
        assert sum(row[kind] for row in rows) == getattr(rates, kind)
    assert sum(row["hits"] + row["substitutions"] + row["deletions"] for row in rows) == rates.words
    assert sum(row["character_errors"] for row in rows) / sum(row["characters"] for row in rows) == (
        rates.character_error_rate
    )


def test_an_alignment_holds_every_word_of_both_sides() -> None:
    for one in scored(random_pairs(100)):
        steps = one.alignment
        assert [said for kind, said, _ in steps if kind != "insert"] == one.normalized_reference.split()
        assert [heard for kind, _, heard in steps if kind != "delete"] == one.normalized_hypothesis.split()
        kinds = [kind for kind, _, _ in steps]
        counts = [kinds.count(kind) for kind in ("equal", "substitute", "delete", "insert")]
        assert counts == [one.words.hits, one.words.substitutions, one.words.deletions, one.words.insertions]
        assert all((kind == "equal") == (said == heard) for kind, said, heard in steps)


def test_a_row_is_what_the_predictions_file_promises() -> None:
    prediction = Prediction("u1", "The dog, a cat ran!", "the fog cat ran uh", "pl", 2.5, {"age": "9"})
    (one,) = score([prediction], lambda language: build_normalizer("auto", language))
    assert json.loads(json.dumps(one.row())) == {
        "id": "u1",
        "reference": "The dog, a cat ran!",
        "hypothesis": "the fog cat ran uh",
        "normalized_reference": "the dog a cat ran",
        "normalized_hypothesis": "the fog cat ran uh",
        "language": "pl",
        "seconds": 2.5,
        "hits": 3,
        "substitutions": 1,
        "deletions": 1,
        "insertions": 1,
        "character_errors": 6,
        "characters": 17,
        "columns": {"age": "9"},
        "alignment": [
            ["equal", "the", "the"],
            ["substitute", "dog", "fog"],
            ["delete", "a", ""],
            ["equal", "cat", "cat"],
            ["equal", "ran", "ran"],
            ["insert", "", "uh"],
        ],
    }


def test_raw_and_normalised_side_by_side() -> None:
    rates = corpus_rates(scored([("Yes, Sir", "yes sir")], "basic"))
    assert (rates.word_error_rate, rates.character_error_rate) == (0, 0)
    assert rates.raw_word_error_rate == 1
    assert rates.raw_character_error_rate == pytest.approx(3 / 8)


def test_each_utterance_is_normalised_by_its_own_language() -> None:
    said = [Prediction("a", "DON'T", "do not", "en"), Prediction("b", "SIFIR", "sıfır", "tr")]
    rates = corpus_rates(score(said, lambda language: build_normalizer("auto", language)))
    assert rates.word_error_rate == 0
    assert rates.words == 3


def test_characters_of_a_language_without_spaces_are_counted_without_them() -> None:
    (one,) = scored([("你好世界", "你坏世")], "auto", "zh")
    assert (one.words.tokens, one.words.substitutions, one.words.deletions) == (4, 1, 1)
    assert (one.characters.tokens, one.characters.errors) == (4, 2)


def test_pairs_go_by_id_whatever_the_order() -> None:
    rates = error_rates({"a": "one", "b": "two"}, {"b": "two", "a": "one"}, AS_IS)
    assert rates.word_error_rate == rates.character_error_rate == 0
    assert [one.id for one in scored([("x", "x")] * 3)] == ["u0", "u1", "u2"]


@pytest.mark.parametrize("hypotheses", [{"a": "one"}, {"a": "one", "b": "two", "c": "three"}, {"a": "one", "c": "two"}])
def test_other_utterances_are_refused_and_named(hypotheses: dict[str, str]) -> None:
    with pytest.raises(DataError, match=r"different utterances: .*'[bc]'"):
        error_rates({"a": "one", "b": "two"}, hypotheses, AS_IS)


@pytest.mark.parametrize("silence", ["", "  ", "(laughs)", "..."])
def test_words_said_for_a_reference_without_words_are_insertions(silence: str) -> None:
    rates = error_rates(*corpus([("one two", "one two"), (silence, "three")]), BASIC)
    assert (rates.insertions, rates.words, rates.utterances) == (1, 2, 2)
    assert rates.word_error_rate == pytest.approx(1 / 2)
    assert rates.character_error_rate == pytest.approx(5 / 7)


@pytest.mark.parametrize(
    ("pairs", "rate"), [([], 0), ([("", "")], 0), ([(" ", "\n")], 0), ([("", "a b")], 1), ([("a b", "")], 1)]
)
def test_no_words_at_all(pairs: list[tuple[str, str]], rate: float) -> None:
    rates = error_rates(*corpus(pairs), AS_IS)
    assert rates.word_error_rate == rates.character_error_rate == rates.raw_word_error_rate == rate
