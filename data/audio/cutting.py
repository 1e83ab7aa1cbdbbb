"""Where a recording is cut into pieces short enough for a model, and where in a piece there is sound.

Only levels decide: that costs nothing beside decoding and needs no second model.
"""

from dataclasses import dataclass

import numpy as np

from ..utterance import SAMPLING_RATE

WINDOW_SECONDS = 30.0  # the longest that Whisper hears at once
END_TOLERANCE = 0.5  # seconds that a segment may end beyond its recording: annotators round, encoders drop frames
SEARCH_SHARE = 0.7  # of a piece's end, where the quietest place is looked for ...
SEARCH_SECONDS = 8.0  # ... but no more than this
SHORTEST_SECONDS = 1.0  # a last piece of less says too little to be recognised reliably
DIGITAL_SILENCE = 2 / 32_768  # peaks of 16-bit audio that holds dither alone stay below
QUIET_DECIBEL = 35.0  # below a piece's loudest: not speech
QUIET_MARGIN = int(0.1 * SAMPLING_RATE)  # faint beginnings and ends of words lie outside what is loud


@dataclass(frozen=True)
class Piece:
    """A part of a recording: float32 samples [N], 16 kHz, and where it begins, in samples of the recording."""

    begin: int
    audio: np.ndarray

    @property
    def seconds(self) -> float:
        return len(self.audio) / SAMPLING_RATE


def cut_at_quiet(audio: np.ndarray, window: float = WINDOW_SECONDS) -> list[Piece]:
    """Pieces of at most ``window`` seconds (2 or more), cut where the end of each is quietest; together the audio."""
    limit, frame = int(window * SAMPLING_RATE), SAMPLING_RATE // 10
    span = int(min(SEARCH_SECONDS, SEARCH_SHARE * window) * SAMPLING_RATE)
    shortest = int(SHORTEST_SECONDS * SAMPLING_RATE)
    pieces, begin = [], 0
    while len(audio) - begin > limit:
        latest = min(limit, len(audio) - begin - shortest)
        first = begin + limit - span
        tail = audio[first : begin + latest]
        energy = np.square(tail[: len(tail) // frame * frame].reshape(-1, frame)).mean(axis=1)
        cut = first + int(np.argmin(energy)) * frame + frame // 2
        pieces.append(Piece(begin, audio[begin:cut]))
        begin = cut
    return [*pieces, Piece(begin, audio[begin:])]


def has_sound(audio: np.ndarray) -> bool:
    """False for digital silence alone. A quiet room has sound; the model decides whether it is speech."""
    return max(float(audio.max()), -float(audio.min())) >= DIGITAL_SILENCE


def sound_bounds(audio: np.ndarray) -> tuple[int, int]:
    """First and last sample of a piece that is not quiet beside its loudest, with a margin; all of it if none is."""
    begin, end = speech_region(audio)
    return max(0, begin - QUIET_MARGIN), min(len(audio), end + QUIET_MARGIN)


def speech_region(audio: np.ndarray) -> tuple[int, int]:
    """As :func:`sound_bounds`, without the margin, to 20 ms: pauses within what is said belong to it."""
    frame = SAMPLING_RATE // 50
    whole = np.pad(audio, (0, -len(audio) % frame)).reshape(-1, frame)
    energy = np.square(whole).mean(axis=1)
    loud = np.flatnonzero(energy >= energy.max() * 10 ** (-QUIET_DECIBEL / 10))
    return int(loud[0]) * frame, min(len(audio), int(loud[-1] + 1) * frame)
