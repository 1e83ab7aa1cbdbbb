"""Pitch: a voice higher or lower, with the formants and the timing that it had."""

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from ...sources.config import Section
from ..change import Change, Draws, OtherSpeech, Pair, Sound
from ..fields import Range, Share, within
from ..voice import with_pitch


class PitchFields(Section):
    pitch: Annotated[Range, within(-12, 12)] = Field(
        (0.0, 0.0), description="semitones by which a voice gets higher; formants and length stay"
    )
    pitch_share: Share = Field(1.0, description="probability that the pitch is changed")


class Pitch(Change[PitchFields]):
    fields = PitchFields
    of_shares: ClassVar = {"pitch_share": ("pitch",)}
    place, stream = 12, 10

    def __call__(self, sound: Sound, generator: np.random.Generator, others: OtherSpeech) -> Sound:
        return played(sound, self.drawn(generator))

    def both(self, pair: Pair, draws: Draws, others: OtherSpeech) -> Pair:
        """The speaker's own second recording gets the same pitch; the other party is another voice."""
        if pair.kind == "party":
            return super().both(pair, draws, others)
        semitones = self.drawn(draws.first)
        second = None if pair.second is None else played(pair.second, semitones)
        return pair._replace(first=played(pair.first, semitones), second=second)

    def drawn(self, generator: np.random.Generator) -> float:
        """Semitones."""
        low, high = self.config.pitch
        if low == high == 0.0 or generator.random() >= self.config.pitch_share:
            return 0.0
        return generator.uniform(low, high)


def played(sound: Sound, semitones: float) -> Sound:
    return Sound(with_pitch(sound.audio, 2.0 ** (semitones / 12.0))) if semitones else sound
