"""A stream on a simulated clock: audio comes as fast as it is spoken, and what is heard of it takes its time."""

from collections.abc import Sequence

import numpy as np

from data.utterance import SAMPLING_RATE

STEP = SAMPLING_RATE // 10  # samples that come at once
MOST_STEPS = 50  # taken at once


class SimulatedStream:
    """As ``trainer.transcription.live.streams.PcmStream``, without waiting.

    Args:
        pieces: parts of the stream, float32 [N] each; a number is a stall of so many seconds.

    Attributes:
        now: the clock, in seconds; who works adds the time that it took.
    """

    def __init__(self, pieces: Sequence[np.ndarray | float]) -> None:
        self.now, self.given = 0.0, 0
        self.parts: list[np.ndarray] = []
        arrivals, at = [], 0.0
        for piece in pieces:
            if isinstance(piece, float):
                at += piece
                continue
            for begin in range(0, len(piece), STEP):
                part = piece[begin : begin + STEP]
                at += len(part) / SAMPLING_RATE
                self.parts.append(part)
                arrivals.append(at)
        self.arrivals = np.array(arrivals)
        self.received = np.concatenate([[0], np.cumsum([len(part) for part in self.parts])]) / SAMPLING_RATE

    @property
    def there(self) -> int:
        """How many parts have come."""
        return int(np.searchsorted(self.arrivals, self.now + 1e-6))

    @property
    def seconds(self) -> float:
        """Of the stream, that have come."""
        return float(self.received[self.there])

    def take(self, wait: float) -> np.ndarray | None:
        """What has come since, at most 5 s, float32 [N]; nothing after so many seconds of waiting; None at the end."""
        if self.given == len(self.parts):
            return None
        self.now = max(self.now, min(float(self.arrivals[self.given]), self.now + wait))
        found = self.parts[self.given : min(self.there, self.given + MOST_STEPS)]
        self.given += len(found)
        return np.concatenate(found) if found else np.zeros(0, np.float32)
