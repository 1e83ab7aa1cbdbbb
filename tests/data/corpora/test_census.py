"""Nothing of a corpus vanishes: what was taken, what was not, and which columns, are told."""

import json
import os
from pathlib import Path
from typing import Any

import fsspec
import pytest

from data.audio.decoders import ffmpeg
from data.corpora.census import Census
from data.corpora.formats import plan_jobs
from data.corpora.settings import CorpusSettings
from data.errors import DataError
from data.inspection.facts import InspectionSettings
from data.inspection.findings import problems
from data.inspection.inspect import inspect_corpus
from data.preparation.prepare import prepare
from data.preparation.settings import PrepareSettings
from data.preparation.summary import Summary, print_summary
from tests.data.corpora.test_segments import tree
from tests.support.corpora_on_disk import encoded

INSTALL = f"which ffmpeg would read ({ffmpeg.INSTALL})"


@pytest.fixture(autouse=True)
def without_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "is_installed", lambda: False)


def census_of(folder: Path, **values: Any) -> tuple[Census, list[str]]:
    """The census of a folder, and the ids of its rows."""
    census = Census()
    jobs = list(plan_jobs(CorpusSettings(input=str(folder), **values), census))
    return census, [str(record.id) for job in jobs for record in job.rows.records()]


def pairs(suffix: str, numbers: range) -> dict[str, bytes | str]:
    clips: dict[str, bytes | str] = {f"c{i}{suffix}": encoded(i, ".wav") for i in numbers}
    return clips | {f"c{i}.txt": f"text {i}" for i in numbers}


def test_recordings_that_cannot_be_read_here_are_counted_with_what_would_read_them(tmp_path: Path) -> None:
    tree(tmp_path, pairs(".wav", range(8)) | pairs(".m4a", range(8, 14)))
    census, ids = census_of(tmp_path)
    assert len(ids) == 8
    assert census.lines() == [
        f"not used: 6 .m4a recordings, {INSTALL}: c10.m4a, c11.m4a, c12.m4a and 3 more",
        "not used: 6 .txt files: c10.txt, c11.txt, c12.txt and 3 more",
    ]


def test_recordings_without_a_transcript_and_texts_without_a_recording_are_named(tmp_path: Path) -> None:
    files = {"sub/a.wav": encoded(0, ".wav"), "sub/a.txt": "a", "sub/b.flac": encoded(1), "notes.txt": "n",
             "sub/c.srt": "1", "README.txt": "of the corpus", "LICENSE": "", "cover.jpg": b"", ".hidden.wav": b"",
             "table.csv": "x,y\n", "film.mp4": b"", "old/.cache/z.wav": b""}  # fmt: skip
    census, ids = census_of(tree(tmp_path, files))
    assert ids == ["sub/a"]
    assert census.left == {
        ".csv files": ["table.csv"],
        f".mp4 recordings, {INSTALL}": ["film.mp4"],
        ".srt files": ["sub/c.srt"],
        ".txt files": ["notes.txt"],
        "recordings without a transcript": ["sub/b.flac"],
    }
    assert "not used: 1 recording without a transcript: sub/b.flac" in census.lines()


def test_capitals_in_a_suffix_do_not_count(tmp_path: Path) -> None:
    files = {"c9.WAV": encoded(0, ".wav"), "c9.TXT": "nine", "d.Flac": encoded(1), "d.txt": "d"}
    census, ids = census_of(tree(tmp_path, files))
    assert ids == ["c9", "d"] and census.lines() == []


@pytest.mark.parametrize("suffix", [".oga", ".wave", ".aifc", ".sph"])
def test_rarer_suffixes_of_what_can_be_read_are_recordings(suffix: str, tmp_path: Path) -> None:
    census, ids = census_of(tree(tmp_path, {f"a{suffix}": encoded(0, ".wav"), "a.txt": "a"}))
    assert ids == ["a"] and census.lines() == []


def test_of_a_recording_in_several_encodings_one_is_read(tmp_path: Path) -> None:
    files = {"a.mp3": encoded(0, ".mp3"), "a.wav": encoded(0, ".wav"), "a.txt": "a", "b.ogg": b"", "b.flac": b""}
    census, ids = census_of(tree(tmp_path, files))
    assert ids == ["a"] and census.left == {"recordings without a transcript": ["b.flac", "b.ogg"]}
    (line,) = census.notices
    assert line == "1 recording lies there in several encodings; of each one is read: a.wav, not a.mp3"


def test_what_preparation_wrote_is_a_corpus_without_leftovers(tmp_path: Path) -> None:
    corpus = CorpusSettings(input=str(tree(tmp_path / "c", pairs(".wav", range(2)))))
    prepare(PrepareSettings(corpus=corpus, output=str(tmp_path / "o")))
    census, ids = census_of(tmp_path / "o")
    assert len(ids) == 2 and not census.left


def test_a_flood_of_notices_is_cut_short() -> None:
    census = Census()
    for number in range(200):
        census.notice(f"{number}.csv is separated by semicolons")
    assert len(census.lines()) == 21 and census.lines()[-1].startswith("and 180 more lines")
    assert len(census.to_json()["remarks"]) == 200


def test_recordings_that_a_table_does_not_name_are_told(tmp_path: Path) -> None:
    rows = "file_name,text,age\na.wav,one,7\nsub/./b.wav,two,8\n"
    files = {name: encoded(0, ".wav") for name in ("a.wav", "sub/b.wav", "sub/c.wav")}
    census, _ = census_of(tree(tmp_path, files | {"metadata.csv": rows}))
    assert census.left == {"recordings without a transcript": ["sub/c.wav"]}
    assert census.columns == {"audio": "file_name", "text": "text"} and census.unused == ["age"]
    assert census.column_line == "columns: audio from file_name, text from text; none for speaker, id; not used: age"


def test_what_a_limit_leaves_out_is_not_said_to_be_unused(tmp_path: Path) -> None:
    census, ids = census_of(tree(tmp_path, pairs(".wav", range(4))), max_samples=2)
    assert len(ids) == 2 and census.lines() == []


def test_a_folder_of_which_nothing_can_be_read_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no rows that are known; not used: 2 \.m4a recordings, which ffmpeg"):
        census_of(tree(tmp_path, pairs(".m4a", range(2))))


def test_a_byte_order_mark_costs_no_row(tmp_path: Path) -> None:
    files = {
        "1-2.trans.txt": b"\xef\xbb\xbfclip0 zero\nclip1 one\n",
        "clip0.flac": encoded(0),
        "clip1.flac": encoded(1),
    }
    census, ids = census_of(tree(tmp_path, files))
    assert ids == ["clip0", "clip1"] and census.lines() == []


def test_a_line_without_its_recording_is_a_row_at_fault(tmp_path: Path) -> None:
    files = {"1-2.trans.txt": "clip0 zero\nclip1 one\n", "clip0.flac": encoded(0)}
    settings = PrepareSettings(
        corpus=CorpusSettings(input=str(tree(tmp_path / "c", files))), output=str(tmp_path / "o")
    )
    summary = prepare(settings.model_copy(update={"max_skipped_share": 1.0}))
    assert (summary.rows, summary.clips) == (2, 1)


def test_preparation_tells_what_it_read_and_writes_it_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "file,sentence,kids_age\na.wav,one,7\n"
    tree(tmp_path / "c", {"a.wav": encoded(0, ".wav"), "b.m4a": b"", "metadata.csv": rows})
    summary = prepare(PrepareSettings(corpus=CorpusSettings(input=str(tmp_path / "c")), output=str(tmp_path / "o")))
    print_summary(summary, "o")
    told = capsys.readouterr()
    assert "columns: audio from file, text from sentence; none for speaker, id; not used: kids_age" in told.out
    assert "warning: not used: 1 .m4a recording, which ffmpeg would read" in told.err
    written = json.loads((tmp_path / "o" / "manifest.json").read_text())["corpus"]
    assert written["columns"] == {"audio": "file", "text": "sentence"} and written["unused_columns"] == ["kids_age"]
    assert list(written["not_used"].values()) == [1]


def test_inspection_finds_what_is_not_used(tmp_path: Path) -> None:
    tree(tmp_path, pairs(".wav", range(2)) | pairs(".m4a", range(2, 4)))
    inspection = inspect_corpus(CorpusSettings(input=str(tmp_path)), InspectionSettings())
    found = {finding.title: finding for finding in problems(inspection)}
    finding = found[f"not used: .m4a recordings, {INSTALL}"]
    assert (finding.severity, finding.amount) == ("look", "2 files")
    assert [example.id for example in finding.examples] == ["c2.m4a", "c3.m4a"]


def test_a_summary_of_a_corpus_without_columns_has_no_line_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(Summary(rows=1, splits={"train": (1, 1.0)}), "o")
    assert "columns" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "advice"), [("all.xlsx", "is a spreadsheet: save it as CSV"), ("talk.wav", "name the folder that has it")]
)
def test_what_is_no_corpus_says_what_to_do(name: str, advice: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(DataError, match=advice):
        census_of(tmp_path / name)


def test_files_that_are_named_in_other_ways_than_listed_are_used(tmp_path: Path) -> None:
    folder = tree(tmp_path / "corpus", {"a.wav": encoded(0, ".wav")})
    tree(folder, {"metadata.csv": f"file_name,text\n{folder}/a.wav,x\n"})
    (tmp_path / "link").symlink_to(folder)
    census, ids = census_of(tmp_path / "link")
    assert len(ids) == 1 and not census.left
    store = fsspec.filesystem("memory")
    store.pipe("/census/U\u0308.wav", encoded(0, ".wav"))
    store.pipe("/census/metadata.csv", "file_name,text\n\u00dc.wav,x\n".encode())
    census, ids = census_of("memory://census")  # type: ignore[arg-type]
    assert len(ids) == 1 and not census.left


def test_planning_asks_the_disk_for_no_file_whose_name_has_one_spelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"clip {number}.wav" for number in range(50)]
    tree(tmp_path, {"metadata.csv": "file_name,text\n" + "".join(f"{name},x\n" for name in names)})
    asked: list[str] = []
    monkeypatch.setattr(os.path, "exists", lambda path, real=os.path.exists: asked.append(str(path)) or real(path))
    census_of(tmp_path)
    assert not [path for path in asked if path.endswith(".wav")]


def test_an_empty_folder_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"census is empty$"):
        (tmp_path / "census").mkdir()
        census_of(tmp_path / "census")
