"""Text normalisers by language, so that texts are compared by what is said, not by how it is written.

English has Whisper's own. The one for other languages changes no word: it writes lower case by the language's rules,
removes punctuation, keeps diacritics, and splits languages that are written without spaces into characters.
"""

import functools
import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Literal

import regex

from data.sources.languages import CODES, nearest_language

from ..config.reading import ConfigError

Kind = Literal["english", "basic", "none"]

# Languages whose capital I is dotless: lower-casing it as English does would change words.
DOTLESS_I_LANGUAGES = frozenset(("az", "tr", "kk", "crh", "tt"))

# Written without spaces between words (Tibetan: between syllables, by a mark): a "word" is a character there, as in
# appendix C of the Whisper paper (arXiv 2212.04356).
SPACELESS_LANGUAGES = frozenset(("zh", "yue", "ja", "th", "lo", "my", "km", "bo"))

APOSTROPHES = re.compile("[\u2018\u2019\u02bc\u05f3\uff07`\u00b4]")
ASIDES = re.compile(r"<[^>]*>|\[[^\]]*\]|\([^)]*\)")
# A dot that i has already: lower-casing İ leaves it, and Lithuanian writes it under further accents.
SECOND_DOT = re.compile("([ij\u012f])\u0307")
# NFKC splits these vowels of Thai and Lao, which readers see as one character.
PARTED_AM = (("\u0e4d\u0e32", "\u0e33"), ("\u0ecd\u0eb2", "\u0eb3"))
VARIATION_SELECTORS = "".join(map(chr, range(0xFE00, 0xFE10)))  # how an emoji or a sign is drawn
TATWEEL = "\u0640"  # lengthens an Arabic word in print; a letter to Unicode


@dataclass(frozen=True)
class Normalizer:
    """A text as it is compared.

    Attributes:
        kind: ``english`` (Whisper's own), ``basic`` (:func:`basic_normalize`) or ``none``.
        language: ISO 639-1 code; None where it is not known.
    """

    kind: Kind
    language: str | None = None

    @property
    def splits_characters(self) -> bool:
        """Whether its words are characters."""
        return self.kind == "basic" and self.language in SPACELESS_LANGUAGES

    def __call__(self, text: str) -> str:
        if self.kind == "english":
            return english_normalizer()(text).strip()
        return basic_normalize(text, self.language) if self.kind == "basic" else text


@functools.cache
def english_normalizer() -> Callable[[str], str]:
    """Whisper's, with its table of British spellings.

    The table is from the package whisper-normalizer, so that all checkpoints are measured alike: many have no
    ``normalizer.json`` of their own.
    """
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    table = resources.files("whisper_normalizer") / "normalizers" / "english.json"
    # OpenAI's table, but its entry for "archaeology" ends with a tag of HTML.
    return EnglishTextNormalizer(json.loads(table.read_text(encoding="utf-8").replace("</span>", "")))


def basic_normalize(text: str, language: str | None = None) -> str:
    """Lower case, without punctuation, symbols and text in brackets; letters keep their marks.

    Compatibility forms (full width, ligatures) become ordinary letters. Apostrophes within words stay, all of one kind.
    Invisible joiners and soft hyphens do not split words. In languages written without spaces every character (grapheme
    cluster) is a word.
    """
    text = unicodedata.normalize("NFKC", APOSTROPHES.sub("'", text))  # NFKC splits acute accents
    for parted, whole in PARTED_AM:
        text = text.replace(parted, whole)
    text = lower_case(spelling(ASIDES.sub(" ", text), language), language)
    kept = "".join(kept_character(character) for character in text)
    words = [word.strip("'") for word in kept.split() if has_letter(word)]
    if language in SPACELESS_LANGUAGES:
        words = regex.findall(r"\X", "".join(words))
    return " ".join(words)


def spelling(text: str, language: str | None) -> str:
    """One character for what a language writes with several, such as letters that are typed as apostrophes."""
    text = text.replace(TATWEEL, "")
    if language == "haw":
        return text.replace("'", "\u02bb")  # the okina, a consonant, also at a word's beginning
    if language == "uz":
        return text.replace("\u02bb", "'")  # oʻ and gʻ
    if language == "ca":
        return re.sub("(?<=l)\u00b7(?=l)", "", text, flags=re.IGNORECASE)  # col·lega is one word
    return text


def lower_case(text: str, language: str | None) -> str:
    """Lower case that keeps words apart: Turkic languages keep their two i, and a final sigma is a sigma."""
    text = unicodedata.normalize("NFC", text)
    if language in DOTLESS_I_LANGUAGES:
        text = text.replace("I", "ı")
    lowered = SECOND_DOT.sub(r"\1", unicodedata.normalize("NFC", text.lower()))
    # Whether a sigma is final depends on what stands after it, punctuation included.
    return unicodedata.normalize("NFC", lowered.replace("ς", "σ"))


def kept_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf" or character in VARIATION_SELECTORS:
        return ""
    return character if category[0] not in "PSC" or character == "'" else " "


def has_letter(word: str) -> bool:
    """Whether a word has a letter or a digit, not only marks."""
    return any(unicodedata.category(character)[0] in "LN" for character in word)


def build_normalizer(kind: str, language: str | None) -> Normalizer:
    """``english``, ``basic``, ``none``, or ``auto``: English for ``en``, else basic.

    Raises ConfigError if Whisper does not know the language, or English rules are asked for another language.
    """
    if kind == "none":
        return Normalizer("none", language)
    if language is not None and language not in CODES:
        raise ConfigError(
            f"there is no normalizer for the language {language!r}{nearest_language(language)}; "
            "with evaluation.normalizer: none texts are compared as they are"
        )
    if kind == "english" and language not in ("en", None):
        raise ConfigError(
            f"evaluation.normalizer is 'english', which would change words of the language {language!r}: "
            "leave it out (auto), or set basic or none"
        )
    english = kind == "english" or (kind == "auto" and language == "en")
    return Normalizer("english" if english else "basic", language)
