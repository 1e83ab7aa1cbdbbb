"""Facts of a second recording: how it differs from the first, and whether it is the same speech at all."""

import contextlib
import math
from dataclasses import dataclass, field, replace

import numpy as np

from .. import storage
from ..audio.cutting import has_sound
from ..audio.decoding import decode
from ..audio.likeness import SHORTEST_SECONDS, likeness_of
from ..audio.opening import open_audio
from ..audio.undecodable import BeyondRecording, MissingChannel, UndecodableAudio
from ..corpora.record import Record
from ..preparation.audio_kept.second import are_far
from ..preparation.clips import RecordingReader, cut_clip
from ..utterance import SAMPLING_RATE
from .kinds import Kind

LONGEST_DELAY = 5.0  # seconds that the second recording may begin earlier or later
SAME_SIGNAL = 0.999  # correlation without a delay, from which on there is one microphone only
SAME_LENGTH = 0.02  # seconds

Shown = dict[Kind, tuple[str, float]]


@dataclass(frozen=True, slots=True)
class SecondFacts:
    """What a second recording says beside the first.

    Attributes:
        level: of the second over that of the first, RMS, in dB; None where either is silent.
        delay: seconds by which the second hears the same later; None where it is not the same speech, or too short.
        heard: float32 [N], 16 kHz, mono.
    """

    level: float | None
    delay: float | None
    heard: np.ndarray = field(repr=False, compare=False)


def second_facts(
    record: Record, first: np.ndarray, recordings: RecordingReader | None = None
) -> tuple[SecondFacts | None, Shown]:
    """The facts of a record's second recording, None without one, and what it shows.

    Args:
        first: float32 [N], 16 kHz, the first recording.
        recordings: who reads those that are parts of recordings.
    """
    if record.second is None:
        absent = record.second_place
        return None, {} if absent is None else {Kind.SECOND_ABSENT: (f"no {absent}", 0)}
    try:
        second = read_second(record, recordings)
    except MissingChannel as error:
        return None, {Kind.NO_CHANNEL: (str(error), 0)}
    except BeyondRecording as error:
        return None, {Kind.SECOND_BEYOND: (str(error), 0)}
    except UndecodableAudio as error:
        return None, {Kind.SECOND_UNDECODABLE: (str(error), 0)}
    shown: Shown = {}
    lengths = f"{len(second) / SAMPLING_RATE:.1f} s beside {len(first) / SAMPLING_RATE:.1f} s"
    if are_far(len(first) / SAMPLING_RATE, len(second) / SAMPLING_RATE):
        shown[Kind.SECOND_FAR] = (lengths, abs(len(second) - len(first)))
    if not has_sound(second):
        is_file = record.second_channel is None and not record.is_part
        shown[Kind.SECOND_SILENT if is_file else Kind.CHANNEL_SILENT] = (lengths, len(second))
        return SecondFacts(None, None, second), shown
    if not has_sound(first):
        return SecondFacts(None, None, second), shown
    delay = None
    if are_copies(first, second):
        shown[Kind.SECOND_COPY] = ("", 0)
        delay = 0.0
    elif min(len(first), len(second)) >= SHORTEST_SECONDS * SAMPLING_RATE:
        likeness = likeness_of(first, second, LONGEST_DELAY)
        if likeness.is_same:
            delay = likeness.delay
        else:
            shown[Kind.SECOND_OTHER] = (f"peak of the correlation {likeness.peak:.2f} times the next", -likeness.peak)
    return SecondFacts(level_of(second) - level_of(first), delay, second), shown


def read_second(record: Record, recordings: RecordingReader | None) -> np.ndarray:
    """The samples of a second recording, float32 [N].

    Raises:
        UndecodableAudio: if there are none.
    """
    own = replace(record, audio=record.second, channel=record.second_channel)
    if own.is_part:
        with contextlib.nullcontext(recordings) if recordings else RecordingReader() as reader:
            return cut_clip(own, reader)
    value = own.audio
    if isinstance(value, dict) and value.get("array") is None:
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str) and storage.is_remote(value):
        with open_audio(value, None) as file:
            value = file.read()
    return decode(value, whole=True, channel=own.channel).samples


def level_of(samples: np.ndarray) -> float:
    """RMS in dBFS of samples that are not all zero."""
    return 10 * math.log10(float(np.dot(samples, samples)) / len(samples))


def are_copies(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two recordings are the same signal at some level, without a delay."""
    if abs(len(first) - len(second)) > SAME_LENGTH * SAMPLING_RATE:
        return False
    one, two = first[: len(second)], second[: len(first)]
    product, powers = float(np.dot(one, two)), float(np.dot(one, one)) * float(np.dot(two, two))
    return powers > 0 and product >= SAME_SIGNAL * math.sqrt(powers)
