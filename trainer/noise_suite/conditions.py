"""What the suite measures in: clean speech, speech in noise at a ratio, two recordings, noise without speech."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

NoiseType = Literal["noise", "babble", "competing"]
CLEAN, NON_SPEECH = "clean", "non_speech"
CLEAN_PAIR, MICROPHONES, OTHER_PARTY, MEANT_SPEAKER = "clean_pair", "microphones", "other_party", "meant_speaker"
PAIRED = (CLEAN_PAIR, MICROPHONES, OTHER_PARTY, MEANT_SPEAKER)  # whose utterances have a second recording
ONE_VOICE = ("competing", OTHER_PARTY, MEANT_SPEAKER)  # in which one other voice is heard, whose words can be counted
DESCRIBED = {
    "clean": "clean speech",
    "noise": "noise",
    "babble": "babble",
    "competing": "one competing speaker",
    "clean_pair": "two microphones, clean",
    "microphones": "two microphones",
    "other_party": "the other party leaks",
    "meant_speaker": "one competing speaker, a clip of the one meant",
    "non_speech": "noise without speech",
}


@dataclass(frozen=True)
class Condition:
    """A kind of noise and how loud it is.

    Attributes:
        kind: ``clean``, ``noise``, ``babble``, ``competing``, ``non_speech`` or one of :data:`PAIRED`.
        ratio: decibels of speech over noise; None where there is no such ratio.
        second_ratio: that of the second of two microphones; None elsewhere.
    """

    kind: str
    ratio: float | None = None
    second_ratio: float | None = None

    @property
    def name(self) -> str:
        """As files and tables call it: ``clean``, ``babble_-5``, ``noise_2.5``, ``microphones_0_10``."""
        ratios = (self.ratio, self.second_ratio)
        return "_".join([self.kind, *(f"{ratio:g}" for ratio in ratios if ratio is not None)])


def conditions_of(
    types: tuple[str, ...],
    ratios: tuple[float, ...],
    clean: bool,
    non_speech: bool,
    paired: Sequence[Condition] = (),
) -> list[Condition]:
    """Clean speech first, each type from the highest ratio down, two recordings, and noise alone last."""
    mixed = [Condition(kind, ratio) for kind in types for ratio in sorted(ratios, reverse=True)]
    return [*([Condition(CLEAN)] if clean else []), *mixed, *paired, *([Condition(NON_SPEECH)] if non_speech else [])]
