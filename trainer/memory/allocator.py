"""What torch's CUDA caching allocator takes from the device to serve a timeline: rounding, segments, fragmentation.

After the allocator's documented constants: blocks of 512 bytes; requests up to 1 MiB come from segments of 2 MiB,
those up to 10 MiB from segments of 20 MiB, larger ones from segments of their own, in whole 2 MiB. One stream.
"""

import bisect
from dataclasses import dataclass, field

import numpy as np

BLOCK = 512
SMALL, SMALL_SEGMENT = 2**20, 2 * 2**20
MIDDLE, MIDDLE_SEGMENT = 10 * 2**20, 20 * 2**20
SEGMENT_STEP = 2 * 2**20


def rounded(size: int) -> int:
    """The block that a request gets, in bytes."""
    return max(BLOCK, -(-size // BLOCK) * BLOCK)


@dataclass
class Pool:
    """Free blocks of one kind of segment, by size and address."""

    least_rest: int  # a block is split where more than this would be left
    free: list[tuple[int, int]] = field(default_factory=list)  # (size, address), sorted
    ends: dict[int, int] = field(default_factory=dict)  # of free blocks: the end's address, and the start's
    starts: dict[int, int] = field(default_factory=dict)  # likewise: the start's address, and the size

    def insert(self, address: int, size: int) -> None:
        bisect.insort(self.free, (size, address))
        self.starts[address], self.ends[address + size] = size, address

    def remove(self, address: int, size: int) -> None:
        del self.free[bisect.bisect_left(self.free, (size, address))]
        del self.starts[address], self.ends[address + size]


class CachingAllocator:
    """``reserved`` is what it has taken from the device, in bytes."""

    def __init__(self) -> None:
        self.small, self.large = Pool(BLOCK - 1), Pool(SMALL)
        self.reserved = self.next_address = 0
        self.used: dict[int, tuple[int, int]] = {}  # a storage's number: address and size of its block

    def allocate(self, number: int, request: int) -> None:
        size = rounded(request)
        pool = self.small if size <= SMALL else self.large
        place = bisect.bisect_left(pool.free, (size, -1))
        if place < len(pool.free):
            length, address = pool.free[place]
            pool.remove(address, length)
        else:
            length, address = segment_size(size), self.next_address
            self.next_address += length + BLOCK  # a gap, so that segments never merge
            self.reserved += length
        if length - size > pool.least_rest:
            pool.insert(address + size, length - size)
            length = size
        self.used[number] = address, length

    def let_go(self, number: int, request: int) -> None:
        address, size = self.used.pop(number)
        pool = self.small if rounded(request) <= SMALL else self.large
        before = pool.ends.get(address)
        if before is not None:
            length = pool.starts[before]
            pool.remove(before, length)
            address, size = before, size + length
        after = pool.starts.get(address + size)
        if after is not None:
            pool.remove(address + size, after)
            size += after
        pool.insert(address, size)


def segment_size(size: int) -> int:
    """What is taken from the device for a block that no free one serves, in bytes."""
    if size <= SMALL:
        return SMALL_SEGMENT
    return MIDDLE_SEGMENT if size < MIDDLE else -(-size // SEGMENT_STEP) * SEGMENT_STEP


def serve(numbers: np.ndarray, sizes: np.ndarray) -> CachingAllocator:
    """An allocator after these events: storage numbers, and bytes, negative where a storage is let go."""
    allocator = CachingAllocator()
    for number, size in zip(numbers.tolist(), sizes.tolist(), strict=True):
        if number < 0:
            continue
        if size > 0:
            allocator.allocate(number, size)
        elif number in allocator.used:
            allocator.let_go(number, -size)
    return allocator
