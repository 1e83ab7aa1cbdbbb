"""Normalisers: what is written differently and said alike compares equal, and no word becomes another."""

import json
import unicodedata
from importlib import resources

import pytest

from trainer.config.reading import ConfigError
from trainer.evaluation.normalizers import basic_normalize, build_normalizer, lower_case


@pytest.mark.parametrize(
    ("written", "other"),
    [
        ("I don't know", "i do not know"),
        ("We've got twenty five dollars", "we have got $25"),
        ("Mr. Brown, the second", "mister brown the 2nd"),
        ("um, yes [noise]", "Yes!"),
        ("The grey theatre's colour", "the gray theater's color"),
        ("He realised he was travelling", "He realized he was traveling"),
    ],
)
def test_english_spells_contractions_numbers_and_british_words_alike(written: str, other: str) -> None:
    for kind, language in (("english", None), ("english", "en"), ("auto", "en")):
        normalize = build_normalizer(kind, language)
        assert normalize(written) == normalize(other)


def test_the_table_of_british_spellings_is_whole() -> None:
    """Counted, since with another table figures of before could not be compared."""
    table = json.loads((resources.files("whisper_normalizer") / "normalizers" / "english.json").read_text("utf-8"))
    assert len(table) == 1739
    normalize = build_normalizer("english", "en")
    pairs = [(british, american.removesuffix("</span>")) for british, american in table.items()]
    changed = [british for british, american in pairs if normalize(british) != normalize(american)]
    assert changed == ["flyer / flier"], "two words, which no single word can be"
    assert normalize("Archaeology") == "archeology"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Zero, ONE –  two!", "zero one two"),
        ("don't 'quote' it", "don't quote it"),
        ("don’t ‘quote’ it", "don't quote it"),
        ("don´t, don`t, don＇t", "don't don't don't"),
        ("[noise] yes (laughs) <unk> no", "yes no"),
        ("5 € & 10%", "5 10"),
        ("co\u00adoperate", "cooperate"),
        ("word\u200f next", "word next"),
        ("ＦＵＬＬ １２ ﬁne", "full 12 fine"),
        ("I ❤️ it", "i it"),
        ("¨ yes", "yes"),
        ("", ""),
    ],
)
def test_basic_drops_what_is_not_said(text: str, normal: str) -> None:
    assert basic_normalize(text) == normal


@pytest.mark.parametrize("language", ["az", "tr", "kk", "tt"])
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
    ("language", "written", "other"),
    [
        ("el", "Ο ΚΟΣΜΟΣ, ΜΕΣ' ΣΤΟ ΦΩΣ", "ο κοσμος μεσ' στο φως"),  # final sigma
        ("lt", "i\u0307\u0301r\u0117j\u0307o", "írėjo"),  # Lithuanian keeps i's dot under an accent
        ("ca", "La col·lega; COL·LEGI", "la collega collegi"),
        ("uz", "o‘zbek Oʻzbek", "o'zbek o'zbek"),
        ("haw", "Hawai'i Hawai‘i ‘O", "hawaiʻi hawaiʻi ʻo"),
        ("he", "ג׳ירפה", "ג'ירפה"),
        ("ar", "محـــمد", "محمد"),
        ("fa", "می\u200cخواهم", "میخواهم"),
        ("uk", "П’ять пʼять", "п'ять п'ять"),
        ("ka", "ᲗᲑᲘᲚᲘᲡᲘ", "თბილისი"),
    ],
)
def test_ways_of_writing_the_same_words(language: str, written: str, other: str) -> None:
    normalize = build_normalizer("auto", language)
    assert normalize(written) == normalize(other) == normalize(normalize(written))


@pytest.mark.parametrize(
    ("language", "one", "other"),
    [
        ("de", "Maße", "Masse"),
        ("tr", "kır", "kir"),
        ("pl", "sad", "sąd"),
        ("hi", "की", "कि"),
        ("haw", "ʻono", "ono"),
        ("es", "año", "ano"),
    ],
)
def test_other_words_stay_other_words(language: str, one: str, other: str) -> None:
    normalize = build_normalizer("auto", language)
    assert normalize(one) != normalize(other)


@pytest.mark.parametrize("text", ["हिन्दी में", "नमस्ते", "தமிழ்", "বাংলা", "łódź", "việt nam", "ё", "nə", "ʻoli"])
def test_letters_keep_their_marks(text: str) -> None:
    composed = unicodedata.normalize("NFC", text)
    assert basic_normalize(text) == composed
    assert basic_normalize(unicodedata.normalize("NFD", text)) == composed


def test_a_joiner_parts_no_word() -> None:
    assert basic_normalize("क्\u200dष") == "क्ष"


@pytest.mark.parametrize(
    ("language", "text", "words"),
    [
        ("zh", "你好，世界！", "你 好 世 界"),
        ("ja", "コーヒー、(笑)ﾊﾟﾝ", "コ ー ヒ ー パ ン"),
        ("th", "ที่ กำ", "ที่ กำ"),
        ("lo", "ກຳ ທີ່", "ກຳ ທີ່"),
        ("bo", "བོད་སྐད།", "བོ ད སྐ ད"),
        ("km", "ខ្មែរ", "ខ្មែ រ"),
        ("my", "မြန်မာ", "မြ န် မ ာ"),
        ("yue", "係咪 ok", "係 咪 o k"),
    ],
)
def test_without_spaces_a_word_is_a_character(language: str, text: str, words: str) -> None:
    normalize = build_normalizer("auto", language)
    assert normalize(text) == words
    assert normalize.splits_characters
    assert not build_normalizer("none", language).splits_characters


def test_none_leaves_everything() -> None:
    assert build_normalizer("none", "xx")(" Yes,\tSIR ") == " Yes,\tSIR "


def test_auto_is_basic_outside_english() -> None:
    assert build_normalizer("auto", "de")("Ich hab's, 20!") == "ich hab's 20"
    assert build_normalizer("auto", None)("two") == "two"


def test_english_rules_are_for_english() -> None:
    with pytest.raises(ConfigError, match=r"evaluation.normalizer is 'english'.*language 'az'.*basic"):
        build_normalizer("english", "az")


@pytest.mark.parametrize("kind", ["auto", "basic", "english"])
def test_a_language_that_nobody_knows(kind: str) -> None:
    with pytest.raises(ConfigError, match=r"the language 'azz'; with evaluation.normalizer: none"):
        build_normalizer(kind, "azz")
