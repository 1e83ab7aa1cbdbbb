"""What came of a preparation, in figures."""

from collections import Counter
from dataclasses import dataclass, field

from .checking import Dropped


@dataclass
class Summary:
    """What came of a preparation.

    Attributes:
        rows: read, in this and in earlier runs of it.
        reused: rows of jobs that were done already.
        splits: clips and seconds of each split.
        dropped: rows left out, by kind.
        notices: what was put right or deserves a word, how often.
        seconds: wall time of this run.
    """

    rows: int = 0
    reused: int = 0
    broken: int = 0
    splits: dict[str, tuple[int, float]] = field(default_factory=dict)
    shards: int = 0
    bytes: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    notices: Counter[str] = field(default_factory=Counter)
    example: Dropped | None = None
    seconds: float = 0.0

    @property
    def clips(self) -> int:
        return sum(clips for clips, _ in self.splits.values())

    @property
    def audio_seconds(self) -> float:
        return sum(seconds for _, seconds in self.splits.values())
