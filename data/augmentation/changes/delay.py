"""Delay: another microphone, which is not synchronised, begins its recording later or earlier than the first."""

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from ...sources.config import Section
from ...utterance import SAMPLING_RATE
from ..change import Change, Draws, OtherSpeech, Pair, Sound
from ..fields import Range, within


class DelayFields(Section):
    second_delay: Annotated[Range, within(-10, 10)] = Field(
        (0.0, 0.0),
        description="seconds by which another microphone begins later than the first, so that what is said before is "
        "not in its recording; below 0 earlier, with silence before the first begins",
    )


class Delay(Change[DelayFields]):
    fields = DelayFields
    of_second: ClassVar = {"second_delay": ("microphone",)}
    place, stream = 25, 7

    def __call__(self, sound: Sound, generator: np.random.Generator, others: OtherSpeech) -> Sound:
        return sound

    def both(self, pair: Pair, draws: Draws, others: OtherSpeech) -> Pair:
        low, high = self.config.second_delay
        if pair.second is None or pair.kind != "microphone" or low == high == 0.0:
            return pair
        audio = pair.second.audio
        # Half of the recording stays, however short it is.
        later = min(round(draws.second.uniform(low, high) * SAMPLING_RATE), len(audio) // 2)
        if later >= 0:
            return pair._replace(second=Sound(audio[later:]), later=later)
        most = max(int(self.lengths[1] * SAMPLING_RATE), len(audio))
        return pair._replace(second=Sound(np.pad(audio, (-later, 0))[:most]), later=later)

    def longest_second(self, seconds: float) -> float:
        return max(seconds, min(seconds - min(0.0, self.config.second_delay[0]), self.lengths[1]))
