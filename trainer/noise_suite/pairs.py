"""Two recordings of one scene: two microphones, the other party's channel, a competing speaker over part of a clip.

Knows samples and random numbers, not where they come from. What is drawn depends neither on the ratio nor on what else
is measured.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from data.augmentation.changes.reverberation import reverberated
from data.augmentation.noise_mixing import LOUDEST, SILENT_POWER, mix, placed, power, spoken_power
from data.errors import DataError
from data.utterance import SAMPLING_RATE

ATTEMPTS = 8  # draws until a noise can be mixed; one cannot if it is silent during the speech or far louder elsewhere
COMMON_RATIO = 0.0  # at which noises are tried, so that all ratios get the same noise
LEVELS = -9.0, 0.0  # decibels, of each microphone
DELAYS = -0.3, 0.3  # seconds by which the second microphone begins later
BACK_RATIO = 20.0  # decibels of the other party's speech over the first speaker's, in the other party's channel
LEAST_OVERLAP = 0.5  # of the shorter of two parties' utterances
COVERED = 0.4, 0.9  # share of a clip over which a competing speaker is heard


class Recordings(NamedTuple):
    """Attributes:
    audio, noise: float32 [samples], the first recording, and what of it is not the speech.
    second, second_noise: float32 [samples of its own], likewise; None where there is none.
    """

    audio: np.ndarray
    noise: np.ndarray | None = None
    second: np.ndarray | None = None
    second_noise: np.ndarray | None = None


def mixable(speech: np.ndarray, draw: Callable[[], np.ndarray], kind: str) -> np.ndarray:
    """The first noise drawn that can be mixed with the speech. Raises: DataError: if ``ATTEMPTS`` draws cannot be."""
    fault: DataError | None = None
    for _ in range(ATTEMPTS):
        noise = draw()
        try:
            mix(speech, noise, COMMON_RATIO)
        except DataError as error:
            fault = error
            continue
        return noise
    raise DataError(f"{ATTEMPTS} draws of {kind}, none of which can be mixed; the last: {fault}")


def microphones(
    speech: np.ndarray,
    ratios: tuple[float, float] | None,
    noise: Callable[[int, np.random.Generator], np.ndarray],
    generator: np.random.Generator,
) -> Recordings:
    """The speech as two microphones hear it, each at its own level, in noise of its own; they are not synchronised.

    Args:
        ratios: in the first and in the second; None without noise.
        noise: gives so many samples of one.

    Raises:
        DataError: as :func:`mixable`.
    """
    later = round(generator.uniform(*DELAYS) * SAMPLING_RATE)
    gains = 10.0 ** (generator.uniform(*LEVELS, size=2) / 20.0)
    heard: list[np.ndarray | None] = []
    for number, (own, gain) in enumerate(zip((speech, delayed(speech, later)), gains, strict=True)):
        audio, part = own, None
        if ratios is not None:
            audio, part = mix(own, mixable(own, partial(noise, len(own), generator), "noise"), ratios[number])
        heard += [np.float32(gain) * audio, None if part is None else np.float32(gain) * part]
    assert heard[0] is not None
    return Recordings(heard[0], *heard[1:])


def delayed(speech: np.ndarray, later: int) -> np.ndarray:
    """What a recording holds that begins so many samples later, half of the speech at least; below 0 earlier."""
    return speech[min(later, len(speech) // 2) :] if later >= 0 else np.pad(speech, (-later, 0))


def two_parties(
    speech: np.ndarray,
    voice: np.ndarray,
    ratio: float,
    generator: np.random.Generator,
    room: np.ndarray | None = None,
) -> Recordings:
    """The channels of two parties, of equal length: each speaks in their own and leaks into the other's.

    The other's utterance lies at a random place, over which the two overlap by half of the shorter at least; what lies
    beyond the clip is cut off.

    Args:
        voice: what the other says, without quiet ends.
        ratio: decibels of the speech over the other in the first channel.
        room: the impulse response through which the other leaks, float32 [samples]; None for a fainter copy.
    """
    overlap = round(LEAST_OVERLAP * min(len(speech), len(voice)))
    begin = int(generator.integers(overlap - len(voice), len(speech) - overlap + 1))
    other = placed(voice, begin, len(speech))
    relative = np.sqrt(spoken_power(speech) / power(voice))
    leak = other if room is None else reverberated(other, room)
    first = summed(speech, leak * np.float32(relative * 10.0 ** (-ratio / 20.0)))
    second = summed(other, speech * np.float32(10.0 ** (-BACK_RATIO / 20.0) / relative))
    return Recordings(*first, *second)


def meant_and_competing(
    speech: np.ndarray, voice: np.ndarray, ratio: float, generator: np.random.Generator
) -> Recordings:
    """The speech with a competing voice over part of it, which begins at its first word and is not repeated.

    Args:
        voice: what the other says, without quiet ends.
        ratio: decibels of the speech over the other where that is heard.
    """
    covered = round(generator.uniform(*COVERED) * len(speech))
    voice = voice[:covered]
    begin = int(generator.integers(len(speech) - len(voice) + 1))
    of_voice = power(voice)
    if of_voice < SILENT_POWER:
        raise DataError("the other voice is silent in its beginning")
    scale = np.sqrt(spoken_power(speech) / of_voice * 10.0 ** (-ratio / 10.0))
    return Recordings(*summed(speech, placed(voice, begin, len(speech)) * np.float32(scale)))


def summed(own: np.ndarray, over: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sum of two sounds, and the second of them, made quieter where the sum would clip."""
    together = own + over
    gain = np.float32(min(1.0, LOUDEST / max(float(np.abs(together).max()), float(np.abs(over).max()), 1e-9)))
    return gain * together, gain * over
