"""Several sources in one stream: shares by weight, passes of their own, exact resume, nothing that loops for ever."""

import io
import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from data.batches.labels import LabelEncoder
from data.batches.lanes import Batching, Lane
from data.batches.loader import TrainingBatches, join_states
from data.batches.mixture import LanePart, LaneRows
from data.config import DataConfig
from data.errors import DataError
from data.sources.source import Source
from data.utterance import LaneItem
from modeling.byte_processor import build_byte_processor

SIZES = {"a": 40, "b": 7, "c": 23}


def clip(number: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.full(1600 + 80 * (number * 17 % 41), 0.1), 16_000, format="WAV")
    return file.getvalue()


def write_source(folder: Path, name: str, rows: int, broken: frozenset[int] = frozenset()) -> str:
    table = pa.table(
        {
            "id": [f"{name}{i}" for i in range(rows)],
            "audio": [{"bytes": b"garbage" if i in broken else clip(i), "path": None} for i in range(rows)],
            "text": [f"text {i}" for i in range(rows)],
            "kind": ["even" if i % 2 == 0 else "odd" for i in range(rows)],
        }
    )
    pq.write_table(table, folder / f"{name}.parquet", row_group_size=5)
    return str(folder / f"{name}.parquet")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("sources")
    return {name: write_source(folder, name, rows) for name, rows in SIZES.items()}


@pytest.fixture(scope="module")
def labels() -> LabelEncoder:
    return LabelEncoder(build_byte_processor(["az", "tr"]).tokenizer, True, "az")


class Mixture:
    def __init__(self, labels: LabelEncoder, *sources: dict[str, Any], window: int = 16, **values: Any) -> None:
        train = [{"columns": {"id": "id"}} | source for source in sources]
        self.config = DataConfig(train=train, shuffle_window=window, **values)
        named = zip(self.config.training_sources, self.config.train_names, strict=True)
        self.sources = [Source(one, name) for one, name in named]
        self.batching = Batching(self.sources, self.config, labels, 4)

    def lane(self, lane: int = 0, lanes: int = 1, position: dict[str, Any] | None = None) -> Iterator[LaneItem]:
        return iter(Lane(self.batching, 0, LanePart(lane, lanes), position or {}))

    def batches(self, rank: int = 0, ranks: int = 1, state: dict[str, Any] | None = None) -> TrainingBatches:
        return TrainingBatches(self.batching, rank, ranks, state)


def ids(items: list[LaneItem]) -> list[str]:
    return [name for item in items if item.batch is not None for name in item.batch.ids]


def through_json(item: LaneItem) -> dict[str, Any]:
    position = json.loads(json.dumps(item.position))
    assert position == item.position
    return position


def test_shares_are_the_weights(files: dict[str, str], labels: LabelEncoder) -> None:
    mixture = Mixture(
        labels, {"files": files["a"], "weight": 5}, {"files": files["b"]}, {"files": files["c"], "weight": 2}
    )
    drawn = Counter(name[0] for name in ids(list(islice(mixture.lane(), 800))))
    total = sum(drawn.values())
    assert total > 2500
    for name, weight in (("a", 5), ("b", 1), ("c", 2)):
        assert drawn[name] / total == pytest.approx(weight / 8, abs=0.005)


def test_a_weight_below_one_row_a_window_counts_too(files: dict[str, str], labels: LabelEncoder) -> None:
    mixture = Mixture(labels, {"files": files["a"], "weight": 50}, {"files": files["b"]}, window=8)
    items = list(islice(mixture.lane(), 1000))
    drawn = Counter(name[0] for name in ids(items))
    assert drawn["b"] / sum(drawn.values()) == pytest.approx(1 / 51, abs=0.008)
    position = items[700].position  # after several passes, and windows without any of it lie ahead
    assert position["sources"][1]["pass"] > 2
    assert ids(list(islice(mixture.lane(position=through_json(items[700])), 299))) == ids(items[701:])


@pytest.mark.parametrize("lanes", [1, 3])
def test_every_pass_of_a_source_is_all_of_it_in_an_order_of_its_own(
    files: dict[str, str], labels: LabelEncoder, lanes: int
) -> None:
    """Within a window the order is by length, so passes are told apart where they fill whole windows."""
    mixture = Mixture(labels, *({"files": path} for path in files.values()), window=3 * 7)
    found: dict[str, list[list[str]]] = {name: [] for name in SIZES}
    for lane in range(lanes):
        rows: dict[str, list[str]] = {name: [] for name in SIZES}
        for number in range(60):
            mixed = mixture_window(mixture, lane, lanes, number)
            for name in mixed:
                rows[name[0]].append(name)
        for name, size in SIZES.items():
            part = size // lanes + (lane < size % lanes)
            passes = [rows[name][i * part : (i + 1) * part] for i in range(len(rows[name]) // part)]
            assert len(passes) >= 3 and all(len(set(one)) == part for one in passes)
            found[name].append(sorted(passes[0]))
            if name == "a":
                assert passes[0] != passes[1]
    for name, size in SIZES.items():
        assert sorted(row for part in found[name] for row in part) == sorted(f"{name}{i}" for i in range(size))


def mixture_window(mixture: Mixture, lane: int, lanes: int, number: int) -> list[str]:
    """Ids of a window as they are read, in order; the lane's reader is kept between calls."""
    key = (lane, lanes)
    readers = mixture.__dict__.setdefault("readers", {})
    if key not in readers:
        readers[key] = LaneRows(mixture.sources, mixture.config.shuffle_window, (0, 0), LanePart(lane, lanes), ())
    return [drawn.row["id"] for drawn in readers[key].read_window(number)]


def test_filters_and_limits_of_each_source(files: dict[str, str], labels: LabelEncoder) -> None:
    mixture = Mixture(
        labels,
        {"files": files["a"], "keep": {"kind": ["even"]}},
        {"files": files["c"], "max_utterances": 5},
        {"files": files["b"], "drop": {"kind": ["even"]}, "max_utterances": 2},
    )
    drawn = set(ids(list(islice(mixture.lane(), 100))))
    assert drawn == {f"a{i}" for i in range(0, 40, 2)} | {f"c{i}" for i in range(5)} | {"b1", "b3"}


@pytest.mark.parametrize("window", [5, 16, 200])
@pytest.mark.parametrize("lanes", [1, 3])
def test_any_position_gives_the_rest_exactly_also_the_second_time(
    files: dict[str, str], labels: LabelEncoder, window: int, lanes: int
) -> None:
    sources = [
        {"files": files["a"], "weight": 3},
        {"files": files["b"]},
        {"files": files["c"], "keep": {"kind": ["odd"]}},
    ]
    mixture = Mixture(labels, *sources, window=window)
    lane = lanes - 1
    items = list(islice(mixture.lane(lane, lanes), 60))
    every = [item.batch.ids for item in items if item.batch is not None]
    assert len(every) == 60
    for i in range(0, 48, 5):
        again = list(islice(mixture.lane(lane, lanes, through_json(items[i])), 9))
        assert [item.batch.ids for item in again if item.batch is not None] == every[i + 1 : i + 10]
        third = list(islice(mixture.lane(lane, lanes, through_json(again[2])), 6))
        assert [item.batch.ids for item in third if item.batch is not None] == every[i + 4 : i + 10]
        assert len(json.dumps(items[i].position)) < 400


# Sources that have nothing


def test_a_source_with_nothing_for_a_lane_does_not_stop_the_others(
    files: dict[str, str], labels: LabelEncoder, tmp_path: Path
) -> None:
    few = write_source(tmp_path, "f", 2)
    mixture = Mixture(labels, {"files": few}, {"files": files["a"]})
    for lane in range(4):
        items = list(islice(mixture.lane(lane, 4), 30))
        origins = Counter(name[0] for name in ids(items))
        assert origins["a"] > 50 and (origins["f"] > 0) == (lane < 2)
        if lane >= 2:
            assert len(items[-1].batch.ids) == 4  # type: ignore[union-attr] # the others fill the window
            rest = list(islice(mixture.lane(lane, 4, through_json(items[9])), 20))
            assert ids(rest) == ids(items[10:])


def test_a_source_broken_in_a_lane_is_given_up_there(
    files: dict[str, str], labels: LabelEncoder, tmp_path: Path
) -> None:
    broken = write_source(tmp_path, "x", 10, broken=frozenset(range(5)))  # the lane that gets them has nothing else
    cut = Mixture(labels, {"files": broken, "max_utterances": 5}, {"files": files["a"]})
    items = list(islice(cut.lane(), 60))
    assert all(item.batch is not None for item in items) and {name[0] for name in ids(items)} == {"a"}
    reported = Counter(row.id for item in items for row in item.skipped)
    assert set(reported) == {f"x{i}" for i in range(5)} and max(reported.values()) <= 8
    assert not any(item.skipped for item in items[30:])
    for i in (0, 3, 7, 20):
        assert ids(list(islice(cut.lane(position=through_json(items[i])), 10))) == ids(items[i + 1 : i + 11])


def test_a_lane_for_which_no_source_has_anything_ends(labels: LabelEncoder, tmp_path: Path) -> None:
    paths = [write_source(tmp_path, name, 2) for name in "fg"]
    mixture = Mixture(labels, *({"files": path} for path in paths))
    assert len(list(islice(mixture.lane(1, 4), 50))) == 50
    (only,) = mixture.lane(3, 4)
    assert only.batch is None
    group = mixture.batches(rank=3, ranks=4).next_group(2)
    assert group.batches == [None, None] and group.exhausted


def test_a_source_with_nothing_usable_is_refused(files: dict[str, str], labels: LabelEncoder, tmp_path: Path) -> None:
    broken = write_source(tmp_path, "x", 10, broken=frozenset(range(10)))
    expected = (
        r"data\.train\.1: files .*x\.parquet: not one utterance can be trained on; the first: x0: .*not recognised"
    )
    with pytest.raises(DataError, match=expected):
        Mixture(labels, {"files": files["a"]}, {"files": broken}).batches()
    with pytest.raises(DataError, match=r"data\.train\.0: .*not one utterance"):
        Mixture(labels, {"files": files["a"], "keep": {"kind": ["nothing"]}}, {"files": files["b"]}).batches()
    with pytest.raises(DataError, match=r"data\.train\.0: .*10 s are kept"):
        short = {"files": files["b"]}
        Mixture(labels, {"files": files["a"]}, short, min_seconds=9, max_seconds=10).batches()


# Batches of a run


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_goes_on_exactly(files: dict[str, str], labels: LabelEncoder, workers: int) -> None:
    mixture = Mixture(labels, *({"files": path} for path in files.values()), workers=workers, lanes=4)
    batches = mixture.batches()
    groups = [batches.next_group(2) for _ in range(30)]
    batches.close()
    assert not any(group.exhausted for group in groups)
    expected = [[batch.ids for batch in group.batches if batch is not None] for group in groups]
    for i in range(0, 24, 7):
        state = json.loads(json.dumps(join_states([groups[i].state])))
        resumed = mixture.batches(state=state)
        found = [resumed.next_group(2) for _ in range(5)]
        resumed.close()
        assert [[batch.ids for batch in group.batches if batch is not None] for group in found] == expected[
            i + 1 : i + 6
        ]


def test_more_ranks_than_lanes_begin_the_mixture_anew(files: dict[str, str], labels: LabelEncoder) -> None:
    """A mixture has no next epoch from which on there would be lanes for all."""
    mixture = Mixture(labels, {"files": files["a"]}, {"files": files["c"]})
    one = mixture.batches()
    state = [one.next_group(1) for _ in range(3)][-1].state
    four = [mixture.batches(rank, 4, state) for rank in range(4)]
    assert [(batches.lanes, batches.epoch, len(batches.own)) for batches in four] == [(4, 1, 1)] * 4
    firsts = [batches.next_group(1).batches[0] for batches in four]
    assert all(batch is not None for batch in firsts)
    fewer = [mixture.batches(rank, 3, join_states([b.next_group(1).state for b in four])) for rank in range(3)]
    assert [(batches.lanes, batches.epoch) for batches in fewer] == [(4, 1)] * 3


def test_another_number_of_sources_is_not_gone_on_with(files: dict[str, str], labels: LabelEncoder) -> None:
    state = Mixture(labels, {"files": files["a"]}, {"files": files["c"]}).batches().next_group(1).state
    three = Mixture(labels, *({"files": path} for path in files.values()))
    with pytest.raises(DataError, match=r"data\.train has 3 sources, and had 2"):
        three.batches(state=state)


def test_a_list_of_one_source_has_epochs(files: dict[str, str], labels: LabelEncoder) -> None:
    batches = Mixture(labels, {"files": files["b"]}).batches()
    groups = [batches.next_group(1) for _ in range(3)]
    assert sorted(name for group in groups for batch in group.batches if batch for name in batch.ids) == sorted(
        f"b{i}" for i in range(7)
    )
    assert groups[-1].exhausted


def test_each_source_has_its_language(files: dict[str, str], labels: LabelEncoder) -> None:
    mixture = Mixture(labels, {"files": files["a"], "language": "tr"}, {"files": files["c"]})
    for item in islice(mixture.lane(), 10):
        assert item.batch is not None and item.batch.decoder_input_ids is not None
        for name, tokens in zip(item.batch.ids, item.batch.decoder_input_ids.tolist(), strict=True):
            assert tokens[:4] == labels.prompt("tr" if name.startswith("a") else "az")
