"""Channel: what a recording came through. A band, as a telephone's, then a codec that libsndfile has.

Both are one kind of change because they draw from one stream of random numbers.
"""

import functools
import io
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import soundfile
import soxr
from pydantic import Field, model_validator

from ...errors import DataError
from ...sources.config import Section
from ...utterance import SAMPLING_RATE
from ..change import Change, OtherSpeech, Sound
from ..fields import Share
from ..noise_mixing import LOUDEST

Codec = Literal["mp3", "vorbis", "opus", "gsm", "ulaw", "alaw", "adpcm"]
WHOLE_BAND = 0.0, 8000.0  # hertz, at 16 kHz
NARROWEST_BAND = 100.0  # hertz

FILTER_ORDER = 6
FRAME = SAMPLING_RATE // 50  # samples that share their energy out together: 20 ms, an encoder frame
LEAST_ENERGY = 1e-9  # mean square of a frame, as of trainer/step/noise_target.py: below it nothing is noise
DELAY_SECONDS = 0.5  # of the noise that a codec's delay is measured with


class ChannelFields(Section):
    band_share: Share = Field(0.0, description="what lies outside one of the bands is filtered out")
    bands: tuple[tuple[float, float], ...] = Field(
        ((300.0, 3400.0), (0.0, 4000.0)), min_length=1, description="hertz; the first is a telephone's"
    )
    codec_share: Share = Field(0.0, description="encoded and decoded by one of the codecs")
    codecs: tuple[Codec, ...] = Field(
        ("mp3", "vorbis", "opus", "gsm", "ulaw", "alaw", "adpcm"),
        min_length=1,
        description="gsm, ulaw and alaw at 8 kHz, as telephones have them",
    )

    @model_validator(mode="after")
    def sensible_bands(self) -> "ChannelFields":
        for low, high in self.bands:
            fits = WHOLE_BAND[0] <= low and low + NARROWEST_BAND <= high <= WHOLE_BAND[1]  # false for NaN
            if not fits or (low, high) == WHOLE_BAND:
                raise ValueError(
                    f"bands has [{low:g}, {high:g}]; a band lies between 0 and 8000 Hz, is at least "
                    f"{NARROWEST_BAND:g} Hz wide, and leaves something out"
                )
        return self


class Channel(Change[ChannelFields]):
    fields = ChannelFields
    of_shares: ClassVar = {"band_share": ("bands",), "codec_share": ("codecs",)}
    place, stream = 50, 3

    def __init__(self, config: ChannelFields, lengths: tuple[float, float]) -> None:
        super().__init__(config, lengths)
        if config.codec_share:
            check_codecs(config.codecs, "data.augmentation.codecs")

    def __call__(self, sound: Sound, generator: np.random.Generator, others: OtherSpeech) -> Sound:
        """Audio and noise go through the same filter. After a codec, noise keeps its share of the energy."""
        audio, noise = sound
        config = self.config
        if generator.random() < config.band_share:
            low, high = config.bands[generator.integers(len(config.bands))]
            audio, noise = band_limited(audio, low, high), None if noise is None else band_limited(noise, low, high)
        if generator.random() < config.codec_share:
            codec = config.codecs[generator.integers(len(config.codecs))]
            loudest = float(np.abs(audio).max())
            if loudest > LOUDEST:  # a codec clips
                gain = np.float32(LOUDEST / loudest)
                audio, noise = audio * gain, None if noise is None else noise * gain
            coded = through_codec(audio, codec, generator)
            if noise is not None:  # of what the codec's rate lets through
                noise = noise_of_coded(coded, at_rate_of(audio, codec), at_rate_of(noise, codec))
            audio = coded
        return Sound(audio, noise)


@dataclass(frozen=True)
class Encoding:
    """How libsndfile names a codec.

    Attributes:
        rate: hertz at which it is run; telephones' codecs have 8 kHz.
        levels: of libsndfile's compression level, from 0 (largest) to 1 (smallest); None where it has none.
    """

    container: str
    subtype: str
    rate: int = SAMPLING_RATE
    levels: tuple[float, float] | None = None


ENCODINGS: dict[Codec, Encoding] = {
    "mp3": Encoding("MP3", "MPEG_LAYER_III", levels=(0.3, 0.95)),  # 38 to 24 kbit/s
    "vorbis": Encoding("OGG", "VORBIS", levels=(0.3, 0.95)),  # 50 to 29
    "opus": Encoding("OGG", "OPUS", levels=(0.8, 0.97)),  # 55 to 17
    "gsm": Encoding("WAV", "GSM610", 8000),
    "ulaw": Encoding("WAV", "ULAW", 8000),
    "alaw": Encoding("WAV", "ALAW", 8000),
    "adpcm": Encoding("WAV", "IMA_ADPCM"),
}


def check_codecs(codecs: tuple[Codec, ...], key: str) -> None:
    """Check that this libsndfile has these codecs.

    Raises:
        DataError: naming the first that it lacks.
    """
    here = [name for name in ENCODINGS if is_available(name)]
    for name in codecs:
        if name not in here:
            version = soundfile.__libsndfile_version__
            raise DataError(f"{key}: libsndfile {version} cannot write {name!r} here; it has {', '.join(here)}")


@functools.cache
def is_available(codec: Codec) -> bool:
    encoding = ENCODINGS[codec]
    try:
        if not soundfile.check_format(encoding.container, encoding.subtype):
            return False
        decoded(np.zeros(encoding.rate // 10, np.float32), encoding, None)
    except (ValueError, RuntimeError, TypeError):
        return False
    return True


def band_limited(samples: np.ndarray, low: float, high: float) -> np.ndarray:
    """Float32 [..., samples] with what lies below ``low`` and above ``high`` hertz taken out, 36 dB an octave.

    0 as ``low`` and 8000 as ``high`` leave that side open.
    """
    from scipy.signal import butter, sosfilt  # some tenths of a second to import

    if high >= SAMPLING_RATE / 2:
        edges: float | tuple[float, float] = low
        kind = "highpass"
    else:
        edges, kind = ((low, high), "bandpass") if low > 0 else (high, "lowpass")
    sections = butter(FILTER_ORDER, edges, kind, fs=SAMPLING_RATE, output="sos")
    return sosfilt(sections, samples.astype(np.float64), axis=-1).astype(np.float32)


def at_rate_of(samples: np.ndarray, codec: Codec) -> np.ndarray:
    """Samples resampled to the codec's rate and back to 16 kHz: the linear part of what a codec does."""
    rate = ENCODINGS[codec].rate
    return same_length(resampled(resampled(samples, rate), rate, back=True), samples)


def through_codec(samples: np.ndarray, codec: Codec, generator: np.random.Generator) -> np.ndarray:
    """Samples encoded and decoded, where they were in time and as long: float32 [samples].

    The result may go a little beyond [-1, 1].
    """
    encoding = ENCODINGS[codec]
    level = None if encoding.levels is None else float(generator.uniform(*encoding.levels))
    heard = decoded(resampled(samples, encoding.rate), encoding, level)[delay_of(codec) :]
    return same_length(resampled(heard, encoding.rate, back=True), samples)


def noise_of_coded(coded: np.ndarray, audio: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The part of coded audio that counts as noise: in each encoder frame, 20 ms around sample 320 s, the share of the
    energy that it had before.

    What a codec makes of a sum is no sum of speech and noise: less the old noise it would hold the codec's error, too.

    Args:
        audio, noise: float32 [samples], what was coded and the part of it that was noise.
    """

    def energy(samples: np.ndarray) -> np.ndarray:
        padded = np.pad(samples, (FRAME // 2, -(len(samples) + FRAME // 2) % FRAME)).astype(np.float64)
        return np.square(padded).reshape(-1, FRAME).mean(axis=1)

    of_noise = energy(noise)
    total = of_noise + energy(audio - noise)
    share = np.where(total > LEAST_ENERGY, of_noise / np.maximum(total, LEAST_ENERGY), 0.0)
    # Of the samples x, noise w x and speech (1 - w) x have these shares of their energies' sum.
    weights = np.sqrt(share) / (np.sqrt(share) + np.sqrt(1.0 - share))
    return coded * np.repeat(weights, FRAME)[FRAME // 2 :][: len(coded)].astype(np.float32)


@functools.cache
def delay_of(codec: Codec) -> int:
    """The delay of a codec in samples at its rate. Measured, since versions of libsndfile differ."""
    encoding = ENCODINGS[codec]
    generator = np.random.default_rng(0)
    sent = 0.1 * generator.standard_normal(int(DELAY_SECONDS * encoding.rate)).astype(np.float32)
    heard = decoded(sent, encoding, None if encoding.levels is None else encoding.levels[0])
    size = 2 * max(len(sent), len(heard))
    likeness = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(sent, size)), size)
    return int(likeness[: len(sent) // 2].argmax())


def decoded(samples: np.ndarray, encoding: Encoding, level: float | None) -> np.ndarray:
    """Samples at the codec's rate, encoded and decoded."""
    if encoding.subtype in ("ULAW", "ALAW"):  # libsndfile reads beyond its table for what exceeds 1
        samples = np.clip(samples, -1.0, 1.0)
    file = io.BytesIO()
    settings = {} if level is None else {"compression_level": level}
    with soundfile.SoundFile(
        file, "w", encoding.rate, 1, encoding.subtype, format=encoding.container, **settings
    ) as sound:
        for begin in range(0, len(samples), encoding.rate):  # much at once overflows the stack of some versions
            sound.write(samples[begin : begin + encoding.rate])
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


def resampled(samples: np.ndarray, rate: int, back: bool = False) -> np.ndarray:
    """From 16 kHz to ``rate``, or back."""
    if rate == SAMPLING_RATE:
        return samples
    return soxr.resample(samples, *((rate, SAMPLING_RATE) if back else (SAMPLING_RATE, rate)))


def same_length(samples: np.ndarray, like: np.ndarray) -> np.ndarray:
    return np.pad(samples[: len(like)], (0, max(0, len(like) - len(samples))))
