"""Mixes speech and noise at a given ratio, for training and for the noise suite.

Knows only samples, 16 kHz float32, not where they come from.
"""

from typing import NamedTuple

import numpy as np

from ..audio.cutting import speech_region
from ..errors import DataError
from ..utterance import SAMPLING_RATE

LOUDEST = 0.999  # a mixture's peak, at most
SILENT_POWER = 1e-12  # mean square below which there is nothing to scale: -120 dB of full scale
SHORTEST_NOISE = SAMPLING_RATE // 1000  # samples; a millisecond, looped, would be a tone
QUIETEST_GAIN = 0.1  # -20 dB: a mixture whose peak asks for less would leave next to nothing of the speech


class Mixture(NamedTuple):
    """Attributes:
    audio: float32 [samples], speech and noise.
    noise: float32 [samples], the part of ``audio`` that is noise.
    """

    audio: np.ndarray
    noise: np.ndarray


def power(samples: np.ndarray) -> float:
    """Mean square, in double precision."""
    return float(np.square(samples, dtype=np.float64).mean()) if len(samples) else 0.0


def spoken_power(speech: np.ndarray) -> float:
    """The power of speech from its first to its last sound."""
    begin, end = speech_region(speech)
    return power(speech[begin:end])


def mix(speech: np.ndarray, noise: np.ndarray, ratio: float) -> Mixture:
    """Add noise so that the speech has ``ratio`` dB more power than it, over the speech region.

    Where the sum would clip, speech and noise are both made quieter, which leaves the ratio as it is. By 20 dB at most,
    and what the ratio itself asks for below 0 dB: a noise that is faint under the speech and loud elsewhere, as a dog
    that barks after the words, would leave nothing to be heard. What can be mixed at 0 dB can be mixed at every ratio.

    Args:
        speech, noise: float32 [samples], equally long.

    Raises:
        DataError: if the ratio is not a finite number, speech or noise are silent where the speech is, or the noise is
            too much louder elsewhere.
    """
    if not np.isfinite(ratio):
        raise DataError(f"the ratio of speech to noise is {ratio}; it must be a number of decibels")
    if len(speech) != len(noise):
        raise DataError(f"{len(speech)} samples of speech and {len(noise)} of noise: they must be equally long")
    begin, end = speech_region(speech)
    of_speech, of_noise = power(speech[begin:end]), power(noise[begin:end])
    if of_speech < SILENT_POWER:
        raise DataError("the speech is silence, to which no ratio can be had")
    if of_noise < SILENT_POWER:
        raise DataError("the noise is silent where the speech is")
    # In double precision: float32 would round a quiet noise beside loud speech away.
    scaled = noise.astype(np.float64) * np.sqrt(of_speech / of_noise * 10.0 ** (-ratio / 10.0))
    together = speech.astype(np.float64) + scaled
    peak = max(float(np.abs(together).max()), float(np.abs(scaled).max()))
    gain = min(1.0, LOUDEST / peak)
    # The sum at a higher ratio lies between that at 0 dB and the speech alone; at a lower one, scaled as the limit is,
    # between that at 0 dB and the noise alone, which counts in the peak: so none asks for more than the one at 0 dB.
    if gain < QUIETEST_GAIN * min(1.0, 10.0 ** (ratio / 20.0)):
        raise DataError(
            f"the noise is faint where the speech is and loud elsewhere: at {ratio:g} dB of speech over noise its peak "
            f"would make the speech {-20.0 * np.log10(gain):.0f} dB quieter"
        )
    return Mixture((gain * together).astype(np.float32), (gain * scaled).astype(np.float32))


def fitted(noise: np.ndarray, samples: int, offset: int = 0) -> np.ndarray:
    """``samples`` samples of a noise from ``offset`` on, beginning anew where it ends.

    Raises:
        DataError: if the noise is shorter than a millisecond.
    """
    if len(noise) < SHORTEST_NOISE:
        raise DataError(f"a noise of {len(noise)} samples: shorter than a millisecond")
    return np.resize(np.roll(noise, -(offset % len(noise))), samples) if offset else np.resize(noise, samples)


def placed(sound: np.ndarray, begin: int, samples: int) -> np.ndarray:
    """``samples`` samples of silence with a sound from ``begin`` on, which may be below 0; what lies beyond is cut off.

    Returns:
        float32 [samples].
    """
    found = np.zeros(samples, np.float32)
    part = sound[max(0, -begin) : max(0, samples - begin)]
    found[max(0, begin) : max(0, begin) + len(part)] = part
    return found


def added(parts: list[np.ndarray]) -> np.ndarray:
    """Sounds of equal length on top of each other, each at the same power; silent ones add nothing.

    Raises:
        DataError: if all are silent.
    """
    heard = [part / np.sqrt(value) for part in parts if (value := power(part)) >= SILENT_POWER]
    if not heard:
        raise DataError("every sound to be added is silent")
    return np.sum(heard, axis=0).astype(np.float32)
