"""The part of a recording that is shown, with its noise if that is known, and of a second one. Knows no model.

The noise is known if it is mixed in here, or if a recording of the noise alone is given.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.audio.cutting import WINDOW_SECONDS, has_sound
from data.audio.decoding import UndecodableAudio, decode_audio
from data.audio.mixing import CHANNELS, SIDES
from data.augmentation.noise_mixing import fitted, mix
from data.errors import DataError, placed
from data.utterance import SAMPLING_RATE

from ..config.reading import ConfigError


@dataclass(frozen=True)
class NoiseGiven:
    """Noise that is mixed in, or that is known to be in the recording.

    Attributes:
        file: what is mixed in at ``ratio`` dB, from its start and again where it ends; or None.
        part: the recording's own noise, as long as the recording; or None.
        prefix: what the options that give it begin with.
    """

    file: Path | None = None
    ratio: float | None = None
    part: Path | None = None
    prefix: str = "--"

    def check(self) -> None:
        """Check that the arguments fit each other, before anything is read.

        Raises:
            ConfigError: naming the argument.
        """
        if self.file is not None and self.part is not None:
            raise ConfigError("--noise mixes noise in, --noise-part says what is in the recording already: give one")
        if self.ratio is not None and self.file is None:
            raise ConfigError(
                f"{self.prefix}ratio is {self.ratio:g}, but there is no {self.prefix}noise FILE to mix in"
            )


@dataclass(frozen=True)
class SecondGiven:
    """A recording that is heard beside the first.

    Attributes:
        source: its file; or ``channel`` or ``left_channel``, the right or the left channel of the first one's file,
            whose other channel is then the first recording; None for no second recording.
        begin: seconds of it; None for where the first one's excerpt begins.
        noise: what is mixed into it.
    """

    source: str | None = None
    begin: float | None = None
    noise: NoiseGiven = NoiseGiven(prefix="--second-")

    def check(self) -> None:
        """As :meth:`NoiseGiven.check`."""
        given = {"begin": self.begin, "noise": self.noise.file, "ratio": self.noise.ratio}
        for name, value in given.items():
            if self.source is None and value is not None:
                raise ConfigError(f"--second-{name} is {value}, but there is no --second recording")
        self.noise.check()


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


def read_excerpts(
    file: Path, begin: float, seconds: float | None, noise: NoiseGiven, second: SecondGiven
) -> tuple[Excerpt, Excerpt | None]:
    """The excerpt of a recording and that of the second one, None without one; arguments as of :func:`read_excerpt`.

    Raises:
        UndecodableAudio, DataError, ConfigError: as :func:`read_excerpt`; DataError for what is wrong with the second
            recording alone.
    """
    second.check()
    if second.source is None:
        return read_excerpt(file, begin, seconds, noise), None
    channels = CHANNELS.get(second.source)
    whence = Path(second.source) if channels is None else file
    own, other = channels or (None, None)
    if channels is not None:
        with placed(f"--second is {second.source!r}"):
            read(file, channel=1)  # that it has one is asked before what else may be wrong
    first = read_excerpt(file, begin, seconds, noise, channel=own)
    start, option, hint = begin, "--begin", "; --second-begin S gives the second recording its own"
    if second.begin is not None:
        start, option, hint = second.begin, "--second-begin", ""
    with placed("--second" if channels is None else f"--second is {second.source!r}"):
        heard_beside = read_excerpt(whence, start, seconds, second.noise, channel=other, option=option, hint=hint)
    return first, heard_beside


def read_excerpt(
    file: Path,
    begin: float,
    seconds: float | None,
    noise: NoiseGiven,
    *,
    channel: int | None = None,
    option: str = "--begin",
    hint: str = "",
) -> Excerpt:
    """Decode a recording, cut it, and mix noise in.

    Args:
        begin: seconds of the recording.
        seconds: the length; if None, all that is left, at most 30 s, with a note if more was left out.
        channel: the one channel to read, from 0; None for the mean of all.
        option, hint: what gave ``begin``, and what to do if that is beyond the end.

    Raises:
        UndecodableAudio: if a file is no audio, or the excerpt is silence.
        DataError: if a file is missing, or noise and recording do not fit each other.
        ConfigError: if the recording ends before ``begin``.
    """
    noise.check()
    samples = read(file, channel)
    name = str(file) if channel is None else f"{file}, {SIDES[channel]} channel"
    whole = len(samples) / SAMPLING_RATE
    first = round(begin * SAMPLING_RATE)
    if first >= len(samples):
        raise ConfigError(f"{option} is {begin:g}, but {file} ends at {whole:.2f} s{hint}")
    last = first + round((WINDOW_SECONDS if seconds is None else seconds) * SAMPLING_RATE)
    audio, note = samples[first:last], None
    if seconds is None and last < len(samples):
        note = (
            f"{file} has {whole:.1f} s; shown are {begin:g} to {begin + WINDOW_SECONDS:g} s, "
            f"and {option} and --seconds choose others"
        )
    if not has_sound(audio):
        raise UndecodableAudio(f"{name}: silence from {begin:g} to {begin + len(audio) / SAMPLING_RATE:.2f} s")
    if noise.part is not None:
        part = read(noise.part)
        if len(part) != len(samples):
            raise DataError(
                f"--noise-part {noise.part} has {len(part) / SAMPLING_RATE:.3f} s, {file} has {whole:.3f} s: "
                "the noise in a recording is as long as the recording"
            )
        return Excerpt(name, begin, audio, part[first:last], note=note)
    if noise.file is None:
        return Excerpt(name, begin, audio, note=note)
    sound, ratio = read(noise.file), noise.ratio or 0.0
    try:
        mixture = mix(audio, fitted(sound, len(audio)), ratio)
    except DataError as error:
        raise DataError(f"{noise.prefix}noise {noise.file}: {error}") from None
    added = f"{noise.file.name} at {ratio:g} dB"
    return Excerpt(name, begin, mixture.audio, mixture.noise, added=added, note=note)


def read(file: Path, channel: int | None = None) -> np.ndarray:
    """The samples of a file, or of one of its channels."""
    if not file.exists():
        raise DataError(f"{file} does not exist")
    if file.is_dir():
        raise DataError(f"{file} is a folder; one recording is shown at a time")
    try:
        return decode_audio(str(file), channel=channel)
    except UndecodableAudio as error:
        raise UndecodableAudio(f"{file}: {error}") from None
