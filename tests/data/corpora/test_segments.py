"""Segments of long recordings, from tables and annotation files, become records with times, splits and names that stay;
times that cannot be are refused with file and row, other faults stay with their row."""

import json
import re
import tracemalloc
import unicodedata
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from data.audio.decoding import UndecodableAudio
from data.audio.suffixes import is_recording
from data.corpora.census import Census
from data.corpora.formats import plan_jobs
from data.corpora.readers.segments import is_segmented, read_segments
from data.corpora.record import Record
from data.corpora.settings import CorpusSettings
from data.errors import DataError
from data.preparation.clips import cut_clip, encode_flac
from tests.data.corpora.test_annotations import EAF, LONG

HEADER = "audio_path,start,end,text"


def settings(address: Any, **values: Any) -> CorpusSettings:
    return CorpusSettings(input=str(address), **values)


def read(address: Any, **values: Any) -> list[Record]:
    return list(read_segments(str(address), settings(address, **values), Census()))


def table(folder: Path, *rows: str, name: str = "segments.csv", header: str = HEADER) -> Path:
    path = folder / name
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


def tree(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def summary(records: list[Record]) -> list[tuple[Any, ...]]:
    return [(record.id, record.start, record.end, record.text, record.split) for record in records]


SEGMENTS = [
    {"audio_path": "talks/one.wav", "start": 0.5, "end": "0:00:02.250", "text": "salam, dünya", "split": "dev",
     "speaker": "s1", "language": "az", "id": "first", "topic": "greeting"},
    {"audio_path": "talks/two.mp3", "start": 10, "end": 12.5, "text": 'he said "yes"', "split": "train",
     "speaker": "s2", "language": "az", "id": "", "topic": ""},
    {"audio_path": "./talks/one.wav", "start": "2.25", "end": "3.000", "text": "necəsən", "split": "",
     "speaker": "", "language": "", "id": "", "topic": "3"},
]  # fmt: skip


def written(folder: Path, name: str) -> Path:
    import csv

    path = folder / name
    with path.open("w", encoding="utf-8-sig" if name.endswith(".csv") else "utf-8", newline="") as file:
        if name.endswith(".jsonl"):
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in SEGMENTS)
        else:
            writer = csv.DictWriter(file, list(SEGMENTS[0]), delimiter="\t" if name.endswith(".tsv") else ",")
            writer.writeheader()
            writer.writerows(SEGMENTS)
    return path


@pytest.mark.parametrize("name", ["any.csv", "any.tsv", "any.jsonl"])
@pytest.mark.parametrize("job_rows", [2000, 1])
def test_a_table(name: str, job_rows: int, tmp_path: Path) -> None:
    path = written(tmp_path, name)
    records = read(path, extra_columns=("topic",), job_rows=job_rows)
    assert summary(records) == [
        ("first", 0.5, 2.25, "salam, dünya", "validation"),
        ("talks/two-10000-12500", 10, 12.5, 'he said "yes"', "train"),
        ("talks/one-2250-3000", 2.25, 3, "necəsən", None),
    ]
    assert [record.audio.replace("/./", "/") for record in records] == [
        f"{tmp_path}/talks/{name}" for name in ("one.wav", "two.mp3", "one.wav")
    ]
    assert [record.speaker for record in records] == ["s1", "s2", None]
    assert [record.language for record in records] == ["az", "az", None]
    assert [record.extra for record in records] == [{"topic": "greeting"}, {"topic": ""}, {"topic": "3"}]
    word = "line" if name.endswith("jsonl") else "row"
    assert [record.place for record in records] == [f"{path}: {word} {number}" for number in (1, 2, 3)]
    assert not any(record.fault for record in records)
    assert len(list(read_segments(str(path), settings(path), Census()))) == 3 and is_segmented(
        str(path), settings(path)
    )


def test_columns_by_other_names(tmp_path: Path) -> None:
    path = table(tmp_path, "a.wav,1,2,hi", header="recording,from,to,words")
    columns = {"audio": "recording", "start": "from", "end": "to", "text": "words"}
    assert summary(read(path, columns=columns)) == [("a-1000-2000", 1, 2, "hi", None)]
    assert is_segmented(str(path), settings(path, columns=columns))


OVERLAPS = [
    (["a.wav,0,2,x", "b.wav,1,3,y", "a.wav,1.9,4,z"], "row 3: starts at 1.9 s, before row 1 ends (2 s)"),
    (["a.wav,5,6,x", "a.wav,1,2,y", "./a.wav,1.5,5.5,z"], "row 3: starts at 1.5 s, before row 2 ends (2 s)"),
    (["a.wav,5,6,x", "a.wav,1,2,y", "a.wav,4,5.5,z"], "row 3: ends at 5.5 s, after row 1 starts (5 s)"),
    (["a.wav,1,2,x", "a.wav,1,2,x"], "row 2: starts at 1 s, before row 1 ends (2 s)"),
]


@pytest.mark.parametrize(("rows", "message"), OVERLAPS)
def test_overlaps_are_refused_unless_allowed(rows: list[str], message: str, tmp_path: Path) -> None:
    path = table(tmp_path, *rows)
    for job_rows in (2000, 1):
        with pytest.raises(DataError) as caught:
            list(read_segments(str(path), settings(path, job_rows=job_rows), Census()))
        assert f"segments.csv: {message}" in str(caught.value)
    assert len(read(path, allow_overlaps=True)) == len(rows)


def test_scattered_rows_that_touch_do_not_overlap(tmp_path: Path) -> None:
    rows = ["a.wav,5,6,x", "b.wav,5,6,x", "a.wav,1,2,x", "a.wav,2,5.0009,x", "b.wav,0:05.9995,7,x"]
    assert len(read(table(tmp_path, *rows))) == 5


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.wav,2,1,x", "ends at 1 s, not after its start at 2 s"),
        ("a.wav,2,2,x", "ends at 2 s, not after its start at 2 s"),
        ("a.wav,-1,2,x", "start is '-1'; a time is not negative"),
        ("a.wav,nan,2,x", "start is 'nan'"),
        ("a.wav,0,inf,x", "end is 'inf'"),
        ('a.wav,"1,5",2,x', "start is '1,5'; seconds (12.5) or h:mm:ss.mmm are right, with a point and no comma"),
        ("a.wav,,2,x", "start is empty"),
        ("a.wav,1,,x", "end is empty"),
        ("a.wav,one,2,x", "start is 'one'"),
        ("a.wav,1,2", "3 fields where the header has 4"),
        ("a.wav,1,2,hello, world", "5 fields where the header has 4; quote a text with the separator"),
        (",9,8,x", "ends at 8 s"),
    ],
)
def test_times_that_cannot_be_are_refused_with_their_row(row: str, message: str, tmp_path: Path) -> None:
    path = table(tmp_path, "a.wav,3,4,x", "", row)
    for allow_overlaps in (False, True):
        with pytest.raises(DataError) as caught:
            read(path, allow_overlaps=allow_overlaps)
        assert str(caught.value).startswith(f"{path}: row 2: ") or "row 2" in str(caught.value)
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("NaN", "start is nan"),
        ("-Infinity", "not negative"),
        ("true", "start is True"),
        ("null", "start is empty"),
        ('"1,5"', "no comma"),
        ("[1]", "start is [1]"),
        ("1" + "0" * 400, "start is 1000"),
    ],
)
def test_times_in_json(value: str, message: str, tmp_path: Path) -> None:
    good = '{"audio_path": "a.wav", "start": 0, "end": 1, "text": "x"}\n'
    path = tmp_path / "t.jsonl"
    path.write_text(good + f'{{"audio_path": "a.wav", "start": {value}, "end": 2, "text": "x"}}\n')
    with pytest.raises(DataError) as caught:
        read(path)
    assert f"{path}: line 2: " in str(caught.value) and message in str(caught.value)


@pytest.mark.parametrize("content", ["{", "[1, 2", "7", '"text"', "[" * 100_000, '{"audio_path": "\\ud8"}'])
def test_lines_that_are_no_json_objects(content: str, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"audio_path": "a.wav", "start": 0, "end": 1, "text": "x"}\n' + content + "\n")
    with pytest.raises(DataError, match=r"t\.jsonl: line 2: "):
        read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"audio_path,start,stopp,text\na.wav,1,2,x\n", "no column for end"),
        (b"audio_path,starts,end,text\na.wav,1,2,x\n", "no column for start (did you mean 'starts'?)"),
        (b"audio_path;start;end;text\na.wav,1,2,x\n", "no row has its 4 fields"),
        (b"start,end,text\n1,2,x\n", "no column for audio"),
        (b"audio_path,start,end\na.wav,1,2\n", "no column for text"),
        (b"audio_path,start,end,text,start\na.wav,1,2,x,1\n", "'start' twice"),
        (b"", "is empty"),
        (b"audio_path,start,end,text\n", "has no rows"),
        (b'audio_path,start,end,text\na.wav,0,1,x\na.wav,1,2,"x\nb.wav,3,4,y\n', "after row 1"),
        (b'audio_path,start,end,text\na.wav,0,1,"x" y\n', "after row 0"),
        (b"audio_path,start,end,text\na.wav,0,1,x\na.wav,1,2,caf\xe9\n", "row 2: not UTF-8"),
        ("audio_path,start,end,text\na.wav,0,1,x\n".encode("utf-16")[:-1], "not UTF-16 to its end"),
    ],
)
def test_what_is_no_table_of_segments(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "segments.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert "segments.csv" in str(caught.value) and message in str(caught.value)


def test_a_column_that_was_named_and_is_not_there(tmp_path: Path) -> None:
    path = table(tmp_path, "a.wav,1,2,x")
    with pytest.raises(DataError, match=r"start=start_time.*it has audio_path, end, start"):
        read(path, columns={"start": "start_time"})
    with pytest.raises(DataError, match=r"no column 'txet' \(did you mean 'text'\?\)"):
        read(path, extra_columns=("txet",))


def test_other_faults_stay_with_their_row(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"audio_path": "a.wav", "start": 0, "end": 1, "text": "good"},
        {"audio_path": None, "start": 1, "end": 2, "text": "x"},
        {"audio_path": 7, "start": 2, "end": 3, "text": "x"},
        {"audio_path": "a.wav", "start": 3, "end": 4, "text": ["x"]},
        {"audio_path": "a.wav", "start": 4, "end": 5},
        {"audio_path": "../../etc/a.wav", "start": 5, "end": 6, "text": "x"},
        {"audio_path": "a.wav", "start": 6, "end": 7, "text": "x", "speaker": {}},
    ]
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    records = read(path)
    faults = ["None", "no audio", "int, neither", "text is list", "None", "leaves", "speaker is dict"]
    for record, fault in zip(records, faults, strict=True):
        assert fault in str(record.fault)
    assert not records[4].text


def test_audio_may_lie_within_the_audio_root_alone(tmp_path: Path) -> None:
    path = table(
        tmp_path, "../audio/a.wav,0,1,x", f"{tmp_path}/audio/b.wav,0,1,x", "/elsewhere/c.wav,0,1,x", name="t.csv"
    )
    assert ["leaves" in str(record.fault) for record in read(path)] == [True, False, False]
    rooted = table(
        tmp_path, "audio/a.wav,0,1,x", f"{tmp_path}/audio/b.wav,0,1,x", "/elsewhere/c.wav,0,1,x", name="u.csv"
    )
    records = read(rooted, audio_root=str(tmp_path))
    assert ["leaves" in str(record.fault) for record in records] == [False, False, True]
    assert [record.id for record in records[:2]] == ["audio/a-0-1000", "audio/b-0-1000"]


def test_ids_are_unique_where_stems_are_not_and_where_speakers_overlap(tmp_path: Path) -> None:
    header = f"{HEADER},speaker"
    rows = ["x/a.wav,0,1,t,A", "y/a.wav,0,1,t,A", "x/a.mp3,0,1,t,A", "x/a.wav,1,2,t,A"]
    path = table(tmp_path, *rows, header=header)
    expected = ["x/a-0-1000", "y/a-0-1000", "x/a.mp3-0-1000", "x/a-1000-2000"]
    assert [record.id for record in read(path)] == expected
    path = table(tmp_path, "a.wav,0,1,t,A", "a.wav,0,1,t,B", header=header)
    assert [record.id for record in read(path, allow_overlaps=True)] == ["a-0-1000-A", "a-0-1000-B"]


def test_a_table_is_read_as_it_is_asked_for_in_little_memory(tmp_path: Path) -> None:
    rows = 20_000
    lines = (f"talk{n % 50}.wav,{n // 50 * 2},{n // 50 * 2 + 2},some words that are said here" for n in range(rows))
    path = table(tmp_path, *lines)
    with path.open("a") as file:
        file.write("talk1.wav,nonsense,2,x\n")
    tracemalloc.start()
    records = read_segments(str(path), settings(path), Census())
    for _ in range(rows):
        next(records)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6  # 24 bytes a row, and a piece of 2000 rows
    with pytest.raises(DataError, match=f"row {rows + 1}: start is 'nonsense'"):
        next(records)


TALK = "0.5\t1\tbir\n1 2 iki\n"


def test_a_folder_of_recordings_with_timestamped_text(tmp_path: Path) -> None:
    folder = tree(
        tmp_path,
        {
            "train/a.wav": "", "train/a.txt": TALK, "dev/sub/b.FLAC": "", "dev/sub/b.txt": "[0:03 --> 0:04] üç",
            "test/c.mp3": "", "test/c.txt": "# nothing yet\n", "d.ogg": "", "d.txt": "5 6 beş",
            "readme.txt": "Read me!",
            "test/e.wav": "", "test/.hidden.wav": "", ".trash/x.wav": "", ".trash/x.txt": TALK,
            "train/a.mp3": "",
        },
    )  # fmt: skip
    records = read(folder, language="az")
    assert summary(records) == [
        ("d-5000-6000", 5, 6, "beş", None),
        ("dev/sub/b-3000-4000", 3, 4, "üç", "validation"),
        (None, 0, None, None, "test"),
        ("train/a-500-1000", 0.5, 1, "bir", "train"),
        ("train/a-1000-2000", 1, 2, "iki", "train"),
        (None, 0, None, None, "test"),
    ]
    assert [record.fault for record in records] == [
        None, None, "no segments in it", None, None, "a recording without annotation"
    ]  # fmt: skip
    assert records[3].audio == f"{folder}/train/a.wav" and records[3].language == "az"
    assert records[3].place == f"{folder}/train/a.txt: line 1"
    assert is_segmented(str(folder), settings(folder))


def test_a_folder_of_plain_transcripts_is_not_segmented(tmp_path: Path) -> None:
    folder = tree(tmp_path, {"a.wav": "", "a.txt": "plain words here", "a.TextGrid": LONG})
    assert not is_segmented(str(folder), settings(folder))
    assert is_segmented(f"{folder}/a.TextGrid", settings(folder))
    (folder / "a.txt").unlink()
    assert is_segmented(str(folder), settings(folder))
    path = table(folder, "a.wav,x", header="audio_path,text", name="t.csv")
    assert not is_segmented(str(path), settings(path))
    (folder / "a.TextGrid").rename(folder / "a.txt")
    assert is_segmented(str(folder), settings(folder))
    assert [record.speaker for record in read(folder)] == ["Aygün", None]


def test_the_richer_annotation_is_read_where_there_are_several(tmp_path: Path) -> None:
    folder = tree(tmp_path, {"a.wav": "", "a.txt": "not times", "a.TextGrid": LONG})
    records = read(folder)
    assert [(record.text, record.speaker) for record in records] == [
        ('he said "yes" – 5 twice', "Aygün"),
        ("bəli", None),
    ]
    assert records[0].place == f"{folder}/a.TextGrid: tier 'Aygün', interval 2"
    assert [record.text for record in read(folder, tiers=("Sentences",))] == ["bəli"]


def test_annotations_apart_from_their_recordings(tmp_path: Path) -> None:
    tree(tmp_path, {"audio/train/a.wav": "", "grids/train/a.TextGrid": LONG, "grids/train/b.TextGrid": LONG})
    records = read(tmp_path / "grids", audio_root=str(tmp_path / "audio"))
    assert [(record.audio, record.split) for record in records[:2]] == [(f"{tmp_path}/audio/train/a.wav", "train")] * 2
    assert {record.fault for record in records[2:]} == {"no recording of the same name beside it, nor in --audio-root"}
    with pytest.raises(DataError, match="no recordings in"):
        read(tmp_path / "grids")


def test_overlapping_tiers_name_both_and_what_to_do(tmp_path: Path) -> None:
    overlapping = LONG.replace("xmin = 4\n", "xmin = 3\n")
    folder = tree(tmp_path, {"a.wav": "", "a.TextGrid": overlapping})
    message = (
        r"a\.TextGrid: tier 'Sentences', interval 1: starts at 3 s, before tier 'Aygün', interval 2 ends \(3.25 s\)"
    )
    with pytest.raises(DataError, match=message + "; --tiers chooses, --allow-overlaps reads all"):
        read(folder)
    assert [record.id for record in read(folder, allow_overlaps=True)] == ["a-1500-3250-Aygün", "a-3000-5000"]
    assert len(read(folder, tiers=("Aygün",))) == 1


def test_overlapping_lines(tmp_path: Path) -> None:
    folder = tree(tmp_path, {"a.wav": "", "a.txt": "5 6 x\n1 2 y\n\n5.5 7 z"})
    with pytest.raises(DataError, match=r"a\.txt: line 4: starts at 5.5 s, before line 1 ends \(6 s\)"):
        read(folder)


def test_tiers_that_are_not_there(tmp_path: Path) -> None:
    folder = tree(tmp_path, {"a.wav": "", "a.TextGrid": LONG})
    with pytest.raises(DataError, match=r"a\.TextGrid: --tiers names 'Aygun' \(did you mean 'Aygün'\?\)"):
        read(folder, tiers=("Aygun",))
    with pytest.raises(DataError, match=r"--tiers names 'Sentence' \(did you mean 'Sentences'\?\), but no file"):
        read(folder, tiers=("Sentences", "Sentence"))


@pytest.mark.parametrize("place", ["talk one.wav", "talk.wav", "audio/talk one.wav"])
def test_elan_finds_its_recording(place: str, tmp_path: Path) -> None:
    eaf = EAF.replace("./talk%20one.wav", "./audio/talk%20one.wav") if "/" in place else EAF
    folder = tree(tmp_path, {place: "", "talk.eaf": eaf, "other.wav": ""})
    records = [record for record in read(folder) if record.place.startswith(f"{folder}/talk.eaf")]
    assert [record.text for record in records] == ["salam dünya & co", "no end", ""]
    assert {record.audio for record in records} == {f"{folder}/{place}"}
    assert (records[0].id, records[0].speaker, records[0].fault) == ("talk-500-2250", "Aygün", None)
    assert records[1].fault == "a time slot without a time"


def test_elan_may_not_name_recordings_elsewhere(tmp_path: Path) -> None:
    tree(tmp_path, {"secret.wav": "", "corpus/a.wav": "", "corpus/talk.eaf": EAF.replace("./talk%20one", "../secret")})
    tree(tmp_path, {"corpus/a.txt": "0\t1\tx"})
    records = read(tmp_path / "corpus")
    assert not any("secret" in str(record.audio) for record in records)


def test_two_files_for_one_recording(tmp_path: Path) -> None:
    folder = tree(tmp_path, {"talk one.wav": "", "one.eaf": EAF, "two.eaf": EAF})
    with pytest.raises(DataError, match=r"one\.eaf and .*two\.eaf both annotate .*talk one\.wav"):
        read(folder)
    assert len(read(folder, allow_overlaps=True)) == 6


def test_tables_in_folders(tmp_path: Path) -> None:
    for split in ("train", "test"):
        table(tree(tmp_path, {f"{split}/a.wav": ""}) / split, "a.wav,0,1,x")
    assert summary(read(tmp_path)) == [("a-0-1000", 0, 1, "x", "test"), ("a-0-1000", 0, 1, "x", "train")]
    assert is_segmented(str(tmp_path), settings(tmp_path))
    table(tmp_path / "test", "a.wav\t0\t1\tx", name="segments.tsv", header=HEADER.replace(",", "\t"))
    with pytest.raises(DataError, match=r"segments\.csv and .*segments\.tsv are both tables"):
        read(tmp_path)


def test_single_files_and_globs(tmp_path: Path) -> None:
    folder = tree(tmp_path, {"a[1].wav": "", "a[1].txt": TALK, "b.wav": "", "b.TextGrid": LONG, "c.wav": ""})
    assert [record.id for record in read(folder / "a[1].txt")] == ["a[1]-500-1000", "a[1]-1000-2000"]
    assert [record.text for record in read(folder / "*.TextGrid", tiers=("Sentences",))] == ["bəli"]
    with pytest.raises(DataError, match="there is no such file"):
        read(folder / "nothing.txt")
    with pytest.raises(DataError, match=r"--tiers: .* is a table"):
        read(table(folder, "b.wav,0,1,x", name="t.csv"), tiers=("A",))
    for values in ({"columns": {"text": "words"}}, {"extra_columns": ("topic",)}):
        with pytest.raises(DataError, match="is for tables of segments"):
            read(folder / "*.txt", **values)
    with pytest.raises(DataError, match=r"no \.eaf, \.TextGrid, \.srt, \.vtt, \.sbv, \.json or \.txt that has a rec"):
        read(tree(tmp_path / "bare", {"a.wav": ""}))


def test_an_object_store() -> None:
    store = fsspec.filesystem("memory")
    ramp = np.arange(48_000, dtype=np.float32) % 30_000 / 32_768
    store.pipe_file("/segmented/train/a.flac", encode_flac(ramp))
    store.pipe_file("/segmented/train/a.txt", TALK.encode())
    store.pipe_file("/segmented/segmented.csv", f"{HEADER}\ntrain/a.flac,1,2,x\n".encode())
    for address in ("memory://segmented", "memory://segmented/"):
        first, second = read(address)
        assert (first.id, first.split, second.text) == ("train/a-500-1000", "train", "iki")
        np.testing.assert_array_equal(cut_clip(first), ramp[8_000:16_000])
    (row,) = read("memory://segmented/segmented.csv")
    assert row.id == "train/a-1000-2000"
    np.testing.assert_array_equal(cut_clip(row), ramp[16_000:32_000])


def wav(seconds: float) -> bytes:
    return encode_flac(np.zeros(round(16_000 * seconds), np.float32))


def planned(folder: Path, **values: Any) -> tuple[list[Record], Census]:
    census = Census()
    jobs = list(plan_jobs(settings(folder, **values), census))
    return [record for job in jobs for record in job.rows.records()], census


SRT = "1\n00:00:00,500 --> 00:00:01,000\n<i>bir</i>\n\n2\n00:00:01,000 --> 00:00:02,000\niki\nüç\n"
TIMED = [(0.5, 1, "bir"), (1, 2, "iki üç")]
CONTENTS = {
    "subrip": ("txt", SRT),
    "vtt": ("txt", "WEBVTT\n\n00:00.500 --> 00:01.000\nbir\n\n00:01.000 --> 00:02.000\niki\nüç\n"),
    "sbv": ("txt", "0:00:00.500,0:00:01.000\nbir\n\n0:00:01.000,0:00:02.000\niki üç\n"),
    "audacity": ("txt", "0,500000\t1,000000\tbir\n1,000000\t2,000000\tiki üç\n"),
    "bracketed": ("txt", "(0.5-1) bir\n(1-2.0) iki üç\n"),
    "json": ("txt", '{"segments": [{"start": 0.5, "end": 1, "text": "bir"}, '
                    '{"start": 1, "end": 2, "text": "iki üç"}]}'),
    "TextGrid": ("txt", '"ooTextFile" "TextGrid" 0 3 <exists> 1 "IntervalTier" "A" 0 3 2 0.5 1 "bir" 1 2 "iki üç"'),
    ".srt": ("srt", SRT),
    ".vtt": ("VTT", "WEBVTT\n\n00:00.500 --> 00:01.000\nbir\n\n00:01.000 --> 00:02.000\niki üç\n"),
    ".json": ("json", '{"text": "", "segments": [{"start": 0.5, "end": 1, "text": " bir"}, '
                      '{"start": 1, "end": 2, "text": "iki üç"}]}'),
}  # fmt: skip


@pytest.mark.parametrize("shape", CONTENTS)
def test_timed_text_beside_a_recording_is_read_as_what_it_is(shape: str, tmp_path: Path) -> None:
    suffix, content = CONTENTS[shape]
    folder = tree(tmp_path, {"a.flac": wav(3), f"a.{suffix}": content, "b.flac": wav(1), "b.json": '{"age": 3}'})
    records, census = planned(folder)
    assert [(record.start, record.end, record.text) for record in records if not record.fault] == TIMED
    assert [record.fault for record in records if record.fault] == ["a recording without annotation"]
    assert census.left == {".json files": ["b.json"]}


REFUSED = {
    "starts": ("[00:00:01] bir\n[00:00:02] iki\n", r"b\.txt: line 1: .* has a start and no end"),
    "clocks": ("0:01 bir\n0:02 iki\n", r"b\.txt: line 1: '0:01 bir' may begin with times, or with numbers; --kind fol"),
    "broken": ("bir\n\n1\n00:00:01,000 --> 00:00:02,000\niki\n", r"b\.txt: line 1: 'bir' stands before any times"),
    "one_line": ("1.5 2.5 bir\niki", r"b\.txt: line 1: '1.5 2.5 bir' may begin.*--kind segments for what is said when"),
    "numbers": ("1 2 three", r"b\.txt: line 1: '1 2 three' may begin with times"),
    "table": ("Line\tSpkr\tStTime\tContent\tEnTime\n1\tann\t0.5\tbir\t1.5\n", r"b\.txt: line 1: start is 'Line'"),
    "semicolons": ("Ann;0.5;1.25;bir", r"b\.txt: line 1: 'Ann;0.5;1.25;bir' is no segment"),
    "samples": ("0 46797 She had your dark suit", r"b\.txt: line 1: .* lie beyond the recording's end; are they samp"),
    "xml": ("<?xml version='1.0'?><a/>", r"b\.txt is 'a', not ELAN's"),
    "commas": ("1,5\t2.5\tbir", r"b\.txt: line 1: start is '1,5'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_timed_text_that_is_not_understood_never_becomes_a_transcript(case: str, tmp_path: Path) -> None:
    """Nor does a first file that is plain decide for all."""
    content, message = REFUSED[case]
    folder = tree(tmp_path, {"a.flac": wav(2.9), "a.txt": "plain words", "b.flac": wav(2.9), "b.txt": content})
    with pytest.raises(DataError, match=message):
        planned(folder)
    (folder / "a.txt").unlink()
    with pytest.raises(DataError, match=message):
        planned(folder)


def test_a_text_that_says_when_is_no_transcript_where_the_user_says_so_either(tmp_path: Path) -> None:
    folder = tree(tmp_path, {"a.flac": wav(3), "a.txt": SRT, "b.flac": wav(3), "b.txt": "1 2 three"})
    with pytest.raises(DataError, match=r"a\.txt: line 2: '00:00:00,500 --> 00:00:01,000' says when, so this is no tr"):
        planned(folder, kind="folder")
    (folder / "a.txt").write_text("words")
    assert [record.text for record in planned(folder, kind="folder")[0]] == ["words", "1 2 three"]
    with pytest.raises(DataError, match=r"a\.txt: line 1: 'words' is no segment"):
        planned(folder, kind="segments")
    (folder / "a.txt").unlink()
    assert [(record.start, record.end, record.text) for record in planned(folder, kind="segments")[0]][:1] == [
        (1, 2, "three")
    ]


def test_texts_with_times_and_without_are_read_each_as_what_it_is(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"a.txt": "plain words", "b.txt": SRT, "c.txt": "caf\xe9".encode("latin-1")}
    folder = tree(tmp_path, {f"{name}.flac": wav(3) for name in "abc"} | files)
    records, census = planned(folder, language="az")
    assert summary(records) == [
        ("a", 0, None, "plain words", None), ("b-500-1000", 0.5, 1, "bir", None),
        ("b-1000-2000", 1, 2, "iki üç", None), (None, 0, None, None, None),
    ]  # fmt: skip
    assert "neither UTF-8 nor" in str(records[3].fault) and records[0].language == "az"
    assert census.notices == [
        "beside segments: .txt files without times, each the transcript of a whole recording: a.txt, c.txt"
    ]


def test_transcripts_that_begin_with_numbers_stay_transcripts_where_the_numbers_are_no_times(tmp_path: Path) -> None:
    said = {"a": "1984 2001 were good years", "b": "7.30 8.15 and 9.45 trains", "c": "two 3 4", "d": "7:30 it is"}
    files = {f"{name}.txt": text for name, text in said.items()} | {f"{name}.flac": wav(2) for name in said}
    assert [record.text for record in planned(tree(tmp_path, files))[0]] == list(said.values())
    tree(tmp_path, {"c.txt": "100 2000 three", "d.txt": "0 3250 four"})
    with pytest.raises(DataError, match=r"a\.txt: line 1: '1984 2001 were"):  # no transcript, or milliseconds
        planned(tmp_path)
    tree(tmp_path, {f"{name}.txt": f"0.5 1.{name} x".replace(name, "5") for name in "abcd"})
    assert [(record.start, record.end) for record in planned(tmp_path)[0]] == [(0.5, 1.5)] * 4


def test_annotations_without_a_recording_do_not_make_a_folder_of_transcripts_one_of_segments(tmp_path: Path) -> None:
    folder = tree(tmp_path, {"a.flac": wav(3), "a.txt": "bir", "b.srt": "1", "c.eaf": EAF})
    records, census = planned(folder)
    assert [record.text for record in records] == ["bir"]
    assert census.left == {".eaf files": ["c.eaf"], ".srt files": ["b.srt"]}


def test_subtitles_in_several_languages(tmp_path: Path) -> None:
    folder = tree(
        tmp_path, {"talk.flac": wav(3), "talk.en.srt": SRT, "talk.pt-BR.vtt": "WEBVTT\n\n0:01.0 --> 0:02.0\num"}
    )
    with pytest.raises(
        DataError, match=r"talk\.en\.srt and .*talk\.pt-BR\.vtt are subtitles of .*; --language chooses"
    ):
        planned(folder)
    records, census = planned(folder, language="pt")
    assert [(record.text, record.language, record.id) for record in records] == [("um", "pt", "talk.pt-BR-1000-2000")]
    assert census.notices == ["not read, as --language chooses among subtitles: talk.en.srt"]
    (folder / "talk.pt-BR.vtt").unlink()
    assert [record.language for record in planned(folder)[0]] == ["en", "en"]
    (folder / "talk.en.srt").rename(folder / "talk.eng.srt")
    assert [record.language for record in planned(folder, language="az")[0]] == ["az", "az"]


def test_names_of_transcripts_of_recordings_that_differ_in_suffix_alone(tmp_path: Path) -> None:
    """As launch/transcribe.py names them."""
    folder = tree(tmp_path, {"talk.flac": "", "talk.mp3": "", "talk.srt": SRT, "talk.mp3.srt": SRT})
    pairs = {record.place.partition(":")[0]: record.audio for record in read(folder)}
    assert pairs == {f"{folder}/talk.srt": f"{folder}/talk.flac", f"{folder}/talk.mp3.srt": f"{folder}/talk.mp3"}
    (folder / "talk.flac").unlink()
    with pytest.raises(DataError, match=r"talk\.mp3\.srt and .*talk\.srt are both of .*talk\.mp3; keep one"):
        read(folder)


def test_what_is_not_read_is_told_once(tmp_path: Path) -> None:
    folder = tree(tmp_path, {"a.flac": wav(9), "a.TextGrid": LONG, "a.srt": SRT, "b.flac": wav(9), "b.vtt": "WEBVTT",
                             "b.srt": SRT})  # fmt: skip
    for limit in (None, 1):
        _, census = planned(folder, job_rows=1, max_samples=limit)
        assert census.notices == [
            "not read: tiers that hold points in time, which have no end: 'bell' (1 annotation in 1 file)",
            "not read, as of a recording's files the first of .eaf, .TextGrid, .srt, .vtt, .sbv, .json, .txt is read: "
            "a.srt, b.vtt",
        ]
    points = LONG.replace("IntervalTier", "TextTier").replace("size = 3\n        int", "size = 0\n        int")
    points = points[: points.index("    item [3]")].replace("size = 3", "size = 2")
    points = re.sub(r"(?s)        intervals \[1\].*?(?=    item \[2\])", "", points)
    (folder / "a.TextGrid").write_text(points)
    record = next(record for record in planned(folder)[0] if record.place.endswith("a.TextGrid"))
    assert record.fault == "no segments in the tiers that are read; not read: 'bell'"


def test_transcripts_without_times_go_before_annotations_of_the_same_recordings(tmp_path: Path) -> None:
    folder = tree(tmp_path, {"a.flac": wav(9), "a.srt": SRT, "a.txt": "bir iki", "b.flac": wav(1), "b.txt": "üç"})
    records, census = planned(folder)
    assert [record.text for record in records] == ["bir iki", "üç"]
    assert census.notices == [
        "recordings with a .txt without times, which is read, and annotations, which are not: 1, such as "
        f"{folder}/a.srt; --kind segments reads those"
    ]
    (folder / "a.flac").write_bytes(wav(31))  # which is more than Whisper hears at once
    assert [record.text for record in planned(folder)[0]] == ["bir", "iki üç", "üç"]
    (folder / "a.flac").write_bytes(wav(9))
    tree(tmp_path, {"b.txt": TALK})
    records, census = planned(folder)
    assert [record.text for record in records] == ["bir", "iki üç", "bir", "iki"]
    assert census.notices == ["not read, as the recording has a file with times, too: .txt files without: a.txt"]


def test_an_annotation_whose_recording_has_another_name_says_what_is_like_it(tmp_path: Path) -> None:
    folder = tree(tmp_path, {"talk (1).wav": "", "talk.srt": SRT, "film.mp4": "", "film.vtt": "WEBVTT", "x.wav": "",
                             "x.srt": SRT})  # fmt: skip
    faults = {record.place.rpartition("/")[2].partition(":")[0]: str(record.fault) for record in read(folder)}
    assert faults["talk.srt"].endswith("nor in --audio-root (did you mean 'talk (1).wav'?)")
    if not is_recording("film.mp4"):
        assert faults["film.vtt"] == "film.mp4 cannot be decoded here; ffmpeg would read it"
        with pytest.raises(DataError, match=r"no recordings in .*; film\.mp4 and what else may be here, ffmpeg would"):
            read(tree(tmp_path / "films", {"film.mp4": "", "film.vtt": "WEBVTT"}))


def test_recordings_without_annotation_are_rows_where_that_is_asked_for(tmp_path: Path) -> None:
    folder = tree(tmp_path, {"a.flac": wav(9), "a.srt": SRT, "test/b.flac": wav(1)})
    record = planned(folder, without_text=True, language="az")[0][-1]
    assert (record.id, record.text, record.fault, record.split, record.language) == ("test/b", None, None, "test", "az")


def test_milliseconds_taken_for_seconds_are_told(tmp_path: Path) -> None:
    rows = "0\t1500\ta\n1500\t2900\tb\n"
    folder = tree(tmp_path, {"a.flac": wav(3), "a.txt": rows, "b.flac": wav(3), "b.txt": "3.1\t3.4\tc\n"})
    first, second, third = planned(folder)[0]
    for record, message in ((second, "ends at 3.000 s; are its times milliseconds?"), (third, "ends at 3.000 s$")):
        with pytest.raises(UndecodableAudio, match=message):
            cut_clip(record)
    with pytest.raises(UndecodableAudio, match=r"the segment ends at 1500.000 s, .* are its times milliseconds\?"):
        cut_clip(first)


def test_names_are_found_whichever_way_their_letters_are_composed(tmp_path: Path) -> None:
    folder = tree(
        tmp_path, {unicodedata.normalize("NFD", "üç.flac"): wav(3), unicodedata.normalize("NFC", "üç.srt"): SRT}
    )
    assert [record.fault for record in read(folder)] == [None, None]


def test_texts_in_utf_16_and_texts_that_are_none(tmp_path: Path) -> None:
    texts = {"a.txt": "bir".encode("utf-16"), "b.txt": "0.5\t1\tiki".encode("utf-16-le")}
    folder = tree(tmp_path, {"a.flac": wav(3), "b.flac": wav(3)} | texts)
    one, two = planned(folder)[0]
    assert one.text == "bir" and "text is bytes" in str(two.fault)


def test_columns_that_have_changed_places(tmp_path: Path) -> None:
    path = table(tmp_path, "a.wav,2,1,x", "a.wav,4,3,x")
    with pytest.raises(
        DataError, match=r"row 1: ends at 1 s.*; if they have changed places, say --columns start=end end="
    ):
        read(path)
    assert [record.start for record in read(path, columns={"start": "end", "end": "start"})] == [1, 3]
