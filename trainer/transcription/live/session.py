"""What is heard of a stream, and when: the buffer, pauses, hearings, and what becomes final.

Nothing is heard where nobody speaks. Someone who speaks is heard again each time enough new audio is there; words that
two hearings agree on are final. A pause makes all before it final, and the buffer begins anew after it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from data.utterance import SAMPLING_RATE

from ..second.pairing import quietest
from ..voice.detector import FRAME, NOTHING, SpeechDetector
from ..voice.regions import MARGIN, Span, speech_regions
from .agreement import Agreement, Spoken
from .listening import Guess

HOP_SECONDS = 0.8  # of new audio before the next hearing, at least
PAUSE_SECONDS = 0.8  # makes all before it final; in long utterances shorter ones do
SHORTER_PAUSES = ((10.0, 0.5), (18.0, 0.3))  # from so many seconds on, so short a one
LONGEST_SECONDS = 25.0  # without any pause: cut at the quietest place ...
SEARCH_SECONDS = 8.0  # ... among the last so many
SETTLED_SECONDS = 0.2  # of silence after speech, before it is heard to its end
WAITING_SECONDS = 2.0  # kept while nobody speaks

Hear = Callable[[np.ndarray, Sequence[int]], Guess]


@dataclass(frozen=True)
class TimedWord:
    """A word and when it was said, seconds of the stream, estimated by where it stands in what is spoken."""

    text: str
    start: float
    end: float
    spaced: bool = True


@dataclass(frozen=True)
class Event:
    """Something to show.

    Attributes:
        kind: ``final``: these words, which never change; ``tentative``: what may follow them so far, in place of all
            tentative words before; ``end``: a pause, before which all is final.
    """

    kind: str
    words: tuple[TimedWord, ...] = ()


class LiveSession:
    """A stream, 16 kHz, of which at most 30 s are held.

    Args:
        hear: what is said in a piece after the final words whose tokens are given.
        detector: says where somebody speaks.
    """

    def __init__(self, hear: Hear, detector: SpeechDetector) -> None:
        self.hear, self.detector, self.before = hear, detector, NOTHING
        self.begin = 0  # of the buffer, samples of the stream, a multiple of a frame
        self.buffer = np.zeros(0, np.float32)
        self.likely = np.zeros(0, np.float32)  # of each whole frame in the buffer
        self.agreement = Agreement()
        self.heard_to = 0  # samples of the buffer that the last hearing had
        self.last_end = 0.0  # of the last final word, seconds of the stream
        self.is_open = False  # final words were shown since the last pause

    @property
    def seconds(self) -> float:
        """Of the stream, taken so far."""
        return (self.begin + len(self.buffer)) / SAMPLING_RATE

    def take(self, audio: np.ndarray) -> None:
        """More of the stream, float32 [N]."""
        self.buffer = np.concatenate([self.buffer, audio])
        known = len(self.likely) * FRAME
        whole = (len(self.buffer) - known) // FRAME * FRAME
        likely, self.before = self.detector.probabilities(self.buffer[known : known + whole], self.before)
        self.likely = np.concatenate([self.likely, likely])
        if not self.regions():
            self.drop(len(self.buffer) - round(WAITING_SECONDS * SAMPLING_RATE))

    def regions(self) -> list[Span]:
        """Where somebody speaks, samples of the buffer."""
        return [(begin * FRAME, end * FRAME) for begin, end in speech_regions(self.likely)]

    def advance(self, ended: bool = False) -> Iterator[Event]:
        """Hear what is due, and say what is new by it.

        Args:
            ended: nothing more comes, or not for a while: all becomes final.
        """
        while regions := self.regions():
            self.drop(regions[0][0] - round(MARGIN * SAMPLING_RATE))
            regions = self.regions()
            cut = self.cut_place(regions, ended)
            if cut is None:
                if self.is_due(regions):
                    yield from self.hear_buffer(regions)
                return
            yield from self.finish(cut, regions)

    def cut_place(self, regions: Sequence[Span], ended: bool) -> int | None:
        """The sample before which all becomes final; None where there is no pause yet."""
        begin = regions[0][0]
        following = [start for start, _ in regions[1:]] + [len(self.buffer)]
        place = None
        for (_, end), after in zip(regions, following, strict=True):
            if (after - end) / SAMPLING_RATE >= self.pause_after((end - begin) / SAMPLING_RATE):
                place = min(end + round(MARGIN * SAMPLING_RATE), (end + after) // 2)
                break
        if place is None and len(self.buffer) > LONGEST_SECONDS * SAMPLING_RATE:
            place = self.quiet_place()
        if place is None and ended:
            place = len(self.buffer)
        return place

    def quiet_place(self) -> int:
        """The quietest sample near the buffer's end, after all final words."""
        told = round(self.last_end * SAMPLING_RATE) - self.begin
        first = max(told, len(self.buffer) - round(SEARCH_SECONDS * SAMPLING_RATE))
        tail = self.buffer[first:]
        return first + quietest(tail) if len(tail) >= SAMPLING_RATE // 2 else len(self.buffer)

    def pause_after(self, seconds: float) -> float:
        """How long a pause must be after an utterance of that length."""
        return min([PAUSE_SECONDS, *(pause for length, pause in SHORTER_PAUSES if seconds >= length)])

    def is_due(self, regions: Sequence[Span]) -> bool:
        """Whether there is enough new speech to hear, or its end."""
        end = regions[-1][1]
        if end <= self.heard_to:
            return False
        pause = (len(self.buffer) - end) / SAMPLING_RATE
        fresh = (len(self.buffer) - self.heard_to) / SAMPLING_RATE
        return fresh >= HOP_SECONDS or pause >= SETTLED_SECONDS

    def hear_buffer(self, regions: Sequence[Span]) -> Iterator[Event]:
        """Hear the buffer; yields the words that are final by it, and what may follow."""
        guess = self.hear(self.buffer, self.agreement.tokens)
        self.heard_to = len(self.buffer)
        agreed = self.agreement.heard(guess.words if guess.is_speech else [])
        timed = self.timed([*agreed, *self.agreement.tentative], regions)
        if agreed:
            yield self.final(timed[: len(agreed)])
        yield Event("tentative", tuple(timed[len(agreed) :]))

    def finish(self, cut: int, regions: Sequence[Span]) -> Iterator[Event]:
        """Make all before a sample of the buffer final, and let the buffer begin there."""
        inside = [(begin, min(end, cut)) for begin, end in regions if begin < cut]
        later = [begin for begin, _ in regions if begin >= cut]
        agreed: list[Spoken] = []
        if self.heard_to < inside[-1][1] or any(begin < self.heard_to for begin in later) or cut < self.heard_to:
            guess = self.hear(self.buffer[:cut], self.agreement.tokens)
            agreed = self.agreement.heard(guess.words if guess.is_speech else [])
        words = [*agreed, *self.agreement.end()]
        if words:
            yield self.final(self.timed(words, inside))
        self.drop(cut)
        self.heard_to = 0
        yield Event("tentative")
        if self.is_open:
            self.is_open = False
            yield Event("end")

    def final(self, words: Sequence[TimedWord]) -> Event:
        self.last_end, self.is_open = words[-1].end, True
        return Event("final", tuple(words))

    def timed(self, words: Sequence[Spoken], regions: Sequence[Span]) -> list[TimedWord]:
        """Words after the last final one, shared out by their letters over what is spoken after it."""
        spans = [((self.begin + begin) / SAMPLING_RATE, (self.begin + end) / SAMPLING_RATE) for begin, end in regions]
        spans = [(max(begin, self.last_end), end) for begin, end in spans if end > self.last_end]
        places = shared_out([len(word.text) for word in words], spans or [(self.last_end, self.last_end)])
        return [
            TimedWord(word.text, round(start, 2), round(end, 2), word.spaced)
            for word, (start, end) in zip(words, places, strict=True)
        ]

    def drop(self, samples: int) -> None:
        """Forget the first samples of the buffer, whole frames of them."""
        frames = min(max(0, samples // FRAME), len(self.likely))
        if frames:
            self.buffer, self.likely = self.buffer[frames * FRAME :].copy(), self.likely[frames:].copy()
            self.begin += frames * FRAME
            self.heard_to = max(0, self.heard_to - frames * FRAME)


def shared_out(lengths: Sequence[int], spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Start and end of each of several things that fill spans of time one after the other.

    Args:
        lengths: of the things, above 0, in any unit.
        spans: start and end of each, in order; at least one.
    """
    marks = np.concatenate([[0], np.cumsum([end - begin for begin, end in spans])])
    bounds = np.concatenate([[0], np.cumsum(lengths)]) / max(1, sum(lengths)) * marks[-1]

    def time_at(mark: float, side: str) -> float:
        place = min(max(int(np.searchsorted(marks, mark, side=side)) - 1, 0), len(spans) - 1)  # type: ignore[call-overload]
        return float(min(spans[place][0] + mark - marks[place], spans[place][1]))

    return [(time_at(begin, "right"), time_at(end, "left")) for begin, end in pairwise(bounds)]
