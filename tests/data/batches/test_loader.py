"""Batches are the same whatever the number of ranks and threads, and go on exactly from any group's state."""

import io
import json
import pickle
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from data.batches.labels import LabelEncoder
from data.batches.lanes import Batching
from data.batches.loader import BatchGroup, TrainingBatches, join_states
from data.config import DataConfig
from data.errors import DataError
from data.opening import source_of
from data.sources.source import Source
from data.utterance import AudioBatch
from modeling.byte_processor import build_byte_processor

ROWS = 50


def clip(number: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.full(1600 + 320 * (number * 17 % ROWS), 0.1), 16_000, format="WAV")
    return file.getvalue()


def write_shards(folder: Path, broken: frozenset[int] = frozenset()) -> str:
    rows = [
        {
            "id": f"row{i}",
            "audio": {"bytes": b"garbage" if i in broken else clip(i), "path": None},
            "text": f"text {i}",
            "speaker": ("ann", "bob", "eve")[i // 2 % 3],
        }
        for i in range(ROWS)
    ]
    for name, part in (("0", rows[:29]), ("1", rows[29:])):
        pq.write_table(pa.Table.from_pylist(part), folder / f"{name}.parquet", row_group_size=6)
    return str(folder / "*.parquet")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_shards(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def labels() -> LabelEncoder:
    return LabelEncoder(build_byte_processor(["az"]).tokenizer, True, "az")


@dataclass(frozen=True)
class Run:
    """A run's ranks, one after the other in this process; ``microbatches`` of each rank make a step."""

    sources: list[Source]
    config: DataConfig
    labels: LabelEncoder
    seed: int = 0
    ranks: int = 1
    microbatches: int = 4

    def batches(self, rank: int = 0, state: dict[str, Any] | None = None) -> TrainingBatches:
        batching = Batching(self.sources, self.config, self.labels, 3, self.seed)
        return TrainingBatches(batching, rank, self.ranks, state)

    @contextmanager
    def open(self, state: dict[str, Any] | None = None) -> Iterator[list[TrainingBatches]]:
        opened = [self.batches(rank, state) for rank in range(self.ranks)]
        try:
            yield opened
        finally:
            for batches in opened:
                batches.close()

    def steps(self, count: int, state: dict[str, Any] | None = None) -> list["Step"]:
        """``count`` steps that have data, epoch after epoch."""
        found: list[Step] = []
        with self.open(state) as ranks:
            while len(found) < count:
                epoch = ranks[0].epoch
                groups = [batches.next_group(self.microbatches) for batches in ranks]
                step = Step(epoch, groups)
                if step.ids:
                    found.append(step)
                if all(group.exhausted for group in groups):
                    for batches in ranks:
                        batches.next_epoch()
        return found


class Step:
    def __init__(self, epoch: int, groups: list[BatchGroup]) -> None:
        self.epoch = epoch
        self.groups = groups
        self.ids = sorted(batch.ids for group in groups for batch in group.batches if batch is not None)
        joined = join_states([group.state for group in groups])
        self.state = json.loads(json.dumps(joined))
        assert self.state == joined, "a checkpoint keeps it as JSON"


def build_run(files: str, labels: LabelEncoder, lanes: int | None = 4, workers: int = 0, **source: Any) -> Run:
    train = {"files": files, "columns": {"id": "id"}} | source
    config = DataConfig(train=train, shuffle_window=8, lanes=lanes, workers=workers)
    return Run([source_of(one, "data.train") for one in config.training_sources], config, labels)


def ids_of(steps: list[Step]) -> list[list[list[str]]]:
    return [step.ids for step in steps]


def names_by_epoch(steps: list[Step]) -> dict[int, Counter[str]]:
    names: dict[int, Counter[str]] = {}
    for step in steps:
        names.setdefault(step.epoch, Counter()).update(name for ids in step.ids for name in ids)
    return names


def steps_of_epochs(run: Run, epochs: int) -> list[Step]:
    """All steps of so many epochs; one step more than needed is read."""
    steps: list[Step] = []
    count = ROWS
    while not steps or steps[-1].epoch < epochs:
        steps = run.steps(count)
        count *= 2
    return [step for step in steps if step.epoch < epochs]


EVERY_ROW_ONCE = Counter({f"row{i}": 1 for i in range(ROWS)})


def test_batches_are_pinned_where_they_are_read_ahead(clips: str, labels: LabelEncoder, monkeypatch: Any) -> None:
    """By the reading thread, every tensor of a batch; the GPU that it takes is played here."""
    pinned: list[tuple[str, int]] = []

    def pin_memory(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append((threading.current_thread().name, tensor.ndim))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    run = build_run(clips, labels, lanes=1, workers=1)
    for wanted in (False, True):
        batches = TrainingBatches(Batching(run.sources, run.config, labels, 3), pin_memory=wanted)
        group = batches.next_group(1)
        batches.close()
        assert group.batches[0] is not None and bool(pinned) == wanted
    assert {name for name, _ in pinned} == {"lane-0"}
    # lengths and two places of targets; audio, inputs, labels
    assert sorted(dimensions for _, dimensions in pinned[:6]) == [1, 1, 1, 2, 2, 2]


def test_places_of_targets_are_found_once_and_travel_with_the_batch() -> None:
    labels = torch.tensor([[-100, 5, 6], [-100, 7, -100]])
    noise = torch.tensor([[0.0, 0.0], [0.0, 0.1]])
    batch = AudioBatch(
        noise, torch.tensor([2, 2]), noise, labels.clamp(min=0), labels, ["a", "b"], ["", ""], [None, None]
    )
    labels.fill_(-100)  # nothing looks at them again
    for one in (batch, pickle.loads(pickle.dumps(batch))):
        assert one.target_positions is not None and one.target_positions.tolist() == [1, 2, 4]
        assert one.noisy_targets.tolist() == [4] and one.target_tokens == 3
    silent = replace(batch, labels=None, decoder_input_ids=None)
    assert silent.target_positions is None and silent.target_tokens == len(silent.noisy_targets) == 0


@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 5])
def test_every_utterance_once_an_epoch(clips: str, labels: LabelEncoder, lanes: int) -> None:
    steps = steps_of_epochs(build_run(clips, labels, lanes), 2)
    assert names_by_epoch(steps) == {0: EVERY_ROW_ONCE, 1: EVERY_ROW_ONCE}
    assert sum(group.rows for step in steps for group in step.groups) <= 2 * ROWS


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_steps_are_equal_whatever_the_number_of_ranks(
    clips: str, labels: LabelEncoder, ranks: int, workers: int
) -> None:
    run = build_run(clips, labels)
    expected = ids_of(run.steps(14))
    shared = replace(
        run, config=run.config.model_copy(update={"workers": workers}), ranks=ranks, microbatches=4 // ranks
    )
    steps = shared.steps(14)
    assert ids_of(steps) == expected
    assert steps[-1].epoch == 2
    assert names_by_epoch(steps)[0] == EVERY_ROW_ONCE


def test_by_default_a_rank_has_as_many_lanes_as_workers(clips: str, labels: LabelEncoder) -> None:
    for workers, ranks, lanes in ((0, 1, 1), (0, 3, 3), (2, 2, 4)):
        run = replace(build_run(clips, labels, lanes=None, workers=workers), ranks=ranks)
        with run.open() as opened:
            assert [batches.lanes for batches in opened] == [lanes] * ranks
            assert sorted(lane for batches in opened for lane in batches.own) == list(range(lanes))


def test_epochs_and_seeds_shuffle_differently(clips: str, labels: LabelEncoder) -> None:
    run = build_run(clips, labels)
    steps = steps_of_epochs(run, 2)
    first, second = ([step.ids for step in steps if step.epoch == epoch] for epoch in (0, 1))
    assert first != second
    assert ids_of(run.steps(len(first))) == first
    assert ids_of(replace(run, seed=1).steps(len(first))) != first


def test_a_lane_that_has_run_out_gives_none_until_all_have(clips: str, labels: LabelEncoder) -> None:
    with build_run(clips, labels, lanes=3).open() as (batches,):  # 17, 17 and 16 rows, in batches of up to 3
        groups = []
        while not groups or not groups[-1].exhausted:
            groups.append(batches.next_group(3))
        present = [[batch is not None for batch in group.batches] for group in groups]
        assert present == [[True] * 3] * 6 + [[True, True, False], [False] * 3]
        after = batches.next_group(2)
        assert after.exhausted and after.batches == [None, None] and after.target_tokens == 0
        assert groups[0].target_tokens > 0


CHOICES: list[dict[str, Any]] = [
    {},
    {"lanes": 2, "workers": 1},  # a shard each, of unequal length: one lane runs out long before the other
    {"lanes": 3},
    {"keep": {"speaker": ["ann", "eve"]}},
    {"drop": {"speaker": ["ann"]}, "max_utterances": 19, "workers": 1},
]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_the_rest_comes_exactly_from_any_state_twice_in_a_row(
    clips: str, labels: LabelEncoder, choice: dict[str, Any]
) -> None:
    """Through two epochs, their ends too; every resumed run is itself resumed a step or two later."""
    run = replace(build_run(clips, labels, **choice), microbatches=2)
    steps = steps_of_epochs(run, 2)
    assert steps[0].epoch == 0 and steps[-1].epoch == 1
    expected = ids_of(steps)
    window = 5  # steps looked at after each resumption: beyond the window it falls in
    for i in range(len(steps) - 1):
        resumed = run.steps(min(window, len(steps) - i - 1), steps[i].state)
        assert ids_of(resumed) == expected[i + 1 : i + 1 + window]
        assert resumed[0].epoch == steps[i + 1].epoch
        step = i % 2
        if i + 2 + step < len(steps):
            again = run.steps(min(3, len(steps) - i - 2 - step), resumed[step].state)
            assert ids_of(again) == expected[i + 2 + step : i + 5 + step]


@pytest.mark.parametrize(("before", "after"), [(1, 2), (1, 4), (2, 1), (2, 4), (4, 1), (4, 2)])
def test_another_number_of_ranks_goes_on_with_the_same_steps(
    clips: str, labels: LabelEncoder, before: int, after: int
) -> None:
    run = build_run(clips, labels)
    total = max(before, after)  # microbatches a step, so that some steps take a part of the lanes
    old = replace(run, ranks=before, microbatches=total // before)
    new = replace(run, ranks=after, microbatches=total // after)
    steps = old.steps(24)
    for i in range(0, 16, 5):
        assert ids_of(new.steps(8, steps[i].state)) == ids_of(steps[i + 1 : i + 9])


@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 6])
@pytest.mark.parametrize(("before", "after", "then"), [(1, 3, 2), (2, 3, 5), (4, 3, 1), (3, 2, 4), (5, 4, 5)])
def test_any_number_of_ranks_ends_the_epoch_with_every_utterance_once(
    clips: str, labels: LabelEncoder, lanes: int, before: int, after: int, then: int
) -> None:
    """Killed at any step, gone on with another number of ranks, killed again, gone on with a third."""
    run = build_run(clips, labels, lanes)
    steps = steps_of_epoch(replace(run, ranks=before, microbatches=2))
    assert names_by_epoch(steps) == {0: EVERY_ROW_ONCE}
    for i in range(0, len(steps) - 1, 2):
        second = steps_of_epoch(replace(run, ranks=after, microbatches=1), steps[i].state)
        assert names_by_epoch([*steps[: i + 1], *second]) == {0: EVERY_ROW_ONCE}
        j = len(second) // 2
        third = steps_of_epoch(replace(run, ranks=then, microbatches=2), second[j].state)
        assert names_by_epoch([*steps[: i + 1], *second[: j + 1], *third]) == {0: EVERY_ROW_ONCE}


def steps_of_epoch(run: Run, state: dict[str, Any] | None = None) -> list["Step"]:
    """The steps of the epoch under way; every rank is asked for equally many groups."""
    found: list[Step] = []
    with run.open(state) as ranks:
        while True:
            groups = [batches.next_group(run.microbatches) for batches in ranks]
            assert all(len(group.batches) == run.microbatches for group in groups)
            found.append(Step(ranks[0].epoch, groups))
            if all(group.exhausted for group in groups):
                return found


@pytest.mark.parametrize(("lanes", "ranks"), [(4, 3), (5, 2), (2, 3)])
def test_lanes_that_are_no_multiple_of_the_ranks_go_on_exactly_too(
    clips: str, labels: LabelEncoder, lanes: int, ranks: int
) -> None:
    run = replace(build_run(clips, labels, lanes), ranks=ranks, microbatches=2)
    steps = steps_of_epochs(run, 2)
    assert names_by_epoch(steps) == {0: EVERY_ROW_ONCE, 1: EVERY_ROW_ONCE}
    for i in range(0, len(steps) - 4, 3):
        assert ids_of(run.steps(3, steps[i].state)) == ids_of(steps[i + 1 : i + 4])


def test_a_rank_without_lanes_feeds_silence(clips: str, labels: LabelEncoder) -> None:
    with replace(build_run(clips, labels, lanes=2), ranks=3).open() as opened:
        idle = opened[2].next_group(2)
        assert idle.batches == [None, None] and idle.exhausted and idle.state["positions"] == {}


@pytest.mark.parametrize(
    ("written", "lanes", "workers", "next_lanes"), [(4, None, 0, 3), (4, None, 2, 6), (4, 6, 0, 6)]
)
def test_the_next_epoch_has_the_lanes_of_the_config_again(
    clips: str, labels: LabelEncoder, written: int, lanes: int | None, workers: int, next_lanes: int
) -> None:
    state = build_run(clips, labels, written).steps(1)[0].state
    resumed = replace(build_run(clips, labels, lanes, workers), ranks=3, microbatches=1)
    with resumed.open(state) as opened:
        assert [batches.lanes for batches in opened] == [written] * 3
        for batches in opened:
            batches.next_epoch()
        assert [batches.lanes for batches in opened] == [next_lanes] * 3
        assert sorted(lane for batches in opened for lane in batches.own) == list(range(next_lanes))
    epochs = names_by_epoch(steps_of_epochs(replace(resumed, config=resumed.config), 2))
    assert epochs == {0: EVERY_ROW_ONCE, 1: EVERY_ROW_ONCE}


def test_a_state_is_small_whatever_the_window(clips: str, labels: LabelEncoder) -> None:
    run = build_run(clips, labels, lanes=4)
    wide = replace(run, config=run.config.model_copy(update={"shuffle_window": 2048}))
    assert len(json.dumps(wide.steps(1)[0].state)) < 1000


def test_files_that_have_changed_are_not_gone_on_with(tmp_path: Path, labels: LabelEncoder) -> None:
    files = write_shards(tmp_path)
    state = build_run(files, labels).steps(1)[0].state
    (tmp_path / "1.parquet").unlink()
    with pytest.raises(DataError, match=r"the files have 29 rows; when the checkpoint was written they had 50"):
        build_run(files, labels).batches(state=state)


@pytest.mark.parametrize("workers", [0, 1])
def test_undecodable_rows_in_the_middle_are_skipped_and_named_once(
    tmp_path: Path, labels: LabelEncoder, workers: int
) -> None:
    run = build_run(write_shards(tmp_path, frozenset((11, 35))), labels, workers=workers)
    skipped, rows, found = [], 0, []
    with run.open() as (batches,):
        exhausted = False
        while not exhausted:
            group = batches.next_group(2)
            skipped += group.skipped
            rows += group.rows
            found += [name for batch in group.batches if batch is not None for name in batch.ids]
            exhausted = group.exhausted
    assert Counter(found) == EVERY_ROW_ONCE - Counter(["row11", "row35"])
    assert sorted(row.id for row in skipped) == ["row11", "row35"]
    assert all(row.broken and "Format not recognised" in row.reason for row in skipped)
    assert rows == ROWS


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_while_reading_reaches_the_consumer(tmp_path: Path, labels: LabelEncoder, workers: int) -> None:
    for i in range(9):
        (tmp_path / f"{i}.wav").write_bytes(clip(i))
    lines = [json.dumps({"id": f"row{i}", "audio": f"{i}.wav", "text": "text"}) for i in range(9)]
    (tmp_path / "0.jsonl").write_text("\n".join(lines))
    (tmp_path / "1.jsonl").write_text('{"id": "broken')
    run = build_run(str(tmp_path / "*.jsonl"), labels, lanes=1, workers=workers)
    with run.open() as (batches,), pytest.raises(DataError, match=r"data\.train: cannot read"):
        for _ in range(20):
            batches.next_group(1)


def lane_threads(opened: list[TrainingBatches]) -> list[threading.Thread]:
    return [reader.thread for batches in opened for reader in batches.readers.values()]


def test_close_ends_the_threads_though_nobody_took_their_batches(clips: str, labels: LabelEncoder) -> None:
    run = build_run(clips, labels, lanes=4, workers=2)
    with run.open() as opened:
        threads = lane_threads(opened)
        assert len(threads) == 4
        time.sleep(0.3)
        assert all(thread.is_alive() for thread in threads), "they wait with full queues"
        started = time.perf_counter()
    assert time.perf_counter() - started < 2
    assert not any(thread.is_alive() for thread in threads)
    opened[0].close()


def test_next_epoch_ends_the_threads_of_the_last(clips: str, labels: LabelEncoder) -> None:
    with build_run(clips, labels, lanes=2, workers=2).open() as opened:
        threads = lane_threads(opened)
        opened[0].next_group(2)
        opened[0].next_epoch()
        assert not any(thread.is_alive() for thread in threads)
        assert len(lane_threads(opened)) == 2 and opened[0].epoch == 1


def test_no_more_than_a_few_batches_are_read_ahead(clips: str, labels: LabelEncoder) -> None:
    from data.batches.loader import READ_AHEAD, read_ahead

    with build_run(clips, labels, lanes=1, workers=1).open() as (batches,):
        time.sleep(0.3)
        assert batches.readers[0].items.qsize() == READ_AHEAD
    assert [read_ahead(size) for size in (1, 64, 100, 4096)] == [READ_AHEAD, READ_AHEAD, 2, 2]
