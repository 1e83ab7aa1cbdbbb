"""Leakage: two parties to a conversation are heard in each other's channels, and count as noise there."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from ...sources.config import Section
from ..change import Change, Draws, OtherSpeech, Pair, Sound
from ..fields import Decibels, Share
from ..noise_mixing import SILENT_POWER, spoken_power

NOBODY_SPEAKS = 1e-4  # of the one channel's power; what is fainter in the other is no voice that could leak


class LeakageFields(Section):
    leakage_share: Share = Field(
        0.0,
        description="probability that the two parties leak into each other's channels. With it, the other channel or "
        "columns.second_audio counts as the other party's, not as another microphone",
    )
    leakage_ratio: Decibels = Field(
        (0.0, 20.0), description="in the first recording, power of the speaker's own speech over the other party's, dB"
    )
    back_leakage_ratio: Decibels = Field(
        (0.0, 20.0),
        description="in the second recording, power of the other party's speech over that of the first, dB",
    )


class Leakage(Change[LeakageFields]):
    fields = LeakageFields
    of_shares: ClassVar = {"leakage_share": ("leakage_ratio", "back_leakage_ratio")}
    of_second: ClassVar = {"leakage_share": ("microphone", "party")}
    place, stream = 34, 8

    def __call__(self, sound: Sound, generator: np.random.Generator, others: OtherSpeech) -> Sound:
        return sound

    def both(self, pair: Pair, draws: Draws, others: OtherSpeech) -> Pair:
        config, first, second = self.config, pair.first, pair.second
        if second is None or pair.kind != "party" or not config.leakage_share:
            return pair
        if draws.second.random() >= config.leakage_share:
            return pair
        ratio, back = draws.second.uniform(*config.leakage_ratio), draws.second.uniform(*config.back_leakage_ratio)
        return pair._replace(first=leaked_into(first, second, ratio), second=leaked_into(second, first, back))

    @staticmethod
    def knows_noise(config: LeakageFields) -> bool:
        return config.leakage_share > 0


def leaked_into(sound: Sound, other: Sound, decibels: float) -> Sound:
    """A channel in which the other channel's speech is heard, so many decibels below its own; both from the beginning.

    Powers are compared over each one's own stretch of speech. Where somebody says nothing, nothing leaks.
    """
    own, leak = speech_of(sound), speech_of(other)
    of_own, of_leak = spoken_power(own), spoken_power(leak)
    if min(of_own, of_leak) < max(SILENT_POWER, NOBODY_SPEAKS * max(of_own, of_leak)):
        return sound
    leak = leak[: len(own)] * np.float32(np.sqrt(of_own / of_leak * 10.0 ** (-decibels / 10.0)))
    leak = np.pad(leak, (0, len(own) - len(leak)))
    return Sound(sound.audio + leak, leak if sound.noise is None else sound.noise + leak)


def speech_of(sound: Sound) -> np.ndarray:
    return sound.audio if sound.noise is None else sound.audio - sound.noise
