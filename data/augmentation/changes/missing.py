"""Missing: an utterance loses its second recording, so that a model learns to do without one."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from ...sources.config import Section
from ..change import Change, Draws, OtherSpeech, Pair, Sound
from ..fields import Share


class MissingFields(Section):
    second_missing_share: Share = Field(
        0.0, description="probability that an utterance loses its second recording; what leaked from it stays"
    )


class Missing(Change[MissingFields]):
    fields = MissingFields
    of_second: ClassVar = {"second_missing_share": ("microphone", "speaker", "party")}
    place, stream = 36, 9

    def __call__(self, sound: Sound, generator: np.random.Generator, others: OtherSpeech) -> Sound:
        return sound

    def both(self, pair: Pair, draws: Draws, others: OtherSpeech) -> Pair:
        share = self.config.second_missing_share
        if pair.second is None or not share or draws.second.random() >= share:
            return pair
        return pair._replace(second=None)
