"""An evaluation sees each row once over all ranks, or names it; its batches are the same for any number of ranks."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.audio.decoding import decode_audio
from data.batches.evaluation_rows import EvaluationRows, Turn, check_reported_columns
from data.config import SourceConfig
from data.errors import DataError
from data.opening import source_of
from data.sources.source import Source
from data.utterance import AudioBatch, Skipped


@pytest.fixture(scope="module")
def rows(corpus: Path) -> list[dict[str, Any]]:
    """Eleven utterances of synthetic speech."""
    return pq.read_table(next(corpus.glob("validation-*.parquet"))).to_pylist()


def open_source(rows: list[dict[str, Any]], folder: Path, columns: Any = None, **values: Any) -> Source:
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet", row_group_size=4)
    named = {"id": "id"} | (columns or {})
    return Source(SourceConfig(files=str(folder / "rows.parquet"), columns=named, **values), "data.test")


def turns(source: Source, batch_size: int, ranks: int, limit: int | None = None, **more: Any) -> list[list[Turn]]:
    """Each rank's turns."""
    return [
        list(EvaluationRows(source, batch_size, rank=rank, world_size=ranks, **more).turns(limit))
        for rank in range(ranks)
    ]


def share_out(source: Source, batch_size: int, ranks: int, **more: Any) -> tuple[list[list[AudioBatch]], list[Skipped]]:
    """Each rank's batches, and all that was skipped."""
    parts = turns(source, batch_size, ranks, **more)
    assert len({len(part) for part in parts}) == 1, "ranks must have equally many turns"
    assert len({tuple(turn.rows for turn in part) for part in parts}) == 1
    batches = [[turn.audio for turn in part if turn.audio is not None] for part in parts]
    return batches, [row for part in parts for turn in part for row in turn.skipped]


def together(batches: list[list[AudioBatch]]) -> set[frozenset[str]]:
    """Which utterances share a batch."""
    return {frozenset(batch.ids) for part in batches for batch in part}


def names(batches: list[list[AudioBatch]]) -> list[str]:
    return sorted(name for part in batches for batch in part for name in batch.ids)


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
    shares = [len(part) for part in batches]
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize("subset", [None, 9])
def test_who_shares_a_batch_does_not_depend_on_the_ranks(
    rows: list[dict[str, Any]], tmp_path: Path, subset: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.batches.evaluation_rows.WINDOW", 7)
    monkeypatch.setattr("data.batches.evaluation_rows.ROUND", 3)
    alone, *others = (together(share_out(open_source(rows, tmp_path), 2, n, subset=subset)[0]) for n in (1, 2, 3))
    assert all(other == alone for other in others)
    assert len(alone) > 3


def test_the_longest_come_first(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    ((first, *_, last),), _ = share_out(open_source(rows, tmp_path), 3, 1)
    assert first.audio_lengths.min() >= last.audio_lengths.max()
    assert first.audio_lengths.tolist() == sorted(first.audio_lengths.tolist(), reverse=True)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_rows_that_cannot_be_used_are_named_once(rows: list[dict[str, Any]], tmp_path: Path, ranks: int) -> None:
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
        assert names(batches) == sorted(row["id"] for i, row in enumerate(rows) if i not in (2, 4, 7))


def test_clips_that_are_too_long_are_left_out_but_not_broken(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    limit = sorted(row["duration"] for row in rows)[6]
    (batches,), skipped = share_out(open_source(rows, tmp_path), 4, 1, max_seconds=limit)
    assert sorted(row.id for row in skipped) == sorted(row["id"] for row in rows if row["duration"] > limit)
    assert all(not row.broken and f"up to {limit:g} s are evaluated" in row.reason for row in skipped)
    assert sum(len(batch.ids) for batch in batches) == 7


def test_an_empty_text_is_evaluated_against_nothing_and_a_missing_one_not_at_all(
    rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    texts = [rows[0], rows[1] | {"text": None}, rows[2] | {"text": ""}]
    (batches,), skipped = share_out(open_source(texts, tmp_path), 4, 1)
    assert [(row.id, row.reason) for row in skipped] == [(rows[1]["id"], "the text is null, a missing value")]
    found = dict(zip(batches[0].ids, batches[0].texts, strict=True))
    assert found == {rows[0]["id"]: rows[0]["text"], rows[2]["id"]: ""}


@pytest.mark.parametrize("ranks", [1, 2])
def test_of_an_id_that_stands_twice_the_first_row_counts(
    rows: list[dict[str, Any]], tmp_path: Path, ranks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.batches.evaluation_rows.WINDOW", 4)
    twice = [*rows, rows[3] | {"text": "another"}, rows[0]]
    parts = turns(open_source(twice, tmp_path), 2, ranks)
    assert sum(turn.repeated for part in parts for turn in part) == 2
    texts = {
        name: text
        for part in parts
        for turn in part
        if turn.audio
        for name, text in zip(turn.audio.ids, turn.audio.texts, strict=True)
    }
    assert len(texts) == len(rows) and texts[rows[3]["id"]] == rows[3]["text"]
    assert parts[0][-1].rows == len(twice)


def test_keep_and_max_utterances_before_sharing_out(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    speaker = rows[0]["speaker"]
    source = open_source(rows, tmp_path, drop={"speaker": [speaker]}, max_utterances=5)
    expected = [row["id"] for row in rows if row["speaker"] != speaker][:5]
    for ranks in (1, 2):
        assert names(share_out(source, 2, ranks)[0]) == sorted(expected)


def test_more_ranks_than_rows(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    batches, _ = share_out(open_source(rows[:2], tmp_path), 1, 3)
    assert [len(part) for part in batches] == [1, 1, 0]


def test_a_window_is_not_a_limit(rows: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.batches.evaluation_rows.WINDOW", 3)
    batches, _ = share_out(open_source(rows, tmp_path), 2, 2)
    assert names(batches) == sorted(row["id"] for row in rows)


# Subsets


def test_a_subset_is_the_same_whatever_the_order_of_the_rows(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    chosen = names(share_out(open_source(rows, tmp_path), 2, 1, subset=5)[0])
    assert len(chosen) == 5
    assert chosen != sorted(row["id"] for row in rows[:5])
    assert names(share_out(open_source(rows[::-1], tmp_path), 2, 2, subset=5)[0]) == chosen
    larger = names(share_out(open_source(rows, tmp_path), 2, 1, subset=8)[0])
    assert set(chosen) < set(larger)


def test_a_subset_is_read_from_its_files_once(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    found = EvaluationRows(open_source(rows, tmp_path), 2, subset=5)
    first = [turn.audio.ids for turn in found.turns() if turn.audio]
    (tmp_path / "rows.parquet").unlink()
    assert [turn.audio.ids for turn in found.turns() if turn.audio] == first


def test_the_beginning_of_a_subset_is_in_the_same_batches(
    rows: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A budget of time ends an evaluation after some rounds; later ones take as many rows."""
    monkeypatch.setattr("data.batches.evaluation_rows.ROUND", 2)
    source = open_source(rows, tmp_path)
    whole = turns(source, 2, 1, subset=11)[0]
    ends = [turn.rows for turn in whole if turn.rows is not None]
    assert ends == [4, 8, 11]
    part = turns(source, 2, 1, limit=4, subset=11)[0]
    assert [turn.audio.ids for turn in part if turn.audio] == [turn.audio.ids for turn in whole[:2] if turn.audio]


# Columns and languages


def test_columns_come_with_their_utterances_as_text(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    marked = [row | {"age": n or None, "share": float("nan")} for n, row in enumerate(rows)]
    (part,) = turns(open_source(marked, tmp_path), 4, 1, columns=["age", "speaker", "share"])
    found = {n: v for turn in part if turn.audio for n, v in zip(turn.audio.ids, turn.columns, strict=True)}
    assert found == {
        row["id"]: {"age": str(n) if n else "", "speaker": row["speaker"], "share": ""} for n, row in enumerate(rows)
    }


def test_a_language_that_is_refused_skips_its_row(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    def check(language: str | None) -> None:
        if language == "xx":
            raise DataError("no such language")

    mixed = [row | {"language": {1: "xx", 2: None}.get(n, "az")} for n, row in enumerate(rows)]
    source = open_source(mixed, tmp_path, {"language": "language"}, language="tr")
    batches, skipped = share_out(source, 4, 2, check=check)
    assert [(row.id, row.reason) for row in skipped] == [(rows[1]["id"], "no such language")]
    languages = {n: own for part in batches for b in part for n, own in zip(b.ids, b.languages, strict=True)}
    assert languages[rows[2]["id"]] == "tr" and languages[rows[3]["id"]] == "az"


def test_a_column_that_is_not_there(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    source = open_source(rows, tmp_path)
    check_reported_columns(source, [("evaluation.columns", "speaker")])
    with pytest.raises(DataError) as refusal:
        check_reported_columns(source, [("evaluation.columns", "speaker"), ("evaluation.cluster", "speeker")])
    for part in ("evaluation.cluster is 'speeker'", "data.test", "did you mean 'speaker'?", "it has"):
        assert part in str(refusal.value)


def test_a_column_that_a_folder_has_not(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("file_name,text,speaker\na.wav,one,s1\n")
    source = source_of(SourceConfig(folder=str(tmp_path)), "data.test")
    with pytest.raises(DataError, match=r"evaluation.columns is 'age'"):
        check_reported_columns(source, [("evaluation.columns", "age")])
