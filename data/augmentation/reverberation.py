"""Rooms: speech as it sounds some way from the microphone, by synthetic or recorded impulse responses."""

import numpy as np

from ..errors import DataError
from ..utterance import SAMPLING_RATE
from .noise_clips import NoiseClips
from .noise_mixing import SILENT_POWER, power

DIRECT_TO_REVERBERANT = 0.0, 12.0  # dB, drawn evenly: from across a room to near the microphone
FIRST_REFLECTION = 0.002, 0.01  # seconds after the direct sound
TRIES = 4  # recorded responses tried; one may not be readable


def synthetic_response(seconds: float, generator: np.random.Generator) -> np.ndarray:
    """An impulse response that falls by 60 dB in ``seconds``: noise that decays exponentially, after the direct sound.

    Polack's model (La transmission de l'énergie sonore dans les salles, 1988).

    Returns:
        float32 [samples], 1.0 first.
    """
    length = max(1, int(seconds * SAMPLING_RATE))
    begin = int(generator.uniform(*FIRST_REFLECTION) * SAMPLING_RATE)
    times = np.arange(length) / SAMPLING_RATE
    tail = generator.standard_normal(length) * np.exp(-3.0 * np.log(10.0) * times / seconds)
    tail *= 10.0 ** (-generator.uniform(*DIRECT_TO_REVERBERANT) / 20.0) / np.sqrt(np.square(tail).sum())
    return np.concatenate([[1.0], np.zeros(begin), tail]).astype(np.float32)


def recorded_response(clips: NoiseClips, generator: np.random.Generator) -> np.ndarray | None:
    """One of the recorded responses, from its direct sound (its peak) on; None where none of some can be read."""
    for _ in range(TRIES):
        try:
            response = clips.audio(int(generator.integers(len(clips))))
        except DataError:
            continue
        if power(response) >= SILENT_POWER:
            return response[int(np.abs(response).argmax()) :]
    return None


def reverberated(speech: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Speech in a room, as long, as early and as loud (power) as it was: float32 [samples].

    It may go beyond [-1, 1], since its peaks are others.
    """
    from scipy.signal import oaconvolve  # some tenths of a second to import

    wet = oaconvolve(speech.astype(np.float64), response.astype(np.float64))[: len(speech)]
    loudness = power(wet)
    if loudness < SILENT_POWER:
        return speech
    return (wet * np.sqrt(power(speech) / loudness)).astype(np.float32)
