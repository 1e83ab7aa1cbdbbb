"""Which split a clip belongs to: by a hash of its id or speaker, so that new data moves nothing that was there."""

import bisect
import hashlib
import itertools
from collections.abc import Collection, Mapping
from typing import Literal

from ..errors import DataError

SCALE = 2.0**-64


def parse_shares(text: str) -> dict[str, float]:
    """``train=0.9,validation=0.05,test=0.05`` as shares that sum to one.

    Raises:
        DataError: for anything else.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        try:
            share = float(value)
        except ValueError:
            share = -1.0
        if not name.isidentifier() or not equals or not 0 < share <= 1 or name in shares:
            raise DataError(f"--split is {text!r}; right is, for one, train=0.9,validation=0.05,test=0.05")
        shares[name] = share
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise DataError(f"--split is {text!r}, whose shares sum to {sum(shares.values()):g}; they must sum to 1")
    return shares


def empty_splits(shares: Mapping[str, float], by: Literal["id", "speaker"], found: Collection[str]) -> list[str]:
    """A warning for each split with a share that is not among those found: why it has no clips, and what to do."""
    advice = "take --split-by id, a larger share" if by == "speaker" else "take more clips, a larger share"
    return [
        f"split {name} is empty: no {by} fell into its share, {share:g}; {advice} or another --split-seed"
        for name, share in shares.items()
        if name not in found
    ]


class HashSplit:
    """Splits by shares of a hash's range.

    A share that grows takes from those after it: growing ``train`` from 0.8 to 0.9 moves clips into it and none out.

    Args:
        by: whose name is hashed; clips without a speaker go by their id.
    """

    def __init__(self, shares: Mapping[str, float], seed: int = 0, by: Literal["id", "speaker"] = "id") -> None:
        self.by_speaker = by == "speaker"
        self.names, self.bounds = list(shares), list(itertools.accumulate(shares.values()))
        self.key = seed.to_bytes(8, "little", signed=True)

    def __call__(self, name: str, speaker: str | None = None) -> str:
        """The split of the clip of that name, or of its speaker."""
        if self.by_speaker and speaker is not None:
            name = speaker
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8, key=self.key).digest()
        place = bisect.bisect_right(self.bounds, int.from_bytes(digest, "little") * SCALE)
        return self.names[min(place, len(self.names) - 1)]
