"""An evaluation sees each row once over all ranks, or names it with the reason why not."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.audio import decode_audio
from data.config import SourceConfig
from data.evaluation import evaluation_batches
from data.sources import Source
from data.utterance import AudioBatch, Skipped


@pytest.fixture(scope="module")
def rows(corpus: Path) -> list[dict[str, Any]]:
    """Eleven utterances of synthetic speech."""
    return pq.read_table(next(corpus.glob("validation-*.parquet"))).to_pylist()


def open_source(rows: list[dict[str, Any]], folder: Path, **values: Any) -> Source:
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet", row_group_size=4)
    return Source(SourceConfig(files=str(folder / "rows.parquet"), columns={"id": "id"}, **values), "data.test")


def share_out(source: Source, batch_size: int, ranks: int, **more: Any) -> tuple[list[list[AudioBatch]], list[Skipped]]:
    """Each rank's batches, and all that was skipped."""
    items = [list(evaluation_batches(source, batch_size, rank, ranks, **more)) for rank in range(ranks)]
    batches = [[item for item in part if isinstance(item, AudioBatch)] for part in items]
    return batches, [item for part in items for item in part if isinstance(item, Skipped)]


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_each_row_once_over_all_ranks(rows: list[dict[str, Any]], tmp_path: Path, ranks: int, batch_size: int) -> None:
    batches, skipped = share_out(open_source(rows, tmp_path), batch_size, ranks)
    assert not skipped
    found = [
        (name, text, int(length))
        for part in batches
        for batch in part
        for name, text, length in zip(batch.ids, batch.texts, batch.audio_lengths, strict=True)
    ]
    assert sorted(found) == sorted((row["id"], row["text"], len(decode_audio(row["audio"]))) for row in rows)
    assert all(batch.labels is None and len(batch.ids) <= batch_size for part in batches for batch in part)
    sizes = [sum(len(batch.ids) for batch in part) for part in batches]
    assert max(sizes) - min(sizes) <= 1


def test_the_longest_come_first(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    ((first, *_, last),), _ = share_out(open_source(rows, tmp_path), 3, 1)
    assert first.audio_lengths.min() >= last.audio_lengths.max()
    assert first.audio_lengths.tolist() == sorted(first.audio_lengths.tolist(), reverse=True)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_rows_that_cannot_be_used_are_named(rows: list[dict[str, Any]], tmp_path: Path, ranks: int) -> None:
    flawed = [dict(row) for row in rows]
    flawed[2]["audio"] = {"bytes": b"garbage", "path": "x.flac"}
    flawed[4]["audio"] = {"bytes": None, "path": "nowhere.flac"}
    flawed[7]["audio"] = {"bytes": rows[7]["audio"]["bytes"][:-3000], "path": "cut.flac"}
    for batch_size in (1, 4):
        batches, skipped = share_out(open_source(flawed, tmp_path), batch_size, ranks)
        reasons = {row.id: row.reason for row in skipped}
        assert len(skipped) == 3 and reasons.keys() == {rows[i]["id"] for i in (2, 4, 7)}
        assert "Format not recognised" in reasons[rows[2]["id"]]
        assert "nowhere.flac: No such file" in reasons[rows[4]["id"]]
        assert "frames are missing" in reasons[rows[7]["id"]]
        assert all(row.broken and "\n" not in row.reason for row in skipped)
        found = [name for part in batches for batch in part for name in batch.ids]
        assert sorted(found) == sorted(row["id"] for i, row in enumerate(rows) if i not in (2, 4, 7))


def test_clips_that_are_too_long_are_left_out_but_not_broken(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    limit = sorted(row["duration"] for row in rows)[6]
    (batches,), skipped = share_out(open_source(rows, tmp_path), 4, 1, max_seconds=limit)
    assert sorted(row.id for row in skipped) == sorted(row["id"] for row in rows if row["duration"] > limit)
    assert all(not row.broken and f"up to {limit:g} s are evaluated" in row.reason for row in skipped)
    assert sum(len(batch.ids) for batch in batches) == 7


def test_a_row_without_text_is_evaluated_against_nothing(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    silent = [*rows[:2], rows[2] | {"text": None}]
    (batches,), skipped = share_out(open_source(silent, tmp_path), 4, 1)
    assert not skipped
    assert dict(zip(batches[0].ids, batches[0].texts, strict=True))[rows[2]["id"]] == ""


def test_keep_and_max_utterances_before_sharing_out(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    speaker = rows[0]["speaker"]
    source = open_source(rows, tmp_path, drop={"speaker": [speaker]}, max_utterances=5)
    expected = [row["id"] for row in rows if row["speaker"] != speaker][:5]
    for ranks in (1, 2):
        batches, _ = share_out(source, 2, ranks)
        assert sorted(name for part in batches for batch in part for name in batch.ids) == sorted(expected)


def test_more_ranks_than_rows(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    batches, _ = share_out(open_source(rows[:2], tmp_path), 4, 3)
    assert [len(part) for part in batches] == [1, 1, 0]


def test_a_window_is_not_a_limit(rows: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.evaluation.WINDOW", 3)
    batches, _ = share_out(open_source(rows, tmp_path), 2, 2)
    assert sorted(n for part in batches for batch in part for n in batch.ids) == sorted(row["id"] for row in rows)
