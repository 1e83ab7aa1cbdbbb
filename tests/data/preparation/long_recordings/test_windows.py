"""Segments of long recordings become windows: each said once, with its times, and nothing heard that is not written."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from data.batches.labels import LabelEncoder
from data.batches.lanes import Batching, Lane
from data.batches.mixture import LanePart
from data.config import DataConfig
from data.corpora.record import Record
from data.errors import DataError
from data.opening import source_of
from data.preparation.long_recordings.windows import in_windows
from launch.prepare import main
from modeling.byte_processor import build_byte_processor

TIMES = [(1.0, 5.0), (5.5, 9.0), (9.2, 14.0), (20.0, 27.0), (27.5, 33.0), (70.0, 74.0)]


def segments(times: list[tuple[float, float]], **values: Any) -> list[Record]:
    return [
        Record(f"row {n}", "a.wav", f"words {n}", id=f"a-{n}", start=start, end=end, **values)
        for n, (start, end) in enumerate(times)
    ]


def test_windows_hold_each_segment_once_with_its_times() -> None:
    found = list(in_windows(segments(TIMES), 15.0))
    said = [(one.start + start, one.start + end, text) for one in found for start, end, text in one.segments if end]
    assert [(round(a, 3), round(b, 3), text) for a, b, text in said] == [
        (start, end, f"words {n}") for n, (start, end) in enumerate(TIMES)
    ]
    assert all(one.end is not None and one.end - one.start <= 15.0 + 1e-9 for one in found)
    assert [one.text for one in found] == ["words 0 words 1 words 2", "words 3", "words 4", "words 5"]
    assert [one.before for one in found[:2]] == ["", "words 0 words 1 words 2"]


def test_what_ends_beyond_a_window_has_its_start_alone() -> None:
    first, second, third, last = in_windows(segments(TIMES), 15.0)
    assert (first.start, first.end) == (0.8, 15.8)  # nothing more is said in it, but later
    assert first.segments[-1][2] == "words 2"
    assert (second.start, second.end) == (14.0, 29.0)  # goes on where the last segment ended
    assert second.segments[-1] == (13.5, None, "")
    assert (third.start, third.end) == (27.0, 42.0)
    assert (last.start, last.end) == (69.8, 74.0)  # from 33 s on the next one would not fit


@pytest.mark.parametrize("spoilt", [{"fault": "gone"}, {"text": ""}, {"text": "<|en|>"}, {"end": 40.0}])
def test_a_segment_that_cannot_be_used_is_in_no_window(spoilt: dict[str, Any]) -> None:
    rows = segments([(1.0, 3.0), (4.0, 6.0), (40.1, 44.0)])
    rows[1] = replace(rows[1], **spoilt)
    found = list(in_windows(rows, 30.0))
    assert found[1] == rows[1]
    end = rows[1].end or 0.0
    assert (found[0].start, found[0].end) == (0.8, 3.0)
    assert found[2].start == pytest.approx(max(end, 39.9))
    assert found[2].before == ""


def test_what_ended_in_another_recording_is_not_before_a_window() -> None:
    rows = segments([(1.0, 3.0), (500.0, 501.0), (1.0, 3.0)])
    rows[1] = replace(rows[1], text="")
    rows[2] = replace(rows[2], audio="b.wav")
    assert [one.start for one in in_windows(rows, 30.0)] == [0.8, 500.0, 0.8]


def test_other_recordings_languages_and_speakers_begin_anew() -> None:
    rows = segments([(1.0, 3.0), (4.0, 6.0)])
    assert len(list(in_windows(rows, 30.0))) == 1
    for change in ({"audio": "b.wav"}, {"language": "tr"}, {"split": "test"}):
        assert len(list(in_windows([rows[0], replace(rows[1], **change)], 30.0))) == 2
    other = [replace(rows[0], speaker="x"), replace(rows[1], speaker="y")]
    assert [one.speaker for one in in_windows(other, 30.0)] == [None]
    assert [one.speaker for one in in_windows(other, 30.0, one_speaker=True)] == ["x", "y"]


def test_clips_by_themselves_stay_as_they_are() -> None:
    rows = [Record("row", "a.wav", "text"), Record("row", "b.wav", "text")]
    assert list(in_windows(rows, 30.0)) == rows


def prepare(corpus: Path, output: Path, *options: str) -> None:
    main([str(corpus), "--output", str(output), "--workers", "0", *options])


def write_corpus(folder: Path) -> Path:
    """A recording of 80 s whose level tells the second, and a table of its segments."""
    folder.mkdir()
    levels = np.repeat(np.arange(80) / 100, 16_000).astype(np.float32)
    soundfile.write(folder / "long.wav", levels, 16_000, subtype="FLOAT")
    with (folder / "segments.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["audio", "start", "end", "text", "language"])
        rows.writerows(["long.wav", start, end, f"words {n}", "az"] for n, (start, end) in enumerate(TIMES))
    return folder


def test_prepared_windows_are_trained_on(tmp_path: Path) -> None:
    prepare(write_corpus(tmp_path / "in"), tmp_path / "out", "--windows", "15")
    rows = pq.read_table(*(tmp_path / "out").glob("*.parquet")).to_pylist()
    assert [len(row["segments"]) for row in rows] == [3, 2, 1, 1]
    assert rows[1]["segments"][1] == {"start": 13.5, "end": None, "text": ""}
    assert rows[1]["previous_text"] == "words 0 words 1 words 2"
    import datasets

    again = datasets.load_dataset("parquet", data_files=str(tmp_path / "out" / "*.parquet"), split="train")
    assert [len(one) for one in again["segments"]] == [3, 2, 1, 1]
    columns = {"id": "id", "segments": "segments", "previous_text": "previous_text"}
    config = DataConfig(
        train={"files": str(tmp_path / "out" / "*.parquet"), "columns": columns}, windows={"timestamps": 1.0}
    )
    labels = LabelEncoder(build_byte_processor(["az"]).tokenizer, True, "az")
    batching = Batching([source_of(config.training_sources[0], "data.train")], config, labels, 8)
    (item, _) = Lane(batching, 0, LanePart(0, 1), {})
    assert item.batch is not None
    assert not item.skipped
    for row, seconds in enumerate(item.batch.audio_lengths / 16_000):
        assert seconds <= 15.01
        assert item.batch.audio[row, 0] > 0 or item.batch.ids[row].endswith("0")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--trim-silence"], "--trim-silence, which moves times"),
        (["--second", "channel"], "--second"),
        (["--paths-only"], "--paths-only"),
        (["--max-seconds", "10"], "--max-seconds 10"),
        (["--allow-overlaps"], "--allow-overlaps"),
    ],
)
def test_what_windows_do_not_go_with_is_refused(tmp_path: Path, options: list[str], what: str) -> None:
    with pytest.raises(DataError, match=f"--windows does not go with {what}: take one of them out"):
        prepare(write_corpus(tmp_path / "in"), tmp_path / "out", "--windows", "15", *options)
