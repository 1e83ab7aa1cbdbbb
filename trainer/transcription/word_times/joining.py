"""Short clips joined with pauses between them: a recording whose text is known, and when each part of it is said."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.audio.cutting import speech_region
from data.utterance import SAMPLING_RATE

LEAD_SECONDS = 0.2  # before the first clip and after the last
SHORTEST_PAUSE, LONGEST_PAUSE = 0.05, 1.0  # seconds
FLOOR_DECIBEL = -65.0  # of full scale, of the noise below all: a room's, so that pauses are no digital silence


@dataclass(frozen=True)
class Joined:
    """Clips one after the other.

    Attributes:
        audio: float32 [N], 16 kHz.
        texts: of each clip.
        bounds: seconds at which each clip begins to sound, and ends.
        language: ISO 639-1, or None.
    """

    audio: np.ndarray
    texts: tuple[str, ...]
    bounds: tuple[tuple[float, float], ...]
    language: str | None = None


def join(clips: Sequence[tuple[str, np.ndarray]], generator: random.Random, language: str | None = None) -> Joined:
    """Clips with pauses of 0.05 to 1 s between them, on a floor of faint noise.

    Args:
        clips: text and float32 samples [N] at 16 kHz of each; where they are quiet at their ends is cut off.
    """
    parts, bounds, at = [silence(LEAD_SECONDS)], [], len(silence(LEAD_SECONDS))
    for number, (_, samples) in enumerate(clips):
        begin, end = speech_region(samples)
        pause = LEAD_SECONDS if number + 1 == len(clips) else pause_of(generator)
        parts += [samples[begin:end], silence(pause)]
        bounds.append((at / SAMPLING_RATE, (at + end - begin) / SAMPLING_RATE))
        at += len(parts[-2]) + len(parts[-1])
    noise = np.random.default_rng(generator.getrandbits(32)).standard_normal(at, np.float32)
    audio = np.concatenate(parts) + noise * np.float32(10 ** (FLOOR_DECIBEL / 20))
    return Joined(audio, tuple(text for text, _ in clips), tuple(bounds), language)


def pause_of(generator: random.Random) -> float:
    """Seconds, short ones as likely as ones of twice their length."""
    return SHORTEST_PAUSE * (LONGEST_PAUSE / SHORTEST_PAUSE) ** generator.random()


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * SAMPLING_RATE), np.float32)
