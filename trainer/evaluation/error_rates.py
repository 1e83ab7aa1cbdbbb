"""Word and character error rates over a corpus: summed edits over summed words, each utterance counted once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jiwer

from data.errors import DataError

from .normalizers import Normalizer


@dataclass(frozen=True)
class Prediction:
    """What was said and what was heard.

    Attributes:
        seconds: of audio.
        columns: values of the data set's columns that are reported by, as text.
    """

    id: str
    reference: str
    hypothesis: str
    language: str | None = None
    seconds: float = 0.0
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Edits:
    """Errors of a hypothesis, or of many. ``hits`` are tokens that are right."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def tokens(self) -> int:
        """Of the reference."""
        return self.hits + self.substitutions + self.deletions


Pair = tuple[str, str]  # reference and hypothesis
Alignment = list[tuple[str, str, str]]  # equal, substitute, delete or insert; the reference's word; the hypothesis's


@dataclass(frozen=True)
class ScoredUtterance:
    """A prediction with its errors counted: words and characters, normalised and raw."""

    prediction: Prediction
    normalizer: Normalizer
    normalized_reference: str
    normalized_hypothesis: str
    alignment: Alignment = field(repr=False)
    words: Edits
    characters: Edits
    raw_words: Edits
    raw_characters: Edits

    @property
    def id(self) -> str:
        return self.prediction.id

    def row(self) -> dict[str, Any]:
        """A line of predictions.jsonl."""
        said = self.prediction
        return {
            "id": said.id,
            "reference": said.reference,
            "hypothesis": said.hypothesis,
            "normalized_reference": self.normalized_reference,
            "normalized_hypothesis": self.normalized_hypothesis,
            "language": said.language,
            "seconds": said.seconds,
            "hits": self.words.hits,
            "substitutions": self.words.substitutions,
            "deletions": self.words.deletions,
            "insertions": self.words.insertions,
            "character_errors": self.characters.errors,
            "characters": self.characters.tokens,
            "columns": dict(said.columns),
            "alignment": [list(step) for step in self.alignment],
        }


@dataclass(frozen=True)
class ErrorRates:
    """Rates as fractions; more than 1 where there are more errors than words. Counts are of normalised words."""

    utterances: int
    words: int
    substitutions: int
    deletions: int
    insertions: int
    word_error_rate: float
    character_error_rate: float
    raw_word_error_rate: float
    raw_character_error_rate: float


def score(
    predictions: Iterable[Prediction], normalizer_of: Callable[[str | None], Normalizer]
) -> list[ScoredUtterance]:
    """Count the errors of every utterance, by a least-edits alignment; sorted by id.

    Args:
        normalizer_of: the normaliser of a language.
    """
    said = sorted(predictions, key=lambda prediction: prediction.id)
    normalizers = [normalizer_of(prediction.language) for prediction in said]
    pairs: list[Pair] = []
    spelled: list[Pair] = []
    for prediction, normalize in zip(said, normalizers, strict=True):
        pair = one_space(normalize(prediction.reference)), one_space(normalize(prediction.hypothesis))
        pairs.append(pair)
        # Where words are characters, the spaces between them are nobody's.
        spelled.append((pair[0].replace(" ", ""), pair[1].replace(" ", "")) if normalize.splits_characters else pair)
    raw = [(prediction.reference.strip(), prediction.hypothesis.strip()) for prediction in said]
    alignments = align(pairs)
    counts = (map(edits, alignments), character_edits(spelled), map(edits, align(raw)), character_edits(raw))
    return [
        ScoredUtterance(prediction, normalizer, reference, hypothesis, alignment, *counted)
        for prediction, normalizer, (reference, hypothesis), alignment, *counted in zip(
            said, normalizers, pairs, alignments, *counts, strict=True
        )
    ]


def one_space(text: str) -> str:
    return " ".join(text.split())


def align(pairs: Sequence[Pair]) -> list[Alignment]:
    """The alignments of the texts' words, as jiwer makes them. To no words, every word is an insertion."""
    split = [(reference.split(), hypothesis.split()) for reference, hypothesis in pairs]
    spoken = [number for number, (reference, _) in enumerate(split) if reference]
    aligned: list[Alignment] = [[("insert", "", word) for word in hypothesis] for _, hypothesis in split]
    if spoken:
        references, hypotheses = ([" ".join(split[number][side]) for number in spoken] for side in (0, 1))
        chunks = jiwer.process_words(references, hypotheses).alignments
        for number, found in zip(spoken, chunks, strict=True):
            aligned[number] = [step for chunk in found for step in steps(chunk, *split[number])]
    return aligned


def steps(chunk: Any, reference: list[str], hypothesis: list[str]) -> Alignment:
    """One of jiwer's chunks word by word."""
    said = reference[chunk.ref_start_idx : chunk.ref_end_idx]
    heard = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
    longest = max(len(said), len(heard))
    said, heard = said + [""] * (longest - len(said)), heard + [""] * (longest - len(heard))
    return [(chunk.type, one, other) for one, other in zip(said, heard, strict=True)]


def edits(alignment: Alignment) -> Edits:
    kinds = [kind for kind, _, _ in alignment]
    return Edits(*(kinds.count(kind) for kind in ("equal", "substitute", "delete", "insert")))


def character_edits(pairs: Sequence[Pair]) -> list[Edits]:
    """Errors in characters, spaces included; for no text, every character heard is an insertion."""
    spoken = [number for number, (reference, _) in enumerate(pairs) if reference]
    counted = [Edits(insertions=len(hypothesis)) for _, hypothesis in pairs]
    if spoken:
        chunks = jiwer.process_characters([pairs[n][0] for n in spoken], [pairs[n][1] for n in spoken]).alignments
        for number, found in zip(spoken, chunks, strict=True):
            lengths = dict.fromkeys(("equal", "substitute", "delete", "insert"), 0)
            for chunk in found:
                said, heard = chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx
                lengths[chunk.type] += max(said, heard)
            counted[number] = Edits(*lengths.values())
    return counted


def total(parts: Iterable[Edits]) -> Edits:
    counted = [(part.hits, part.substitutions, part.deletions, part.insertions) for part in parts]
    return Edits(*map(sum, zip(*counted, strict=True))) if counted else Edits()


def corpus_rates(scored: Sequence[ScoredUtterance]) -> ErrorRates:
    """Error rates of a corpus.

    A reference without words is kept: every word said for it is an insertion. No word at all counts as rate 0 without
    insertions and as rate 1 with them.
    """
    words = total(one.words for one in scored)
    return ErrorRates(
        word_error_rate=rate(words),
        character_error_rate=rate(total(one.characters for one in scored)),
        raw_word_error_rate=rate(total(one.raw_words for one in scored)),
        raw_character_error_rate=rate(total(one.raw_characters for one in scored)),
        utterances=len(scored),
        words=words.tokens,
        substitutions=words.substitutions,
        deletions=words.deletions,
        insertions=words.insertions,
    )


def rate(counted: Edits) -> float:
    return counted.errors / counted.tokens if counted.tokens else float(counted.errors > 0)


def error_rates(references: Mapping[str, str], hypotheses: Mapping[str, str], normalize: Normalizer) -> ErrorRates:
    """Corpus error rates of two texts by utterance id, in one language.

    Raises:
        DataError: if the two do not hold the same utterances.
    """
    check_same("references and hypotheses", references, hypotheses)
    predictions = [Prediction(key, references[key], hypotheses[key], normalize.language) for key in references]
    return corpus_rates(score(predictions, lambda _: normalize))


def check_same(what: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Raises: DataError: naming an utterance that only one of two sets has."""
    alone = sorted(one.keys() ^ other.keys())
    if alone:
        raise DataError(
            f"{what} are of different utterances: {len(alone)} of {len(one.keys() | other.keys())} are in one alone, "
            f"the first {alone[0]!r}"
        )
