"""Splits by shares of a hash's range: each name has its place for ever, so that new data moves nothing."""

import bisect
import hashlib
import itertools
from collections.abc import Collection, Mapping

from ...errors import DataError

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


def empty_splits(shares: Mapping[str, float], by: str, found: Collection[str], balanced: bool = False) -> list[str]:
    """A warning for each split with a share that is not among those found: why it has no clips, and what to do.

    Args:
        by: what was shared out: ids, speakers or recordings.
        balanced: not by hash.
    """
    if balanced:
        why = f"there are fewer {by}s than splits"
        advice = f"take more {by}s" if by == "id" else f"take --split-by id, more {by}s"
        return [f"split {name} is empty: {why}; {advice} or fewer splits" for name in shares if name not in found]
    advice = f"take --split-method balanced, {'more clips' if by == 'id' else '--split-by id'}, a larger share"
    return [
        f"split {name} is empty: no {by} fell into its share, {share:g}; {advice} or another --split-seed"
        for name, share in shares.items()
        if name not in found
    ]


def hashed(name: str, seed: int) -> int:
    """A number below 2**64 that a name has for ever."""
    key = seed.to_bytes(8, "little", signed=True)
    return int.from_bytes(
        hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest(), "little"
    )


class HashSplit:
    """Splits by shares of a hash's range.

    A share that grows takes from those after it: growing ``train`` from 0.8 to 0.9 moves names into it and none out.
    """

    def __init__(self, shares: Mapping[str, float], seed: int = 0) -> None:
        self.names, self.bounds = list(shares), list(itertools.accumulate(shares.values()))
        self.seed = seed

    def __call__(self, name: str) -> str:
        """The split of a name: an id, a speaker, a recording."""
        place = bisect.bisect_right(self.bounds, hashed(name, self.seed) * SCALE)
        return self.names[min(place, len(self.names) - 1)]
