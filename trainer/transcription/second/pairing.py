"""Two recordings side by side: on one clock, and cut into pieces at the pauses of both."""

from dataclasses import dataclass

import numpy as np

from data.audio.cutting import Piece, cut_at_quiet, has_sound
from data.audio.likeness import SHORTEST_SECONDS
from data.audio.undecodable import UndecodableAudio
from data.errors import DataError
from data.utterance import SAMPLING_RATE

from ..recordings import Recording
from .alignment import LONGEST_DELAY, find_delay, moved

BRIDGED = 0.3  # seconds of delay that neither a model nor fusion minds
LONGEST_CLIP = 30.0  # seconds of a clip of the speaker
FAR_LONGER = 2.0  # times the first recording's length, and a delay more
UNCOVERED = 0.5  # seconds of the first recording that a piece's second one may lack at an end
LEAD = 0.01  # seconds by which a channel that is subtracted is moved ahead of what leaks of it
EDGE_SEARCH = 2.0  # seconds in which a pause is looked for where the second recording begins or ends


class UnusableSecond(DataError):
    """A second recording cannot be used; the message names it and says why."""


@dataclass(frozen=True)
class SecondUse:
    """How second recordings are heard.

    Attributes:
        kind: ``scene``: recorded at the same time, by another microphone or of another party; ``speaker``: a clip of
            the speaker who is meant, heard beside every piece.
        fuse: any model hears both, and their log-probabilities are averaged; otherwise the model hears both itself.
        share: of the first recording in the average; None to find it at each token.
        subtract: what of the second is in the first is taken out of it, and the model hears the rest alone.
    """

    kind: str = "scene"
    fuse: bool = False
    share: float | None = None
    subtract: bool = False

    @property
    def name(self) -> str:
        return "fused" if self.fuse else "subtracted" if self.subtract else "model"


@dataclass(frozen=True)
class PairedPiece(Piece):
    """A piece with what the second recording holds at the same time, float32 [M]; None where it has nothing.

    Attributes:
        of_second: the first recording is silent here, so the samples are the second one's.
        spoken: seconds of the piece at which somebody begins and ends to speak; None where that is not known.
    """

    second: np.ndarray | None = None
    of_second: bool = False
    spoken: tuple[float, float] | None = None


@dataclass(frozen=True)
class Pair:
    """A second recording, float32 [M], 16 kHz, on the first one's clock, and what is to be told of it."""

    samples: np.ndarray
    delay: float | None
    remarks: tuple[str, ...]


def read_second(recording: Recording, first: np.ndarray, use: SecondUse) -> Pair:
    """The second recording of a first one, moved to its time if it began more than 0.3 s earlier or later.

    Args:
        first: float32 [N], 16 kHz, the first recording's samples.

    Raises:
        UnusableSecond: if it cannot be decoded, is silent, or is far longer than the first.
    """
    assert recording.second is not None
    name = recording.second.label
    beside = f"{name}, the second recording of {recording.name},"
    try:
        decoded = recording.second.decode()
    except UndecodableAudio as error:
        raise UnusableSecond(f"{beside} cannot be decoded: {error}") from None
    samples = decoded.samples
    if not has_sound(samples) and not use.subtract:
        raise UnusableSecond(f"{beside} holds no sound: all of it is digital silence")
    check_lengths(recording, len(first) / SAMPLING_RATE, len(samples) / SAMPLING_RATE, use)
    remarks = [f"{name}: {remark}" for remark in (*decoded.remarks, *decoded.said)]
    if use.kind == "speaker" or recording.second.path == recording.path:
        return Pair(samples, None, tuple(remarks))
    if min(len(first), len(samples)) < SHORTEST_SECONDS * SAMPLING_RATE or not has_sound(first):
        return Pair(samples, None, tuple(remarks))
    delay = find_delay(first, samples)
    if delay is None:
        fit = "the text will suffer" if use.fuse else "right for another party's voice alone"
        if use.subtract:
            return Pair(samples, None, (*remarks, f"nothing of {name} is found in it that could be taken out"))
        remarks.append(f"{name} has no speech in common with it, as if it were of another take: {fit}")
        return Pair(samples, None, tuple(remarks))
    if delay.drift > (LEAD if use.subtract else BRIDGED):
        remarks.append(f"the clock of {name} runs apart by {delay.drift:.2g} s from end to end")
    if use.subtract:
        return Pair(moved(samples, delay.seconds + LEAD), round(delay.seconds, 3), tuple(remarks))
    if abs(delay.seconds) <= BRIDGED:
        return Pair(samples, None, tuple(remarks))
    when = "earlier" if delay.seconds > 0 else "later"
    remarks.append(f"{name} began {abs(delay.seconds):.1f} s {when} and was moved into place")
    return Pair(moved(samples, delay.seconds), round(delay.seconds, 3), tuple(remarks))


def check_lengths(recording: Recording, first: float, second: float, use: SecondUse) -> None:
    """Raise UnusableSecond for a second recording that is far longer than it can be; lengths in seconds."""
    assert recording.second is not None
    beside = f"{recording.second.label}, the second recording of {recording.name}, is {second:.1f} s long"
    if use.kind == "speaker" and second > LONGEST_CLIP + 0.01:
        raise UnusableSecond(f"{beside}; a clip of the speaker of up to {LONGEST_CLIP:g} s is right")
    if use.kind == "scene" and second > FAR_LONGER * first + LONGEST_DELAY:
        raise UnusableSecond(
            f"{beside}, far longer than the first with its {first:.1f} s; one of the same time is right"
        )


def cut_pair(first: np.ndarray, second: np.ndarray | None, use: SecondUse | None, window: float) -> list[PairedPiece]:
    """Pieces of at most ``window`` seconds, cut at the pauses of both, that have sound.

    Where the second recording has not begun yet or has ended, there is also a cut, and the pieces have the first alone.
    With fusion, the second is heard alone where the first is digital silence.

    Args:
        first, second: float32 [N] and [M], 16 kHz, on one clock; second None where there is none.
    """
    if second is None or use is None or use.kind == "speaker":
        pieces = [PairedPiece(piece.begin, piece.audio, second) for piece in cut_at_quiet(first, window)]
        return [piece for piece in pieces if has_sound(piece.audio)]
    begin, end = covered(first, second)
    found = []
    for start, stop, is_paired in ((0, begin, False), (begin, end, True), (end, len(first), False)):
        if start == stop:
            continue
        other = second[start : min(stop, len(second))] if is_paired else None
        whole = first[start:stop] if other is None else loudness(first[start:stop], other)
        for piece in cut_at_quiet(whole, window):
            there = slice(start + piece.begin, start + piece.begin + len(piece.audio))
            beside = second[there] if is_paired else None
            found.append(paired_piece(there.start, first[there], beside, use.fuse))
    return [piece for piece in found if piece is not None]


def paired_piece(begin: int, first: np.ndarray, second: np.ndarray | None, fuse: bool) -> PairedPiece | None:
    """A piece of both, or of the one that has sound; None where there is nothing to hear."""
    if second is not None and not (len(second) and has_sound(second)):
        second = None
    if has_sound(first):
        return PairedPiece(begin, first, second)
    return PairedPiece(begin, second, of_second=True) if fuse and second is not None else None


def covered(first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    """First sample that the second recording covers and the first one after it, at pauses; alike if it is too little.

    A second recording that was moved begins with zeros.
    """
    margin, search = round(UNCOVERED * SAMPLING_RATE), round(EDGE_SEARCH * SAMPLING_RATE)
    sounding = second != 0
    begin, end = int(np.argmax(sounding)), len(second) - int(np.argmax(sounding[::-1]))
    end = min(end, len(first))
    if end - begin < SHORTEST_SECONDS * SAMPLING_RATE + 2 * search:
        search = 0
    if begin <= margin:
        begin = 0
    elif search:
        begin += quietest(first[begin : begin + search])
    if len(first) - end <= margin:
        end = len(first)
    elif search:
        end += quietest(first[end - search : end]) - search
    return (begin, end) if end - begin >= SHORTEST_SECONDS * SAMPLING_RATE or end - begin == len(first) else (0, 0)


def quietest(audio: np.ndarray) -> int:
    """The middle of the quietest tenth of a second."""
    frame = SAMPLING_RATE // 10
    energy = np.square(audio[: len(audio) // frame * frame].reshape(-1, frame)).mean(axis=1)
    return int(np.argmin(energy)) * frame + frame // 2


def loudness(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Samples whose energy is that of both recordings, each at the same level; pauses of it are pauses of both."""
    total = np.zeros(len(first), np.float32)
    for samples in (first, second[: len(first)]):
        power = float(np.square(samples).mean())
        if power:
            total[: len(samples)] += np.square(samples) / np.float32(power)
    return np.sqrt(total, out=total)
