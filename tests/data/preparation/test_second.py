"""Preparation keeps a second recording beside each first one, and says what is wrong with those that cannot be kept."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from data.audio.decoding import decode_audio
from data.corpora.folder_source import FolderSource
from data.corpora.readers.segments import RecordRows
from data.corpora.record import Record
from data.corpora.settings import CorpusSettings
from data.errors import DataError
from data.inspection.facts import InspectionSettings
from data.inspection.inspect import inspect_corpus
from data.opening import source_of
from data.preparation.audio_kept.second import ABSENT, BEYOND, COPIED, FAR, SILENT
from data.preparation.prepare import prepare
from data.preparation.settings import ClipSettings, PrepareSettings
from data.preparation.summary import Summary
from data.sources.config import ColumnNames, SourceConfig

RATE = 16_000
ROOM = "{name}_room.wav"


def voice(number: int, seconds: float = 1.0) -> np.ndarray:
    return (0.2 * np.random.default_rng(number).standard_normal(round(seconds * RATE))).astype(np.float32)


def write(path: Path, sound: np.ndarray, rate: int = RATE, text: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, rate, subtype="PCM_16")
    if text is not None:
        path.with_suffix(".txt").write_text(text, encoding="utf-8")


def meeting(folder: Path, count: int = 3, pattern: str = ROOM) -> Path:
    """Recordings with a transcript beside each, and a quieter one of each by a pattern."""
    for number in range(count):
        write(folder / f"{number}.wav", voice(number), text=f"text {number}")
        write(folder / pattern.format(name=number), voice(number) * 0.5)
    return folder


def settings(corpus: Path, output: Path, second: str | None = ROOM, **values: Any) -> PrepareSettings:
    clips = {key: values.pop(key) for key in list(values) if key in ClipSettings.model_fields}
    whole = {key: values.pop(key) for key in list(values) if key in PrepareSettings.model_fields}
    reading = CorpusSettings(input=str(corpus), language="en", second=second, **values)
    return PrepareSettings(corpus=reading, clips=ClipSettings(**clips), output=str(output), **whole)


def rows_of(output: Path) -> list[dict[str, Any]]:
    found = [row for path in sorted(output.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    return sorted(found, key=lambda row: row["id"])


def prepared(corpus: Path, output: Path, **values: Any) -> tuple[Summary, list[dict[str, Any]]]:
    values.setdefault("max_skipped_share", 1.0)
    return prepare(settings(corpus, output, **values)), rows_of(output)


def quarantine(output: Path) -> dict[str, dict[str, str]]:
    lines = (output / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}


@pytest.mark.parametrize("pattern", [ROOM, "room/{name}.wav", "{name}/{name}.wav"])
def test_files_are_paired_by_their_names(pattern: str, tmp_path: Path) -> None:
    """A second recording is no clip of its own, and nothing is said of its having no transcript."""
    corpus = meeting(tmp_path / "meeting", pattern=pattern)
    (corpus / pattern.format(name=1)).unlink()
    summary, rows = prepared(corpus, tmp_path / "out", second=pattern)
    assert [row["id"] for row in rows] == ["0", "1", "2"] and not summary.dropped
    assert [row["second_audio"] is not None for row in rows] == [True, False, True]
    assert (summary.with_second, summary.clips) == (2, 3)
    assert summary.notices == {ABSENT: 1} and not summary.census.lines()
    np.testing.assert_allclose(decode_audio(rows[2]["second_audio"]), voice(2) * 0.5, atol=1e-4)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["splits"]["train"]["with_second"] == 2
    assert manifest["settings"]["corpus"]["second"] == pattern


def test_a_second_recording_with_a_transcript_is_no_clip_either(tmp_path: Path) -> None:
    """Nor is one in another folder, nor one that differs from the first in its suffix alone."""
    corpus = meeting(tmp_path / "near", count=2)
    (corpus / "0_room.txt").write_text("text 0")
    assert [row["id"] for row in prepared(corpus, tmp_path / "out")[1]] == ["0", "1"]
    for number in range(2):
        write(tmp_path / "both" / "near" / f"{number}.wav", voice(number), text="one")
        write(tmp_path / "both" / "far" / f"{number}.wav", voice(number), text="one")
    _, rows = prepared(tmp_path / "both", tmp_path / "out2", second="../far/{name}.wav")
    assert [row["id"] for row in rows] == ["near/0", "near/1"] and all(row["second_audio"] for row in rows)
    for number in range(2):
        write(tmp_path / "suffix" / f"{number}.wav", voice(number), text="one")
        write(tmp_path / "suffix" / f"{number}.flac", voice(number + 5))
    _, rows = prepared(tmp_path / "suffix", tmp_path / "out3", second="{name}.flac")
    np.testing.assert_allclose(decode_audio(rows[0]["audio"]), voice(0), atol=1e-4)
    np.testing.assert_allclose(decode_audio(rows[0]["second_audio"]), voice(5), atol=1e-4)


def test_a_table_that_lists_second_recordings_too(tmp_path: Path) -> None:
    corpus = meeting(tmp_path, count=2)
    names = ["0.wav", "0_room.wav", "1.wav", "1_room.wav"]
    lines = "".join(f"{name},text {name[0]}\n" for name in names)
    (corpus / "clips.csv").write_text(f"path,text\n{lines}")
    _, rows = prepared(corpus / "clips.csv", tmp_path / "out")
    assert [row["id"] for row in rows] == ["0", "1"] and all(row["second_audio"] for row in rows)


@pytest.mark.parametrize("second", ["channel", "left_channel"])
def test_channels_of_stereo_recordings(second: str, tmp_path: Path) -> None:
    left, right = voice(1), voice(2) * 0.3
    write(tmp_path / "calls" / "a.wav", np.stack([left, right], 1), text="said on the left")
    write(tmp_path / "calls" / "mono.wav", left, text="one channel")
    summary, rows = prepared(tmp_path / "calls", tmp_path / "out", second=second)
    first, other = (left, right) if second == "channel" else (right, left)
    np.testing.assert_allclose(decode_audio(rows[0]["audio"]), first, atol=1e-4)
    np.testing.assert_allclose(decode_audio(rows[0]["second_audio"]), other, atol=1e-4)
    assert len(rows) == 1 and summary.dropped == {"no second channel": 1}
    assert "one channel, so no right channel" in quarantine(tmp_path / "out")["mono"]["reason"]


def test_another_party_that_says_nothing_costs_no_clip(tmp_path: Path) -> None:
    write(tmp_path / "calls" / "a.wav", np.stack([voice(1), np.zeros(RATE, np.float32)], 1), text="one")
    write(tmp_path / "calls" / "b.wav", np.stack([voice(2), voice(3)], 1), text="two")
    summary, rows = prepared(tmp_path / "calls", tmp_path / "out", second="channel")
    assert [row["second_audio"] is not None for row in rows] == [False, True]
    assert summary.notices == {SILENT: 1} and not summary.dropped


def test_recordings_that_are_all_mono_end_the_preparation(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not one of 2 rows can be used: no second channel"):
        prepared(meeting(tmp_path / "mono", count=1), tmp_path / "out", second="channel", without_text=True)


def test_a_column_names_the_second_recording(tmp_path: Path) -> None:
    """Of a JSON table by paths; what was prepared is read again, by bytes. An empty cell is no second recording."""
    corpus = meeting(tmp_path / "clips")
    lines = [{"audio": f"{i}.wav", "text": f"text {i}", "far": f"{i}_room.wav" if i else None} for i in range(3)]
    (corpus / "table.jsonl").write_text("\n".join(map(json.dumps, lines)))
    summary, rows = prepared(corpus / "table.jsonl", tmp_path / "out", second="far")
    assert [row["second_audio"] is not None for row in rows] == [False, True, True]
    assert summary.census.columns["second_audio"] == "far" and "far" not in summary.census.unused
    _, again = prepared(tmp_path / "out", tmp_path / "again", second="second_audio")
    assert again == rows
    with pytest.raises(DataError, match=r"table.jsonl: --second fra, but it has no .*did you mean 'far'"):
        prepared(corpus / "table.jsonl", tmp_path / "none", second="fra")
    with pytest.raises(DataError, match=r"room\.wav"):
        prepared(corpus, tmp_path / "none", second="room.wav")


def test_a_member_of_a_shard_is_the_second_recording(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for name, content in (("a.near.wav", wav(voice(1))), ("a.far.wav", wav(voice(2))), ("a.txt", b"one")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    _, rows = prepared(tmp_path / "shard.tar", tmp_path / "out", second="far.wav", kind="webdataset")
    np.testing.assert_allclose(decode_audio(rows[0]["audio"]), voice(1), atol=1e-4)
    np.testing.assert_allclose(decode_audio(rows[0]["second_audio"]), voice(2), atol=1e-4)
    with pytest.raises(DataError, match="goes by the names of files"):
        prepared(tmp_path / "shard.tar", tmp_path / "none", columns={"audio": "near.wav"}, kind="webdataset")


def wav(sound: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, RATE, format="WAV")
    return file.getvalue()


def test_segments_are_cut_at_the_same_times_from_both(tmp_path: Path) -> None:
    """The second recording is at another rate; a segment that it does not hold is kept without it."""
    first, second = voice(1, 4.0), voice(2, 2.6)
    write(tmp_path / "talks" / "talk.wav", first)
    write(tmp_path / "talks" / "talk_room.wav", np.repeat(second, 2), rate=2 * RATE)
    (tmp_path / "talks" / "talk.txt").write_text("0.5\t1.25\tone\n1.5\t2.5\ttwo\n2.75\t3.75\tthree\n")
    summary, found = prepared(tmp_path / "talks", tmp_path / "out")
    rows = {row["text"]: row for row in found}
    assert {text for text, row in rows.items() if row["second_audio"]} == {"one", "two"}
    assert summary.notices == {BEYOND: 1} and not summary.dropped
    np.testing.assert_allclose(decode_audio(rows["one"]["audio"]), first[8000:20_000], atol=1e-4)
    assert len(decode_audio(rows["one"]["second_audio"])) == 12_000
    whole = decode_audio(str(tmp_path / "talks" / "talk_room.wav"))
    np.testing.assert_allclose(decode_audio(rows["two"]["second_audio"]), whole[24_000:40_000], atol=2e-4)
    assert soundfile.info(io.BytesIO(rows["two"]["second_audio"]["bytes"])).format == "FLAC"


def test_faults_of_second_recordings_have_reasons_of_their_own(tmp_path: Path) -> None:
    corpus = meeting(tmp_path / "meeting", count=6)
    write(corpus / "0_room.wav", np.zeros(RATE, np.float32))
    (corpus / "1_room.wav").write_bytes(b"no audio at all")
    whole = (corpus / "2_room.wav").read_bytes()
    (corpus / "2_room.wav").write_bytes(whole[: len(whole) // 2])
    write(corpus / "3_room.wav", voice(3, 5.0))
    write(corpus / "4_room.wav", voice(4, 31.0))
    (corpus / "5_room.wav").write_bytes((corpus / "5.wav").read_bytes())
    summary, rows = prepared(corpus, tmp_path / "out")
    told = quarantine(tmp_path / "out")
    kinds = {name: row["kind"].removeprefix("second recording: ") for name, row in told.items()}
    assert kinds == {"0": "no sound", "1": "undecodable audio", "2": "cut off", "4": "too long"}
    assert all(row["reason"].startswith(f"the second recording, {corpus}/{name}_room") for name, row in told.items())
    assert told["0"]["reason"].endswith("1.00 s of digital silence")
    assert [row["id"] for row in rows] == ["3", "5"] and summary.notices == {FAR: 1, COPIED: 1}


def test_a_pattern_that_finds_nothing_ends_the_preparation(tmp_path: Path) -> None:
    """It says where the first was looked for. What cannot be a pattern is told at once."""
    corpus = meeting(tmp_path / "meeting", pattern="{name}_rooom.wav")
    with pytest.raises(DataError, match=r"not one of 3 clips has a second recording; the first .*0_room.wav"):
        prepared(corpus, tmp_path / "out")
    for wrong in ("{name}_room", "{nam}_room.wav", "{name}_{x}.wav", "{name}}.wav", " "):
        with pytest.raises(ValueError, match=r"braces|suffix|right"):
            CorpusSettings(input="x", second=wrong)
    with pytest.raises(ValueError, match="--paths-only"):
        settings(corpus, tmp_path / "out", second="channel", embed_audio=False)


def test_audio_folders_and_paths(tmp_path: Path) -> None:
    corpus = meeting(tmp_path / "meeting", count=2)
    (corpus / "1_room.wav").unlink()
    prepared(corpus, tmp_path / "folder", layout="audiofolder")
    lines = [json.loads(line) for line in (tmp_path / "folder/train/metadata.jsonl").read_text().splitlines()]
    assert [line["second_audio_file_name"] for line in lines] == ["00000/0-second.wav", None]
    assert (tmp_path / "folder/train/00000/0-second.wav").read_bytes() == (corpus / "0_room.wav").read_bytes()
    _, rows = prepared(corpus, tmp_path / "paths", embed_audio=False)
    assert [row["second_audio"] for row in rows] == [{"bytes": None, "path": str(corpus / "0_room.wav")}, None]


def test_silence_is_trimmed_from_channels_alike(tmp_path: Path) -> None:
    silence = np.zeros(RATE, np.float32)
    left, right = (np.concatenate([silence, voice(number), silence]) for number in (1, 2))
    write(tmp_path / "calls" / "a.wav", np.stack([left, right], 1), text="one")
    _, rows = prepared(tmp_path / "calls", tmp_path / "out", second="channel", trim_silence=True)
    audio, second = (decode_audio(rows[0][name]) for name in ("audio", "second_audio"))
    assert len(audio) == len(second) < 1.5 * RATE
    begin = int(np.argmax(np.abs(audio) > 0))
    np.testing.assert_allclose(second[begin : begin + RATE], voice(2), atol=1e-4)


def test_a_second_recording_that_comes_later_is_taken_in(tmp_path: Path) -> None:
    """The same command does the job again; without a change nothing is done again. Duplicates go by the first alone."""
    corpus = meeting(tmp_path / "meeting")
    moved = tmp_path / "1_room.wav"
    (corpus / "1_room.wav").rename(moved)
    plan = settings(corpus, tmp_path / "out", job_rows=1)
    reused: list[bool] = []

    def again() -> Summary:
        reused.clear()
        return prepare(plan, watch=lambda _, is_reused: reused.append(is_reused))

    assert again().with_second == 2
    assert again().with_second == 2 and reused == [True, True, True]
    moved.rename(corpus / "1_room.wav")
    assert again().with_second == 3 and sorted(reused) == [False, True, True]
    fresh = tmp_path / "fresh"
    prepare(settings(corpus, fresh, job_rows=1))
    assert rows_of(fresh) == rows_of(tmp_path / "out")
    with pytest.raises(DataError, match=r"corpus.second was '\{name\}_room.wav', is None"):
        prepare(settings(corpus, tmp_path / "out", second=None, job_rows=1))


def test_rows_left_out_as_duplicates_take_their_second_recordings_along(tmp_path: Path) -> None:
    corpus = meeting(tmp_path / "meeting", count=2)
    table = [{"audio": f"{i}.wav", "text": "one", "id": "same"} for i in range(2)]
    (corpus / "table.jsonl").write_text("\n".join(map(json.dumps, table)))
    for layout in ("parquet", "audiofolder"):
        summary, _ = prepared(corpus / "table.jsonl", tmp_path / layout, layout=layout)
        assert (summary.clips, summary.with_second, summary.dropped) == (1, 1, {"duplicate id": 1})
    left = sorted(path.name for path in (tmp_path / "audiofolder/train/00000").iterdir())
    assert left == ["same-second.wav", "same.wav"]


def test_outputs_of_earlier_releases_go_on(tmp_path: Path) -> None:
    """Nothing that tells one preparation from another names second recordings where none are asked for."""
    plan = settings(meeting(tmp_path / "meeting"), tmp_path / "out", second=None)
    assert "second" not in json.loads(plan.fingerprint())["corpus"]


def test_inspection_and_preparation_see_the_same_pairs(tmp_path: Path) -> None:
    corpus = meeting(tmp_path / "meeting")
    inspection = inspect_corpus(settings(corpus, tmp_path / "out").corpus, InspectionSettings())
    assert (inspection.clips, inspection.with_second) == (3, 3)
    assert inspection.differences.quantile(0.5) == pytest.approx(-6.0, abs=0.1)


def test_rows_of_annotations_are_known_from_earlier_releases() -> None:
    """Jobs that they did are not done again."""
    rows = RecordRows(rows=(Record("p", "a.wav", "t", id="i", start=1.0, end=2.0),))
    assert rows.digest() == "558664561650b452a984c4f34f43fab9"


def test_a_folder_is_trained_on_with_the_column_that_its_table_has(tmp_path: Path) -> None:
    """Paths are those seen from the folder; a file that is not there is none."""
    corpus = meeting(tmp_path / "corpus" / "train")
    (corpus / "0_room.wav").unlink()
    table = [{"file_name": f"{i}.wav", "text": "one", "far": f"{i}_room.wav" if i < 2 else None} for i in range(3)]
    (corpus / "metadata.jsonl").write_text("\n".join(map(json.dumps, table)))
    columns = ColumnNames(second_audio="far")
    source = source_of(SourceConfig(folder=str(tmp_path / "corpus"), columns=columns), "data.train")
    assert isinstance(source, FolderSource)
    assert [row["far"] for row in source.held_rows] == [None, "train/1_room.wav", None]
    assert [line for line in source.remarks if "1_room" in line] == []
    columns = ColumnNames(second_audio="fra")
    source = source_of(SourceConfig(folder=str(tmp_path / "corpus"), columns=columns), "data.train")
    with pytest.raises(DataError, match=r"columns.second_audio fra, but it has no column 'fra' \(did you mean 'far'"):
        source.held_rows  # noqa: B018
