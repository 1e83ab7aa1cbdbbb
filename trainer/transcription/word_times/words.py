"""When each word of what was heard is said: puts what a listener heard together with the alignment of its model."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any

import numpy as np

from data.batches.labels import LabelEncoder
from data.utterance import SAMPLING_RATE
from modeling.alignment.heads import alignment_heads
from modeling.alignment.word_times import FRAME_SECONDS, SpelledWords, TimedWords, word_times
from modeling.alignment.words import SpelledWord, words_of

from ..transcripts import WRITTEN_WITHOUT_SPACES, Segment, Word

FRAME_SAMPLES = round(FRAME_SECONDS * SAMPLING_RATE)
FLOOR_PERCENTILE, LOUD_PERCENTILE = 5, 95  # of the levels of a recording's frames: its background, its speech
SILENT_SHARE = 0.4  # of the way from the background to the speech: above it lies sound
SOFT_DECIBEL = 6.0  # around that level where it is not sure
LEAST_RANGE, SURE_RANGE = 6.0, 26.0  # decibels between both: less tells nothing, from the second on levels are sure


def silence_of(audio: np.ndarray) -> np.ndarray:
    """How silent each 20 ms around an encoder frame's time is, float32 [S]: 1 surely silent, -1 surely not, 0 unknown.

    The level counts beside the recording's own background and speech. Where these are close, as in steady noise, it
    tells little.

    Args:
        audio: float32 [N], 16 kHz; S is N / 320, rounded up.
    """
    frames = -(-len(audio) // FRAME_SAMPLES)
    half = FRAME_SAMPLES // 2
    around = np.pad(audio, (half, frames * FRAME_SAMPLES - half - len(audio) + FRAME_SAMPLES))
    energy = np.square(around[: frames * FRAME_SAMPLES].reshape(frames, FRAME_SAMPLES)).mean(axis=1)
    levels = 10 * np.log10(energy + 1e-10)  # quieter than -100 dB of full scale is digital silence
    floor, loud = np.percentile(levels, (FLOOR_PERCENTILE, LOUD_PERCENTILE))
    middle = floor + SILENT_SHARE * (loud - floor)
    sureness = np.clip((loud - floor - LEAST_RANGE) / (SURE_RANGE - LEAST_RANGE), 0, 1)
    return (sureness * np.clip((middle - levels) / SOFT_DECIBEL, -1, 1)).astype(np.float32)


class WordFinder:
    """Gives what a model heard the times of its words.

    Args:
        model, tokenizer: of the checkpoint.
        labels: an encoder of texts, for its prompts.
        first_timestamp: the token of 0.00 s, if what is heard has timestamp tokens.

    Raises:
        CheckpointError: if the generation config names heads that the model lacks.
    """

    def __init__(self, model: Any, tokenizer: Any, labels: LabelEncoder, first_timestamp: int | None = None) -> None:
        self.model, self.tokenizer, self.labels, self.first_timestamp = model, tokenizer, labels, first_timestamp
        self.heads = alignment_heads(model)

    def __call__(self, encoded: Any, heard: Sequence[Any]) -> list[list[Segment]]:
        """Of each piece its segments with words, which they begin and end with, in seconds of the piece.

        Where nobody is taken to speak, segments stay as they are. Of recordings that are fused, the first counts.

        Args:
            encoded: pieces as :class:`..hearing.Encoded` has them.
            heard: of each its :class:`..hearing.Heard`.
        """
        texts = [self.texts(piece) if piece.is_speech else [] for piece in heard]
        rows = [
            (self.labels.prompt(piece.language), list(chain.from_iterable(own)))
            for piece, own in zip(heard, texts, strict=True)
        ]
        pieces = list(encoded.pieces)
        if encoded.fused is not None:
            rows, pieces = encoded.fused.beside(rows), encoded.fused.beside(pieces)
        words = self.times(encoded.states, pieces, rows)
        return [with_words(piece.segments, own, timed) for piece, own, timed in zip(heard, texts, words, strict=False)]

    def texts(self, piece: Any) -> list[list[SpelledWord]]:
        """The words of each segment of what was heard in a piece."""
        has_spaces = piece.language not in WRITTEN_WITHOUT_SPACES
        spelled = [
            words_of(self.tokenizer, ids, has_spaces) for ids in texts_between(piece.tokens, self.first_timestamp)
        ]
        return [words for words in spelled if any(word.text for word in words)]

    def times(
        self, states: Any, pieces: Sequence[np.ndarray], texts: Sequence[tuple[Sequence[int], Sequence[SpelledWord]]]
    ) -> list[list[Word]]:
        """The words of each piece's text with their times, in seconds of the piece.

        Args:
            states: what the encoder made of the pieces.
            pieces: float32 [N] each, 16 kHz.
            texts: of each piece the prompt's tokens and the words.
        """
        spelled = [SpelledWords(prompt, [word.tokens for word in words]) for prompt, words in texts]
        timed = word_times(self.model, states, spelled, [silence_of(piece) for piece in pieces], self.heads)
        lengths = [len(piece) / SAMPLING_RATE for piece in pieces]
        return [
            timed_words(words, times, length) for (_, words), times, length in zip(texts, timed, lengths, strict=True)
        ]


def texts_between(tokens: Sequence[int], first_timestamp: int | None) -> list[list[int]]:
    """The text tokens between timestamp tokens; all tokens where the vocabulary has none."""
    texts: list[list[int]] = [[]]
    for token in tokens:
        if first_timestamp is not None and token >= first_timestamp:
            texts.append([])
        else:
            texts[-1].append(token)
    return [text for text in texts if text]


def timed_words(words: Sequence[SpelledWord], times: TimedWords, length: float) -> list[Word]:
    """Words with their times; the last ends no later than the piece, whose last frame may be cut short."""
    found = []
    for word, start, end, probability in zip(words, *times, strict=True):
        last = min(float(end), length) if start < length else float(end)
        found.append(Word(word.text, float(start), last, round(float(probability), 3)))
    return found


def with_words(
    segments: Sequence[Segment], texts: Sequence[Sequence[SpelledWord]], words: Sequence[Word]
) -> list[Segment]:
    """Segments that begin with the first of their words and end with the last.

    Args:
        texts: of each segment the words as they are spelled.
        words: all of them in order, with their times.
    """
    found, each = [], iter(words)
    for segment, text in zip(segments, texts, strict=True) if texts else ((segment, ()) for segment in segments):
        own = tuple(islice(each, len(text)))
        found.append(replace(segment, start=own[0].start, end=own[-1].end, words=own) if own else segment)
    return found


def moved(words: Sequence[Word] | None, seconds: float) -> tuple[Word, ...] | None:
    """The same words, so much later, to a millisecond."""
    if words is None:
        return None
    return tuple(
        replace(word, start=round(seconds + word.start, 3), end=round(seconds + word.end, 3)) for word in words
    )
