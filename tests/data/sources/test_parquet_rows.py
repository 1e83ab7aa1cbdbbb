"""Rows of Parquet files: even parts whatever the files, from any row on, with patience; errors name the place."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import data.sources.parquet_rows
from data import storage
from data.errors import DataError
from data.sources.parquet_rows import ParquetFiles, ParquetRows


def numbers(begin: int, end: int) -> pa.Table:
    rows = range(begin, end)
    audio = [{"bytes": bytes([i % 256]) * 300, "path": None} for i in rows]
    return pa.table({"n": list(rows), "audio": audio, "text": [f"text {i}" for i in rows]})


def write(folder: Path, sizes: list[int], group: int = 7) -> list[str]:
    paths, begin = [], 0
    for file, size in enumerate(sizes):
        paths.append(str(folder / f"{file}.parquet"))
        pq.write_table(numbers(begin, begin + size), paths[-1], row_group_size=group)
        begin += size
    return paths


def found(files: ParquetFiles, *arguments: Any, **named: Any) -> list[int]:
    return [row["n"] for row in ParquetRows(files, files.pieces(*arguments, **named))]


SHAPES = [([50], 100), ([50], 7), ([3, 0, 20, 1, 26], 4), ([1] * 50, 1), ([50], 1)]


@pytest.mark.parametrize("lanes", [1, 2, 3, 7, 8, 49, 50, 60])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("seed", [None, 3])
def test_lanes_have_every_row_once_and_differ_by_a_row(
    tmp_path: Path, shape: tuple[list[int], int], lanes: int, seed: int | None
) -> None:
    files = ParquetFiles(write(tmp_path, *shape), "data.train")
    assert files.row_count == 50
    parts = [found(files, lane, lanes, seed) for lane in range(lanes)]
    assert Counter(n for part in parts for n in part) == Counter(range(50))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for part in parts:  # no row group is read for a row that another lane has, but at the ends of a lane's part
        groups = Counter(n // 7 for n in part)
        if shape == ([50], 7):
            assert sum(count < 7 for group, count in groups.items() if group < 7) <= 2


def test_seeds_order_row_groups_differently_and_repeatably(tmp_path: Path) -> None:
    files = ParquetFiles(write(tmp_path, [25, 25], 5), "data.train")
    assert found(files) == list(range(50))
    first, second = found(files, seed=1), found(files, seed=2)
    assert first == found(files, seed=1) != second
    assert [n % 5 for n in first] == [0, 1, 2, 3, 4] * 10, "whole row groups"


@pytest.mark.parametrize("lanes", [1, 2, 3, 5])
def test_a_limit_is_the_first_rows_whatever_the_seed(tmp_path: Path, lanes: int) -> None:
    files = ParquetFiles(write(tmp_path, [25, 25], 5), "data.train")
    for seed in (None, 1, 2):
        assert sorted(n for lane in range(lanes) for n in found(files, lane, lanes, seed, limit=13)) == list(range(13))
        assert len(found(files, 0, 1, seed, limit=500)) == 50
    spread = [found(files, lane, lanes, spread=True) for lane in range(lanes)]
    assert spread == [list(range(lane, 50, lanes)) for lane in range(lanes)]


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("spread", [False, True])
def test_any_row_can_be_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: bool, spread: bool
) -> None:
    if parts:  # as a huge row group
        monkeypatch.setattr(data.sources.parquet_rows, "WHOLE_GROUP_BYTES", 1000)
        monkeypatch.setattr(data.sources.parquet_rows, "PART_BYTES", 1000)
    files = ParquetFiles(write(tmp_path, [30, 20], 15), "data.train")
    expected = found(files, 1, 3, 5, spread=spread)
    for given in range(len(expected) + 1):
        stream = ParquetRows(files, files.pieces(1, 3, 5, spread=spread))
        rows = iter(stream)
        assert [next(rows)["n"] for _ in range(given)] == expected[:given]
        state = json.loads(json.dumps(stream.state_dict()))
        resumed = ParquetRows(files, files.pieces(1, 3, 5, spread=spread))
        resumed.load_state_dict(state)
        assert [row["n"] for row in resumed] == expected[given:]


def test_a_large_row_group_is_not_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data.sources.parquet_rows, "WHOLE_GROUP_BYTES", 2**20)
    monkeypatch.setattr(data.sources.parquet_rows, "PART_BYTES", 2**20)
    audio = [np.random.default_rng(i).bytes(20_000) for i in range(2000)]
    options = {"data_page_size": 2**18, "write_batch_size": 8, "use_dictionary": False}
    pq.write_table(pa.table({"audio": audio}), tmp_path / "a.parquet", **options)
    files = ParquetFiles([str(tmp_path / "a.parquet")], "data.train")
    before, most, count = pa.total_allocated_bytes(), 0, 0
    for row in ParquetRows(files, files.pieces()):
        assert row["audio"] == audio[count]
        count += 1
        most = max(most, pa.total_allocated_bytes() - before)
    assert count == 2000 and most < 12 * 2**20, f"{most:,} of 40,000,000 bytes were held"


def test_footers_are_kept_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write(tmp_path, [5] * 8)
    size = pq.read_metadata(paths[0]).serialized_size
    monkeypatch.setattr(data.sources.parquet_rows, "FOOTER_BYTES_KEPT", 3.5 * size)
    files = ParquetFiles(paths, "data.train")
    read: list[int] = []
    original = files.read_metadata
    monkeypatch.setattr(files, "read_metadata", lambda file: read.append(file) or original(file))
    assert found(files) == list(range(40)) and read == list(range(8))
    assert list(files.kept) == [5, 6, 7]
    for file in (6, 5, 0, 6, 7):
        files.metadata(file)
    assert read == [*range(8), 0, 7] and list(files.kept) == [0, 6, 7]


def test_only_the_wanted_columns_are_read(tmp_path: Path) -> None:
    files = ParquetFiles(write(tmp_path, [5]), "data.train")
    assert next(iter(ParquetRows(files, files.pieces(), ["text", "n"]))) == {"n": 0, "text": "text 0"}
    assert set(next(iter(ParquetRows(files, files.pieces())))) == {"n", "text", "audio"}


# What differs, is damaged or far away


def test_a_file_that_lacks_a_column_is_named(tmp_path: Path) -> None:
    paths = write(tmp_path, [5, 5, 5])
    pq.write_table(numbers(10, 15).rename_columns(["n", "audio", "sentence"]), paths[2])
    files = ParquetFiles(paths, "data.train")
    with pytest.raises(DataError, match=r"data\.train\.columns\.text: .*2\.parquet has no column 'text'.*sentence"):
        files.check_columns([("columns.audio", "audio"), ("columns.text", "text")])
    files.check_columns([("columns.audio", "audio")])
    pq.write_table(numbers(0, 0).rename_columns(["n", "audio", "sentence"]), paths[2])
    ParquetFiles(paths, "data.train").check_columns([("columns.text", "text")])  # no row, no matter


def test_files_may_hold_a_column_in_several_types(tmp_path: Path) -> None:
    paths = write(tmp_path, [2, 2])
    pq.write_table(numbers(2, 4).set_column(2, "text", pa.array([2, 3])), paths[1])
    files = ParquetFiles(paths, "data.train")
    assert [row["text"] for row in ParquetRows(files, files.pieces())] == ["text 0", "text 1", 2, 3]


def test_a_damaged_row_group_is_named_when_it_is_reached(tmp_path: Path) -> None:
    (path,) = write(tmp_path, [30], 10)
    chunk = pq.read_metadata(path).row_group(2).column(0)
    content = bytearray(Path(path).read_bytes())
    begin = chunk.dictionary_page_offset or chunk.data_page_offset
    content[begin : begin + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
    Path(path).write_bytes(content)
    files = ParquetFiles([path], "data.train")
    rows = iter(ParquetRows(files, files.pieces()))
    assert [next(rows)["n"] for _ in range(20)] == list(range(20))
    with pytest.raises(DataError, match=r"^data\.train: cannot read .*0\.parquet, row group 2: ") as caught:
        next(rows)
    assert "\n" not in str(caught.value)


class Flaky:
    """A store in memory that fails now and then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failures, self.reads, self.waits = 0, [], []  # type: ignore[var-annotated]
        self.cut = False
        memory = fsspec.filesystem("memory")
        original = memory.cat_file

        def cat_file(path: str, start: int | None = None, end: int | None = None, **more: Any) -> bytes:
            self.reads.append((start, end))
            if self.failures:
                self.failures -= 1
                raise ConnectionResetError("the line was cut")
            content = original(path, start=start, end=end, **more)
            return content[:-1] if self.cut else content

        monkeypatch.setattr(type(memory), "cat_file", lambda _, *arguments, **named: cat_file(*arguments, **named))
        monkeypatch.setattr(storage.time, "sleep", self.waits.append)


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[list[str]]:
    addresses = []
    for path in write(tmp_path, [30, 20], 10):
        addresses.append(f"memory://corpus/{Path(path).name}")
        with fsspec.open(addresses[-1], "wb") as file:
            file.write(Path(path).read_bytes())
    yield addresses
    fsspec.filesystem("memory").rm("/corpus", recursive=True)


@pytest.mark.parametrize("parts", [False, True])
def test_a_store_that_fails_now_and_then_is_read_all_the_same(
    remote: list[str], monkeypatch: pytest.MonkeyPatch, parts: bool
) -> None:
    if parts:
        monkeypatch.setattr(data.sources.parquet_rows, "WHOLE_GROUP_BYTES", 100)
        monkeypatch.setattr(data.sources.parquet_rows, "PART_BYTES", 1000)
    files = ParquetFiles(remote, "data.train")
    store = Flaky(monkeypatch)
    rows = iter(ParquetRows(files, files.pieces()))
    read = []
    for row in rows:
        read.append(row["n"])
        if len(read) in (10, 25, 40):
            store.failures = 3
    assert read == list(range(50))
    assert len(store.waits) >= 9 and max(store.waits) > 2 * min(store.waits), "longer each time"
    if not parts:
        assert len(set(store.reads)) == 5, "one range a row group"


def test_a_store_that_keeps_failing_is_named_with_the_row_group(
    remote: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ParquetFiles(remote, "data.train")
    store = Flaky(monkeypatch)
    rows = iter(ParquetRows(files, files.pieces()))
    assert [next(rows)["n"] for _ in range(40)] == list(range(40))
    store.failures = 100
    expected = r"data\.train: cannot read memory://corpus/1\.parquet, row group 1: the line was cut \(tried 5 times\)"
    with pytest.raises(DataError, match=expected):
        next(rows)


def test_a_range_that_comes_short_is_asked_for_again(remote: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    files = ParquetFiles(remote, "data.train")
    store = Flaky(monkeypatch)
    store.cut = True
    with pytest.raises(DataError, match=r"row group 0: \d+ of \d+ bytes came \(tried 5 times\)"):
        next(iter(ParquetRows(files, files.pieces())))


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    paths = write(tmp_path, [5, 5])
    Path(paths[1]).unlink()
    with pytest.raises(DataError, match=r"data\.train: cannot read .*1\.parquet: No such file"):
        ParquetFiles(paths, "data.train")
