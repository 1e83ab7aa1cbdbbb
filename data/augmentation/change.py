"""What every kind of augmentation is made of: its config fields, its random draws and its effect on a clip."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Generic, NamedTuple, TypeVar

import numpy as np

from ..sources.config import Section
from ..utterance import SecondKind

FieldsT = TypeVar("FieldsT", bound=Section)


class Sound(NamedTuple):
    """A clip between two changes, 16 kHz.

    Attributes:
        audio: float32 [samples]; may go beyond [-1, 1] until the last change.
        noise: float32 [samples], the part of ``audio`` that is noise; None where none is known.
    """

    audio: np.ndarray
    noise: np.ndarray | None = None


class Pair(NamedTuple):
    """An utterance's recordings between two changes.

    Attributes:
        first: what is transcribed.
        second: what is heard beside it; None without one.
        kind: what ``second`` is.
        later: samples by which ``second``, another microphone, begins after ``first``; below 0 it begins before.
    """

    first: Sound
    second: Sound | None = None
    kind: SecondKind = "microphone"
    later: int = 0


class Draws:
    """The random numbers of one change of one utterance: for the first recording, and others for the second.

    Args:
        entropy: what all draws for the utterance depend on.
        stream: that of the change.
    """

    def __init__(self, entropy: tuple[int, ...], stream: int) -> None:
        self.entropy, self.stream = entropy, stream

    @cached_property
    def first(self) -> np.random.Generator:
        # One for each kind of change: switching one on draws nothing else anew.
        return np.random.default_rng(np.random.SeedSequence(self.entropy, spawn_key=(self.stream,)))

    @cached_property
    def second(self) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.entropy, spawn_key=(self.stream, 1)))


@dataclass(frozen=True)
class OtherSpeech:
    """The utterances that may be laid over one.

    Attributes:
        count: how many.
        read: samples of one; None for one that must not be taken. Raises DataError for one that cannot be read.
    """

    count: int
    read: Callable[[int], np.ndarray | None]


class Change(Generic[FieldsT]):
    """One kind of augmentation. A subclass in a module of ``changes/`` is in the config and in the augmenter.

    Attributes:
        fields: the keys that it adds to ``data.augmentation``.
        of_shares: keys that mean nothing while a share is 0, by that share; giving them then is an error.
        of_second: keys that mean nothing without a second recording of one of these kinds, by the key.
        only_adds: it adds noise, or says what is noise, and leaves what is said as it is.
        place: changes are applied in ascending order of it.
        stream: the number of its random generator. It belongs to no other change and never changes: another number
            would draw every clip anew.

    Args:
        config: a config with the keys of ``fields``.
        lengths: the fewest and the most seconds that a clip may have.

    Raises:
        DataError: if recordings or codecs that the config names cannot be used.
    """

    fields: ClassVar[type[Section]]
    of_shares: ClassVar[dict[str, tuple[str, ...]]] = {}
    of_second: ClassVar[dict[str, tuple[SecondKind, ...]]] = {}
    only_adds: ClassVar[bool] = False
    place: ClassVar[int]
    stream: ClassVar[int]

    def __init__(self, config: FieldsT, lengths: tuple[float, float]) -> None:
        self.config, self.lengths = config, lengths

    def __call__(self, sound: Sound, generator: np.random.Generator, others: OtherSpeech) -> Sound:
        """The sound changed, or as it is where the draw says so. Threads may share the change, but no generator."""
        raise NotImplementedError

    def both(self, pair: Pair, draws: Draws, others: OtherSpeech) -> Pair:
        """Both recordings changed, each by draws of its own, as the recordings of two microphones are.

        A subclass overrides it where the two have something in common.
        """
        first = self(pair.first, draws.first, others)
        second = None if pair.second is None else self(pair.second, draws.second, others)
        return pair._replace(first=first, second=second)

    def longest(self, seconds: float) -> float:
        """The most seconds that a clip of ``seconds`` may have afterwards."""
        return seconds

    def longest_second(self, seconds: float) -> float:
        """The most seconds that a second recording of ``seconds`` may have afterwards."""
        return self.longest(seconds)

    @staticmethod
    def knows_noise(config: FieldsT) -> bool:
        """Whether part of some clip's audio becomes known as noise."""
        return False
