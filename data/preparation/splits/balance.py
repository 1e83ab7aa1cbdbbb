"""Whole speakers, or other groups of clips, shared out so that the splits' audio comes near the shares asked for.

The smallest sum over splits of how far each is from its share, of all ways in which no split stays empty. Up to
:data:`ALL_WAYS` ways are all tried. With more, groups fill the splits one after the other, and then one group is moved
or two are exchanged for as long as that helps.
"""

import itertools
from collections.abc import Mapping

import numpy as np

from .shares import hashed

ALL_WAYS = 3**10
EXCHANGED = 2000  # groups, the smallest, that are moved and exchanged; larger corpora are near enough without the rest
MOST_CHANGES = 10_000
STARTS, FEW = 30, 200  # so many other orders are tried, too, where there are no more groups than that


def assign(weights: Mapping[str, int], shares: Mapping[str, float], seed: int = 0) -> dict[str, str]:
    """The split of each group, whatever the order in which they are given.

    Args:
        weights: of each group, in whole units, such as milliseconds of audio. Groups that weigh nothing go to the split
            with the largest share.
        seed: decides between ways that are equally near, and where there are too many to try them all, between ways
            that are nearly so.
    """
    splits, largest = list(shares), max(shares, key=lambda name: shares[name])
    there = [name for name, weight in weights.items() if weight > 0]
    there.sort(key=lambda name: (-weights[name].bit_length(), hashed(name, seed), name))
    amounts = np.array([weights[name] for name in there], np.float64)
    targets = np.array(list(shares.values())) * amounts.sum()
    if not there:
        chosen = np.zeros(0, int)
    elif len(splits) ** len(there) <= ALL_WAYS:
        chosen = try_all(amounts, targets)
    else:
        chosen = fill_often(amounts, targets, np.random.default_rng(seed % 2**63))
    found = {name: splits[split] for name, split in zip(there, chosen.tolist(), strict=True)}
    return {name: found.get(name, largest) for name in weights}


def try_all(amounts: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The best of all ways: indices of splits, ``[groups]``."""
    splits = len(targets)
    ways = np.array(list(itertools.product(range(splits), repeat=len(amounts))))
    sums = np.stack([(ways == split) @ amounts for split in range(splits)], axis=1)
    empty = np.stack([~(ways == split).any(axis=1) for split in range(splits)], axis=1).sum(axis=1)
    off = np.abs(sums - targets).sum(axis=1)
    return ways[np.lexsort((np.round(off, 3), empty))[0]]


def fill_often(amounts: np.ndarray, targets: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The best that :func:`fill` makes of the groups in this order and, where they are few, in some others."""
    best = fill(amounts, targets)
    nearest = distance(amounts, targets, best)
    for _ in range(STARTS if len(amounts) <= FEW else 0):
        order = generator.permutation(len(amounts))
        chosen = np.empty(len(amounts), int)
        chosen[order] = fill(amounts[order], targets)
        if (off := distance(amounts, targets, chosen)) < nearest - 0.5:
            best, nearest = chosen, off
    return best


def distance(amounts: np.ndarray, targets: np.ndarray, chosen: np.ndarray) -> float:
    """How far the splits are from their targets, in sum."""
    return float(np.abs(np.bincount(chosen, amounts, len(targets)) - targets).sum())


def fill(amounts: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """A way that no move of a group and no exchange of two makes better: indices of splits, ``[groups]``.

    Args:
        amounts: of the groups, about the largest first.
    """
    sums, counts = np.zeros(len(targets)), np.zeros(len(targets), int)
    chosen = np.zeros(len(amounts), int)
    for group, amount in enumerate(amounts):
        room = targets - sums
        fits = np.flatnonzero(room >= amount)
        split = fits[np.argmin(sums[fits] / targets[fits])] if len(fits) else np.argmax(room)
        chosen[group] = split
        sums[split] += amount
        counts[split] += 1
    for split in np.flatnonzero(counts == 0):
        donors = np.flatnonzero(counts[chosen] > 1)
        if len(donors):
            group = donors[np.argmin(amounts[donors])]
            counts[chosen[group]] -= 1
            counts[split] += 1
            chosen[group] = split
    improve(amounts, targets, chosen)
    return chosen


def improve(amounts: np.ndarray, targets: np.ndarray, chosen: np.ndarray) -> None:
    """Move one group or exchange two, the best change first, until none helps. Changes ``chosen``."""
    first = max(0, len(amounts) - EXCHANGED)
    sums = np.bincount(chosen, amounts, len(targets))
    for _ in range(MOST_CHANGES):
        best: tuple[float, list[tuple[int, int]]] = (-0.5, [])  # less than half a unit is rounding
        for giving, taking in itertools.permutations(range(len(targets)), 2):
            here = first + np.flatnonzero(chosen[first:] == giving)
            other = first + np.flatnonzero(chosen[first:] == taking)
            if not len(here):
                continue
            over, under = sums[giving] - targets[giving], sums[taking] - targets[taking]
            # A column of zeros stands for nothing that is given back.
            moved = amounts[here][:, None] - np.append(amounts[other], 0.0)[None, :]
            gain = np.abs(over - moved) + np.abs(under + moved) - abs(over) - abs(under)
            if np.count_nonzero(chosen == giving) == 1:
                gain[:, -1] = np.inf  # it would be empty
            row, column = np.unravel_index(np.argmin(gain), gain.shape)
            if gain[row, column] < best[0]:
                changes = [(int(here[row]), taking)]
                if column < len(other):
                    changes.append((int(other[column]), giving))
                best = float(gain[row, column]), changes
        if not best[1]:
            return
        for group, split in best[1]:
            chosen[group] = split
        sums = np.bincount(chosen, amounts, len(targets))
