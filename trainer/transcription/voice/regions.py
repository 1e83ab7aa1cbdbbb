"""From probabilities of speech to the parts of a recording that are decoded.

Somebody begins to speak where speech is likely and stops where it is clearly unlikely for a while. What is spoken
is put into pieces for the model, and what lies between them is never decoded.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from data.utterance import SAMPLING_RATE

from ..second.pairing import PairedPiece, SecondUse, cut_pair
from .detector import FRAME, FRAME_SECONDS, SpeechDetector

BEGINS = 0.75  # probability that is reached where somebody speaks; many voices far away stay below ...
GOES_ON = 0.35  # ... and until which they go on, before and after
SHORTEST_PAUSE = 0.3  # seconds: a shorter one is within what is said
SHORTEST_SPEECH = 0.1  # seconds: shorter ones are clicks
MARGIN = 0.4  # seconds that are decoded before what is said
END_MARGIN = 1.5  # and after it: a model that hears speech up to the end takes it for cut off there
LONGEST_PAUSE = 2.0  # seconds between two parts of one piece
NOBODY = "nobody is heard to speak in it"

Span = tuple[int, int]


def speech_regions(probabilities: np.ndarray) -> list[Span]:
    """First frame of each part where somebody speaks, and the first one after it, in order and apart.

    Args:
        probabilities: of speech in each frame of 32 ms, float [T].
    """
    voiced = np.concatenate([[0], probabilities >= GOES_ON, [0]]).astype(np.int8)
    begins, ends = (np.flatnonzero(np.diff(voiced) == step) for step in (1, -1))
    found: list[Span] = []
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        if probabilities[begin:end].max() < BEGINS:
            continue
        if found and (begin - found[-1][1]) * FRAME_SECONDS < SHORTEST_PAUSE:
            begin = found.pop()[0]
        found.append((begin, end))
    return [(begin, end) for begin, end in found if (end - begin) * FRAME_SECONDS >= SHORTEST_SPEECH]


def spoken_spans(regions: Sequence[Span], samples: int) -> list[Span]:
    """The same in samples of a recording of that length, with a margin; parts whose margins meet are one."""
    before, after, found = round(MARGIN * SAMPLING_RATE), round(END_MARGIN * SAMPLING_RATE), list[Span]()
    for begin, end in sorted(regions):
        start, stop = max(0, begin * FRAME - before), min(samples, end * FRAME + after)
        if found and start <= found[-1][1]:
            start, stop = found[-1][0], max(stop, found.pop()[1])
        found.append((start, stop))
    return found


def spans_of(detector: SpeechDetector, audio: np.ndarray) -> list[Span]:
    """Where somebody speaks in a recording, float32 [N], 16 kHz: samples, with a margin."""
    return spoken_spans(speech_regions(detector.probabilities(audio)[0]), len(audio))


def packed(spans: Sequence[Span], window: float) -> list[Span]:
    """Spans joined while they last at most ``window`` seconds together and no pause between them is long."""
    limit, longest = round(window * SAMPLING_RATE), round(LONGEST_PAUSE * SAMPLING_RATE)
    found: list[Span] = []
    for begin, end in spans:
        if found and begin - found[-1][1] <= longest and end - found[-1][0] <= limit:
            begin = found.pop()[0]
        found.append((begin, end))
    return found


def cut_spoken(
    detector: SpeechDetector, first: np.ndarray, second: np.ndarray | None, use: SecondUse | None, window: float
) -> list[PairedPiece]:
    """As :func:`trainer.transcription.second.pairing.cut_pair`, of where somebody speaks alone.

    What lasts longer than ``window`` seconds is cut where it is quietest. With fusion, speech in either recording
    counts; otherwise that in the first.
    """
    regions = speech_regions(detector.probabilities(first)[0])
    beside = second if use is not None and use.kind == "scene" else None
    if beside is not None and use is not None and use.fuse:
        regions += speech_regions(detector.probabilities(beside[: len(first)])[0])
    pieces = []
    for begin, end in packed(spoken_spans(regions, len(first)), window):
        other = second if beside is None else beside[begin:end]
        for piece in cut_pair(first[begin:end], other, use, window):
            moved = replace(piece, begin=begin + piece.begin)
            pieces.append(replace(moved, spoken=spoken_in(moved, regions)))
    return pieces


def spoken_in(piece: PairedPiece, regions: Sequence[Span]) -> tuple[float, float] | None:
    """Seconds of a piece at which the first of the regions that it holds begins, and the last ends."""
    begin, end = piece.begin, piece.begin + len(piece.audio)
    inside = [(start * FRAME, stop * FRAME) for start, stop in regions if start * FRAME < end and stop * FRAME > begin]
    if not inside:
        return None
    first, last = min(start for start, _ in inside), max(stop for _, stop in inside)
    return max(0.0, (first - begin) / SAMPLING_RATE), (min(last, end) - begin) / SAMPLING_RATE
