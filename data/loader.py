"""One rank's batches: its lanes in turn, read ahead in threads, and the positions that a checkpoint keeps."""

import queue
import threading
from dataclasses import dataclass, field
from typing import Any

from .config import DataConfig
from .errors import DataError
from .labels import LabelEncoder
from .lanes import Lane
from .sources import Source
from .utterance import AudioBatch, LaneItem, Skipped

READ_AHEAD = 4  # batches a lane holds ready


@dataclass(frozen=True)
class BatchGroup:
    """The microbatches of one step on one rank.

    Attributes:
        batches: as many as the step has microbatches; None where the lane whose turn it is has run out.
        exhausted: every lane of this rank has run out.
        rows: rows read for them.
        skipped: rows left out while reading them.
        state: this rank's part of where the data stands once the group is trained on; fit for JSON.
    """

    batches: list[AudioBatch | None]
    exhausted: bool
    rows: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)

    @property
    def target_tokens(self) -> int:
        return sum(batch.target_tokens for batch in self.batches if batch is not None)


class LaneReader:
    """A lane read ahead in a thread; an error in the thread is raised where its item would have come."""

    def __init__(self, lane: Lane, read_ahead: int) -> None:
        self.items: queue.Queue[LaneItem | BaseException] = queue.Queue(max(read_ahead, 1))
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.read, args=(lane,), daemon=True, name=f"lane-{lane.lane}")
        self.thread.start()

    def read(self, lane: Lane) -> None:
        try:
            for item in lane:
                if not self.put(item):
                    return
        except BaseException as error:
            self.put(error)

    def put(self, item: LaneItem | BaseException) -> bool:
        """Wait for room; false when nobody will take the item any more."""
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
    """The batches of one rank, epoch after epoch.

    Lane *l* of *L* belongs to rank *l mod world size*. A rank takes its lanes in turn, one microbatch each; a lane that
    has run out gives None until the epoch ends on all ranks.

    Args:
        lanes: all lanes, over all ranks; a multiple of ``world_size``.
        state: the groups' states of all ranks, joined by :func:`join_states`; None for the beginning.

    Raises:
        DataError: if the lanes do not divide evenly, or differ from those of ``state``.
    """

    def __init__(
        self,
        source: Source,
        config: DataConfig,
        labels: LabelEncoder,
        batch_size: int,
        seed: int,
        rank: int,
        world_size: int,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.source, self.config, self.labels, self.batch_size, self.seed = source, config, labels, batch_size, seed
        self.world_size = world_size
        state = state or {}
        if config.lanes and state.get("lanes", config.lanes) != config.lanes:
            raise DataError(f"data.lanes is {config.lanes}, but the checkpoint was made with {state['lanes']}: keep it")
        self.lanes = state.get("lanes") or config.lanes or world_size * max(1, config.workers)
        if self.lanes % world_size:
            raise DataError(
                f"data.lanes is {self.lanes}; it must be a multiple of the {world_size} processes"
                + (" (the checkpoint was made with it: resume on a number that divides it)" if state else "")
            )
        self.own = list(range(rank, self.lanes, world_size))
        self.epoch = state.get("epoch", 0)
        self.turn = state.get("turn", 0) // world_size
        positions = state.get("positions", {})
        self.positions: dict[str, dict] = {str(lane): positions.get(str(lane), {}) for lane in self.own}
        self.finished = {lane for lane in self.own if self.positions[str(lane)].get("finished")}
        self.readers: dict[int, Any] = {}
        self.open_lanes()

    def open_lanes(self) -> None:
        for lane in self.own:
            if lane not in self.finished:
                position = self.positions[str(lane)]
                stream = Lane(
                    self.source, self.config, self.labels, self.batch_size, self.seed, self.epoch, lane, self.lanes,
                    position,
                )  # fmt: skip
                self.readers[lane] = LaneReader(stream, READ_AHEAD) if self.config.workers else iter(stream)

    def next_group(self, microbatches: int) -> BatchGroup:
        """The next step's microbatches."""
        batches: list[AudioBatch | None] = []
        rows, skipped = 0, []
        for _ in range(microbatches):
            lane = self.own[self.turn % len(self.own)]
            self.turn += 1
            if lane in self.finished:
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
        self.finished = set()
        self.positions = {str(lane): {} for lane in self.own}
        self.open_lanes()

    def close(self) -> None:
        threads = [reader for reader in self.readers.values() if isinstance(reader, LaneReader)]
        for reader in threads:
            reader.stopped.set()
        for reader in threads:
            reader.thread.join(timeout=10)
        self.readers = {}


def join_states(states: list[dict[str, Any]]) -> dict[str, Any]:
    """The state of the whole run from one state a rank."""
    positions = {lane: position for state in states for lane, position in state["positions"].items()}
    return states[0] | {"positions": positions}
