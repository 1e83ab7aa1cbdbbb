"""A few clips of a corpus to listen to and read, chosen at random, the same each time."""

import hashlib
from dataclasses import dataclass

import numpy as np

from ..preparation.clips import encode_flac
from ..utterance import SAMPLING_RATE
from .facts import ClipFacts

MOST = 6
LONGEST_SECONDS = 10.0  # of a sample; what comes after is left out
TEXT_KEPT = 600  # characters


@dataclass(frozen=True, order=True)
class Sample:
    """A clip to listen to.

    Attributes:
        order: of its name, by a hash.
        seconds: of the whole clip.
        flac: its first 10 s, 16 kHz mono.
        second: likewise of the second recording; empty without one.
    """

    order: bytes
    id: str
    place: str
    text: str
    speaker: str
    seconds: float
    flac: bytes
    second: bytes = b""

    @property
    def is_cut(self) -> bool:
        return self.seconds > LONGEST_SECONDS


class Samples:
    """Those clips whose names have the lowest hashes; which process saw them does not matter."""

    def __init__(self) -> None:
        self.kept: list[Sample] = []

    def add(self, clip: ClipFacts) -> None:
        if clip.heard is None:
            return
        order = hashlib.blake2b(f"{clip.place}\0{clip.id}".encode("utf-8", "replace"), digest_size=8).digest()
        if len(self.kept) == MOST and order >= self.kept[-1].order:
            return
        sample = Sample(
            order=order,
            id=clip.id,
            place=clip.place,
            text=clip.text[:TEXT_KEPT],
            speaker=clip.parts["speaker"],
            seconds=len(clip.heard) / SAMPLING_RATE,
            flac=beginning(clip.heard),
            second=b"" if clip.second is None else beginning(clip.second.heard),
        )
        self.kept = sorted([*self.kept, sample])[:MOST]

    def merge(self, other: "Samples") -> None:
        self.kept = sorted([*self.kept, *other.kept])[:MOST]


def beginning(heard: np.ndarray) -> bytes:
    """The first 10 s of samples as FLAC."""
    return encode_flac(np.asarray(heard[: round(LONGEST_SECONDS * SAMPLING_RATE)]))
