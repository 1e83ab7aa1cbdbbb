"""The part of a recording that is shown, with its noise if that is known. Knows no model.

The noise is known if it is mixed in here, or if a recording of the noise alone is given.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.audio.cutting import WINDOW_SECONDS, has_sound
from data.audio.decoding import UndecodableAudio, decode_audio
from data.augmentation.noise_mixing import fitted, mix
from data.errors import DataError
from data.utterance import SAMPLING_RATE

from ..config.reading import ConfigError


@dataclass(frozen=True)
class NoiseGiven:
    """Noise that is mixed in, or that is known to be in the recording.

    Attributes:
        file: what is mixed in at ``ratio`` dB, from its start and again where it ends; or None.
        part: the recording's own noise, as long as the recording; or None.
    """

    file: Path | None = None
    ratio: float | None = None
    part: Path | None = None

    def check(self) -> None:
        """Check that the arguments fit each other, before anything is read.

        Raises:
            ConfigError: naming the argument.
        """
        if self.file is not None and self.part is not None:
            raise ConfigError("--noise mixes noise in, --noise-part says what is in the recording already: give one")
        if self.ratio is not None and self.file is None:
            raise ConfigError(f"--ratio is {self.ratio:g}, but there is no --noise FILE to mix in")


@dataclass(frozen=True)
class Excerpt:
    """At most 30 s of a recording.

    Attributes:
        name: the recording's file.
        begin: seconds from the recording's start.
        audio: float32 [samples], 16 kHz, what the model hears.
        noise: float32 [samples], the part of ``audio`` that is noise, or None if unknown.
        added: what was mixed in, in words, or None.
        note: what was left out, or None.
    """

    name: str
    begin: float
    audio: np.ndarray
    noise: np.ndarray | None = None
    added: str | None = None
    note: str | None = None


def read_excerpt(file: Path, begin: float, seconds: float | None, noise: NoiseGiven) -> Excerpt:
    """Decode a recording, cut it, and mix noise in.

    Args:
        begin: seconds of the recording.
        seconds: the length; if None, all that is left, at most 30 s, with a note if more was left out.

    Raises:
        UndecodableAudio: if a file is no audio, or the excerpt is silence.
        DataError: if a file is missing, or noise and recording do not fit each other.
        ConfigError: if the recording ends before ``begin``.
    """
    noise.check()
    samples = read(file)
    whole = len(samples) / SAMPLING_RATE
    first = round(begin * SAMPLING_RATE)
    if first >= len(samples):
        raise ConfigError(f"--begin is {begin:g}, but {file} ends at {whole:.2f} s")
    last = first + round((WINDOW_SECONDS if seconds is None else seconds) * SAMPLING_RATE)
    audio, note = samples[first:last], None
    if seconds is None and last < len(samples):
        note = (
            f"{file} has {whole:.1f} s; shown are {begin:g} to {begin + WINDOW_SECONDS:g} s, "
            "and --begin and --seconds choose others"
        )
    if not has_sound(audio):
        raise UndecodableAudio(f"{file}: silence from {begin:g} to {begin + len(audio) / SAMPLING_RATE:.2f} s")
    if noise.part is not None:
        part = read(noise.part)
        if len(part) != len(samples):
            raise DataError(
                f"--noise-part {noise.part} has {len(part) / SAMPLING_RATE:.3f} s, {file} has {whole:.3f} s: "
                "the noise in a recording is as long as the recording"
            )
        return Excerpt(str(file), begin, audio, part[first:last], note=note)
    if noise.file is None:
        return Excerpt(str(file), begin, audio, note=note)
    sound, ratio = read(noise.file), noise.ratio or 0.0
    try:
        mixture = mix(audio, fitted(sound, len(audio)), ratio)
    except DataError as error:
        raise DataError(f"--noise {noise.file}: {error}") from None
    added = f"{noise.file.name} at {ratio:g} dB"
    return Excerpt(str(file), begin, mixture.audio, mixture.noise, added=added, note=note)


def read(file: Path) -> np.ndarray:
    if not file.exists():
        raise DataError(f"{file} does not exist")
    if file.is_dir():
        raise DataError(f"{file} is a folder; one recording is shown at a time")
    try:
        return decode_audio(str(file))
    except UndecodableAudio as error:
        raise UndecodableAudio(f"{file}: {error}") from None
