"""Silence: frames of the clip itself that hold no speech count as noise. The audio stays as it is.

Levels alone tell which frames those are: the ones that are quiet beside the loudest.
"""

import numpy as np
from pydantic import Field

from ...audio.cutting import QUIET_DECIBEL, QUIET_MARGIN
from ...sources.config import Section
from ...utterance import SAMPLING_RATE
from ..change import Change, OtherSpeech, Sound

FRAME = SAMPLING_RATE // 50  # samples; 20 ms, as a frame of Whisper's encoder


class SilenceFields(Section):
    silence_is_noise: bool = Field(
        False, description="frames of the clip itself without speech, by their level, count as noise for the noise loss"
    )


class Silence(Change[SilenceFields]):
    fields = SilenceFields
    only_adds = True
    place, stream = 40, 6

    def __call__(self, sound: Sound, generator: np.random.Generator, others: OtherSpeech) -> Sound:
        if not self.config.silence_is_noise:
            return sound
        audio, noise = sound
        own = without_speech(audio if noise is None else audio - noise)
        return Sound(audio, own if noise is None else noise + own)

    @staticmethod
    def knows_noise(config: SilenceFields) -> bool:
        return config.silence_is_noise


def speech_frames(audio: np.ndarray) -> np.ndarray:
    """For each frame of 20 ms, the last padded with silence, whether it holds speech: bool [frames].

    Frames up to 35 dB below the loudest do, and those within 0.1 s of them: faint beginnings and ends of words. In a
    recording whose background is louder than that, every frame does.
    """
    frames = np.pad(audio, (0, -len(audio) % FRAME)).reshape(-1, FRAME)
    energy = np.square(frames, dtype=np.float64).mean(axis=1)
    loud = energy >= energy.max() * 10 ** (-QUIET_DECIBEL / 10)
    margin = QUIET_MARGIN // FRAME
    return np.convolve(loud, np.ones(2 * margin + 1))[margin : margin + len(loud)] > 0.5


def without_speech(audio: np.ndarray) -> np.ndarray:
    """The samples of the frames without speech, silence where there is speech: float32 [samples]."""
    silent = np.repeat(~speech_frames(audio), FRAME)[: len(audio)]
    return np.where(silent, audio, np.float32(0.0))
