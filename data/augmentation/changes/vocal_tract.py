"""Vocal tract: a voice with higher or lower formants, as of a shorter or longer throat, and the pitch that it had."""

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from ...sources.config import Section
from ..change import Change, Draws, OtherSpeech, Pair, Sound
from ..fields import Range, Share, within
from ..voice import with_vocal_tract


class VocalTractFields(Section):
    vocal_tract: Annotated[Range, within(0.7, 1.4)] = Field(
        (1.0, 1.0), description="times as high the formants, above 1 as of a smaller child; pitch and length stay"
    )
    vocal_tract_share: Share = Field(1.0, description="probability that the formants are changed")


class VocalTract(Change[VocalTractFields]):
    fields = VocalTractFields
    of_shares: ClassVar = {"vocal_tract_share": ("vocal_tract",)}
    place, stream = 14, 11

    def __call__(self, sound: Sound, generator: np.random.Generator, others: OtherSpeech) -> Sound:
        return heard(sound, self.drawn(generator))

    def both(self, pair: Pair, draws: Draws, others: OtherSpeech) -> Pair:
        """The speaker's own second recording gets the same formants; the other party is another voice."""
        if pair.kind == "party":
            return super().both(pair, draws, others)
        factor = self.drawn(draws.first)
        second = None if pair.second is None else heard(pair.second, factor)
        return pair._replace(first=heard(pair.first, factor), second=second)

    def drawn(self, generator: np.random.Generator) -> float:
        """Times as high."""
        low, high = self.config.vocal_tract
        if low == high == 1.0 or generator.random() >= self.config.vocal_tract_share:
            return 1.0
        return generator.uniform(low, high)


def heard(sound: Sound, factor: float) -> Sound:
    return Sound(with_vocal_tract(sound.audio, factor)) if factor != 1.0 else sound
