"""A language model as a command's options name it: opened, and refused where it cannot be of use."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError
from data.ngram.beside import Card, Weights, read_card, read_hashes
from data.ngram.scores import Scores, open_scores
from data.ngram.texts import seen_among
from data.sources.languages import nearest_language, whisper_code
from modeling.byte_processor import bytes_of_tokens

from ...config.reading import ConfigError
from ..normalizers import SPACELESS_LANGUAGES, basic_normalize
from .guide import CANDIDATES, Guide, GuidedBeams
from .words import WordScorer

LEAST_KNOWN = 0.2  # of the words: a model that knows fewer is taken for one of another language
TELLING_WORDS = 20  # fewer say nothing of the language


@dataclass(frozen=True)
class TextScore:
    """What a language model says of a whole text: the sum of its log-probabilities (words that it lacks as its unknown
    word), and how many words there are, and are unknown."""

    likely: float
    words: int
    unknown: int


@dataclass
class LanguageModel:
    """A language model ready for decoding.

    Attributes:
        language: ISO 639-1, by whose rules words are found in texts.
        hashes: of the sentences that it was made of; None where they are not known.
    """

    path: str
    scores: Scores
    weights: Weights
    language: str
    card: Card | None = None
    hashes: NDArray[np.uint64] | None = field(default=None, repr=False)
    scorers: dict[Any, WordScorer] = field(default_factory=dict, repr=False)  # by tokenizer

    def words(self, text: str) -> list[str]:
        """Of a text, as those of the model."""
        return sentence_words(text, self.language)

    def of_text(self, text: str) -> TextScore:
        """What the model says of a whole text."""
        context, likely, words = self.scores.begin(), 0.0, self.words(text)
        for word in words:
            score, context = self.scores.score(context, word)
            likely += score
        unknown = sum(not self.scores.knows(word) for word in words)
        return TextScore(likely + self.scores.end(context), len(words), unknown)

    def scorer(self, tokenizer: Any) -> WordScorer:
        """For the texts of a tokenizer's tokens; the same for one tokenizer, so that nothing is found twice."""
        if tokenizer not in self.scorers:
            self.scorers[tokenizer] = WordScorer(
                self.scores,
                self.weights,
                bytes_of_tokens(tokenizer),
                tokenizer.eos_token_id,
                normalize=lambda text: basic_normalize(text, self.language),
                by_characters=self.language in SPACELESS_LANGUAGES,
            )
        return self.scorers[tokenizer]

    def guide(self, tokenizer: Any, beams: int = 1) -> Guide:
        """For one call of the greedy loop."""
        return Guide(self.scorer(tokenizer), max(CANDIDATES, 2 * beams))

    def processor(self, tokenizer: Any, beams: int) -> GuidedBeams:
        """For one call of ``generate()``."""
        return GuidedBeams(self.guide(tokenizer, beams))

    def with_weights(self, weights: Weights) -> "LanguageModel":
        return replace(self, weights=weights, scorers={})

    def known_share(self, texts: Iterable[str]) -> float | None:
        """Of the texts' words, those that the model knows, 0 to 1; None of too few words."""
        known = [self.scores.knows(word) for text in texts for word in self.words(text)]
        return sum(known) / len(known) if len(known) >= TELLING_WORDS else None

    def remark(self, texts: Iterable[str]) -> str | None:
        """What is to be told of what was decoded with it: that it knows hardly any of the words; else None."""
        share = self.known_share(texts)
        if share is None or share >= LEAST_KNOWN:
            return None
        return f"{self.path} knows {share:.0%} of the words that were heard: it seems to be of another language"

    def seen(self, texts: Iterable[str]) -> int | None:
        """How many of the texts are sentences that the model was made of; None where those are not known."""
        return None if self.hashes is None else sum(seen_among(self.hashes, map(self.words, texts)))

    def check_references(self, texts: Sequence[str], allow_seen: bool = False) -> int | None:
        """Look at the texts that an evaluation compares with; returns as :meth:`seen`.

        Raises:
            ConfigError: if the model knows hardly any of their words, or was made of some of them.
        """
        share = self.known_share(texts)
        if share is not None and share < LEAST_KNOWN:
            raise ConfigError(
                f"--language-model is {self.path!r}, which knows {share:.0%} of the words that were said: it seems "
                "to be of another language"
            )
        seen = self.seen(texts)
        if seen and not allow_seen:
            raise seen_error(seen, len(texts), self.path)
        return seen


def check_seen(path: str, texts: Sequence[str], allow_seen: bool) -> int | None:
    """As :meth:`LanguageModel.check_references` of a model that is not opened; its words are not looked at."""
    try:
        hashes, card = read_hashes(path), read_card(path)
    except DataError as error:
        raise ConfigError(f"--language-model: {error}") from None
    if hashes is None or card is None:
        return None
    seen = sum(seen_among(hashes, (sentence_words(text, card.language) for text in texts)))
    if seen and not allow_seen:
        raise seen_error(seen, len(texts), path)
    return seen


def seen_error(seen: int, sentences: int, path: str) -> ConfigError:
    return ConfigError(
        f"{seen} of {sentences} sentences to evaluate on are in the text of {path}, so the error rate "
        "would be too good",
        "make it with launch/ngram.py --not-in, or say --allow-seen",
    )


def sentence_words(text: str, language: str) -> list[str]:
    """The words of a sentence, as error rates of languages other than English count them."""
    return basic_normalize(text, language).split()


def open_language_model(
    path: str, language: str | None, *, weight: float | None = None, word_bonus: float | None = None
) -> LanguageModel:
    """The language model in an ARPA file.

    Args:
        language: that is decoded, if it is known.
        weight, word_bonus: in place of those that lie beside it, and of the usual ones.

    Raises:
        ConfigError: if it is of another language, or of one that nothing tells, or its file cannot be used.
    """
    given = language and whisper_code(language)
    try:
        scores, card = open_scores(path), read_card(path)
        own = card.language if card else given
        if own is None:
            raise ConfigError(
                f"--language-model is {path!r}, and nothing says of which language: give the language that is spoken"
            )
        if given is not None and given != own:
            raise ConfigError(
                f"--language-model is {path!r}, a model of the language {own!r}, and {given!r} is spoken"
                f"{nearest_language(given, [own])}"
            )
        weights = (card.weights if card else None) or Weights()
        found = {"weight": weight, "word_bonus": word_bonus}
        weights = weights.model_copy(update={name: value for name, value in found.items() if value is not None})
        return LanguageModel(path, scores, weights, own, card=card, hashes=read_hashes(path))
    except DataError as error:
        raise ConfigError(f"--language-model: {error}") from None
