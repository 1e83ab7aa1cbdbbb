"""Reverberation: speech as it sounds across a room, by synthetic or recorded impulse responses."""

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from ...errors import DataError
from ...sources.config import Section
from ...utterance import SAMPLING_RATE
from ..change import Change, OtherSpeech, Sound
from ..fields import NoiseSourceConfig, Range, Share, within
from ..noise_clips import NoiseClips
from ..noise_mixing import SILENT_POWER, power

DIRECT_TO_REVERBERANT = 0.0, 12.0  # dB, drawn evenly: from across a room to near the microphone
FIRST_REFLECTION = 0.002, 0.01  # seconds after the direct sound
TRIES = 4  # recorded responses tried; one may not be readable


class ReverberationFields(Section):
    reverberation_share: Share = Field(0.0, description="the speech, not what is laid over it, in a room")
    reverberation_seconds: Annotated[Range, within(0.05, 5)] = Field(
        (0.2, 0.8), description="until the room's sound is 60 dB down, for synthetic rooms"
    )
    reverberation_responses: NoiseSourceConfig | None = Field(
        None, description="recorded impulse responses, drawn as often as synthetic ones"
    )


class Reverberation(Change[ReverberationFields]):
    fields = ReverberationFields
    of_shares: ClassVar = {"reverberation_share": ("reverberation_responses", "reverberation_seconds")}
    place, stream = 20, 1

    def __init__(self, config: ReverberationFields, lengths: tuple[float, float]) -> None:
        super().__init__(config, lengths)
        self.responses: NoiseClips | None = None
        if config.reverberation_responses is not None and config.reverberation_share:
            self.responses = NoiseClips(config.reverberation_responses, "data.augmentation.reverberation_responses")

    def __call__(self, sound: Sound, generator: np.random.Generator, others: OtherSpeech) -> Sound:
        if generator.random() >= self.config.reverberation_share:
            return sound
        response = None
        if self.responses is not None and generator.random() < 0.5:
            response = recorded_response(self.responses, generator)
        if response is None:
            response = synthetic_response(generator.uniform(*self.config.reverberation_seconds), generator)
        return Sound(reverberated(sound.audio, response))


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
    """A recorded response from its direct sound (its peak) on; None where none of those tried can be used."""
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
