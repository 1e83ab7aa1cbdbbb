"""The ``data.augmentation`` section: what is done to training clips, how often and how much; nothing unless asked."""

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from ..sources.config import Section, SourceConfig


def ordered(values: tuple[float, float]) -> tuple[float, float]:
    low, high = values
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"[{low:g}, {high:g}] must be two numbers, the lower first")
    return values


def within(low: float, high: float) -> AfterValidator:
    """Both ends of a range must lie there."""

    def check(values: tuple[float, float]) -> tuple[float, float]:
        if values[0] < low or values[1] > high:
            raise ValueError(f"[{values[0]:g}, {values[1]:g}] must lie within {low:g} and {high:g}")
        return values

    return AfterValidator(check)


Range = Annotated[tuple[float, float], AfterValidator(ordered)]
Decibels = Annotated[Range, within(-100, 100)]
Codec = Literal["mp3", "vorbis", "opus", "gsm", "ulaw", "alaw", "adpcm"]
WHOLE_BAND = 0.0, 8000.0  # hertz, at 16 kHz
NARROWEST_BAND = 100.0  # hertz
OF_SHARES = {  # what nothing is done with while the share is 0
    "noise_share": ("noise", "noise_ratio"),
    "babble_share": ("babble_speakers", "babble_ratio"),
    "competing_share": ("competing_ratio",),
    "reverberation_share": ("reverberation_responses", "reverberation_seconds"),
    "band_share": ("bands",),
    "codec_share": ("codecs",),
}


class NoiseSourceConfig(Section):
    """Noises: exactly one of ``folder`` and ``dataset``."""

    folder: str | None = Field(None, description="recordings in it and below it, at any rate, mono or stereo")
    keep: tuple[str, ...] = Field(
        (), description='only recordings whose file name, or path below the folder, fits one of these globs: "n1*.flac"'
    )
    drop: tuple[str, ...] = Field((), description="no recordings whose file name or path fits one of these globs")
    dataset: SourceConfig | None = Field(
        None, description="rows of a source, keys as in data.train; of its columns only audio and id are read"
    )

    @model_validator(mode="after")
    def one_origin(self) -> "NoiseSourceConfig":
        if bool(self.folder) == (self.dataset is not None):
            raise ValueError("give exactly one of folder and dataset")
        return self

    @property
    def described(self) -> str:
        """The origin in a few words, for messages."""
        return f"folder {self.folder}" if self.dataset is None else self.dataset.described


class SpecAugmentConfig(Section):
    """Masks over the log-mel features of training clips (Park et al., arXiv 1904.08779); its defaults are its LD policy
    for clips of 10 s or more."""

    share: float = Field(1.0, ge=0, le=1, description="probability that an utterance is masked")
    time_masks: int = Field(2, ge=0, le=20, description="masks over time")
    time_frames: int = Field(100, ge=0, le=3000, description="the widest of them, in frames of 10 ms")
    time_share: float = Field(0.2, ge=0, le=1, description="of an utterance's own frames, at most, under one of them")
    frequency_masks: int = Field(2, ge=0, le=20, description="masks over frequency")
    frequency_bins: int = Field(27, ge=0, le=128, description="the widest of them, in mel bins, of 80 or 128")


class AugmentationConfig(Section):
    """What training clips are changed by, drawn anew for each utterance in each epoch; see docs/augmentation.md.

    A ``share`` is the probability that an utterance is changed so, a ratio the power of speech over that of what is
    laid over it, in decibels, drawn evenly between two numbers.
    """

    noise: NoiseSourceConfig | None = Field(None, description="recordings to lay over the speech")
    noise_share: float = Field(0.0, ge=0, le=1, description="one of these recordings is added")
    noise_ratio: Decibels = Field((0.0, 20.0), description="dB")
    babble_share: float = Field(0.0, ge=0, le=1, description="several other utterances at once over the speech")
    babble_speakers: tuple[int, int] = Field((3, 8), description="how many, at least and at most")
    babble_ratio: Decibels = Field((0.0, 20.0), description="dB")
    competing_share: float = Field(0.0, ge=0, le=1, description="one other utterance over the speech")
    competing_ratio: Decibels = Field((0.0, 20.0), description="dB")
    silence_is_noise: bool = Field(
        False, description="frames of the clip itself without speech, by their level, count as noise for the noise loss"
    )
    speed: Annotated[Range, within(0.5, 2)] = Field(
        (1.0, 1.0),
        description="times as fast, pitch and all; data.min_seconds and data.max_seconds are kept",
    )
    speed_share: float = Field(1.0, ge=0, le=1, description="the speed is changed")
    reverberation_share: float = Field(0.0, ge=0, le=1, description="the speech, not what is laid over it, in a room")
    reverberation_seconds: Annotated[Range, within(0.05, 5)] = Field(
        (0.2, 0.8), description="until the room's sound is 60 dB down, for synthetic rooms"
    )
    reverberation_responses: NoiseSourceConfig | None = Field(
        None, description="recorded impulse responses, drawn as often as synthetic ones; keys as in noise"
    )
    band_share: float = Field(0.0, ge=0, le=1, description="what lies outside one of the bands is filtered out")
    bands: tuple[tuple[float, float], ...] = Field(
        ((300.0, 3400.0), (0.0, 4000.0)), min_length=1, description="hertz; the first is a telephone's"
    )
    codec_share: float = Field(0.0, ge=0, le=1, description="encoded and decoded by one of the codecs")
    codecs: tuple[Codec, ...] = Field(
        ("mp3", "vorbis", "opus", "gsm", "ulaw", "alaw", "adpcm"),
        min_length=1,
        description="gsm, ulaw and alaw at 8 kHz, as telephones have them",
    )
    gain: Annotated[Range, within(-60, 60)] = Field((0.0, 0.0), description="dB; never so much that a clip would clip")
    gain_share: float = Field(1.0, ge=0, le=1, description="the level is changed")
    spec_augment: SpecAugmentConfig | None = Field(None, description="masks over the features")

    @model_validator(mode="after")
    def one_overlay_at_most(self) -> "AugmentationConfig":
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

    @model_validator(mode="after")
    def nothing_for_a_share_of_0(self) -> "AugmentationConfig":
        """A run's own config.yaml names every key, so one that is as it would be anyway says nothing."""
        for share, keys in OF_SHARES.items():
            for key in keys if not getattr(self, share) else ():
                given = getattr(self, key)
                if key in self.model_fields_set and given != type(self).model_fields[key].default:
                    raise ValueError(f"{key} is given, but {share} is 0: set it, or take {key} out")
        return self

    @property
    def knows_noise(self) -> bool:
        """Whether anything becomes a known part of the audio that is noise."""
        return self.silence_is_noise or self.noise_share + self.babble_share + self.competing_share > 0

    @model_validator(mode="after")
    def sensible_bands(self) -> "AugmentationConfig":
        for low, high in self.bands:
            fits = WHOLE_BAND[0] <= low and low + NARROWEST_BAND <= high <= WHOLE_BAND[1]  # false for NaN
            if not fits or (low, high) == WHOLE_BAND:
                raise ValueError(
                    f"bands has [{low:g}, {high:g}]; a band lies between 0 and 8000 Hz, is at least "
                    f"{NARROWEST_BAND:g} Hz wide, and leaves something out"
                )
        return self
