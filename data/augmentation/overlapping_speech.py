"""Other people's speech as a noise: a babble of several voices, or one that competes with the speaker."""

from collections.abc import Callable, Sequence

import numpy as np

from ..errors import DataError
from .noise_mixing import SHORTEST_NOISE, SILENT_POWER, added, fitted, power, speech_region


def overlapping_speech(voices: Sequence[np.ndarray], samples: int, generator: np.random.Generator) -> np.ndarray:
    """Voices on top of each other, equally loud, each from a place drawn at random and beginning anew where it ends.

    Quiet before and after what each says is left out.

    Args:
        voices: float32 [samples of each], as :func:`drawn_voices` gives them.

    Returns:
        float32 [samples].
    """
    parts = []
    for voice in voices:
        begin, end = speech_region(voice)
        said = voice[begin:end]
        parts.append(fitted(said, samples, int(generator.integers(len(said)))))
    return added(parts)


def drawn_voices(
    wanted: int, count: int, read: Callable[[int], np.ndarray | None], generator: np.random.Generator
) -> list[np.ndarray]:
    """``wanted`` of ``count`` utterances, drawn at random; fewer where there are no more that can be used.

    Args:
        read: an utterance's samples, or None for one not to be taken; raises DataError for one that cannot be read.
    """
    voices: list[np.ndarray] = []
    for index in generator.permutation(count):
        if len(voices) == wanted:
            break
        try:
            voice = read(int(index))
        except DataError:
            continue
        if voice is None or power(voice) < SILENT_POWER:
            continue
        begin, end = speech_region(voice)
        if end - begin >= SHORTEST_NOISE:
            voices.append(voice)
    return voices
