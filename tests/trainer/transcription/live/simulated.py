"""A speaker on a simulated clock, and a listener that knows what is said in it."""

from collections.abc import Sequence

import numpy as np

from benchmarks.long_form.simulated import SimulatedStream
from data.utterance import SAMPLING_RATE
from tests.support.loudness import Loudness, spoken
from trainer.transcription.live.agreement import Spoken
from trainer.transcription.live.command import Measured, run_stream
from trainer.transcription.live.listening import Guess
from trainer.transcription.live.output import Latencies
from trainer.transcription.live.session import Event, LiveSession


class Speaker:
    """Says a word each half second where it is loud; hears what of it lies in a piece, the last one often wrongly.

    Attributes:
        cost: seconds of a hearing.
    """

    def __init__(self, lengths: Sequence[tuple[str, float]], cost: float = 0.0) -> None:
        self.audio, self.cost = spoken(*lengths), cost
        self.words: list[tuple[str, float]] = []  # and their ends
        at = 0.0
        for kind, length in lengths:
            if kind == "loud":
                self.words += [(f"w{len(self.words) + n}", at + 0.5 * (n + 1)) for n in range(int(length * 2))]
            at += length
        self.hearings: list[float] = []  # seconds of each

    def listen(self, *before: np.ndarray | float) -> tuple[list[Event], Measured, LiveSession]:
        """Run it all; what was shown, in order."""
        self.stream = SimulatedStream([*before, self.audio])
        self.session = LiveSession(self.hear, Loudness())
        self.events: list[tuple[Event, float]] = []
        measured = Measured(Latencies())
        run_stream(self.stream, self.session, self, measured)
        return [event for event, _ in self.events], measured, self.session

    def show(self, event: Event, now: float) -> None:
        self.events.append((event, now))

    def hear(self, audio: np.ndarray, final: Sequence[int]) -> Guess:
        self.hearings.append(len(audio) / SAMPLING_RATE)
        begin = self.session.begin / SAMPLING_RATE
        end = begin + len(audio) / SAMPLING_RATE
        self.stream.now += self.cost
        inside = [n for n, (_, at) in enumerate(self.words) if begin < at - 0.25 < end]
        if final:
            inside = [n for n in inside if n > final[-1]]
        found = [
            Spoken(self.words[n][0] if self.words[n][1] <= end else f"cut{len(self.hearings)}", (n,)) for n in inside
        ]
        return Guess(found)


def final_text(events: Sequence[Event]) -> list[str]:
    return [word.text for event in events if event.kind == "final" for word in event.words]
