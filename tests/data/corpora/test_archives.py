"""Archives as they are made: with what macOS adds, with folders in folders, with a licence beside."""

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from data.corpora.archives import unpack, unpacked
from data.corpora.census import Census
from data.corpora.formats import plan_jobs
from data.corpora.record import Record
from data.corpora.settings import CorpusSettings
from data.errors import DataError
from data.preparation.prepare import prepare
from data.preparation.settings import PrepareSettings

from ...support.corpora_on_disk import encoded

CLIP = encoded(0)
TABLE = b"file_name,text\na.flac,one\n"


def zipped(file: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w") as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return file


def tarred(file: Path, members: dict[str, bytes], mode: Any = "w") -> Path:
    with tarfile.open(file, mode) as packed:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return file


def read(archive: Path, **values: Any) -> tuple[list[Record], list[str]]:
    """The records of an archive, and what the census tells."""
    census = Census()
    reading = CorpusSettings(input=str(archive), cache=str(archive.parent / "cache"), **values)
    return [record for job in plan_jobs(reading, census) for record in job.rows.records()], census.lines()


MADE_BY_MACOS = {
    "corpus/metadata.csv": TABLE,
    "corpus/a.flac": CLIP,
    "__MACOSX/corpus/._a.flac": b"\0\5\26\7" * 20,
    "__MACOSX/._corpus": b"\0\5\26\7",
    "corpus/._metadata.csv": b"\0\5\26\7",
    "corpus/.DS_Store": b"Bud1",
    ".DS_Store": b"Bud1",
}


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_what_macos_adds_is_no_part_of_a_corpus(pack: Any, tmp_path: Path) -> None:
    records, told = read(pack(tmp_path / ("a.zip" if pack is zipped else "a.tar"), MADE_BY_MACOS))
    assert [(record.id, record.text) for record in records] == [("a", "one")]
    assert told == []
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.name.startswith((".", "__"))]


def test_what_macos_adds_is_no_recording_either(tmp_path: Path) -> None:
    members = {"a.flac": CLIP, "a.txt": b"one", "__MACOSX/._a.flac": b"\0\5\26\7", "__MACOSX/._a.txt": b"\0\5\26\7"}
    records, told = read(zipped(tmp_path / "a.zip", members))
    assert [(record.id, record.text, record.fault) for record in records] == [("a", "one", None)] and told == []


def test_folders_in_folders_are_gone_into(tmp_path: Path) -> None:
    table = b"client_id\tpath\tsentence\tlocale\nann\ta.flac\tone\taz\n"
    members = {"cv-corpus-1/az/clips/a.flac": CLIP, "cv-corpus-1/az/train.tsv": table}
    (record,) = read(tarred(tmp_path / "cv.tar.gz", members, "w:gz"))[0]
    assert (record.text, record.speaker, record.language) == ("one", "ann", "az")


@pytest.mark.parametrize("beside", ["README.md", "LICENSE", "licence.txt"])
def test_a_licence_beside_the_folder_hides_nothing(beside: str, tmp_path: Path) -> None:
    members = {beside: b"as you like", "corpus/metadata.csv": TABLE, "corpus/a.flac": CLIP}
    assert [record.id for record in read(zipped(tmp_path / "a.zip", members))[0]] == ["a"]


def test_the_only_folder_may_name_the_split(tmp_path: Path) -> None:
    members = {"corpus/test/metadata.csv": TABLE, "corpus/test/a.flac": CLIP}
    assert [record.split for record in read(zipped(tmp_path / "a.zip", members))[0]] == ["test"]
    members = {"test/a.flac": CLIP, "test/a.txt": b"one"}
    assert [record.split for record in read(zipped(tmp_path / "b.zip", members))[0]] == ["test"]


def test_several_folders_are_all_read(tmp_path: Path) -> None:
    members = {f"{name}/{i}{suffix}": CLIP if suffix == ".flac" else b"one"
               for i, name in enumerate(("train", "dev", "other")) for suffix in (".flac", ".txt")}  # fmt: skip
    records, _ = read(zipped(tmp_path / "a.zip", members))
    assert {record.id: record.split for record in records} == {
        "train/0": "train", "dev/1": "validation", "other/2": None
    }  # fmt: skip


def test_archives_in_archives_are_named(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "inner.zip", {"a.flac": CLIP}).read_bytes()
    _, told = read(zipped(tmp_path / "a.zip", {"a.flac": CLIP, "a.txt": b"one", "more.zip": inner}))
    assert any("more.zip" in line for line in told)
    with pytest.raises(DataError, match=r"has no rows that are known.*more\.zip"):
        read(zipped(tmp_path / "b.zip", {"more.zip": inner, "other.zip": inner}))


@pytest.mark.parametrize(("suffix", "mode"), [(".txz", "w:xz"), (".tbz2", "w:bz2"), (".tbz", "w:bz2")])
def test_short_suffixes_are_known(suffix: str, mode: str, tmp_path: Path) -> None:
    archive = tarred(tmp_path / f"a{suffix}", {"c/metadata.csv": TABLE, "c/a.flac": CLIP}, mode)
    assert [record.id for record in read(archive)[0]] == ["a"]


@pytest.mark.parametrize("name", ["a.7z", "a.rar", "a.tar.zst"])
def test_what_is_not_unpacked_says_so(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"7z")
    with pytest.raises(DataError, match=rf"{name} is an archive of a kind that is not unpacked here: unpack it"):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["*.tar", "{0..1}.tar", "0.tar", ""])
def test_shards_are_prepared_where_they_lie(name: str, tmp_path: Path) -> None:
    for shard in range(2):
        (tmp_path / "shards").mkdir(exist_ok=True)
        clips = [
            {f"{shard}{clip}.wav": encoded(2 * shard + clip, ".wav"), f"{shard}{clip}.txt": b"a"} for clip in (0, 1)
        ]
        tarred(tmp_path / "shards" / f"{shard}.tar", clips[0] | clips[1])
    corpus = CorpusSettings(input=str(tmp_path / "shards" / name), cache=str(tmp_path / "cache"), language="az")
    summary = prepare(PrepareSettings(corpus=corpus, output=str(tmp_path / "prepared")))
    assert summary.clips == (2 if name == "0.tar" else 4)
    assert not (tmp_path / "cache").exists()


def test_an_archive_that_another_process_unpacks_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = zipped(tmp_path / "corpus.zip", {"a.wav": encoded(0, ".wav"), "a.txt": b"said"})

    def both(file: str, folder: Path) -> None:
        monkeypatch.undo()
        unpacked(file, str(tmp_path / "cache"))
        unpack(file, folder)

    monkeypatch.setattr("data.corpora.archives.unpack", both)
    assert sorted(path.name for path in Path(unpacked(str(archive), str(tmp_path / "cache"))).iterdir()) == [
        "a.txt",
        "a.wav",
    ]
    assert len(list((tmp_path / "cache").iterdir())) == 1
