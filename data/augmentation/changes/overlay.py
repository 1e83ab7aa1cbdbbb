"""Overlay: noise, a babble of other utterances, or one competing speaker over the speech; at most one of them."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field, model_validator

from ...audio.cutting import speech_region
from ...errors import DataError
from ...sources.config import Section
from ..change import Change, OtherSpeech, Sound
from ..fields import Decibels, NoiseSourceConfig, Share
from ..noise_clips import NoiseClips
from ..noise_mixing import SHORTEST_NOISE, SILENT_POWER, added, fitted, mix, power

TRIES = 4  # overlays tried on a clip; one may be silent just where the clip is not


class OverlayFields(Section):
    noise: NoiseSourceConfig | None = Field(
        None, description="recordings to lay over the speech; keys as in reverberation_responses"
    )
    noise_share: Share = Field(0.0, description="probability that noise is laid over the speech")
    noise_ratio: Decibels = Field((0.0, 20.0), description="power of the speech over that of the noise, dB")
    babble_share: Share = Field(0.0, description="several other utterances at once over the speech")
    babble_speakers: tuple[int, int] = Field((3, 8), description="how many, at least and at most")
    babble_ratio: Decibels = Field((0.0, 20.0), description="power of the speech over that of the babble, dB")
    competing_share: Share = Field(0.0, description="one other utterance over the speech")
    competing_ratio: Decibels = Field((0.0, 20.0), description="power of the speech over that of the other, dB")

    @model_validator(mode="after")
    def one_overlay_at_most(self) -> "OverlayFields":
        shares = {key: getattr(self, key) for key in ("noise_share", "babble_share", "competing_share")}
        if sum(shares.values()) > 1 + 1e-9:
            told = ", ".join(f"{key} {value:g}" for key, value in shares.items())
            raise ValueError(f"{told}: at most one is laid over an utterance, so they must sum to 1 or less")
        if self.noise_share and self.noise is None:
            raise ValueError(f"noise_share is {self.noise_share:g} without noise: say in noise.folder where it is")
        low, high = self.babble_speakers
        if not 1 <= low <= high <= 64:
            raise ValueError(f"babble_speakers is [{low}, {high}]; two numbers from 1 to 64 are right, the lower first")
        return self


class Overlay(Change[OverlayFields]):
    fields = OverlayFields
    of_shares: ClassVar = {
        "noise_share": ("noise", "noise_ratio"),
        "babble_share": ("babble_speakers", "babble_ratio"),
        "competing_share": ("competing_ratio",),
    }
    place, stream = 30, 2

    def __init__(self, config: OverlayFields, lengths: tuple[float, float]) -> None:
        super().__init__(config, lengths)
        self.noises = NoiseClips(config.noise) if config.noise is not None and config.noise_share else None

    def __call__(self, sound: Sound, generator: np.random.Generator, others: OtherSpeech) -> Sound:
        config, point = self.config, generator.random()
        kinds = (
            (config.noise_share, config.noise_ratio, self.noise),
            (config.babble_share, config.babble_ratio, self.babble),
            (config.competing_share, config.competing_ratio, self.competing),
        )
        for share, ratio, overlay in kinds:
            if point < share:
                decibels = generator.uniform(*ratio)
                for _ in range(TRIES):
                    over = overlay(len(sound.audio), others, generator)
                    if over is None:
                        break
                    try:
                        return Sound(*mix(sound.audio, over, decibels))
                    except DataError:  # one of the two is silent, so there is no ratio
                        continue
                break
            point -= share
        return sound

    def noise(self, samples: int, others: OtherSpeech, generator: np.random.Generator) -> np.ndarray | None:
        return None if self.noises is None else self.noises.excerpt(samples, generator)

    def babble(self, samples: int, others: OtherSpeech, generator: np.random.Generator) -> np.ndarray | None:
        low, high = self.config.babble_speakers
        voices = drawn_voices(int(generator.integers(low, high + 1)), others, generator)
        return overlapping_speech(voices, samples, generator) if voices else None

    def competing(self, samples: int, others: OtherSpeech, generator: np.random.Generator) -> np.ndarray | None:
        voices = drawn_voices(1, others, generator)
        return overlapping_speech(voices, samples, generator) if voices else None

    @staticmethod
    def knows_noise(config: OverlayFields) -> bool:
        return config.noise_share + config.babble_share + config.competing_share > 0


def overlapping_speech(voices: Sequence[np.ndarray], samples: int, generator: np.random.Generator) -> np.ndarray:
    """Voices on top of each other, equally loud. Each begins at a random place and begins anew where it ends.

    The quiet before and after its words is left out.

    Args:
        voices: float32 [samples of each], as :func:`drawn_voices` gives them.

    Returns:
        float32 [samples].
    """
    parts = []
    for voice in voices:
        begin, end = speech_region(voice)
        said = voice[begin:end]
        parts.append(fitted(said, samples, int(generator.integers(len(said)))))
    return added(parts)


def drawn_voices(wanted: int, others: OtherSpeech, generator: np.random.Generator) -> list[np.ndarray]:
    """``wanted`` other utterances, drawn at random; fewer where no more can be used."""
    voices: list[np.ndarray] = []
    for index in generator.permutation(others.count):
        if len(voices) == wanted:
            break
        try:
            voice = others.read(int(index))
        except DataError:
            continue
        if voice is None or power(voice) < SILENT_POWER:
            continue
        begin, end = speech_region(voice)
        if end - begin >= SHORTEST_NOISE:
            voices.append(voice)
    return voices
