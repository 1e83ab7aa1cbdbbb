"""A recording that is being transcribed, and the language that its first pieces tell."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from data.errors import DataError

from .heard import Heard
from .recordings import Recording
from .second.pairing import PairedPiece, UnusableSecond
from .transcripts import SecondHeard

TELLING_PIECES = 5  # at most so many tell a recording's language ...
SURE = 0.8  # ... fewer, once it is as likely as this
UNSURE = 0.5  # a language that is less likely is told


@dataclass
class Work:
    """A recording that is being transcribed: its pieces with sound, and what was heard in each so far.

    Attributes:
        language: given, or told by the first pieces with speech; None until they have.
        sure: how likely the language is, 0 to 1, the mean over these pieces; None where it was given.
    """

    recording: Recording
    language: str | None
    sure: float | None = None
    seconds: float = 0.0
    remarks: tuple[str, ...] = ()
    second: SecondHeard | None = None
    pieces: list[PairedPiece] = field(default_factory=list)
    heard: dict[int, Heard] = field(default_factory=dict)
    error: DataError | None = None

    @property
    def done(self) -> bool:
        return len(self.heard) == len(self.pieces) and (self.language is not None or not self.pieces)

    def tell_language(self, codes: Sequence[str], are_all: bool | None = None) -> list[int]:
        """Choose the language, once the pieces that were heard make it sure, or no more of them are asked.

        Pieces where nobody speaks count only if there are no others.

        Args:
            codes: of the languages whose likelihoods the pieces have.
            are_all: there are no other pieces than these; None where the work has all pieces already.

        Returns:
            The pieces that were heard in another language, which are to be heard again.
        """
        told = list(self.heard.values())
        speaking = [piece for piece in told if piece.is_speech]
        if are_all is None:
            are_all = len(told) >= len(self.pieces)
        asked_all = are_all or len(told) >= TELLING_PIECES
        if not speaking and not asked_all:
            return []
        likelihoods = np.stack([piece.likelihoods for piece in speaking or told if piece.likelihoods is not None])
        best = int(likelihoods.sum(axis=0).argmax())
        sure = float(np.exp(likelihoods[:, best]).mean())
        if sure < SURE and not asked_all:
            return []
        self.language, self.sure = codes[best], sure
        again = [number for number, piece in self.heard.items() if piece.language != self.language]
        for number in again:
            del self.heard[number]
        return again


@dataclass(frozen=True)
class Untranscribed:
    """A recording that could not be transcribed, and why: it or its second one cannot be used."""

    file: str
    error: DataError

    @property
    def is_second(self) -> bool:
        """Whether the second recording is at fault, whose name the error has."""
        return isinstance(self.error, UnusableSecond)


def remarks_on(work: Work, silent: float) -> Iterator[str]:
    """What is to be told of what was heard; ``silent``: seconds of the pieces whose text is left out."""
    if work.sure is not None and work.sure < UNSURE:
        yield f"its language seems to be {work.language!r}, which is {work.sure:.0%} likely: --language sets it"
    echoes = sum(heard.echoes for heard in work.heard.values())
    if echoes:
        yield f"the text repeats the prompt in {echoes} {'piece' if echoes == 1 else 'pieces'}: it seems to do harm"
    if silent:
        yield f"nobody seems to speak in {silent:.1f} s of it: what the model writes there is left out"
