"""Training from a folder takes what preparation takes, and refuses what it cannot take as it is."""

import json
from pathlib import Path
from typing import Any

import datasets
import fsspec
import pytest

from data.audio.undecodable import UndecodableAudio
from data.batches.collation import read_audio
from data.corpora.settings import CorpusSettings
from data.errors import DataError
from data.opening import source_of
from data.preparation.prepare import prepare
from data.preparation.settings import PrepareSettings
from data.sources.config import SourceConfig
from data.sources.source import Source
from tests.data.corpora.test_census import pairs
from tests.data.corpora.test_segments import tree
from tests.support.corpora_on_disk import SHAPES, TEXTS, encoded, samples


def opened(folder: Path, **values: Any) -> Source:
    source = source_of(SourceConfig(folder=str(folder), **values), "data.train")
    source.check_columns()
    return source


def refusal(folder: Path, **values: Any) -> str:
    with pytest.raises(DataError) as refused:
        opened(folder, **values)
    assert str(refused.value).startswith("data.train.folder: ")
    return str(refused.value)


FOLDERS = ("kaldi", "audio_folder", "transcripts_beside", "libri_speech")


@pytest.mark.parametrize("shape", FOLDERS)
def test_a_folder_gives_the_clips_that_preparation_gives(shape: str, tmp_path: Path) -> None:
    source = opened(SHAPES[shape](tmp_path))
    rows = list(source.rows())
    assert [row["text"] for row in rows] == TEXTS
    assert [len(read_audio(row, source)) for row in rows] == [len(samples(number)) for number in range(len(TEXTS))]
    assert source.row_count() == len(TEXTS)


def test_a_table_that_preparation_reads_is_read(tmp_path: Path) -> None:
    rows = "file,sentence,kid,age\na.wav,one,ann,7\nb.wav,two,bob,8\n"
    tree(tmp_path, {"a.wav": encoded(0, ".wav"), "b.wav": encoded(1, ".wav"), "metadata.csv": rows})
    assert [row["text"] for row in opened(tmp_path).rows()] == ["one", "two"]
    kept = opened(tmp_path, keep={"age": [8]}, columns={"text": "sentence", "id": "id"})
    assert [(row["sentence"], row["id"], row["kid"]) for row in kept.rows()] == [("two", "b", "bob")]
    assert "columns: {text: NAME}" in refusal(tree(tmp_path / "other", {"metadata.csv": "file,said\na.wav,x\n"}))


def test_a_table_is_named_itself(tmp_path: Path) -> None:
    tree(tmp_path, {"a.wav": encoded(0, ".wav"), "texts.csv": "path,sentence\na.wav,one\n"})
    assert "a table of the recordings is named itself" in refusal(tmp_path)
    source = opened(tmp_path / "texts.csv")
    assert [(row["audio"], row["text"]) for row in source.rows()] == [("a.wav", "one")]
    assert len(read_audio(next(source.rows()), source)) == len(samples(0))


def test_what_only_an_option_of_preparation_decides_is_said_so(tmp_path: Path) -> None:
    folder = tree(tmp_path, {"a.wav": encoded(0, ".wav"), "a.txt": "0.1 0.2 red or blue"})
    assert refusal(folder).endswith("that is an option of launch/prepare.py: prepare the folder")


def test_names_are_those_of_before(tmp_path: Path) -> None:
    source = opened(tree(tmp_path, {"sub/a.wav": encoded(0, ".wav"), "sub/a.txt": "a"}))
    assert next(source.rows()) == {"audio": "sub/a.wav", "text": "a", "id": "sub/a"}


def test_what_is_not_trained_on_is_told(tmp_path: Path) -> None:
    source = opened(tree(tmp_path, pairs(".wav", range(2)) | {"c.wav": encoded(0, ".wav"), "d.xyz": b""}))
    assert source.remarks == ["not used: 1 recording without a transcript: c.wav"]


def test_a_folder_with_several_splits_is_not_taken_for_one(tmp_path: Path) -> None:
    folder = SHAPES["common_voice"](tmp_path)
    message = refusal(folder)
    assert "has several splits, test (1 rows), train (4 rows), validation (1 rows)" in message
    assert "choose with keep: {split: [train]}" in message
    chosen = opened(folder, keep={"split": ["validation"]})
    assert [row["text"] for row in chosen.read(chosen.rows())] == [TEXTS[4]]
    assert chosen.row_count() == 1
    assert opened(folder, keep={"split": ["train"]}, max_utterances=3).row_count() == 3


def test_what_only_preparation_can_do_is_refused_with_its_command(tmp_path: Path) -> None:
    message = refusal(SHAPES["kaldi_segments"](tmp_path / "long"))
    assert "is a part of a recording" in message and "python launch/prepare.py" in message
    message = refusal(SHAPES["parquet"](tmp_path / "shards"))
    assert "name them as files, such as" in message


def test_prepared_speech_as_an_audio_folder_is_read_back(tmp_path: Path) -> None:
    corpus = CorpusSettings(input=str(SHAPES["transcripts_beside"](tmp_path / "c")), language="az")
    prepare(PrepareSettings(corpus=corpus, output=str(tmp_path / "o"), layout="audiofolder"))
    source = opened(tmp_path / "o", columns={"id": "id", "language": "language", "duration": "duration"})
    rows = list(source.rows())
    assert [row["text"] for row in rows] == TEXTS and {row["language"] for row in rows} == {"az"}
    assert rows[0]["id"] == "sub/clip0" and rows[0]["duration"] == pytest.approx(0.5)


def test_columns_of_any_kind_that_nobody_asks_for_are_no_fault(tmp_path: Path) -> None:
    rows = [{"file_name": f"{name}.wav", "text": name, "good": name == "a", "words": [1, 2]} for name in "ab"]
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    tree(tmp_path, {"a.wav": encoded(0, ".wav"), "b.wav": encoded(1, ".wav"), "metadata.jsonl": lines})
    assert [row["text"] for row in opened(tmp_path).rows()] == ["a", "b"]
    assert [row["text"] for row in opened(tmp_path, keep={"good": [True]}).rows()] == ["a"]
    assert next(opened(tmp_path).rows())["words"] == "[1, 2]"


def test_names_of_columns_mean_nothing_to_a_folder_without_any(tmp_path: Path) -> None:
    folder = tree(tmp_path, pairs(".wav", range(2)))
    source = opened(folder, columns={"audio": "file", "text": "sentence", "id": "name"})
    assert next(source.rows()) == {"file": "c0.wav", "sentence": "text 0", "id": "c0", "name": "c0"}
    assert len(read_audio(next(source.rows()), source)) == len(samples(0))


def test_paths_from_the_working_folder_stay_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree(tmp_path, {"texts/a.wav": encoded(0, ".wav"), "texts/a.txt": "a", "other/b.wav": b""}))
    source = opened(Path("texts"), audio_root="other")
    with pytest.raises(UndecodableAudio, match=r"texts/a\.wav lies outside other"):
        read_audio(next(source.rows()), source)
    tree(tmp_path, {"kaldi/wav.scp": "a texts/a.wav\n", "kaldi/text": "a said\n"})
    source = opened(Path("kaldi"))  # whose paths are those of the working folder
    assert len(read_audio(next(source.rows()), source)) == len(samples(0))


def test_a_folder_of_a_store_is_read_however_its_address_is_written() -> None:
    store = fsspec.filesystem("memory")
    store.pipe({"/folder/sub/a.wav": encoded(0, ".wav"), "/folder/sub/a.txt": b"a"})
    for address in ("memory://folder", "memory:///folder", "memory://folder/"):
        source = source_of(SourceConfig(folder=address), "data.train")
        assert next(source.rows()) == {"audio": "sub/a.wav", "text": "a", "id": "sub/a"}
        assert len(read_audio(next(source.rows()), source)) == len(samples(0))


def test_files_of_many_clips_are_named_as_what_they_are(tmp_path: Path) -> None:
    shard = next(SHAPES["parquet"](tmp_path / "shards").glob("*.parquet"))
    assert refusal(shard).endswith(f"is one file with many clips in it: name it as files: {shard}")
    datasets.Dataset.from_dict({"audio": [encoded(0)], "text": ["one"]}).save_to_disk(str(tmp_path / "arrow"))
    assert f"such as {tmp_path}/arrow/*.arrow" in refusal(tmp_path / "arrow")
