"""What a model hears in a part of a recording, and when that is taken for a loop or for invented."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modeling.fusion import Fusion

from ..evaluation.language_model.n_best import Hypothesis
from .transcripts import Segment, TimedText

REPEATING = 2.4  # compression ratio of text beyond which Whisper's authors take it for a loop (arXiv 2212.04356, 4.5)
TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)  # tried in turn on a loop, as Whisper's authors do


@dataclass(frozen=True)
class Silence:
    """When what the model writes is taken for invented, as Whisper's authors do (arXiv 2212.04356, 4.5).

    Attributes:
        no_speech: the probability of no speech is above this, 0 to 1 ...
        log_probability: ... and the mean log-probability of the tokens is below this, or they repeat endlessly.
        temperatures: at which what repeats endlessly, or of a window is too unlikely, is decoded again, in turn.
    """

    no_speech: float = 0.6
    log_probability: float = -1.0
    temperatures: tuple[float, ...] = TEMPERATURES


AUTHORS = Silence()


@dataclass(frozen=True)
class Heard:
    """What the model heard in a piece: segments in seconds of the piece.

    Attributes:
        tokens: ids of what is said, without prompt and end.
        likelihoods: natural logarithms of the languages' probabilities, float32 [languages]; None where the languages
            of the batch were given.
        no_speech: the probability that nobody speaks; None if the checkpoint cannot tell.
        is_speech: False where the segments are taken for invented.
        log_probability: the mean natural logarithm of the probabilities of the tokens and of the end; None where it was
            not found on the way.
        temperature: at which the tokens were decoded; None where that is not noted.
        echoes: the text repeats the prompt.
        n_best: the best hypotheses, where they were asked for.
    """

    language: str
    segments: list[Segment]
    repeats: bool
    tokens: list[int]
    likelihoods: np.ndarray | None = None
    no_speech: float | None = None
    is_speech: bool = True
    log_probability: float | None = None
    temperature: float | None = None
    echoes: bool = False
    n_best: tuple[Hypothesis, ...] = ()


@dataclass(frozen=True)
class Encoded:
    """Pieces that the encoder has heard, and how the rows of its output belong together."""

    states: Any
    pieces: Sequence[np.ndarray]
    fused: Fusion | None


def within_sound(timed: list[TimedText], begin: float, end: float) -> list[TimedText]:
    """Times of which the first is no earlier than the sound and the last no later; small models begin at the piece's.

    Args:
        begin, end: of the sound, in seconds of the piece.
    """
    return [
        (max(start, begin), min(stop, end), text) if max(start, begin) < min(stop, end) else (start, stop, text)
        for start, stop, text in timed
    ]


def compression_ratio(text: str) -> float:
    """Bytes of the text over those of its zlib compression: about 1 for a sentence, far more for a loop."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def until(end: int, ids: list[int]) -> list[int]:
    """The tokens before the first end of text."""
    return ids[: ids.index(end)] if end in ids else ids
