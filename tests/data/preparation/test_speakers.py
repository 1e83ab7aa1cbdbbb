"""Splits by speaker or recording share nobody and nothing, or say why they cannot; what is shared otherwise is told."""

import csv
import json
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from data.errors import DataError
from data.preparation.prepare import prepare
from data.preparation.splits.shares import HashSplit

from ...support.corpora_on_disk import (
    SPEAKERS,
    TEXTS,
    encoded,
    kaldi,
    libri_speech,
    rows,
    transcripts_beside,
    write_audio,
)
from .test_prepare import quarantine, rows_of, settings

HALVES = {"train": 0.5, "test": 0.5}


def table(folder: Path, column: str, speakers: Sequence[str], **more: Sequence[str]) -> Path:
    """A CSV of as many clips as there are speakers."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(len(speakers)):
        (folder / f"{number}.flac").write_bytes(encoded(number))
    with (folder / "clips.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "sentence", "id", *([column] if column else []), *more])
        for number, speaker in enumerate(speakers):
            others = [values[number] for values in more.values()]
            writer.writerow(
                [f"{number}.flac", f"text {number}", f"id{number}", *([speaker] if column else []), *others]
            )
    return folder / "clips.csv"


def by_speaker(corpus: Path, output: Path, **values: Any) -> Any:
    return prepare(settings(corpus, output, **{"shares": HALVES, "split_by": "speaker"} | values))


def splits_of(output: Path, column: str = "speaker") -> dict[str, set[str]]:
    found = defaultdict(set)
    for row in rows_of(output):
        found[row[column]].add(row["split_name"])
    return found


# Corpora that do not say who speaks


@pytest.mark.parametrize("column", ["kid", "child", "participant", "user", "voice"])
def test_a_column_that_may_be_the_speaker_s_is_asked_for(column: str, tmp_path: Path) -> None:
    corpus = table(tmp_path / "in", column, SPEAKERS, grade=["1"] * 6)
    expected = (
        rf"clips.csv has no column for the speaker.*--columns speaker=NAME, one of {column}, grade \('{column}' look"
    )
    with pytest.raises(DataError, match=expected):
        by_speaker(corpus, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    summary = by_speaker(corpus, tmp_path / "out", columns={"speaker": column})
    assert summary.clips == 6 and all(len(places) == 1 for places in splits_of(tmp_path / "out").values())


@pytest.mark.parametrize(
    "column", ["spk", "client_id", "reader", "Speaker", "SPEAKER-ID", "speaker id", "speakerid", "SpkID", "talker"]
)
def test_names_that_mean_nothing_else_are_recognised(column: str, tmp_path: Path) -> None:
    by_speaker(table(tmp_path / "in", column, SPEAKERS), tmp_path / "out")
    assert set(splits_of(tmp_path / "out")) == set(SPEAKERS)


def test_two_names_of_which_either_may_be_meant_are_asked_for(tmp_path: Path) -> None:
    corpus = table(tmp_path / "in", "Speaker", SPEAKERS, Reader=SPEAKERS)
    with pytest.raises(DataError, match=r"speaker=NAME, one of Speaker, Reader$"):
        by_speaker(corpus, tmp_path / "out")


def test_a_column_that_is_not_to_be_used_is_none(tmp_path: Path) -> None:
    corpus = table(tmp_path / "in", "speaker", SPEAKERS)
    with pytest.raises(DataError, match=r"say --columns speaker=NAME, one of speaker \('speaker' looks like it\)"):
        by_speaker(corpus, tmp_path / "out", columns={"speaker": None})


def test_parquet_without_the_column(tmp_path: Path) -> None:
    content = {"audio": [encoded(i) for i in range(6)], "text": TEXTS, "kid": SPEAKERS}
    pq.write_table(pa.table(content), tmp_path / "c.parquet")
    with pytest.raises(DataError, match=r"c.parquet has no column for the speaker.*one of kid"):
        by_speaker(tmp_path / "c.parquet", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_later_table_without_the_column(tmp_path: Path) -> None:
    table(tmp_path / "in", "speaker", SPEAKERS).rename(tmp_path / "in" / "a.csv")
    table(tmp_path / "in", "kid", SPEAKERS).rename(tmp_path / "in" / "b.csv")
    with pytest.raises(DataError, match=r"b.csv has no column for the speaker"):
        by_speaker(tmp_path / "in" / "*.csv", tmp_path / "out")


def test_a_folder_that_has_no_place_for_speakers(tmp_path: Path) -> None:
    corpus = transcripts_beside(tmp_path / "in")
    with pytest.raises(DataError, match=r"not one of 6 rows names a speaker.*table with a column such as speaker"):
        by_speaker(corpus, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_segments_without_a_column_for_speakers(tmp_path: Path) -> None:
    write_audio(tmp_path / "in", ".wav")
    (tmp_path / "in" / "segments.csv").write_text("audio_path,start,end,text,kid\nclip0.wav,0,0.2,one,ann\n")
    with pytest.raises(DataError, match=r"not one of 1 rows names a speaker.*speaker=NAME, one of kid \('kid' looks"):
        by_speaker(tmp_path / "in", tmp_path / "out")


def test_a_column_without_any_speaker_in_it(tmp_path: Path) -> None:
    corpus = table(tmp_path / "in", "speaker", [" "] * 6, kid=SPEAKERS)
    with pytest.raises(DataError, match=r"the column speaker is empty; name another, .* one of kid"):
        by_speaker(corpus, tmp_path / "out")


def test_libri_speech_says_its_readers(tmp_path: Path) -> None:
    corpus = libri_speech(tmp_path / "in")
    by_speaker(corpus, tmp_path / "out")
    assert set(splits_of(tmp_path / "out")) == {"12"}
    (corpus / "12" / "34" / "12-34.trans.txt").rename(corpus / "12" / "34" / "others.trans.txt")
    with pytest.raises(DataError, match="not one of 6 rows names a speaker"):
        by_speaker(corpus, tmp_path / "none")


def test_kaldi_without_utt2spk(tmp_path: Path) -> None:
    corpus = kaldi(tmp_path / "in")
    (corpus / "utt2spk").unlink()
    with pytest.raises(DataError, match=r"not one of 6 rows names a speaker.*utt2spk does, and there is none"):
        by_speaker(corpus, tmp_path / "out")


def test_a_column_in_which_every_clip_has_another_value_is_doubted(tmp_path: Path) -> None:
    summary = by_speaker(table(tmp_path / "in", "speaker", [f"u{i}" for i in range(6)]), tmp_path / "out")
    assert "each of the 6 clips has a speaker of its own: is the column the speaker's?" in summary.warnings


# Rows that do not say it, and names written in several ways


def test_rows_without_a_speaker_are_left_out_and_named(tmp_path: Path) -> None:
    corpus = table(tmp_path / "in", "speaker", ["", *SPEAKERS, "  ", *SPEAKERS])
    summary = by_speaker(corpus, tmp_path / "out")
    assert summary.dropped == {"no speaker": 2} and summary.clips == 12
    assert [row["id"] for row in quarantine(tmp_path / "out")] == ["id0", "id7"]
    assert all("nobody is heard in two" in row["reason"] for row in quarantine(tmp_path / "out"))
    assert all(len(places) == 1 for places in splits_of(tmp_path / "out").values())
    with pytest.raises(DataError, match="no speaker"):
        by_speaker(corpus, tmp_path / "strict", max_skipped_share=0.001)
    assert prepare(settings(corpus, tmp_path / "by id", shares=HALVES)).clips == 14  # whose promise needs none


def test_one_speaker_s_name_in_two_spellings_is_one_speaker(tmp_path: Path) -> None:
    two = unicodedata.normalize("NFD", "Zoë"), unicodedata.normalize("NFC", "Zoë")
    names = [name for number in range(12) for name in (f"ann{number}", f"ann{number} ", f" ann{number}")]
    corpus = table(tmp_path / "in", "speaker", [*two, *names])
    summary = by_speaker(corpus, tmp_path / "out")
    found = splits_of(tmp_path / "out")
    assert set(found) == {"Zoë", *(f"ann{number}" for number in range(12))}
    assert all(len(places) == 1 for places in found.values())
    assert summary.notices["speakers' names with space around them, or in another form of Unicode"] == 25


def test_a_usual_name_keeps_its_split(tmp_path: Path) -> None:
    """The hash of the name as it was written before there were spellings."""
    by_speaker(table(tmp_path / "in", "speaker", SPEAKERS), tmp_path / "out")
    split = HashSplit(HALVES)
    assert splits_of(tmp_path / "out") == {name: {split(name)} for name in SPEAKERS}


def test_names_that_differ_in_capitals_are_told(tmp_path: Path) -> None:
    names = [name for number in range(12) for name in (f"ann{number}", f"Ann{number}")]
    summary = by_speaker(table(tmp_path / "in", "speaker", names), tmp_path / "out")
    assert any("Ann" in line and "different people" in line for line in summary.warnings)


def test_a_corpus_of_one_speaker(tmp_path: Path) -> None:
    summary = by_speaker(table(tmp_path / "in", "speaker", ["ann"] * 6), tmp_path / "out")
    assert any("all clips are of one speaker, ann" in line for line in summary.warnings)


# Who and what is in two splits all the same


def test_speakers_in_several_splits_are_told_where_splits_are_not_by_speaker(tmp_path: Path) -> None:
    corpus = table(tmp_path / "in", "speaker", SPEAKERS * 5)
    summary = prepare(settings(corpus, tmp_path / "out", shares=HALVES, job_rows=7))
    (line,) = summary.warnings
    told = "3 of 3 speakers are heard in more than one split (ann: test, train); --split-by speaker keeps each in one"
    assert line == f"{told} split"
    assert prepare(settings(corpus, tmp_path / "out", shares=HALVES, job_rows=7)).warnings == [line]  # nothing to do


def test_speakers_in_several_of_the_corpus_s_own_splits_are_told(tmp_path: Path) -> None:
    corpus = table(tmp_path / "in", "speaker", SPEAKERS, split=["train", "train", "train", "test", "dev", "test"])
    (line,) = prepare(settings(corpus, tmp_path / "out")).warnings
    assert "1 of 3 speakers are heard in more than one split (bob: train, validation)" in line
    assert "own splits: with --split NAME=SHARE,... --split-by speaker" in line


def recordings(folder: Path, number: int = 6) -> Path:
    """A table of five segments of each of some recordings, all with ids of their own."""
    folder.mkdir(parents=True)
    lines = []
    for talk in range(number):
        soundfile.write(folder / f"talk{talk}.wav", np.random.default_rng(talk).normal(0, 0.1, 16_000), 16_000)
        for part in range(5):
            words = {"audio_filepath": f"talk{talk}.wav", "text": f"talk{talk}", "id": f"{talk}-{part}"}
            lines.append(words | {"offset": 0.2 * part, "duration": 0.2})
    (folder / "m.json").write_text("\n".join(map(json.dumps, lines)))
    return folder / "m.json"


def test_parts_of_a_recording_in_several_splits_are_told(tmp_path: Path) -> None:
    summary = prepare(settings(recordings(tmp_path / "in"), tmp_path / "out", shares=HALVES))
    (line,) = summary.warnings
    assert "of 6 recordings have parts in more than one split (talk" in line and "--split-by recording" in line


@pytest.mark.parametrize("method", ["hash", "balanced"])
def test_splits_by_recording(method: str, tmp_path: Path) -> None:
    values = {"shares": HALVES, "split_by": "recording", "split_method": method}
    first = prepare(settings(recordings(tmp_path / "in"), tmp_path / "out", **values))
    found = splits_of(tmp_path / "out", "text")
    assert len(found) == 6 and all(len(places) == 1 for places in found.values()) and not first.warnings
    moved = recordings(tmp_path / "elsewhere" / "in")
    prepare(settings(moved, tmp_path / "again", **values, job_rows=4))
    assert splits_of(tmp_path / "again", "text") == found  # wherever the corpus lies


def test_recordings_that_rows_hold_are_told_apart_by_their_bytes(tmp_path: Path) -> None:
    audio = [{"bytes": encoded(i % 3), "path": "audio.flac"} for i in range(12)]
    texts = [f"{i % 3}" for i in range(12)]
    table = {"audio": audio, "text": texts, "start": [0.1 * (i // 3) for i in range(12)],
             "end": [0.1 * (i // 3) + 0.1 for i in range(12)], "id": [f"id{i}" for i in range(12)]}  # fmt: skip
    pq.write_table(pa.table(table), tmp_path / "c.parquet")
    prepare(settings(tmp_path / "c.parquet", tmp_path / "out", shares=HALVES, split_by="recording",
                     split_method="balanced"))  # fmt: skip
    found = splits_of(tmp_path / "out", "text")
    assert len(found) == 3 and all(len(places) == 1 for places in found.values())
    assert {name for places in found.values() for name in places} == {"train", "test"}


def test_speakers_of_a_manifest_stay_what_they_were(tmp_path: Path) -> None:
    names = write_audio(tmp_path)
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows(names))))
    by_speaker(tmp_path / "m.jsonl", tmp_path / "out")
    assert set(splits_of(tmp_path / "out")) == set(SPEAKERS)


def test_the_same_audio_under_two_ids_in_two_splits_is_told(tmp_path: Path) -> None:
    corpus = table(tmp_path / "in", "", [""] * 6, split=["train", "train", "train", "test", "test", "test"])
    assert not prepare(settings(corpus, tmp_path / "out")).warnings
    for copy in (1, 4):  # the second within train
        (tmp_path / "in" / f"{copy}.flac").write_bytes(encoded(0))
    corpus.write_text(corpus.read_text() + "5.flac,again,id2,test\n")  # left out, as its id is there
    summary = prepare(settings(corpus, tmp_path / "again", job_rows=2))
    (line,) = summary.warnings
    assert "same to the byte is in more than one split, under several ids (1 such)" in line and summary.dropped == {
        "duplicate id": 1
    }
    assert prepare(settings(corpus, tmp_path / "again", job_rows=2)).warnings == [line]
