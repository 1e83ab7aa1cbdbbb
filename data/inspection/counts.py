"""Counts that worker processes fill, and that add up to the same totals in any order.

Sums are integers and histograms have fixed bins. What is dropped to bound memory depends on the values alone, not on
when they came. Knows nothing of recordings.
"""

import hashlib
import heapq
import math
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

NONE = 0  # the digest of nothing
NAMES_EACH = 3  # names kept of things that are the same


def digest(content: bytes) -> int:
    """64 bits of BLAKE2b, never :data:`NONE`; among 10 million different things two collide with probability 3e-6."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little") or 1


def text_digest(text: str | None) -> int:
    """The digest of a text; :data:`NONE` for no text."""
    return digest(text.encode("utf-8", "surrogatepass")) if text else NONE


def add_up(totals: dict[str, Any], more: dict[str, Any]) -> None:
    """Add other totals of the same names: whole numbers, counters, dicts of totals, and what has ``merge``."""
    for name, value in more.items():
        if isinstance(value, int):
            totals[name] += value
        elif isinstance(value, Counter):
            totals[name].update(value)
        elif isinstance(value, dict):
            add_up(totals[name], value)
        else:
            totals[name].merge(value)


@dataclass(frozen=True)
class Scale:
    """Bins of equal width (in the logarithm, if ``is_log``) from ``low`` to ``high``; the outermost two are open."""

    low: float
    high: float
    bins: int
    is_log: bool = False

    def bin(self, value: float) -> int:
        if self.is_log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(max(int(share * self.bins + 1e-9), 0), self.bins - 1)

    def edge(self, number: float) -> float:
        """Where bin ``number`` begins."""
        share = number / self.bins
        if self.is_log:
            return self.low * (self.high / self.low) ** share
        return self.low + (self.high - self.low) * share


class Histogram:
    """How many values fell into each bin of a scale, and the exact smallest and largest of them."""

    def __init__(self, scale: Scale) -> None:
        self.scale = scale
        self.counts = [0] * scale.bins
        self.smallest, self.largest = math.inf, -math.inf

    def add(self, value: float) -> None:
        self.counts[self.scale.bin(value)] += 1
        self.smallest, self.largest = min(self.smallest, value), max(self.largest, value)

    def merge(self, other: "Histogram") -> None:
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.smallest, self.largest = min(self.smallest, other.smallest), max(self.largest, other.largest)

    @property
    def total(self) -> int:
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """The value below which ``share`` of the values lie, to a part of a bin; None where there is no value."""
        wanted, seen = share * self.total, 0
        for number, count in enumerate(self.counts):
            if count and seen + count >= wanted:
                value = self.scale.edge(number + (wanted - seen) / count)
                return min(max(value, self.smallest), self.largest)
            seen += count
        return None

    def joined(self, bins_each: int, first: int, last: int) -> list[tuple[float, float, int]]:
        """Low edge, high edge and count of wider bins, ``bins_each`` of the scale's in each, from bin ``first``."""
        return [
            (self.scale.edge(begin), self.scale.edge(begin + bins_each), sum(self.counts[begin : begin + bins_each]))
            for begin in range(first, last, bins_each)
        ]


class Tally:
    """A count for each of at most ``limit`` texts.

    Beyond the limit the longest texts are dropped, since frequent words and sentences are short. The other counts stay
    exact.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self.limit = limit
        self.counts: Counter[str] = Counter()
        self.was_cut = False

    def add(self, keys: Iterable[str] | dict[str, int]) -> None:
        """Count each text once, or by the number it has in a dict."""
        self.counts.update(keys)
        self.cut(2 * self.limit)

    def merge(self, other: "Tally") -> None:
        self.was_cut |= other.was_cut
        self.add(other.counts)

    def cut(self, room: int) -> None:
        if len(self.counts) > room:
            kept = sorted(self.counts, key=lambda key: (len(key), key))[: self.limit]
            self.counts = Counter({key: self.counts[key] for key in kept})
            self.was_cut = True

    def top(self, number: int | None = None) -> list[tuple[str, int]]:
        """Texts and counts, the highest count first."""
        self.cut(self.limit)
        number = len(self.counts) if number is None else number
        return heapq.nsmallest(number, self.counts.items(), key=lambda item: (-item[1], item[0]))

    def __getitem__(self, key: str) -> int:
        return self.counts[key]

    @property
    def distinct(self) -> int:
        """How many texts there are; a lower bound where some were dropped (``was_cut``)."""
        self.cut(self.limit)
        return len(self.counts)


@dataclass(frozen=True, order=True)
class Example:
    """A clip that shows something: its id, its place in the corpus, what was found, and its text."""

    id: str = ""
    place: str = ""
    detail: str = ""
    text: str = ""


class Examples:
    """How many clips show something, and the ``limit`` that show it most."""

    def __init__(self, limit: int = 20) -> None:
        self.limit = limit
        self.count = 0
        self.ranked: list[tuple[float, Example]] = []  # the negative score first

    def add(self, example: Example, score: float = 0.0) -> None:
        self.count += 1
        self.ranked.append((-score, example))
        if len(self.ranked) > 4 * self.limit:
            self.cut()

    def merge(self, other: "Examples") -> None:
        self.count += other.count
        self.ranked += other.ranked
        self.cut()

    def cut(self) -> None:
        self.ranked = sorted(self.ranked)[: self.limit]

    @property
    def listed(self) -> list[Example]:
        self.cut()
        return [example for _, example in self.ranked]


class KnownNames:
    """The names behind digests, for at most ``limit`` digests: those of lowest rank, then of lowest digest."""

    def __init__(self, limit: int = 50_000) -> None:
        self.limit = limit
        self.names: dict[int, tuple[int, tuple[str, ...]]] = {}

    def add(self, key: int, name: str, rank: int = 0) -> None:
        if key != NONE:
            self.put(key, rank, (name,))

    def put(self, key: int, rank: int, names: tuple[str, ...]) -> None:
        if key in self.names:
            names = tuple(sorted({*self.names[key][1], *names})[:NAMES_EACH])
        self.names[key] = (rank, names)
        if len(self.names) > 2 * self.limit:
            self.cut()

    def merge(self, other: "KnownNames") -> None:
        for key, (rank, names) in other.names.items():
            self.put(key, rank, names)

    def cut(self) -> None:
        kept = sorted(self.names, key=lambda key: (self.names[key][0], key))[: self.limit]
        self.names = {key: self.names[key] for key in kept}

    def of(self, keys: Iterable[int]) -> list[tuple[str, ...]]:
        """The names of those digests that are known."""
        if len(self.names) > self.limit:
            self.cut()
        return [self.names[key][1] for key in keys if key in self.names]


@dataclass(frozen=True)
class Repeats:
    """Things that several clips have.

    Attributes:
        things: how many different ones.
        surplus: clips beyond the first of each thing.
        most: count and names of the most frequent, as far as their names are known.
    """

    things: int
    surplus: int
    most: list[tuple[int, tuple[str, ...]]]


class ClipTable:
    """A row for each clip, of 64-bit digests and the number of its split: 34 bytes a clip, all of them kept."""

    COLUMNS = ("id", "text", "audio", "speaker")

    def __init__(self) -> None:
        self.columns = {name: array("Q") for name in self.COLUMNS} | {"split": array("H")}
        self.split_names: list[str] = []
        self.known = {name: KnownNames() for name in self.COLUMNS}

    def add(self, split: str, **things: tuple[int, str, int]) -> None:
        """Add a clip: its split, and for each other column a digest, the name it stands for and the name's rank."""
        self.columns["split"].append(self.split_number(split))
        for column, (key, name, rank) in things.items():
            self.columns[column].append(key)
            self.known[column].add(key, name, rank)

    def split_number(self, split: str) -> int:
        if split not in self.split_names:
            if len(self.split_names) == 2**16 - 1:
                split = self.split_names[-1]
            else:
                self.split_names.append(split)
        return self.split_names.index(split)

    def merge(self, other: "ClipTable") -> None:
        numbers = [self.split_number(name) for name in other.split_names]
        self.columns["split"].extend(numbers[split] for split in other.columns["split"])
        for name in self.COLUMNS:
            self.columns[name].extend(other.columns[name])
            self.known[name].merge(other.known[name])

    def repeats(self, name: str, listed: int = 20) -> Repeats:
        """The things of a column that several clips have."""
        values = np.asarray(self.columns[name])
        found, counts = np.unique(values[values != NONE], return_counts=True)
        found, counts = found[counts > 1], counts[counts > 1]
        most: list[tuple[int, tuple[str, ...]]] = []
        for place in np.lexsort((found, -counts)):
            if most and len(most) >= listed and counts[place] < most[-1][0]:
                break  # all that are as frequent as the last are looked at, for names decide their order
            most += [(int(counts[place]), names) for names in self.known[name].of([int(found[place])])]
        return Repeats(len(found), int(counts.sum()) - len(found), sorted(most, key=lambda m: (-m[0], m[1]))[:listed])

    def with_several(self, name: str, other: str, listed: int = 20) -> tuple[int, list[tuple[str, ...]]]:
        """How many things of a column come with more than one value of another column, and the names of some."""
        keys, others = np.asarray(self.columns[name]), np.asarray(self.columns[other])
        order = np.lexsort((others, keys))
        keys, others = keys[order], others[order]
        changes = (keys[1:] != NONE) & (keys[1:] == keys[:-1]) & (others[1:] != others[:-1])
        shared = np.unique(keys[1:][changes])
        return len(shared), sorted(self.known[name].of(map(int, shared)))[:listed]
