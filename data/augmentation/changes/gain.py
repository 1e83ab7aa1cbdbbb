"""Gain: a clip made louder or quieter, and kept within [-1, 1]. Always the last change."""

from typing import Annotated

import numpy as np
from pydantic import Field

from ...sources.config import Section
from ..change import Change, OtherSpeech, Sound
from ..fields import Range, Share, within
from ..noise_mixing import LOUDEST


class GainFields(Section):
    gain: Annotated[Range, within(-60, 60)] = Field((0.0, 0.0), description="dB; never so much that a clip would clip")
    gain_share: Share = Field(1.0, description="probability that the level is changed")


class Gain(Change[GainFields]):
    fields = GainFields
    place, stream = 60, 4

    def __call__(self, sound: Sound, generator: np.random.Generator, others: OtherSpeech) -> Sound:
        audio, noise = sound
        low, high = self.config.gain
        peak = max(float(np.abs(part).max()) for part in sound if part is not None)
        gain = 1.0
        if (low or high) and generator.random() < self.config.gain_share:
            gain = float(10.0 ** (generator.uniform(low, high) / 20.0))
        if gain * peak > 1.0 or (gain > 1.0 and gain * peak > LOUDEST):
            gain = min(gain, LOUDEST / peak)
        if gain == 1.0:
            return sound
        return Sound(audio * np.float32(gain), None if noise is None else noise * np.float32(gain))
