"""Error rates over a corpus, as jiwer counts them, and the normalisers in the languages they are for."""

import random
import unicodedata

import jiwer
import pytest

from trainer.error_rates import basic_normalize, build_normalizer, error_rates, lower_case


def as_is(text: str) -> str:
    return text


def corpus(pairs: list[tuple[str, str]]) -> tuple[dict[str, str], dict[str, str]]:
    return (
        {f"u{number}": reference for number, (reference, _) in enumerate(pairs)},
        {f"u{number}": hypothesis for number, (_, hypothesis) in enumerate(pairs)},
    )


def test_edits_are_summed_over_the_corpus_not_averaged_over_utterances() -> None:
    rates = error_rates(*corpus([("a", "b"), ("a b c d e f g h i", "a b c d e f g h i")]), as_is)
    assert rates.word_error_rate == pytest.approx(1 / 10)  # the mean of 1 and 0 would be 1 / 2
    assert rates.words == 10
    assert rates.utterances == 2


def test_kinds_of_edits() -> None:
    rates = error_rates(*corpus([("one two three", "one too three four"), ("five six", "six")]), as_is)
    assert (rates.substitutions, rates.insertions, rates.deletions) == (1, 1, 1)
    assert rates.word_error_rate == pytest.approx(3 / 5)


def test_agrees_with_jiwer() -> None:
    generator = random.Random(0)
    words = ["sıfır", "bir", "iki", "üç", "don't", "2", "a"]
    pairs = [tuple(" ".join(generator.choices(words, k=generator.randint(1, 9))) for _ in range(2)) for _ in range(200)]
    references, hypotheses = [reference for reference, _ in pairs], [hypothesis for _, hypothesis in pairs]
    rates = error_rates(*corpus(pairs), as_is)
    assert rates.word_error_rate == pytest.approx(jiwer.wer(references, hypotheses))
    assert rates.character_error_rate == pytest.approx(jiwer.cer(references, hypotheses))


def test_pairs_go_by_id_whatever_the_order() -> None:
    rates = error_rates({"a": "one", "b": "two"}, {"b": "two", "a": "one"}, as_is)
    assert rates.word_error_rate == rates.character_error_rate == 0


@pytest.mark.parametrize("hypotheses", [{"a": "one"}, {"a": "one", "b": "two", "c": "three"}, {"a": "one", "c": "two"}])
def test_other_utterances_are_refused_and_named(hypotheses: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"'[bc]'"):
        error_rates({"a": "one", "b": "two"}, hypotheses, as_is)


@pytest.mark.parametrize("silence", ["", "  ", "(laughs)", "..."])
def test_words_said_for_a_reference_without_words_are_insertions(silence: str) -> None:
    rates = error_rates(*corpus([("one two", "one two"), (silence, "three")]), basic_normalize)
    assert (rates.insertions, rates.words, rates.utterances) == (1, 2, 2)
    assert rates.word_error_rate == pytest.approx(1 / 2)
    assert rates.character_error_rate == pytest.approx(5 / 7)


@pytest.mark.parametrize(
    ("pairs", "rate"), [([], 0), ([("", "")], 0), ([(" ", "\n")], 0), ([("", "a b")], 1), ([("a b", "")], 1)]
)
def test_no_words_at_all(pairs: list[tuple[str, str]], rate: float) -> None:
    rates = error_rates(*corpus(pairs), as_is)
    assert rates.word_error_rate == rates.character_error_rate == rate


@pytest.mark.parametrize(
    ("reference", "hypothesis"),
    [
        ("I don't know", "i do not know"),
        ("We've got twenty five dollars", "we have got $25"),
        ("Mr. Brown, the second", "mister brown the 2nd"),
        ("um, yes [noise]", "Yes!"),
    ],
)
def test_english_spells_out_contractions_and_numbers(reference: str, hypothesis: str) -> None:
    for kind, language in (("english", None), ("auto", "en")):
        assert error_rates(*corpus([(reference, hypothesis)]), build_normalizer(kind, language)).word_error_rate == 0


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Zero, ONE –  two!", "zero one two"),
        ("don't 'quote' it", "don't quote it"),
        ("don’t ‘quote’ it", "don't quote it"),
        ("[noise] yes (laughs) <unk> no", "yes no"),
        ("5 € & 10%", "5 10"),
        ("co\u00adoperate", "cooperate"),
        ("word\u200f next", "word next"),
        ("", ""),
    ],
)
def test_basic_drops_what_is_not_said(text: str, normal: str) -> None:
    assert basic_normalize(text) == normal


@pytest.mark.parametrize("language", ["az", "tr"])
@pytest.mark.parametrize(
    ("text", "normal"),
    [("İKİ", "iki"), ("SIFIR", "sıfır"), ("iki sıfır", "iki sıfır"), ("Işıq İldırım", "ışıq ildırım")],
)
def test_dotted_and_dotless_i(language: str, text: str, normal: str) -> None:
    for form in ("NFC", "NFD"):
        assert basic_normalize(unicodedata.normalize(form, text), language) == normal
    assert build_normalizer("auto", language)(text) == normal


def test_what_python_lower_cased_before_counts_the_same() -> None:
    assert basic_normalize("İKİ".lower(), "az") == "iki"  # str.lower() leaves i and a dot above


def test_other_languages_have_one_i() -> None:
    assert lower_case("INDIGO", "pl") == lower_case("INDIGO", None) == "indigo"


@pytest.mark.parametrize(
    "text",
    ["हिन्दी में", "नमस्ते", "தமிழ்", "ไทยที่", "łódź", "việt nam", "ё", "nə", "ʻoli"],
)
def test_letters_keep_their_marks(text: str) -> None:
    composed = unicodedata.normalize("NFC", text)
    assert basic_normalize(text) == composed
    assert basic_normalize(unicodedata.normalize("NFD", text)) == composed


def test_a_joiner_parts_no_word() -> None:
    assert basic_normalize("क्\u200dष") == "क्ष"


def test_without_normalizer_every_character_counts() -> None:
    rates = error_rates(*corpus([("Yes, Sir", "yes sir")]), build_normalizer("none", "en"))
    assert rates.word_error_rate == 1


def test_auto_is_basic_outside_english() -> None:
    assert build_normalizer("auto", "de")("Ich hab's, 20!") == "ich hab's 20"
    assert build_normalizer("auto", None)("two") == "two"
