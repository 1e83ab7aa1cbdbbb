"""Word and character error rates over a corpus: summed edits over summed words, each utterance counted once."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

# Languages whose capital I is dotless: lower-casing it as English does would change words.
DOTLESS_I_LANGUAGES = frozenset(("az", "tr", "kk", "crh", "tt"))

APOSTROPHES = re.compile("[\u2018\u2019\u02bc\uff07]")


@dataclass(frozen=True)
class ErrorRates:
    """Rates as fractions; more than 1 where there are more errors than words."""

    word_error_rate: float
    character_error_rate: float
    utterances: int
    words: int
    substitutions: int
    deletions: int
    insertions: int


def lower_case(text: str, language: str | None) -> str:
    """Lower case, with the dotted and dotless i of Turkic languages kept apart."""
    if language in DOTLESS_I_LANGUAGES:
        text = text.replace("I", "ı")
    # The dot of İ is a mark of its own once str.lower() has seen it; i has its dot already.
    return text.lower().replace("i\u0307", "i")


def basic_normalize(text: str, language: str | None = None) -> str:
    """Lower case, without punctuation, symbols and what stands in brackets; letters keep their marks.

    Apostrophes within words stay, all of one kind. Joiners and soft hyphens, which are not seen, part no word.
    """
    text = re.sub(r"<[^>]*>|\[[^\]]*\]|\([^)]*\)", " ", unicodedata.normalize("NFC", text))
    kept = (kept_character(character) for character in lower_case(APOSTROPHES.sub("'", text), language))
    return " ".join(word.strip("'") for word in "".join(kept).split() if word.strip("'"))


def kept_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf":
        return ""
    return character if category[0] not in "PSC" or character == "'" else " "


def build_normalizer(kind: str, language: str | None) -> Callable[[str], str]:
    """``english`` (Whisper's own, which spells out contractions and numbers alike), ``basic``, ``none``, ``auto``."""
    if kind == "auto":
        kind = "english" if language == "en" else "basic"
    if kind == "english":
        from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

        return EnglishTextNormalizer({})
    if kind == "basic":
        return lambda text: basic_normalize(text, language)
    return lambda text: text


def error_rates(
    references: Mapping[str, str], hypotheses: Mapping[str, str], normalize: Callable[[str], str]
) -> ErrorRates:
    """Corpus error rates of two texts by utterance id.

    A reference that normalises to nothing is kept: every word said for it is an insertion. No word at all counts as
    rate 0 without insertions and as rate 1 with them.

    Raises:
        ValueError: if the two do not hold the same utterances.
    """
    import jiwer

    if references.keys() != hypotheses.keys():
        raise ValueError(f"references and hypotheses differ in utterances: {references.keys() ^ hypotheses.keys()}")
    pairs = [(normalize(references[key]).strip(), normalize(hypotheses[key]).strip()) for key in sorted(references)]
    spoken = [(reference, hypothesis) for reference, hypothesis in pairs if reference]
    extra = [hypothesis for reference, hypothesis in pairs if not reference]
    extra_words, extra_characters = sum(len(text.split()) for text in extra), sum(map(len, extra))
    substitutions = deletions = insertions = words = character_errors = characters = 0
    if spoken:
        by_word = jiwer.process_words([r for r, _ in spoken], [h for _, h in spoken])
        substitutions, deletions, insertions = by_word.substitutions, by_word.deletions, by_word.insertions
        words = by_word.hits + substitutions + deletions
        by_character = jiwer.process_characters([r for r, _ in spoken], [h for _, h in spoken])
        character_errors = by_character.substitutions + by_character.deletions + by_character.insertions
        characters = by_character.hits + by_character.substitutions + by_character.deletions
    insertions += extra_words
    return ErrorRates(
        word_error_rate=_rate(substitutions + deletions + insertions, words),
        character_error_rate=_rate(character_errors + extra_characters, characters),
        utterances=len(pairs),
        words=words,
        substitutions=substitutions,
        deletions=deletions,
        insertions=insertions,
    )


def _rate(errors: int, of: int) -> float:
    return errors / of if of else float(errors > 0)
