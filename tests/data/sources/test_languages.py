"""Languages are given in many ways; Whisper has one code for each."""

from typing import Any

import pytest
from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from data.config import DataConfig
from data.sources.languages import CODES, MEANT, nearest_language, whisper_code


def test_the_table_is_whispers() -> None:
    assert set(CODES) == set(LANGUAGES), "every language of large-v3's"
    for name, code in TO_LANGUAGE_CODE.items():
        assert whisper_code(name) == code


def test_no_word_means_two_languages() -> None:
    from data.sources.languages import TABLE

    assert len(MEANT) == len(TABLE.split()), "a word stands in two lines, or twice in one"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("nb", "no"),
        ("nn-NO", "nn"),
        ("jv", "jw"),
        ("iw", "he"),
        ("azj", "az"),
        ("az_az", "az"),
        ("Turkish", "tr"),
        ("Haitian Creole", "ht"),
        ("zh-CN", "zh"),
        ("cmn_Hans_CN", "zh"),
        ("sr-Latn-RS", "sr"),
        (" DEU ", "de"),
        ("kmr", "kmr"),
        ("ku-TR", "ku"),
        ("Kurdish", "Kurdish"),
        ("", ""),
    ],
)
def test_what_is_given_and_what_is_meant(given: str, code: str) -> None:
    assert whisper_code(given) == code


@pytest.mark.parametrize(("given", "hint"), [("Turkich", "tr"), ("azerbajani", "az"), ("kmr", None), ("zz", None)])
def test_only_a_misspelt_name_has_a_hint(given: str, hint: str | None) -> None:
    """The code most like another is that of another language: Kurdish ``kmr`` is not Khmer."""
    assert (f"{hint!r}?)" in nearest_language(given)) if hint else nearest_language(given) == ""


def test_a_hint_names_only_what_the_checkpoint_knows() -> None:
    assert nearest_language("Turkich", ["az", "en"]) == ""


@pytest.mark.parametrize(("given", "code"), [(False, "no"), ("Norwegian", "no"), ("fil", "tl"), (None, None)])
def test_a_config_has_whispers_code(given: Any, code: str | None) -> None:
    """A bare ``no`` of YAML is read as false."""
    source = {"digits": {"folder": "speech", "split": "train", "utterances": 2}}
    assert DataConfig.model_validate({"train": source, "language": given}).language == code
