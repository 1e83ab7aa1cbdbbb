"""Which characters of a transcript look like a mistake, and what its words are; knows one transcript at a time."""

import re
import unicodedata
from functools import lru_cache

# Scripts that are written together: Japanese takes three.
TOGETHER = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "KATAKANA-HIRAGANA": "CJK", "BOPOMOFO": "CJK", "IDEOGRAPHIC": "CJK"}
WIDTHS = ("FULLWIDTH", "HALFWIDTH", "MODIFIER", "SUPERSCRIPT", "SUBSCRIPT")
NO_SCRIPT = frozenset(
    ("MASCULINE", "FEMININE", "MICRO", "KELVIN", "ANGSTROM", "OHM", "MATHEMATICAL", "SCRIPT", "DOUBLE-STRUCK")
)
JOINERS = "\u200c\u200d"  # part of the spelling in Persian and in scripts of India
WITHOUT_JOINERS = frozenset(("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "GEORGIAN", "HEBREW", "CJK", "HANGUL"))
# No space parts their words from foreign ones.
WITHOUT_SPACES = frozenset(("CJK", "HANGUL", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN"))
DOTLESS_I_LANGUAGES = frozenset(("az", "tr", "kk", "crh", "tt"))  # as word error rates take them
MARKUP = re.compile(r"<[^<>]{1,40}>|\[[^\[\]]{1,40}\]|\{[^{}]{1,40}\}")
NO_LETTERS = re.compile(r"[\W\d_]+")
# UTF-8 read as Latin-1 or Windows-1252: a lead byte's letter, then what a following byte looks
# like and no writer puts there.
MISREAD = re.compile("[ÂÃÄÅÐÑØÙ][\u0080-\u009f¡-ª¬-º¼-¿‚„†‡ˆ‰‹Œ˜™›œžŸ]|É[\u0080-\u009f™]|Ã\u00a0|â€|ï»¿")
PUNCTUATION = "".join(
    chr(code) for code in range(0x20, 0x3100) if unicodedata.category(chr(code))[0] in "PS" and chr(code) != "ʼ"
)
LONGEST_SHOWN = 160  # characters of a text in a table


@lru_cache(maxsize=65_536)
def script_of(character: str) -> str | None:
    """``LATIN``, ``CYRILLIC``, ``ARABIC`` ...: the script of a letter, from its Unicode name; None for no letter."""
    if unicodedata.category(character)[0] != "L":
        return None
    words = unicodedata.name(character, "").split()
    while words and words[0] in WIDTHS:
        words = words[1:]
    if not words or words[0] in NO_SCRIPT:
        return None
    return TOGETHER.get(words[0], words[0])


@lru_cache(maxsize=65_536)
def oddity_of(character: str) -> str | None:
    """``control``, ``invisible``, ``replacement`` or ``unassigned`` for characters that no transcript should have."""
    if character == "\ufffd":
        return "replacement"
    category = unicodedata.category(character)
    if category == "Cc":
        return "control"
    if category in ("Cf", "Zl", "Zp"):
        return "invisible"
    return "unassigned" if category in ("Co", "Cn", "Cs") else None


def scripts_in(text: str) -> set[str]:
    return {script for script in map(script_of, set(text)) if script is not None}


def oddities(text: str) -> dict[str, str]:
    """What looks like a mistake in a text: its kind, and the characters or words that show it.

    Kinds are those of :func:`oddity_of`, ``mixed`` (letters of two scripts in a word), ``misread`` (UTF-8 read as
    another encoding), ``markup`` (``[noise]``, ``<unk>``) and ``decomposed`` (letters and their marks apart).
    """
    found: dict[str, str] = {}
    markup = MARKUP.findall(text)
    if markup:
        found["markup"] = " ".join(sorted(set(markup)))
    if text.isascii() and text.isprintable():
        return found
    scripts = scripts_in(text)
    for character in sorted(set(text)):
        kind = oddity_of(character)
        if kind and not (character in JOINERS and scripts - WITHOUT_JOINERS):
            found[kind] = f"{found[kind]}, {code_point(character)}" if kind in found else code_point(character)
    if len(scripts - WITHOUT_SPACES) > 1:
        words = NO_LETTERS.split(MARKUP.sub(" ", text))
        mixed = [word for word in words if not word.isascii() and len(scripts_in(word) - WITHOUT_SPACES) > 1]
        if mixed:
            found["mixed"] = ", ".join(
                f"{word} ({', '.join(sorted(map(str.title, scripts_in(word))))})" for word in mixed
            )
    misread = MISREAD.findall(text)
    if misread:
        found["misread"] = " ".join(sorted(set(misread)))
    if not unicodedata.is_normalized("NFC", text):
        found["decomposed"] = ", ".join(
            sorted({code_point(character) for character in text if unicodedata.combining(character)})
        )
    return found


def words_of(text: str, language: str | None = None) -> list[str]:
    """The words in lower case, without the punctuation around them."""
    if language in DOTLESS_I_LANGUAGES:
        text = text.replace("I", "ı")
    # The dot of İ is a mark of its own once str.lower() has seen it; i has its dot already.
    words = text.lower().replace("i\u0307", "i").split()
    return [word for word in (word.strip(PUNCTUATION) for word in words) if word]


def code_point(character: str) -> str:
    return f"U+{ord(character):04X}"


def character_name(character: str) -> str:
    """The Unicode name; for a control character, which has none, its effect or category."""
    usual = {"\n": "LINE BREAK", "\t": "TAB", "\r": "CARRIAGE RETURN", "\0": "NULL"}
    return unicodedata.name(character, usual.get(character, unicodedata.category(character)))


def visible(text: str, longest: int = LONGEST_SHOWN) -> str:
    """A text that is safe to show in a terminal or on a page: invisible and control characters as ``⟨U+202E⟩``."""
    short = text if len(text) <= longest else text[: longest - 1] + "…"
    return "".join(
        f"⟨{code_point(character)}⟩" if oddity_of(character) and character not in "\ufffd" + JOINERS else character
        for character in short
    )
