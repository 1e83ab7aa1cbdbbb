"""Noises made from a seed, so that the noise suite and the demo can be tried where no recordings of noise are at hand.

They stand in for recordings' places, not for recordings: what they show of a model is whether the path works.
"""

from collections.abc import Callable

import numpy as np

from ..utterance import SAMPLING_RATE
from .noise_mixing import fitted

LOUDNESS = 0.1  # root mean square
HISS = 0.01  # beneath the clicks, of which a short excerpt might otherwise hold none
SHORTEST_SECONDS = 0.1

Making = Callable[[int, np.random.Generator], np.ndarray]


def coloured(exponent: float) -> Making:
    """Noise whose power falls with frequency to the power of ``exponent``: 0 white, 1 pink, 2 brown."""

    def make(samples: int, generator: np.random.Generator) -> np.ndarray:
        spectrum = np.fft.rfft(generator.standard_normal(samples))
        frequencies = np.fft.rfftfreq(samples, 1 / SAMPLING_RATE)
        spectrum *= np.maximum(frequencies, 20.0) ** (-exponent / 2)  # level below 20 Hz, where nothing is heard
        spectrum[0] = 0.0
        return np.fft.irfft(spectrum, samples)

    return make


def hum(samples: int, generator: np.random.Generator) -> np.ndarray:
    """A mains hum near 50 Hz with its overtones."""
    time = np.arange(samples) / SAMPLING_RATE
    pitch = generator.uniform(49.0, 51.0)
    tones = [np.sin(2 * np.pi * (n * pitch * time + generator.uniform())) / n for n in range(1, 13)]
    return np.sum(tones, axis=0)


def chirps(samples: int, generator: np.random.Generator) -> np.ndarray:
    """Sweeps up or down between 300 and 4000 Hz, two to six a second, as birds and alarms have."""
    sound, begin = np.zeros(samples), 0
    while begin < samples:
        length = min(int(generator.uniform(1 / 6, 1 / 2) * SAMPLING_RATE), samples - begin)
        low, high = generator.uniform(300.0, 4000.0, 2).tolist()
        pitch = np.geomspace(low, high, num=length)
        sound[begin : begin + length] = np.sin(2 * np.pi * np.cumsum(pitch) / SAMPLING_RATE) * np.hanning(length)
        begin += length
    return sound


def clicks(samples: int, generator: np.random.Generator) -> np.ndarray:
    """Bursts that die away within 10 ms, some eight a second, over a hiss."""
    impulses = np.where(generator.random(samples) < 8 / SAMPLING_RATE, generator.uniform(0.3, 1.0, samples), 0.0)
    length = SAMPLING_RATE // 100
    burst = generator.standard_normal(length) * np.exp(-np.arange(length) / (length / 4))
    return np.convolve(impulses, burst)[:samples] + HISS * generator.standard_normal(samples)


MAKERS: dict[str, Making] = {
    "brown": coloured(2.0),
    "chirps": chirps,
    "clicks": clicks,
    "hum": hum,
    "pink": coloured(1.0),
    "white": coloured(0.0),
}


def synthetic_noises(seed: int, seconds: float) -> dict[str, np.ndarray]:
    """Each noise as float32 [samples], 16 kHz, in [-1, 1]; the same for the same seed and length.

    Args:
        seconds: at least 0.1.
    """
    samples = int(max(seconds, SHORTEST_SECONDS) * SAMPLING_RATE)
    made = {}
    for number, (name, make) in enumerate(MAKERS.items()):
        sound = make(samples, np.random.default_rng((seed, number)))
        sound *= LOUDNESS / np.sqrt(np.square(sound).mean())
        made[name] = (sound / max(1.0, float(np.abs(sound).max()))).astype(np.float32)
    return made


class SyntheticNoises:
    """The noises with what :class:`data.augmentation.noise_clips.NoiseClips` has of recordings.

    Attributes:
        names: sorted.
    """

    def __init__(self, seed: int, seconds: float = 30.0) -> None:
        self._sounds = synthetic_noises(seed, seconds)
        self.names = list(self._sounds)

    def __len__(self) -> int:
        return len(self.names)

    def audio(self, index: int) -> np.ndarray:
        return self._sounds[self.names[index]]

    def excerpt(self, samples: int, generator: np.random.Generator) -> np.ndarray:
        """A noise chosen and cut at random, float32 [samples], begun anew where it ends."""
        sound = self.audio(int(generator.integers(len(self))))
        return fitted(sound, samples, int(generator.integers(len(sound))))
