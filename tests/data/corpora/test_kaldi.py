"""Kaldi's and ESPnet's data folders: recordings in archives, lists that do not match, paths of recipes."""

from pathlib import Path
from typing import Any

import fsspec
import pytest

from data import storage
from data.corpora.census import Census
from data.corpora.formats import plan_jobs
from data.corpora.record import Record
from data.corpora.settings import CorpusSettings
from data.errors import DataError
from data.preparation.checking import Clip, ClipCheck
from data.preparation.settings import ClipSettings

from ...support.corpora_on_disk import TEXTS, add_entry, encoded, kaldi, kaldi_archive, kaldi_segments


def read(corpus: Path | str, **values: Any) -> tuple[list[Record], list[str]]:
    """The records of a corpus, and what the census tells."""
    census = Census()
    jobs = list(plan_jobs(CorpusSettings(input=str(corpus), **values), census))
    return [record for job in jobs for record in job.rows.records()], census.lines()


def folder_with(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content, encoding="utf-8")
    return folder


def test_recordings_in_an_archive_are_its_bytes(tmp_path: Path) -> None:
    records, told = read(kaldi_archive(tmp_path / "data"), job_rows=4)
    wanted = [encoded(i, ".wav" if i < 3 else ".flac") for i in range(6)]
    assert [record.audio["bytes"] for record in records] == wanted
    assert [record.audio["path"] for record in records][2:4] == ["clip2.wav", "clip3.flac"]
    assert told == []


def test_planning_reads_no_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = kaldi_archive(tmp_path / "data")
    parts: list[tuple[str, int, int]] = []
    whole = storage.read_part
    monkeypatch.setattr(storage, "read_part", lambda *part: parts.append(part) or whole(*part))
    jobs = list(plan_jobs(CorpusSettings(input=str(corpus)), Census()))
    assert parts == []
    list(jobs[0].rows.records())
    assert len(parts) == 6


def test_segments_of_an_archive_s_recording_read_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = kaldi_segments(tmp_path / "data")
    line = add_entry(corpus / "wav.ark", "rec", (corpus / "long.wav").read_bytes())
    (corpus / "long.wav").unlink()
    (corpus / "wav.scp").write_text(line)
    parts: list[Any] = []
    whole = storage.read_part
    monkeypatch.setattr(storage, "read_part", lambda *part: parts.append(part) or whole(*part))
    records, _ = read(corpus)
    assert len(parts) == 1 and len({id(record.audio["bytes"]) for record in records}) == 1
    check = ClipCheck(ClipSettings(min_seconds=0.1), True, None)
    clips = [check(record) for record in records]
    assert [clip.text for clip in clips if isinstance(clip, Clip)] == TEXTS


def test_an_archive_longer_than_is_fetched_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.corpora.readers.kaldi_archives.FETCHED", 100)
    records, _ = read(kaldi_archive(tmp_path / "data"))
    assert [record.audio["bytes"] for record in records][:3] == [encoded(i, ".wav") for i in range(3)]


def test_archives_in_a_store(tmp_path: Path) -> None:
    corpus = kaldi_archive(tmp_path / "data")
    store = fsspec.filesystem("memory")
    for name in ("wav.ark", "text", "wav.scp"):
        content = (corpus / name).read_bytes().replace(f"{corpus}/".encode(), b"recipe/data/")
        store.pipe_file(f"/kaldi/recipe/data/{name}", content)
    records, told = read("memory://kaldi/recipe/data")
    assert [record.fault or record.text for record in records] == TEXTS
    assert told == ["memory://kaldi/recipe/data/wav.scp: its relative paths are read from memory://kaldi"]


WAV = encoded(0, ".wav")


@pytest.mark.parametrize(
    ("content", "offset", "told"),
    [
        (b"x " + WAV, 10**6, "has no bytes at byte 1000000"),
        (b"x " + WAV[:-100], 2, "it was cut off, or"),
        (b"x " + WAV[:4] + b"\xff" * 4 + WAV[8:], 2, "leaves its length open"),
        (b"x " + WAV, 0, "holds no recording at byte 0"),
        (b"x \0BFM \4\3\0\0\0", 2, "holds a matrix of features at byte 2"),
        (b"x  [\n 1.0 2.0 ]", 2, "holds a matrix of features"),
        (b"x PKLcos\nsystem\n", 2, "holds a pickle, which is never loaded,"),
        (b"x AUDIO\2\xff\xff" + WAV, 2, "it was cut off"),
        (None, 2, "No such file"),
    ],
)
def test_an_entry_that_is_no_recording(content: bytes | None, offset: int, told: str, tmp_path: Path) -> None:
    line = add_entry(tmp_path / "good.ark", "utt0", WAV)
    if content is not None:
        (tmp_path / "bad.ark").write_bytes(content)
    folder_with(tmp_path, wav_scp=f"{line}utt1 {tmp_path}/bad.ark:{offset}\n", text="utt0 one\nutt1 two\n")
    good, bad = read(tmp_path)[0]
    assert (good.fault, good.text) == (None, "one")
    assert bad.id == "utt1" and told in str(bad.fault) and "bad.ark" in str(bad.fault)


def test_parts_of_entries_are_refused(tmp_path: Path) -> None:
    folder_with(tmp_path, wav_scp="utt0 a.ark:5[0:1]\n", text="utt0 one\n")
    with pytest.raises(DataError, match=r"wav\.scp: utt0 is a part of what an archive holds, 'a\.ark:5\[0:1\]'"):
        read(tmp_path)


def test_what_one_list_has_and_the_other_lacks_is_told(tmp_path: Path) -> None:
    corpus = kaldi(tmp_path / "data")
    (corpus / "text").write_text("clip0 one\nclip9 nine\n")
    records, told = read(corpus)
    assert [record.fault for record in records] == [None, "no audio: wav.scp has no clip9"]
    assert (
        f"not used: 5 recordings of {corpus} that {corpus}/text has no line for: clip1, clip2, clip3 and 2 more" in told
    )


def test_recordings_without_a_text_are_rows_where_that_is_asked_for(tmp_path: Path) -> None:
    corpus = kaldi(tmp_path / "data")
    (corpus / "text").write_text("clip1 one\n")
    records, told = read(corpus, without_text=True)
    assert [(record.id, record.text) for record in records] == [
        ("clip1", "one"), *((f"clip{i}", None) for i in (0, 2, 3, 4, 5))
    ]  # fmt: skip
    assert told == []
    (corpus / "text").unlink()
    assert len(read(corpus, without_text=True)[0]) == 6


def test_segments_and_recordings_that_nobody_reads_are_told(tmp_path: Path) -> None:
    corpus = kaldi_segments(tmp_path / "data")
    (corpus / "wav.scp").write_text((corpus / "wav.scp").read_text() + "other /nowhere/other.wav\n")
    (corpus / "text").write_text("clip0 one\nclip9 nine\n")
    records, told = read(corpus)
    assert records[1].fault == "no audio: segments has no clip9"
    assert (
        f"not used: 5 segments of {corpus} that {corpus}/text has no line for: clip1, clip2, clip3 and 2 more" in told
    )
    assert f"not used: 1 recordings of {corpus} that no segment with a text is of: other" in told


def test_recordings_that_no_list_names_are_told(tmp_path: Path) -> None:
    corpus = kaldi_archive(tmp_path / "data")
    (corpus / "loose.wav").write_bytes(WAV)
    (corpus / "old.ark").write_bytes(b"")
    _, told = read(corpus)
    assert any("loose.wav" in line for line in told) and any("old.ark" in line for line in told)
    assert not any("wav.ark" in line for line in told)


@pytest.mark.parametrize("place", ["dump/raw/org/train", "data/train", "."])
def test_relative_paths_are_the_recipe_s(place: str, tmp_path: Path) -> None:
    (tmp_path / "dump").mkdir()
    (tmp_path / "dump" / "utt0.wav").write_bytes(WAV)
    corpus = folder_with(
        tmp_path / place, wav_scp="utt0 dump/utt0.wav\n", text="utt0 one\n", utt2num_samples="utt0 8\n"
    )
    records, told = read(corpus)
    assert records[0].audio == str(tmp_path / "dump" / "utt0.wav")
    assert told == [f"{corpus / 'wav.scp'}: its relative paths are read from {tmp_path}"]
    assert read(corpus, audio_root=str(tmp_path / "elsewhere"))[0][0].audio == f"{tmp_path}/elsewhere/dump/utt0.wav"


def test_paths_of_the_working_folder_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.wav").write_bytes(WAV)
    corpus = folder_with(tmp_path / "data", wav_scp="utt0 a.wav\n", text="utt0 one\n")
    monkeypatch.chdir(tmp_path)
    assert read(corpus) == ([read(corpus)[0][0]], []) and read(corpus)[0][0].audio == "a.wav"


def test_a_folder_of_splits(tmp_path: Path) -> None:
    kaldi_archive(tmp_path / "train")
    kaldi(tmp_path / "dev")
    records, _ = read(tmp_path)
    assert sorted({str(record.split) for record in records}) == ["train", "validation"] and len(records) == 12
