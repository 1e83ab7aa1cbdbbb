"""The same audio under several ids, found where it is in more than one split: some 32 bytes a clip."""

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np

PAIR = np.dtype([("id", np.uint64), ("audio", np.uint64)])


class AudioDigests:
    """Digests of the clips of a job by split, an id's and its audio's each."""

    def __init__(self) -> None:
        self.pairs: dict[str, bytearray] = {}

    def add(self, name: str, audio: bytes | None, split: str) -> None:
        """A clip that is kept; without bytes, its path is all that is written of it, and nothing is compared."""
        if audio is not None:
            for content in (name.encode("utf-8", "replace"), audio):
                digest = hashlib.blake2b(content, digest_size=8).digest()
                self.pairs.setdefault(split, bytearray()).extend(digest)

    def to_json(self) -> dict[str, str]:
        """The pairs of each split, in hexadecimal digits."""
        return {split: pairs.hex() for split, pairs in sorted(self.pairs.items())}


def audio_in_several_splits(jobs: Iterable[Mapping[str, str]]) -> int:
    """How many recordings, equal to the byte, are in more than one split under different ids.

    Args:
        jobs: what :meth:`AudioDigests.to_json` gave of each, in the order in which the first of an id is kept.
    """
    numbers: dict[str, int] = {}
    pairs, splits = [np.zeros(0, PAIR)], [np.zeros(0, np.int32)]
    for job in jobs:
        for split, digits in job.items():
            pairs.append(np.frombuffer(bytes.fromhex(digits), PAIR))
            splits.append(np.full(len(pairs[-1]), numbers.setdefault(split, len(numbers)), np.int32))
    every, split_of = np.concatenate(pairs), np.concatenate(splits)
    firsts = np.unique(every["id"], return_index=True)[1]
    audio, split_of = every["audio"][firsts], split_of[firsts]
    order = np.lexsort((split_of, audio))
    audio, split_of = audio[order], split_of[order]
    changes = (audio[1:] == audio[:-1]) & (split_of[1:] != split_of[:-1])
    return len(np.unique(audio[1:][changes]))
