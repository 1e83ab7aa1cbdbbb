"""What the suite measures in: clean speech, speech in a kind of noise at a ratio, and noise without speech."""

from dataclasses import dataclass
from typing import Literal

NoiseType = Literal["noise", "babble", "competing"]
CLEAN, NON_SPEECH = "clean", "non_speech"
DESCRIBED = {
    "clean": "clean speech",
    "noise": "noise",
    "babble": "babble",
    "competing": "one competing speaker",
    "non_speech": "noise without speech",
}


@dataclass(frozen=True)
class Condition:
    """A kind of noise and how loud it is.

    Attributes:
        kind: ``clean``, ``noise``, ``babble``, ``competing`` or ``non_speech``.
        ratio: decibels of speech over noise; None where there is no such ratio.
    """

    kind: str
    ratio: float | None = None

    @property
    def name(self) -> str:
        """As files and tables call it: ``clean``, ``babble_-5``, ``noise_2.5``."""
        return self.kind if self.ratio is None else f"{self.kind}_{self.ratio:g}"


def conditions_of(types: tuple[str, ...], ratios: tuple[float, ...], clean: bool, non_speech: bool) -> list[Condition]:
    """Clean speech first, each type from the highest ratio down, and noise alone last."""
    mixed = [Condition(kind, ratio) for kind in types for ratio in sorted(ratios, reverse=True)]
    return [*([Condition(CLEAN)] if clean else []), *mixed, *([Condition(NON_SPEECH)] if non_speech else [])]
