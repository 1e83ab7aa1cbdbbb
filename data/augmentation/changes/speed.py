"""Speed: a clip played faster or slower."""

from typing import Annotated

import numpy as np
import soxr
from pydantic import Field

from ...sources.config import Section
from ...utterance import SAMPLING_RATE
from ..change import Change, Draws, OtherSpeech, Pair, Sound
from ..fields import Range, Share, within


class SpeedFields(Section):
    speed: Annotated[Range, within(0.5, 2)] = Field(
        (1.0, 1.0), description="times as fast, pitch and all; data.min_seconds and data.max_seconds are kept"
    )
    speed_share: Share = Field(1.0, description="probability that the speed is changed")


class Speed(Change[SpeedFields]):
    fields = SpeedFields
    place, stream = 10, 0

    def __call__(self, sound: Sound, generator: np.random.Generator, others: OtherSpeech) -> Sound:
        return self.played(sound, self.drawn(len(sound.audio), generator))

    def both(self, pair: Pair, draws: Draws, others: OtherSpeech) -> Pair:
        """One speed for both, which the first recording's length limits; a second one that gets too long is cut."""
        speed = self.drawn(len(pair.first.audio), draws.first)
        second = None if pair.second is None else self.played(pair.second, speed)
        return pair._replace(first=self.played(pair.first, speed), second=second)

    def drawn(self, samples: int, generator: np.random.Generator) -> float:
        """The speed of a clip of so many samples."""
        low, high = self.config.speed
        if low == high == 1.0 or generator.random() >= self.config.speed_share:
            return 1.0
        shortest, longest = (int(seconds * SAMPLING_RATE) for seconds in self.lengths)
        speed = generator.uniform(low, high)
        if speed < 1.0:
            return max(speed, min(1.0, samples / longest))
        return min(speed, max(1.0, samples / max(shortest, 1)))

    def played(self, sound: Sound, speed: float) -> Sound:
        """A clip so many times as fast."""
        samples = len(sound.audio)
        if speed == 1.0 or samples / speed < 1.0:
            return sound
        changed = soxr.resample(sound.audio, SAMPLING_RATE * speed, SAMPLING_RATE)
        return Sound(changed[: max(int(self.lengths[1] * SAMPLING_RATE), samples)])  # rounding may give a sample more

    def longest(self, seconds: float) -> float:
        slowest = self.config.speed[0] if self.config.speed_share else 1.0
        return max(seconds, min(seconds / slowest, self.lengths[1]))
