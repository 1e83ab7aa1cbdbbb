"""The second recording of a row: in a column, in another channel, or another row's audio."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..audio.cutting import has_sound, speech_region
from ..audio.decoding import UndecodableAudio, decode_audio, seconds_of
from ..augmentation.noise_mixing import placed
from ..errors import DataError
from ..sources.source import Source
from ..utterance import SAMPLING_RATE

Row = dict[str, Any]


@dataclass(frozen=True)
class Drawn:
    """What was drawn for a row whose second recording is another row's.

    Attributes:
        candidates: rows of the same source, in the order in which they are tried; one may not be readable.
        seconds: how long the first of them is.
        place: from 0 to 1, where beside the first recording the middle of the other party's clip lies.
    """

    candidates: Sequence[Row]
    seconds: float
    place: float


def read_audio(row: Row, source: Source) -> np.ndarray:
    """A row's first recording, whatever its transcript is: float32 [samples], 16 kHz.

    Raises:
        UndecodableAudio: as :func:`data.audio.decoding.decode_audio`.
    """
    return decoded(row[source.columns.audio], source, source.config.channels[0])


def decoded(value: Any, source: Source, channel: int | None = None) -> np.ndarray:
    """A recording as a row of the source holds it, which must be whole."""
    return decode_audio(value, source.audio_root, source.config.audio_root is not None, whole=True, channel=channel)


def header_seconds(value: Any, source: Source) -> float:
    """The length of a recording as a row of the source holds it, by its header."""
    return seconds_of(value, source.audio_root, source.config.audio_root is not None)


def is_absent(value: Any) -> bool:
    """Whether a cell holds no recording: null, an empty path, and what `datasets` writes for them."""
    if isinstance(value, dict):
        return all(value.get(key) in (None, "", b"") for key in ("bytes", "path")) and value.get("array") is None
    return value is None or value in ("", b"") or (isinstance(value, float) and value != value)


def second_seconds(row: Row, source: Source, seconds: float, limit: float, drawn: Drawn | None = None) -> float:
    """The length of a row's second recording, by its header; 0 without one.

    Args:
        seconds: of the first recording.
        limit: the most seconds that are read of a second recording.

    Raises:
        DataError: if the header cannot be read.
    """
    config = source.config
    if config.columns.second_audio:
        value = row[config.columns.second_audio]
        if is_absent(value):
            return 0.0
        try:
            return min(header_seconds(value, source), limit)
        except UndecodableAudio as error:
            raise DataError(f"second recording: {error}") from None
    if config.draws_second:
        if drawn is None or not drawn.candidates:
            return 0.0
        return min(drawn.seconds, limit) if config.second == "speaker" else seconds
    return seconds if config.second else 0.0


def read_second(
    row: Row, source: Source, first: np.ndarray, limit: float, drawn: Drawn | None = None
) -> np.ndarray | None:
    """A row's second recording, float32 [samples], 16 kHz; None without one.

    Args:
        first: the first recording.
        limit: the most seconds; what is longer is cut off.

    Raises:
        DataError: if the row's own cannot be decoded, or its file is silent; a silent channel is none. Of another row's
            the next that can be used is taken.
    """
    config, samples = source.config, int(limit * SAMPLING_RATE)
    _, channel = config.channels
    if config.second == "copy":
        return first
    if config.draws_second:
        return None if drawn is None else read_drawn(source, len(first), samples, drawn)
    if config.columns.second_audio:
        value = row[config.columns.second_audio]
        if is_absent(value):
            return None
    elif channel is not None:
        value = row[config.columns.audio]
    else:
        return None
    try:
        second = decoded(value, source, channel)[:samples]
    except UndecodableAudio as error:
        raise DataError(f"second recording: {error}") from None
    if has_sound(second):
        return second
    if channel is None:
        raise DataError("second recording: it is silent")
    return None  # the other party says nothing


def read_drawn(source: Source, first: int, limit: int, drawn: Drawn) -> np.ndarray | None:
    """The first of the candidates that can be decoded and is not silent, as the second recording; None without one.

    Args:
        first, limit: samples of the first recording, and of a second one at most.
    """
    for row in drawn.candidates:
        try:
            audio = read_audio(row, source)
        except DataError:
            continue  # named where it comes itself
        if has_sound(audio):
            second = audio[:limit] if source.config.second == "speaker" else beside(audio, first, drawn.place)
            if has_sound(second):
                return second
    return None


def beside(other: np.ndarray, samples: int, place: float) -> np.ndarray:
    """What another speaker says as the other party's channel of a recording, so that the two overlap in part.

    The middle of the clip, without the quiet at its ends, lies ``place`` of the recording after its beginning. What
    lies outside the recording is cut off, and silence is put where nothing is said.

    Returns:
        float32 [samples].
    """
    begin, end = speech_region(other)
    return placed(other[begin:end], int(place * samples) - (end - begin) // 2, samples)
