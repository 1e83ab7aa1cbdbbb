"""Overlay: noise, a babble of other utterances, or one competing speaker over the speech; at most one of them."""

from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from ...audio.cutting import speech_region
from ...errors import DataError
from ...sources.config import Section
from ..change import Change, Draws, OtherSpeech, Pair, Sound
from ..fields import Decibels, NoiseSourceConfig, Range, Share, within
from ..noise_clips import NoiseClips
from ..noise_mixing import SHORTEST_NOISE, SILENT_POWER, added, fitted, mix, power

TRIES = 4  # overlays tried on a clip; one may be silent just where the clip is not
WHOLE = 1.0, 1.0


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
    competing_part: Annotated[Range, within(0.01, 1)] = Field(
        WHOLE, description="share of the clip over which the other is heard, from a random place on"
    )

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


class Voices(NamedTuple):
    """Other speech, laid over what a microphone hears.

    Attributes:
        said: float32 [samples of each], what each of the voices says, without the quiet at its ends; they are equally
            loud, and each begins anew where it ends.
        offsets: where in it each voice is when the first recording begins.
        bounds: the samples of the first recording between which they are heard; None for all the time.
    """

    said: list[np.ndarray]
    offsets: list[int]
    bounds: tuple[int, int] | None = None

    def heard(self, samples: int, later: int = 0) -> np.ndarray:
        """As a recording of so many samples holds them that begins ``later`` samples after the first.

        Raises:
            DataError: if all are silent there.
        """
        parts = [fitted(one, samples, offset + later) for one, offset in zip(self.said, self.offsets, strict=True)]
        together = added(parts)
        if self.bounds is not None:
            begin, end = (min(max(0, bound - later), samples) for bound in self.bounds)
            together[:begin], together[end:] = 0.0, 0.0
        return together

    def ratio_for(self, speech: np.ndarray, over: np.ndarray, decibels: float) -> float:
        """The ratio for :func:`mix` with which the voices have that ratio where they are heard.

        Args:
            over: :meth:`heard`, float32 [samples].
        """
        begin, end = speech_region(speech)
        on_average, heard = power(over[begin:end]), over[over != 0]
        if self.bounds is None or on_average < SILENT_POWER:
            return decibels
        return decibels - 10.0 * float(np.log10(on_average / power(heard)))


class Overlay(Change[OverlayFields]):
    fields = OverlayFields
    of_shares: ClassVar = {
        "noise_share": ("noise", "noise_ratio"),
        "babble_share": ("babble_speakers", "babble_ratio"),
        "competing_share": ("competing_ratio", "competing_part"),
    }
    only_adds = True
    place, stream = 30, 2

    def __init__(self, config: OverlayFields, lengths: tuple[float, float]) -> None:
        super().__init__(config, lengths)
        self.noises = NoiseClips(config.noise) if config.noise is not None and config.noise_share else None

    def __call__(self, sound: Sound, generator: np.random.Generator, others: OtherSpeech) -> Sound:
        return self.overlaid(sound, generator, others)[0]

    def both(self, pair: Pair, draws: Draws, others: OtherSpeech) -> Pair:
        """Another microphone of the same scene hears the same voices, at a ratio of its own.

        Noise is drawn for each recording alone, as often for the second as for the first.
        """
        first, laid = self.overlaid(pair.first, draws.first, others)
        if pair.second is None:
            return pair._replace(first=first)
        config, generator = self.config, draws.second
        share, second = config.noise_share, pair.second
        if pair.kind == "microphone":
            if laid is not None:
                voices, ratio = laid
                decibels = generator.uniform(*ratio)
                return pair._replace(first=first, second=voices_over(second, voices, decibels, pair.later) or second)
            share /= max(1.0 - config.babble_share - config.competing_share, 1e-9)  # where no voices are heard
        if generator.random() < share:
            second = self.with_noise(second, generator.uniform(*config.noise_ratio), generator)
        return pair._replace(first=first, second=second)

    def overlaid(
        self, sound: Sound, generator: np.random.Generator, others: OtherSpeech
    ) -> tuple[Sound, tuple[Voices, tuple[float, float]] | None]:
        """The sound with what is laid over it, and the voices among that with the range of their ratio."""
        config, point = self.config, generator.random()
        if point < config.noise_share:
            return self.with_noise(sound, generator.uniform(*config.noise_ratio), generator), None
        point -= config.noise_share
        kinds: tuple[tuple[float, tuple[float, float], Callable[..., Voices | None]], ...] = (
            (config.babble_share, config.babble_ratio, self.babble),
            (config.competing_share, config.competing_ratio, self.competing),
        )
        for share, ratio, overlay in kinds:
            if point < share:
                decibels = generator.uniform(*ratio)
                for _ in range(TRIES):
                    voices = overlay(len(sound.audio), others, generator)
                    if voices is None:
                        break
                    overlaid = voices_over(sound, voices, decibels)
                    if overlaid is not None:
                        return overlaid, (voices, ratio)
                break
            point -= share
        return sound, None

    def with_noise(self, sound: Sound, decibels: float, generator: np.random.Generator) -> Sound:
        """The sound in noise; as it is where none can be mixed."""
        for _ in range(TRIES if self.noises is not None else 0):
            assert self.noises is not None
            over = self.noises.excerpt(len(sound.audio), generator)
            try:
                return Sound(*mix(sound.audio, over, decibels))
            except DataError:  # one of the two is silent, so there is no ratio
                continue
        return sound

    def babble(self, samples: int, others: OtherSpeech, generator: np.random.Generator) -> Voices | None:
        low, high = self.config.babble_speakers
        voices = drawn_voices(int(generator.integers(low, high + 1)), others, generator)
        return overlapping_voices(voices, generator) if voices else None

    def competing(self, samples: int, others: OtherSpeech, generator: np.random.Generator) -> Voices | None:
        voices = drawn_voices(1, others, generator)
        if not voices:
            return None
        found = overlapping_voices(voices, generator)
        if self.config.competing_part == WHOLE:
            return found
        covered = max(1, round(generator.uniform(*self.config.competing_part) * samples))
        begin = int(generator.integers(samples - covered + 1))
        return found._replace(bounds=(begin, begin + covered))

    @staticmethod
    def knows_noise(config: OverlayFields) -> bool:
        return config.noise_share + config.babble_share + config.competing_share > 0


def voices_over(sound: Sound, voices: Voices, decibels: float, later: int = 0) -> Sound | None:
    """A sound with voices over it; None where one of the two is silent, so that there is no ratio.

    Args:
        later: as :meth:`Voices.heard` takes it.
    """
    try:
        over = voices.heard(len(sound.audio), later)
        return Sound(*mix(sound.audio, over, voices.ratio_for(sound.audio, over, decibels)))
    except DataError:
        return None


def overlapping_voices(voices: Sequence[np.ndarray], generator: np.random.Generator) -> Voices:
    """Voices on top of each other. Each begins at a random place; the quiet before and after its words is left out.

    Args:
        voices: float32 [samples of each], as :func:`drawn_voices` gives them.
    """
    said, offsets = [], []
    for voice in voices:
        begin, end = speech_region(voice)
        said.append(voice[begin:end])
        offsets.append(int(generator.integers(end - begin)))
    return Voices(said, offsets)


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
