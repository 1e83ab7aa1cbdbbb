"""Forms in which speech sets are published: WebDataset's shards, and what is broken in them."""

import gzip
import io
import itertools
import json
import pickle
import re
import tarfile
from pathlib import Path
from typing import Any

import fsspec
import pytest

from data import storage
from data.config import SourceConfig
from data.corpora.census import Census
from data.corpora.formats import plan_jobs
from data.corpora.record import Record
from data.corpora.settings import CorpusSettings
from data.errors import DataError
from data.opening import open_source
from data.preparation.prepare import prepare
from data.preparation.settings import PrepareSettings

from ...support.corpora_on_disk import SHAPES, SPEAKERS, TEXTS, add_member, encoded, web_dataset, write_shard


def read(corpus: Path | str, **values: Any) -> tuple[list[Record], list[str]]:
    """The records of a corpus, and what the census tells."""
    census = Census()
    jobs = list(plan_jobs(CorpusSettings(input=str(corpus), **values), census))
    return [record for job in jobs for record in job.rows.records()], census.lines()


def words(corpus: Path | str, **values: Any) -> list[str | None]:
    """The texts of a corpus; the fault where there is one."""
    return [record.fault or record.text for record in read(corpus, **values)[0]]


def shard(file: Path, *members: tuple[str, bytes | str]) -> Path:
    with tarfile.open(file, "w") as packed:
        for name, content in members:
            add_member(packed, name, content.encode() if isinstance(content, str) else content)
    return file


# WebDataset


def test_a_shard_is_read_where_it_lies(tmp_path: Path) -> None:
    file = write_shard(tmp_path / "train-000000.tar", range(6))
    before = sorted(tmp_path.rglob("*"))
    records, told = read(file, job_rows=2, cache=str(tmp_path / "cache"))
    assert sorted(tmp_path.rglob("*")) == before  # nothing is unpacked
    assert [record.audio for record in records] == [{"bytes": encoded(i), "path": f"clip{i}.flac"} for i in range(6)]
    assert [(r.text, r.speaker, r.id) for r in records] == [(TEXTS[i], SPEAKERS[i], f"clip{i}") for i in range(6)]
    assert not any(record.is_part for record in records)  # where a clip was cut from is not where it is
    assert told == [f"{file}: members that are not used: 6 .npy"]


def test_ranges_of_a_shard_begin_at_their_bytes(tmp_path: Path) -> None:
    file = write_shard(tmp_path / "a.tar", range(6))
    jobs = list(plan_jobs(CorpusSettings(input=str(file), job_rows=4)))
    assert [(job.rows.begin > 0, job.rows.limit) for job in jobs] == [(False, 4), (True, 2)]  # type: ignore[attr-defined]
    again = list(plan_jobs(CorpusSettings(input=str(file), job_rows=4)))
    assert [job.rows.digest() for job in jobs] == [job.rows.digest() for job in again]
    write_shard(file, (5, 4, 3, 2, 1, 0, 0))
    assert all(
        one.rows.digest() != other.rows.digest()
        for one, other in zip(jobs, plan_jobs(CorpusSettings(input=str(file), job_rows=4)), strict=True)
    )


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_shards_of_a_store_are_streamed(suffix: str) -> None:
    store = fsspec.filesystem("memory")
    for number in range(2):
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz" if suffix == ".tar.gz" else "w") as packed:
            for i in range(3 * number, 3 * number + 3):
                add_member(packed, f"./{i}.txt", TEXTS[i].encode())
                add_member(packed, f"./{i}.mic1.flac", encoded(i))
                add_member(packed, f"./{i}.cls", b"1")
        store.pipe_file(f"/shards{suffix}/dev-{number}{suffix}", content.getvalue())
    for address in (f"memory://shards{suffix}/*{suffix}", f"memory://shards{suffix}"):
        records, told = read(address)
        assert [(record.text, record.split) for record in records] == [(text, "validation") for text in TEXTS]
        assert any(line.endswith("members that are not used: .cls") for line in told)
    assert words(address, max_samples=4) == TEXTS[:4]


def test_the_split_is_the_folder_s_or_the_name_s(tmp_path: Path) -> None:
    write_shard(tmp_path / "test" / "0.tar", [0])
    write_shard(tmp_path / "valid-0.tar", [1])
    assert {record.text: record.split for record in read(tmp_path)[0]} == {TEXTS[0]: "test", TEXTS[1]: "validation"}


def test_long_names_and_joined_shards(tmp_path: Path) -> None:
    name = "folder/" + "long" * 60
    for number, form in enumerate((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        with tarfile.open(tmp_path / f"part{number}", "w", format=form) as packed:
            add_member(packed, f"{name}{number}.wav", encoded(number, ".wav"))
            add_member(packed, f"{name}{number}.txt", TEXTS[number].encode())
    joined = b"".join((tmp_path / f"part{number}").read_bytes() for number in range(2))
    (tmp_path / "all.tar").write_bytes(joined)
    records, _ = read(tmp_path / "all.tar", job_rows=1)
    assert [(record.id, record.text) for record in records] == [(f"{name}{i}", TEXTS[i]) for i in range(2)]


FLAC = encoded(0)
GOOD = (("a.flac", FLAC), ("a.txt", "one"))


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ((("b.flac", FLAC),), "no .txt or .json beside .flac"),
        ((("b.txt", "two"),), "no audio: .txt and no audio of this key"),
        ((("b.flac", FLAC), ("b.wav", FLAC), ("b.txt", "two")), "several recordings of this key: .flac, .wav"),
        ((("b.flac", FLAC), ("b.flac", FLAC), ("b.txt", "two")), "b.flac is there twice"),
        ((("b.flac", FLAC), ("b.json", "{")), ".json: not JSON"),
        ((("b.flac", FLAC), ("b.json", b"\xff")), ".json: not UTF-8"),
        ((("b.flac", FLAC), ("b.json", "[1]")), ".json: list, not an object with columns"),
        ((("b.flac", FLAC), ("b.json", "{}"), ("b.x.json", "{}")), "several objects of this key"),
        ((("b.flac", FLAC), ("b.txt", b"\xff")), "text is bytes, not text in UTF-8"),
        ((("b.flac", b""), ("b.txt", "two")), ".flac is empty"),
        ((("b.flac", FLAC), ("b.txt", "1\n00:00:01,000 --> 00:00:02,000\ntwo")), ".txt holds times"),
        ((("../a.flac", FLAC),), "no .txt or .json beside .flac"),
    ],
)  # fmt: skip
def test_a_broken_clip_is_one_row(members: tuple[tuple[str, bytes | str], ...], told: str, tmp_path: Path) -> None:
    file = shard(tmp_path / "a.tar", *GOOD, *members, ("c.flac", FLAC), ("c.txt", "three"))
    for settings in ({}, {"job_rows": 1}):
        first, broken, last = read(file, **settings)[0]
        assert (first.fault, first.text, last.fault, last.text) == (None, "one", None, "three")
        assert told in str(broken.fault) and broken.place == f"{file}: {members[0][0].rpartition('.')[0]}"


def test_what_is_no_clip_is_told(tmp_path: Path) -> None:
    others = (("README.txt", "read me"), ("LICENSE", "as you like"), ("index.csv", "a,b"))
    records, told = read(shard(tmp_path / "a.tar", *others, *GOOD, ("a.cls", "1")))
    assert [record.text for record in records] == ["one"]
    assert told == [f"{tmp_path}/a.tar: members that are not used: 1 .cls, 1 .csv, 1 .txt, 1 without a suffix"]


def test_shards_by_a_range(tmp_path: Path) -> None:
    for number in range(6):
        write_shard(tmp_path / f"{number // 3}-{number % 3:02d}.tar", [number])
    assert words(tmp_path / "{0..1}-{00..02}.tar") == TEXTS
    assert words(tmp_path / "0-{01..01}.tar") == TEXTS[1:2]
    with pytest.raises(DataError, match=r"0-03\.tar is not there"):
        read(tmp_path / "0-{01..03}.tar")


def test_a_key_that_comes_again_is_told_in_whatever_job_it_is(tmp_path: Path) -> None:
    file = shard(tmp_path / "a.tar", *GOOD, ("b.flac", FLAC), ("b.txt", "two"), *GOOD)
    for job_rows in (1, 2, 3):
        assert words(file, job_rows=job_rows)[:2] == ["one", "two"]
        assert "its key came before in this shard" in str(words(file, job_rows=job_rows)[2])


def test_which_of_several_recordings_and_texts_is_meant_can_be_said(tmp_path: Path) -> None:
    row = json.dumps({"caption": "three", "id": "x"})
    file = shard(tmp_path / "a.tar", ("a.far.flac", FLAC), ("a.near.flac", FLAC), ("a.txt", "one"), ("a.json", row))
    chosen = {"audio": "near.flac", "text": "caption", "id": "id"}
    (record,) = read(file, kind="webdataset", columns=chosen)[0]
    assert (record.audio["path"], record.text, record.id) == ("a.near.flac", "three", "x")
    assert "several recordings" in str(words(file)[0])


def test_recordings_alone_are_rows_where_that_is_asked_for(tmp_path: Path) -> None:
    file = shard(tmp_path / "a.tar", ("a.flac", FLAC), ("b.flac", FLAC))
    records, _ = read(file, kind="webdataset", without_text=True)
    assert [(record.id, record.text, record.fault) for record in records] == [("a", None, None), ("b", None, None)]


def test_names_are_never_paths(tmp_path: Path) -> None:
    (tmp_path / "outside.flac").write_bytes(FLAC)
    outside = str(tmp_path / "outside")
    file = shard(tmp_path / "s" if (tmp_path / "s").mkdir() else tmp_path / "s" / "a.tar",
                 (f"{outside}.flac", b""), (f"{outside}.txt", "one"),
                 ("../outside.flac", FLAC), ("../outside.txt", "two"))  # fmt: skip
    first, second = read(file)[0]
    assert first.fault == ".flac is empty" and first.audio is None
    assert second.audio == {"bytes": FLAC, "path": "outside.flac"}


def test_a_link_is_no_recording(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as packed:
        for name, content in GOOD:
            add_member(packed, name, content.encode() if isinstance(content, str) else content)
        link = tarfile.TarInfo("b.flac")
        link.type, link.linkname = tarfile.LNKTYPE, "a.flac"
        packed.addfile(link)
        add_member(packed, "b.txt", b"two")
    assert words(tmp_path / "a.tar") == ["one", "b.flac is a link, not a file"]


def cut(content: bytes, suffix: str) -> bytes:
    return gzip.compress(content)[:-40] if suffix == ".tar.gz" else content


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
@pytest.mark.parametrize("job_rows", [1, 2, 2000])
def test_a_shard_that_is_cut_off_or_damaged_says_where(suffix: str, job_rows: int, tmp_path: Path) -> None:
    content = write_shard(tmp_path / "whole.tar", range(3)).read_bytes()
    (tmp_path / "whole.tar").unlink()
    header = content.index(b"clip2.flac")
    file = tmp_path / f"a{suffix}"
    for damaged, told in (
        (content[: header + 512 + 700], "in the middle of a member: it was cut off"),
        (content[: content.index(b"clip2.json") + 514], "it was cut off"),
        (content[:header], f"it has no end at byte {header}: it was cut off"),
        (content[: header + 100], f"no member and no end at byte {header}"),
        (content[:header] + b"\7" * 9 + content[header + 9 :], f"no member and no end at byte {header}"),
    ):
        file.write_bytes(gzip.compress(damaged) if suffix == ".tar.gz" else damaged)
        found = read(file, job_rows=job_rows)[0]
        assert [record.text for record in found] == [*TEXTS[:2], None]
        assert "the shard is damaged" in str(found[2].fault) and told in str(found[2].fault)
        assert found[2].place.startswith(f"{file}: ")


def test_a_compressed_shard_that_is_cut_off_says_where(tmp_path: Path) -> None:
    file = write_shard(tmp_path / "a.tar.gz", range(3), "w:gz")
    file.write_bytes(file.read_bytes()[:-400])
    found = words(file)
    assert found[0] == TEXTS[0] and "it was cut off" in str(found[-1])


@pytest.mark.parametrize("place", [-6, -300])  # the checksum, and what it is of
def test_a_compressed_shard_that_does_not_fit_its_checksum_is_refused(place: int, tmp_path: Path) -> None:
    file = write_shard(tmp_path / "a.tar.gz", range(6), "w:gz")
    content = bytearray(file.read_bytes())
    content[place] ^= 64
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.tar\.gz (is damaged: it )?cannot be unpacked"):
        read(file, cache=str(tmp_path / "cache"))
    with pytest.raises(DataError, match=r"a\.tar\.gz is damaged: it cannot be unpacked behind byte"):
        read(file, kind="webdataset")


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 100, b"\0" * 1024])
def test_what_is_no_tar_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    for kind in ("auto", "webdataset"):
        with pytest.raises(DataError, match=r"a\.tar"):
            read(tmp_path / "a.tar", kind=kind, cache=str(tmp_path / "cache"))


def test_a_shard_without_what_is_wanted_says_what_it_has(tmp_path: Path) -> None:
    file = shard(tmp_path / "a.tar", ("a.flac", FLAC), ("a.json", '{"words": "one"}'))
    with pytest.raises(DataError, match=r"no column for text by a usual name: say --columns text=NAME.*words"):
        read(file)
    assert words(file, columns={"text": "words"}) == ["one"]
    with pytest.raises(DataError, match=r"no shard of WebDataset.*first members are .cls, .jpg"):
        read(shard(tmp_path / "b.tar", ("a.jpg", "x"), ("a.cls", "1"), ("a.txt", "")), kind="webdataset")


NEW_SHAPES = ("web_dataset", "web_dataset_compressed", "kaldi_archive", "lhotse", "lhotse_cuts", "lhotse_shar")


@pytest.mark.parametrize("shape", NEW_SHAPES)
def test_pieces_travel_give_the_same_rows_each_time_and_are_planned_alike(shape: str, tmp_path: Path) -> None:
    reading = CorpusSettings(input=str(SHAPES[shape](tmp_path / "corpus")), job_rows=2)
    jobs = list(plan_jobs(reading))
    sent = [pickle.loads(pickle.dumps(job)) for job in jobs]
    assert sum(len(pickle.dumps(job)) for job in jobs) < 12_000  # no audio
    rows = [list(job.rows.records()) for job in jobs]
    assert rows == [list(job.rows.records()) for job in sent] == [list(job.rows.records()) for job in sent]
    assert [job.rows.digest() for job in jobs] == [job.rows.digest() for job in plan_jobs(reading)]


@pytest.mark.parametrize("shape", NEW_SHAPES)
def test_a_preparation_of_each_goes_on(shape: str, tmp_path: Path) -> None:
    reading = CorpusSettings(input=str(SHAPES[shape](tmp_path / "corpus")), job_rows=2, language="az")
    wanted = PrepareSettings(corpus=reading, output=str(tmp_path / "out"))
    assert prepare(wanted).reused == 0
    before = {file: file.read_bytes() for file in (tmp_path / "out").glob("*.parquet")}
    (tmp_path / "out" / ".jobs" / "00001.json").unlink()
    assert prepare(wanted).reused in (2, 4)
    assert before == {file: file.read_bytes() for file in (tmp_path / "out").glob("*.parquet")}
    assert prepare(wanted).reused == 6


@pytest.mark.parametrize("shape", NEW_SHAPES)
def test_training_reads_the_files_among_them_and_says_what_to_prepare(shape: str, tmp_path: Path) -> None:
    source = open_source(SourceConfig(folder=str(SHAPES[shape](tmp_path / "corpus"))), "data.train")
    if shape == "lhotse":
        assert [row["text"] for row in source.rows()] == TEXTS
        return
    with pytest.raises(DataError, match=r"only preparation (reads|cuts recordings): python launch/prepare\.py"):
        list(source.rows())


def test_a_network_that_fails_for_a_moment_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fsspec.filesystem("memory")
    store.put(str(write_shard(tmp_path / "a.tar", range(6))), "/flaky/a.tar")
    monkeypatch.setattr("data.storage.FIRST_WAIT", 0)
    monkeypatch.setattr("data.corpora.tar_members.AT_ONCE", 4096)
    whole, calls = storage.remote_part, itertools.count()

    def flaky(*part: Any) -> bytes:
        if next(calls) % 2:
            raise TimeoutError("for a moment")
        return whole(*part)

    monkeypatch.setattr("data.storage.remote_part", flaky)
    assert words("memory://flaky/a.tar") == TEXTS and next(calls) > 10


# What is an archive of another corpus stays one


def test_an_archive_of_a_folder_is_unpacked(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.flac").write_bytes(FLAC)
    (folder / "a.txt").write_text("one")
    with tarfile.open(tmp_path / "corpus.tar", "w") as packed:
        packed.add(folder, "corpus")
    (record,) = read(tmp_path / "corpus.tar", cache=str(tmp_path / "cache"))[0]
    assert (record.id, record.text) == ("a", "one") and Path(record.audio).is_file()


def test_an_archive_of_recordings_with_times_is_unpacked(tmp_path: Path) -> None:
    file = shard(tmp_path / "a.tar", ("talk.flac", FLAC), ("talk.txt", "0.0 0.2 one\n0.2 0.4 two\n"))
    assert words(file, cache=str(tmp_path / "cache")) == ["one", "two"]


def test_several_archives_are_read_one_at_a_time(tmp_path: Path) -> None:
    for name in "ab":
        shard(tmp_path / f"{name}.tar", ("x.csv", "file,text\n"))
    with pytest.raises(DataError, match=r"is an archive and no shard of WebDataset; .* name one"):
        read(tmp_path / "*.tar")


def test_archives_in_a_folder_are_named(tmp_path: Path) -> None:
    web_dataset(tmp_path / "shards")
    for name, content in GOOD:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    for name in ("more.zip", "b.tar.xz", "c.ark"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "shards").rename(tmp_path / ".shards")
    texts, told = read(tmp_path)
    assert [record.text for record in texts] == ["one"]
    for suffix, name in ((".ark", "c.ark"), (".xz", "b.tar.xz"), (".zip", "more.zip")):
        assert any(re.fullmatch(rf"not used: 1 packed {suffix} files?: {name}", line) for line in told)
