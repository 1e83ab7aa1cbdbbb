"""One rank's batches: its lanes in turn, read ahead in threads, and the positions that a checkpoint keeps."""

import queue
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any

from ..augmentation.augmenter import Augmenter
from ..utterance import AudioBatch, LaneItem, Skipped
from .lanes import Batching, Lane, check_usable
from .mixture import LanePart

READ_AHEAD = 4  # batches a lane holds ready
SECONDS_TO_LEAVE = 2.0  # for all threads together; one that waits for a network is left behind


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


class LaneReader:
    """A lane read ahead in a thread; an error in the thread is raised where its item would have come.

    Args:
        pin_memory: put batches into page-locked memory there too; needs a GPU.
    """

    def __init__(self, lane: Lane, read_ahead: int, pin_memory: bool = False) -> None:
        self.pin_memory = pin_memory
        self.items: queue.Queue[LaneItem | BaseException] = queue.Queue(max(read_ahead, 1))
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.read, args=(lane,), daemon=True, name=f"lane-{lane.lane}")
        self.thread.start()

    def read(self, lane: Lane) -> None:
        try:
            for item in lane:
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
        pin_memory: as :class:`LaneReader` takes it.
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
        pin_memory: bool = False,
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
        lengths = config.min_seconds, config.max_seconds
        self.augmenter = None if config.augmentation is None else Augmenter(config.augmentation, batching.seed, lengths)
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
        for lane in self.own:
            if lane not in self.finished:
                part = LanePart(lane, self.lanes)
                stream = Lane(self.batching, self.epoch, part, self.positions[str(lane)], self.augmenter)
                ahead = self.batching.config.workers > 0
                self.readers[lane] = LaneReader(stream, READ_AHEAD, self.pin_memory) if ahead else iter(stream)

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
        self.close()
        self.epoch += 1
        self.turn = 0
        self.share_out(self.usual_lanes, {})
        self.open_lanes()

    def close(self) -> None:
        threads = [reader for reader in self.readers.values() if isinstance(reader, LaneReader)]
        for reader in threads:
            reader.stopped.set()
        end = time.monotonic() + SECONDS_TO_LEAVE
        for reader in threads:
            reader.thread.join(timeout=max(0.0, end - time.monotonic()))
        self.readers = {}


def join_states(states: list[dict[str, Any]]) -> dict[str, Any]:
    """The state of the whole run from one state of each rank."""
    positions = {lane: position for state in states for lane, position in state["positions"].items()}
    return states[0] | {"positions": positions}
