"""Joins utterances into a long recording: pauses of faint noise between them, and sometimes other sounds before them.

Knows only samples, 16 kHz, not where they come from. Everything is drawn from a generator that the caller seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.audio.cutting import speech_region
from data.utterance import SAMPLING_RATE

FADE_SECONDS = 0.01  # at both ends of an utterance, so that it does not begin with a click
SLOW_FADE_SECONDS = 0.5  # likewise of noise and music
LEVELS = -35.0, -20.0  # decibels of full scale, root mean square, of noise and music at the beginning
CHORD_SECONDS = 0.6, 2.0
OVERTONES = 6
TRIADS = ((0, 4, 7), (0, 3, 7), (0, 5, 9), (0, 4, 9))  # semitones above the lowest tone


@dataclass(frozen=True)
class Spoken:
    """One utterance.

    Attributes:
        audio: float32 [samples], 16 kHz.
        speaker: empty where it is not known.
    """

    id: str
    audio: np.ndarray
    text: str
    speaker: str

    @property
    def seconds(self) -> float:
        return len(self.audio) / SAMPLING_RATE


@dataclass(frozen=True)
class Placed:
    """When an utterance sounds, in seconds of the recording: from its first to its last sound, to 20 ms."""

    start: float
    end: float
    spoken: Spoken


def log_uniform(low: float, high: float, size: int, generator: np.random.Generator) -> np.ndarray:
    """So many draws between two positive numbers, in which each doubling is as likely as every other."""
    return np.exp(generator.uniform(np.log(low), np.log(high), size))


def fitted_lengths(total: float, lengths: np.ndarray, low: float, high: float) -> np.ndarray:
    """Lengths scaled by one factor and kept between two limits, so that they sum to a total.

    Args:
        total: between ``low`` and ``high`` times their number; beyond it the sum is the nearer of these two.
    """
    smallest, largest = low / lengths.max() / 2, 2 * high / lengths.min()
    for _ in range(100):
        factor = (smallest * largest) ** 0.5
        if np.clip(lengths * factor, low, high).sum() < total:
            smallest = factor
        else:
            largest = factor
    return np.clip(lengths * largest, low, high)


def faded(audio: np.ndarray, seconds: float) -> np.ndarray:
    """A copy that rises from silence and falls into it."""
    length = min(round(seconds * SAMPLING_RATE), len(audio) // 2)
    rise = np.linspace(0, 1, length, dtype=np.float32)
    changed = audio.copy()
    changed[:length] *= rise
    changed[len(changed) - length :] *= rise[::-1]
    return changed


def levelled(audio: np.ndarray, decibels: float) -> np.ndarray:
    """Audio with a root mean square so many decibels below full scale, and no peak beyond it; faded at both ends."""
    mean_square = float(np.square(audio, dtype=np.float64).mean())
    changed = faded(audio * np.float32(10 ** (decibels / 20) / max(mean_square, 1e-12) ** 0.5), SLOW_FADE_SECONDS)
    return (changed / max(1.0, float(np.abs(changed).max()))).astype(np.float32)


def music(samples: int, generator: np.random.Generator) -> np.ndarray:
    """Chords of three tones with overtones that die away, one after the other, float32 [samples]."""
    sound, begin = np.zeros(samples), 0
    while begin < samples:
        length = min(int(generator.uniform(*CHORD_SECONDS) * SAMPLING_RATE), samples - begin)
        time = np.arange(length) / SAMPLING_RATE
        lowest = 110.0 * 2 ** (generator.integers(0, 18) / 12)
        for step in TRIADS[generator.integers(len(TRIADS))]:
            pitch = lowest * 2 ** (step / 12)
            for overtone in range(1, OVERTONES + 1):
                decay = np.exp(-time * (1.0 + 0.8 * overtone))
                sound[begin : begin + length] += np.sin(2 * np.pi * overtone * pitch * time) * decay / overtone
        begin += length
    return sound.astype(np.float32)


def joined(
    utterances: Sequence[Spoken],
    pauses: Sequence[float],
    beginning: np.ndarray,
    *,
    floor: float,
    shortest: float,
    generator: np.random.Generator,
) -> tuple[np.ndarray, list[Placed]]:
    """A recording, and when each utterance sounds in it.

    Args:
        pauses: seconds before each utterance, and one more after the last.
        beginning: what is heard before the first pause, float32 [samples], perhaps none.
        floor: level of the noise under all of it, root mean square in decibels of full scale.
        shortest: seconds; the last pause is made longer where the recording would be shorter.

    Returns:
        Float32 [samples] in [-1, 1], 16 kHz; and the utterances in order.
    """
    parts, placed, at = [beginning], list[Placed](), len(beginning)
    for pause, spoken in zip(pauses, utterances, strict=False):
        silence = np.zeros(round(pause * SAMPLING_RATE), np.float32)
        begin, end = speech_region(spoken.audio)
        at += len(silence)
        placed.append(Placed(round((at + begin) / SAMPLING_RATE, 3), round((at + end) / SAMPLING_RATE, 3), spoken))
        at += len(spoken.audio)
        parts += [silence, faded(spoken.audio, FADE_SECONDS)]
    ending = max(round(pauses[-1] * SAMPLING_RATE), round(shortest * SAMPLING_RATE) - at)
    whole = np.concatenate([*parts, np.zeros(ending, np.float32)])
    whole += generator.standard_normal(len(whole), np.float32) * np.float32(10 ** (floor / 20))
    return np.clip(whole, -1, 1), placed
