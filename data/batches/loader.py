"""One rank's batches: its lanes in turn, read ahead, and the positions that a checkpoint keeps."""

import queue
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from ..augmentation.augmenter import Augmenter
from ..utterance import AudioBatch, LaneItem, Skipped
from .features import visible_frames
from .lanes import Batching, Lane, check_usable
from .mixture import LanePart
from .passing import IS_POSSIBLE
from .processes import Reader, Share, Starter

READ_AHEAD, MOST_UTTERANCES = 4, 256  # what a lane holds ready: so many batches, fewer if they are large
READY = 2  # batches of a reading process that this process has received
SECONDS_TO_LEAVE = 2.0  # for all threads together; one that waits for a network is left behind


def read_ahead(batch_size: int) -> int:
    """How many batches of so many utterances a lane holds ready, at least 2."""
    return min(READ_AHEAD, max(2, MOST_UTTERANCES // batch_size))


@dataclass(frozen=True)
class BatchGroup:
    """The microbatches of one step on one rank.

    Attributes:
        batches: as many as the step has microbatches; None where the lane whose turn it is has run out.
        exhausted: every lane of this rank has run out.
        rows: rows read for them.
        skipped: rows left out while reading them.
        state: this rank's part of the position in the data after this group; fit for JSON.
    """

    batches: list[AudioBatch | None]
    exhausted: bool
    rows: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)

    @property
    def target_tokens(self) -> int:
        return sum(batch.target_tokens for batch in self.batches if batch is not None)

    @property
    def noisy_tokens(self) -> int:
        """Target tokens of utterances with noise in them."""
        return sum(len(batch.noisy_targets) for batch in self.batches if batch is not None)

    @property
    def noisy_frames(self) -> int:
        """Encoder frames of the clips with noise in them, the margin after each included."""
        return sum(sum(noisy_frames(batch)) for batch in self.batches if batch is not None)


def noisy_frames(batch: AudioBatch) -> list[int]:
    """Encoder frames, of 20 ms, of each of ``batch.noisy_rows``: its own and the margin."""
    return [visible_frames(samples) // 2 for samples in batch.audio_lengths[batch.noisy_rows].tolist()]


class LaneReader:
    """Items read ahead in a thread; an error in the thread is raised where its item would have come.

    Args:
        items: of a lane, or of a process that reads lanes.
        pin_memory: put batches into page-locked memory there too; needs a GPU.
    """

    def __init__(self, items: Iterable[LaneItem], read_ahead: int, name: str, pin_memory: bool = False) -> None:
        self.pin_memory = pin_memory
        self.items: queue.Queue[LaneItem | BaseException] = queue.Queue(max(read_ahead, 1))
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.read, args=(items,), daemon=True, name=name)
        self.thread.start()

    def read(self, items: Iterable[LaneItem]) -> None:
        try:
            for item in items:
                if self.pin_memory and item.batch is not None:
                    item = replace(item, batch=item.batch.pinned())
                if not self.put(item):
                    return
        except BaseException as error:
            self.put(error)

    def put(self, item: LaneItem | BaseException) -> bool:
        """Wait until there is room for the item; False if the reader was stopped."""
        while not self.stopped.is_set():
            try:
                self.items.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def __next__(self) -> LaneItem:
        item = self.items.get()
        if isinstance(item, BaseException):
            raise item
        return item


class TrainingBatches:
    """The batches of one rank, epoch after epoch; those of a mixture are one epoch without end.

    Lane *l* of *L* belongs to rank *l mod world size*. A rank takes its lanes in turn, one microbatch each; a lane that
    has run out gives None until the epoch ends on all ranks, and so does a rank without lanes.

    A resumed epoch goes on with the lanes it began with, whatever the world size: every utterance comes once. The next
    epoch has the lanes of the config again. A mixture, which has no next epoch, begins anew where its lanes would leave
    a rank with nothing to do.

    Args:
        pin_memory: put batches into page-locked memory where they are read ahead; needs a GPU.
        in_processes: read ahead in processes, not threads. They cost seconds at the start and memory, and leave
            Python's interpreter to this process, which matters where it has a GPU to feed.
        state: the groups' states of all ranks, joined by :func:`join_states`; None for the start.

    Raises:
        DataError: if one of several sources has nothing that can be trained on.
    """

    def __init__(
        self,
        batching: Batching,
        rank: int = 0,
        world_size: int = 1,
        state: dict[str, Any] | None = None,
        *,
        pin_memory: bool = False,
        in_processes: bool = False,
    ) -> None:
        self.batching, self.rank, self.world_size, self.pin_memory = batching, rank, world_size, pin_memory
        config, is_mixture = batching.config, len(batching.sources) > 1
        if is_mixture:
            for source in batching.sources:
                check_usable(source, config, batching.labels)
        state = state or {}
        self.epoch = state.get("epoch", 0)
        lanes = state.get("lanes", self.usual_lanes)
        if is_mixture and lanes < min(world_size, self.usual_lanes):
            state, lanes, self.epoch = {}, self.usual_lanes, self.epoch + 1
        lengths = config.min_seconds, config.longest_speech_seconds
        self.augmenter = None if config.augmentation is None else Augmenter(config.augmentation, batching.seed, lengths)
        self.threads: list[LaneReader] = []
        self.processes: list[Reader] = []
        separate = in_processes and IS_POSSIBLE and config.workers > 0
        self.starter = Starter(batching, self.augmenter) if separate else None
        self.share_out(lanes, state.get("positions", {}))
        self.turn = state.get("turn", 0) // world_size
        self.open_lanes()

    @property
    def usual_lanes(self) -> int:
        """Number of lanes of an epoch that begins now."""
        return self.batching.config.lanes or self.world_size * max(1, self.batching.config.workers)

    def share_out(self, lanes: int, positions: dict[str, dict[str, Any]]) -> None:
        """Take this rank's part of ``lanes`` lanes, and their positions."""
        self.lanes = lanes
        self.own = list(range(self.rank, lanes, self.world_size))
        self.positions = {str(lane): positions.get(str(lane), {}) for lane in self.own}
        self.finished = {lane for lane in self.own if self.positions[str(lane)].get("finished")}
        self.readers: dict[int, Any] = {}

    def open_lanes(self) -> None:
        turn = self.turn % max(1, len(self.own))
        waiting = [lane for lane in self.own[turn:] + self.own[:turn] if lane not in self.finished]
        if self.starter is not None:
            workers = min(self.batching.config.workers, len(waiting))
            for worker in range(workers):
                self.open_process(self.starter, worker, waiting[worker::workers])
            return
        ahead = read_ahead(self.batching.batch_size) if self.batching.config.workers else 0
        for lane in waiting:
            position = self.positions[str(lane)]
            stream = Lane(self.batching, self.epoch, LanePart(lane, self.lanes), position, self.augmenter)
            self.readers[lane] = (
                self.in_thread(stream, f"lane-{lane}", ahead, self.pin_memory) if ahead else iter(stream)
            )

    def open_process(self, starter: Starter, worker: int, lanes: list[int]) -> None:
        """Have a process read these lanes, which are in the order of their turns."""
        positions = {lane: self.positions[str(lane)] for lane in lanes}
        share = Share(self.epoch, self.lanes, positions, read_ahead(self.batching.batch_size) * len(lanes))
        self.processes.append(starter.read(share, self.pin_memory))
        self.readers |= dict.fromkeys(lanes, self.in_thread(self.processes[-1], f"receives-{worker}", READY))

    def in_thread(self, items: Iterable[LaneItem], name: str, ahead: int, pin_memory: bool = False) -> LaneReader:
        reader = LaneReader(items, ahead, name, pin_memory)
        self.threads.append(reader)
        return reader

    def next_group(self, microbatches: int) -> BatchGroup:
        """The next step's microbatches."""
        batches: list[AudioBatch | None] = []
        rows, skipped = 0, []
        for _ in range(microbatches):
            lane = self.own[self.turn % len(self.own)] if self.own else None
            self.turn += 1
            if lane is None or lane in self.finished:
                batches.append(None)
                continue
            item = next(self.readers[lane])
            assert item.lane == lane
            if item.batch is None:
                self.finished.add(lane)
            self.positions[str(lane)] = item.position if item.batch is not None else {"finished": True}
            batches.append(item.batch)
            rows += item.rows
            skipped += item.skipped
        state = {
            "lanes": self.lanes,
            "epoch": self.epoch,
            "turn": self.turn * self.world_size,  # of all ranks, so that another number of them goes on with the next
            "positions": dict(self.positions),
        }
        return BatchGroup(batches, len(self.finished) == len(self.own), rows, skipped, state)

    def next_epoch(self) -> None:
        """Begin again with other shuffling; called on all ranks when all have run out."""
        self.close_lanes()
        self.epoch += 1
        self.turn = 0
        self.share_out(self.usual_lanes, {})
        self.open_lanes()

    def close_lanes(self) -> None:
        for thread in self.threads:
            thread.stopped.set()
        for process in self.processes:
            process.close()
        end = time.monotonic() + SECONDS_TO_LEAVE
        for thread in self.threads:
            thread.thread.join(timeout=max(0.0, end - time.monotonic()))
        self.readers, self.threads, self.processes = {}, [], []

    def close(self) -> None:
        self.close_lanes()
        if self.starter is not None:
            self.starter.close()
            self.starter = None


def join_states(states: list[dict[str, Any]]) -> dict[str, Any]:
    """The state of the whole run from one state of each rank."""
    positions = {lane: position for state in states for lane, position in state["positions"].items()}
    return states[0] | {"positions": positions}
