"""Lhotse's manifests: cuts, recordings and supervisions, Shar; and what of them cannot be read."""

import gzip
import json
import tarfile
from pathlib import Path
from typing import Any

import fsspec
import pytest

from data.corpora.census import Census
from data.corpora.formats import plan_jobs
from data.corpora.record import Record
from data.corpora.settings import CorpusSettings
from data.errors import DataError

from ...support.corpora_on_disk import (
    TEXTS,
    add_member,
    encoded,
    lhotse,
    lhotse_cut,
    lhotse_cuts,
    lhotse_recording,
    lhotse_shar,
    lhotse_supervision,
    samples,
    write_audio,
    write_manifest,
)


def read(corpus: Path | str, **values: Any) -> tuple[list[Record], list[str]]:
    """The records of a corpus, and what the census tells."""
    census = Census()
    jobs = list(plan_jobs(CorpusSettings(input=str(corpus), **values), census))
    return [record for job in jobs for record in job.rows.records()], census.lines()


def faults(corpus: Path | str, **values: Any) -> list[str | None]:
    """The fault of each record, or its text."""
    return [record.fault or record.text for record in read(corpus, **values)[0]]


SECONDS = len(samples(0)) / 16_000


def cut(folder: Path, name: str = "cut0", number: int = 0, **changed: Any) -> dict[str, Any]:
    """A cut of a recording of its own."""
    recording = lhotse_recording(name, folder / f"clip{number}.flac", len(samples(number)) / 16_000)
    return lhotse_cut(name, recording, [lhotse_supervision(number, name)]) | changed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_audio(tmp_path)
    return tmp_path


def test_recordings_and_supervisions_are_joined(tmp_path: Path) -> None:
    corpus = lhotse(tmp_path / "corpus")
    records, told = read(corpus, job_rows=4)
    assert [record.text for record in records] == TEXTS
    assert records[1].audio == str(tmp_path / "corpus" / "audio" / "clip1.flac") and records[1].duration == 0.51
    assert not any(record.is_part for record in records)
    assert told == []
    for name in ("digits_supervisions_all.jsonl.gz", "digits_recordings_all.jsonl.gz"):
        assert read(corpus / name)[0] == records


def test_supervisions_are_relative_to_their_cut(tmp_path: Path) -> None:
    records, _ = read(lhotse_cuts(tmp_path))
    times = [(round(record.start, 3), round(record.end or 0, 3)) for record in records]
    assert times == [(0.0, 0.5), (0.5, 1.01), (1.01, 1.53), (1.53, 2.06), (2.06, 2.6), (2.6, 3.15)]


def test_the_split_is_a_part_of_the_name(folder: Path) -> None:
    write_manifest(folder / "cuts_train-clean.jsonl.gz", [cut(folder)])
    write_manifest(folder / "speech_cuts_dev.jsonl", [cut(folder, "cut1", 1)])
    assert {record.text: record.split for record in read(folder)[0]} == {TEXTS[0]: "train", TEXTS[1]: "validation"}


def test_what_supervisions_carry_are_columns(folder: Path) -> None:
    said = lhotse_supervision(0, "cut0", language="Azerbaijani", gender="f", custom={"spoken": "bir", "age": 7})
    file = write_manifest(folder / "cuts.jsonl", [cut(folder, supervisions=[said])])
    (record,) = read(file, columns={"text": "spoken", "language": None}, extra_columns=("age", "gender"))[0]
    assert (record.text, record.language, record.extra) == ("bir", None, {"age": "7", "gender": "f"})


@pytest.mark.parametrize(
    ("written", "read_as"), [("English", "en"), ("azerbaijani", "az"), ("tr", "tr"), ("Elvish", "Elvish"), (None, "uz")]
)
def test_languages_by_their_names(written: str | None, read_as: str, folder: Path) -> None:
    said = [lhotse_supervision(0, "cut0", language=written)]
    (record,) = read(write_manifest(folder / "cuts.jsonl", [cut(folder, supervisions=said)]), language="uz")[0]
    assert record.language == read_as


def test_a_list_of_cuts_is_read_too(folder: Path) -> None:
    (folder / "cuts.json").write_text(json.dumps([cut(folder), cut(folder, "cut1", 1)], indent=1))
    assert faults(folder / "cuts.json") == TEXTS[:2]


def test_manifests_in_a_store(tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    store.put(str(lhotse_shar(tmp_path / "shar")), "/lhotse", recursive=True)
    assert faults("memory://lhotse") == TEXTS


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"type": "MixedCut", "tracks": []}, "a MixedCut, put together of several cuts or of silence"),
        ({"type": "PaddingCut"}, "a PaddingCut, put together of"),
        ({"recording": None, "features": {}}, "no audio: the cut has features alone"),
        ({"recording": None}, "no audio: the cut has no recording"),
        ({"supervisions": []}, "no supervision, and so no text"),
        ({"supervisions": ["text"]}, "a supervision is str, not an object"),
        ({"duration": 0.2}, "its text is of 0 s to 0.5 s of the cut, which is 0 s to 0.2 s"),
        ({"start": "later"}, "start is 'later', not a number of seconds"),
        ({"start": -1}, "start is '-1', not a number of seconds"),
        ({"supervisions": [lhotse_supervision(0, "r", duration=0)]}, "it lasts 0 s"),
        ({"supervisions": [lhotse_supervision(0, "r", text=["one"])]}, "text is list, not text"),
        ({"recording": {"transforms": [{"name": "Speed", "kwargs": {"factor": 0.9}}]}}, "to be changed (Speed)"),
        ({"recording": {"sources": []}}, "its channels lie in 0 files"),
        ({"recording": {"sources": [{"type": "memory", "channels": [0], "source": "UklGRg=="}]}}, "of type 'memory'"),
        ({"recording": {"sources": [{"type": "url", "channels": [0], "source": "a.wav"}]}}, "of type 'url'"),
        ({"recording": {"sources": [{"type": "shar", "channels": [0], "source": ""}]}}, "of type 'shar'"),
        ({"recording": {"sources": [{"type": "file", "channels": [0, 1], "source": "a.wav"}]}},
         "it is channel 0 of a file of 2; channels are not taken apart"),
        ({"recording": {"duration": None}}, "duration is 'None', not a number of seconds"),
    ],
)  # fmt: skip
def test_a_cut_that_cannot_be_read(changed: dict[str, Any], told: str, folder: Path) -> None:
    broken = cut(folder, "cut1")
    if isinstance(changed.get("recording"), dict):
        changed = {"recording": broken["recording"] | changed["recording"]}
    file = write_manifest(folder / "cuts.jsonl.gz", [cut(folder), broken | changed, cut(folder, "cut2", 2)])
    first, second, third = read(file)[0]
    assert (first.fault, third.fault) == (None, None)
    assert told in str(second.fault) and second.place == f"{file}: line 2"


def test_a_line_that_is_none_is_one_row(folder: Path) -> None:
    good = json.dumps(cut(folder))
    (folder / "cuts.jsonl").write_text(f"{good}\n{{broken\n[1]\n\n{good}\n")
    told = faults(folder / "cuts.jsonl")
    assert told[0] == told[3] == TEXTS[0] and "not JSON" in str(told[1]) and "list, not an object" in str(told[2])


def test_the_file_of_the_right_channel_is_taken(folder: Path) -> None:
    sources = [{"type": "file", "channels": [i], "source": str(folder / f"clip{i}.flac")} for i in range(2)]
    recording = lhotse_recording("r", "", SECONDS, sources=sources, channel_ids=[0, 1])
    said = [lhotse_supervision(i, "r", channel=i, duration=SECONDS) for i in range(2)]
    file = write_manifest(folder / "cuts.jsonl", [lhotse_cut("c", recording, said, type="MultiCut", channel=[0, 1])])
    assert [record.audio for record in read(file)[0]] == [source["source"] for source in sources]


def test_a_changed_rate_alone_changes_nothing(folder: Path) -> None:
    found = cut(folder)
    found["recording"] |= {"transforms": [{"name": "Resample", "kwargs": {}}], "sampling_rate": 8000}
    (record,) = read(write_manifest(folder / "cuts.jsonl", [found]))[0]
    assert record.fault is None and record.sampling_rate is None


def test_no_command_is_run(folder: Path) -> None:
    found = cut(folder)
    found["recording"]["sources"][0] |= {"type": "command", "source": f"touch {folder}/ran"}
    with pytest.raises(DataError, match=r"cuts\.jsonl: recording cut0 is made by a command, 'touch .*no command"):
        read(write_manifest(folder / "cuts.jsonl", [found]))
    assert not (folder / "ran").exists()


def test_a_half_that_is_missing_is_named(tmp_path: Path) -> None:
    corpus = lhotse(tmp_path)
    (corpus / "digits_recordings_all.jsonl.gz").unlink()
    with pytest.raises(DataError, match=r"its recordings are not there: .*digits_recordings_all\.jsonl\.gz"):
        read(corpus)


def test_a_supervision_of_no_recording_is_a_row(tmp_path: Path) -> None:
    corpus = lhotse(tmp_path)
    write_manifest(
        corpus / "digits_supervisions_all.jsonl.gz", [lhotse_supervision(0, "r0"), lhotse_supervision(1, "x")]
    )
    assert faults(corpus) == [TEXTS[0], "no audio: digits_recordings_all.jsonl.gz has no 'x'"]


def test_recordings_without_a_supervision_are_told(tmp_path: Path) -> None:
    corpus = lhotse(tmp_path)
    write_manifest(corpus / "digits_supervisions_all.jsonl.gz", [lhotse_supervision(0, "r0")])
    _, told = read(corpus)
    file = corpus / "digits_recordings_all.jsonl.gz"
    assert told == [f"not used: 5 recordings of {file} without a supervision: r1, r2, r3 and 2 more"]


def test_recordings_without_a_text_are_rows_where_that_is_asked_for(tmp_path: Path) -> None:
    corpus = lhotse(tmp_path)
    write_manifest(corpus / "digits_supervisions_all.jsonl.gz", [lhotse_supervision(0, "r0")])
    records, told = read(corpus, without_text=True)
    assert [record.text for record in records] == [TEXTS[0], None, None, None, None, None] and told == []
    assert [record.id for record in records] == ["clip0", "r1", "r2", "r3", "r4", "r5"]
    file = write_manifest(tmp_path / "cuts.jsonl", [cut(tmp_path / "audio", supervisions=[])])
    assert [(record.text, record.fault) for record in read(file, without_text=True)[0]] == [(None, None)]


def test_manifests_beside_cuts_are_told(folder: Path) -> None:
    write_manifest(folder / "cuts.jsonl", [cut(folder)])
    write_manifest(folder / "recordings.jsonl", [cut(folder)["recording"]])
    _, told = read(folder)
    assert "not used: 1 manifests of recordings or supervisions: recordings.jsonl" in told
    assert any(line.startswith("not used: 5 recordings without a transcript") for line in told)


def test_a_recording_twice_is_refused(tmp_path: Path) -> None:
    corpus = lhotse(tmp_path)
    recording = lhotse_recording("r0", "audio/clip0.flac", SECONDS)
    write_manifest(corpus / "digits_recordings_all.jsonl.gz", [recording, recording])
    with pytest.raises(DataError, match="line 2 has 'r0', which came before"):
        read(corpus)


def test_a_manifest_that_is_cut_off_is_refused(folder: Path) -> None:
    content = gzip.compress("".join(json.dumps(cut(folder, f"cut{i}")) + "\n" for i in range(300)).encode())
    (folder / "cuts.jsonl.gz").write_bytes(content[:-50])
    with pytest.raises(DataError, match=r"cuts\.jsonl\.gz cannot be read to its end"):
        read(folder / "cuts.jsonl.gz")


def test_what_is_no_manifest_is_read_as_before(folder: Path) -> None:
    (folder / "cuts.jsonl").write_text('{"audio": "clip0.flac", "text": "one", "id": "a", "start": 0.1, "end": 0.2}\n')
    assert faults(folder / "cuts.jsonl") == ["one"]
    with pytest.raises(DataError, match="is no manifest of Lhotse"):
        read(folder / "cuts.jsonl", kind="lhotse")


def test_audio_of_shar_that_is_not_where_it_should_be(tmp_path: Path) -> None:
    corpus = lhotse_shar(tmp_path / "shar")
    with tarfile.open(corpus / "recording.000001.tar", "w") as packed:
        add_member(packed, "cut9.flac", encoded(0))
        add_member(packed, "cut5.flac", b"")
    content = (corpus / "recording.000000.tar").read_bytes()
    (corpus / "recording.000000.tar").write_bytes(content[: content.index(b"cut3.flac") + 600])
    told = faults(corpus)
    assert told[:3] == TEXTS[:3] and "it was cut off" in str(told[3])
    assert told[4:] == ["no audio: the tar file has cut9 where cut4 should be", "no audio: cut5.flac is empty"]


def test_jobs_of_shar_change_with_their_tar_file(tmp_path: Path) -> None:
    corpus = lhotse_shar(tmp_path / "shar")

    def digests() -> list[str]:
        return [job.rows.digest() for job in plan_jobs(CorpusSettings(input=str(corpus)))]

    before = digests()
    (corpus / "recording.000001.tar").write_bytes((corpus / "recording.000001.tar").read_bytes() + b"\0" * 512)
    assert digests()[0] == before[0] and digests()[1] != before[1]
