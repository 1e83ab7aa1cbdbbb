"""What ``launch/ngram.py`` does: text in, an ARPA file out, with what is known of it beside it."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import placed
from data.ngram.arpa import write_arpa
from data.ngram.beside import CARD, HASHES, Card, write_card, write_hashes
from data.ngram.estimation import Discounts, Estimated, estimate
from data.ngram.scores import NgramScores
from data.ngram.texts import hashes_of, parted, seen_among, sentences_of
from data.sources.languages import CODES, nearest_language, whisper_code

from ...config.reading import ConfigError
from ...errors import SaveError
from ...record.durable import check_place
from .opening import sentence_words

LEAST_HELD = 10  # sentences that a perplexity is told of


@dataclass(frozen=True)
class Asked:
    """What a model is to be made of; ``not_in`` are texts or corpora whose sentences are left out."""

    texts: tuple[str, ...]
    language: str
    order: int = 3
    prune: int = 0
    not_in: tuple[str, ...] = ()


def make(asked: Asked, output: Path) -> Iterator[str]:
    """Make a language model; yields lines on what was found, as it is found.

    Raises:
        ConfigError: if the language is not known, or the output cannot be a file.
        DataError: if a text cannot be read, or there are no words.
        SaveError: if the files cannot be written.
    """
    language = whisper_code(asked.language)
    if language not in CODES:
        raise ConfigError(f"--language is {asked.language!r}, which Whisper does not know{nearest_language(language)}")
    check_place(output.absolute().parent, "--output")
    if output.is_dir():
        raise ConfigError(f"--output is {str(output)!r}, which is a folder; an ARPA file is right, such as az.arpa")
    if output.resolve() in [Path(text).resolve() for text in (*asked.texts, *asked.not_in)]:
        raise ConfigError(f"--output is {str(output)!r}, which is a text to read and would be overwritten")
    started = time.perf_counter()
    sentences = [words for text in asked.texts for words in read(text, language) if words]
    if asked.not_in:
        others = hashes_of(words for text in asked.not_in for words in read(text, language) if words)
        seen = seen_among(others, sentences)
        sentences = [words for words, is_there in zip(sentences, seen, strict=True) if not is_there]
        yield f"left out: {sum(seen):,} sentences that are in {', '.join(asked.not_in)}"
    counted, held = parted(sentences)
    perplexity = None
    if counted and len(held) >= LEAST_HELD:
        perplexity, unknown = perplexity_of(estimate(counted, asked.order, asked.prune), held)
    with placed(", ".join(asked.texts)):
        made = estimate(sentences, asked.order, asked.prune)
    yield f"sentences: {made.sentences:,}, words: {made.tokens:,}, vocabulary: {len(made.ngrams.words):,}"
    yield "n-grams: " + ", ".join(f"{len(level.keys):,}" for level in made.ngrams.levels)
    for length, discounts in enumerate(made.discounts, 1):
        yield f"discounts of length {length}: {shown_discounts(discounts, length in made.usual)}"
    if perplexity is None:
        yield f"perplexity: of fewer than {LEAST_HELD} held-out sentences it says nothing"
    else:
        yield (
            f"perplexity of {len(held):,} held-out sentences, by a model without them: {perplexity:.1f} "
            f"({unknown:.1%} of their words unknown)"
        )
    card = Card(
        language=language,
        order=asked.order,
        sentences=made.sentences,
        words=made.tokens,
        vocabulary=len(made.ngrams.words),
        texts=asked.texts,
        prune=asked.prune,
        discounts=made.discounts,
        perplexity=perplexity,
    )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_arpa(output, made.ngrams)
        write_hashes(output, hashes_of(sentences))
        write_card(output, card)
    except OSError as error:
        raise SaveError(f"{output} cannot be written: {error.strerror or error}") from None
    yield f"written to {output}, {output.name}{CARD} and {output.name}{HASHES} in {time.perf_counter() - started:.1f} s"


def read(text: str, language: str) -> Iterator[list[str]]:
    """The words of each sentence of a text or corpus."""
    return (sentence_words(sentence, language) for sentence in sentences_of(text))


def perplexity_of(made: Estimated, held: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Of sentences, the ends of which count as words, and the share of their words that the model lacks."""
    scores = NgramScores(made.ngrams)
    total, words, unknown = 0.0, 0, 0
    for sentence in held:
        context = scores.begin()
        for word in sentence:
            score, context = scores.score(context, word)
            total, unknown = total + score, unknown + (not scores.knows(word))
        total += scores.end(context)
        words += len(sentence)
    return math.exp(-total / (words + len(held))), unknown / max(words, 1)


def shown_discounts(discounts: Discounts, are_usual: bool) -> str:
    shown = ", ".join(f"{one:.3f}" for one in discounts)
    return f"{shown} (the usual ones: so small a text does not tell)" if are_usual else shown
