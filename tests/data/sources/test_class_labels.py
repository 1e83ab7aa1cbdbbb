"""Columns of classes are read by their names, in training and in preparation, from every kind of file."""

from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.batches.collation import language_of, read_utterance, row_id
from data.config import SourceConfig
from data.corpora.formats import plan_jobs
from data.corpora.settings import CorpusSettings
from data.errors import DataError
from data.opening import open_source
from data.sources.class_labels import class_names

from ...support.corpora_on_disk import encoded

KINDS = ["parquet", "arrow", "hub"]
LANGUAGES = datasets.ClassLabel(names=["az_az", "tr_tr", "de_de"])


def table(**columns: tuple[list[Any], Any]) -> pa.Table:
    """Clips with columns of values and their features, described as `datasets` describes them."""
    count = len(next(iter(columns.values()))[0])
    audio = [{"bytes": encoded(i), "path": f"{i}.flac"} for i in range(count)]
    features = {"audio": datasets.Audio()} | {name: feature for name, (_, feature) in columns.items()}
    schema = datasets.Features(features).arrow_schema
    return pa.table({"audio": audio} | {name: values for name, (values, _) in columns.items()}, schema=schema)


def written(content: pa.Table, folder: Path, kind: str) -> Path:
    folder.mkdir(exist_ok=True)
    if kind == "arrow":
        with pa.ipc.new_stream(str(folder / "a.arrow"), content.schema) as writer:
            writer.write_table(content)
        return folder / "a.arrow"
    pq.write_table(content, folder / "train-0.parquet", row_group_size=2)
    return folder if kind == "hub" else folder / "train-0.parquet"


def source(content: pa.Table, folder: Path, kind: str, **values: Any) -> Any:
    place = str(written(content, folder, kind))
    origin = {"hub": place} if kind == "hub" else {"files": place}
    return open_source(SourceConfig(**origin, **values), "data.train")


SPOKEN = ([0, 1, -1, None], datasets.ClassLabel(names=["yes", "no"]))
VALUES = {
    "text": SPOKEN,
    "speaker": ([1, 1, 0, 0], datasets.ClassLabel(names=["ann", "bob"])),
    "lang_id": ([0, 1, 2, None], LANGUAGES),
    "gender": ([0, 1, 2, -1], datasets.ClassLabel(names=["male", "female", "other"])),
    "split": ([0, 0, 1, 1], datasets.ClassLabel(names=["train", "test"])),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_column_is_prepared_by_its_names(kind: str, tmp_path: Path) -> None:
    place = written(table(**VALUES), tmp_path / "c", kind)
    settings = CorpusSettings(
        input=str(place),
        kind="hub" if kind == "hub" else "auto",
        columns={"language": "lang_id"},
        extra_columns=("gender",),
    )
    found = [record for job in plan_jobs(settings) for record in job.rows.records()]
    assert [record.text for record in found] == ["yes", "no", None, None]
    assert [record.speaker for record in found] == ["bob", "bob", "ann", "ann"]
    assert [record.language for record in found] == ["az_az", "tr_tr", "de_de", None]
    assert [record.extra["gender"] for record in found] == ["male", "female", "other", ""]
    assert [record.split for record in found] == ["train", "train", "test", "test"]
    assert not any(record.fault for record in found)


@pytest.mark.parametrize("kind", KINDS)
def test_training_reads_names_and_chooses_by_names_and_numbers(kind: str, tmp_path: Path) -> None:
    content = table(**VALUES | {"text": (["a", "b", "c", "d"], datasets.Value("string"))})
    columns = {"language": "lang_id"}
    rows = list(source(content, tmp_path / "c", kind, columns=columns).rows())
    opened = source(content, tmp_path / "c", kind, columns=columns, language="az")
    assert [row["gender"] for row in rows] == ["male", "female", "other", None]
    assert [language_of(row, opened) for row in rows] == ["az", "tr", "de", "az"]
    for chosen in ({"keep": {"gender": ["female", "other"]}}, {"keep": {"gender": [1, 2]}},
                   {"drop": {"gender": ["male", -1]}}, {"drop": {"gender": [0, -1]}}):  # fmt: skip
        kept = source(content, tmp_path / "c", kind, **chosen)
        assert [row["text"] for row in kept.rows()] == ["b", "c"], chosen
        assert [row["text"] for row in kept.read(kept.lane(0, 1, None))] == ["b", "c"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_without_a_name_is_the_fault_of_its_row(kind: str, tmp_path: Path) -> None:
    content = table(text=([0, 1], datasets.ClassLabel(names=["yes", "no"])), language=([0, 2], LANGUAGES))
    narrow = content.schema.with_metadata(
        datasets.Features(
            {"audio": datasets.Audio(), "text": datasets.ClassLabel(names=["yes"]), "language": LANGUAGES}
        ).arrow_schema.metadata
    )
    place = written(content.cast(narrow), tmp_path / "c", kind)
    settings = CorpusSettings(input=str(place), kind="hub" if kind == "hub" else "auto")
    found = [record for job in plan_jobs(settings) for record in job.rows.records()]
    assert found[0].fault is None and "text is 1, but only 0 to 0 have names" in str(found[1].fault)
    opened = source(content.cast(narrow), tmp_path / "c", kind, columns={"language": "language"})
    first, second = opened.rows()
    assert read_utterance(first, opened).text == "yes" and row_id(second, opened)
    with pytest.raises(DataError, match="the text is 1, but only 0 to 0 have names"):
        read_utterance(second, opened)


def test_a_number_that_files_name_differently_is_no_choice(tmp_path: Path) -> None:
    for number, names in enumerate((["a", "b"], ["b", "a"])):
        part = table(text=(["x", "y"], datasets.Value("string")), kind=([0, 1], datasets.ClassLabel(names=names)))
        pq.write_table(part, tmp_path / f"{number}.parquet")
    files = str(tmp_path / "*.parquet")
    with pytest.raises(DataError, match=r"data\.train\.keep\.kind.*give names"):
        list(open_source(SourceConfig(files=files, keep={"kind": (0,)}), "data.train").rows())
    by_name = open_source(SourceConfig(files=files, keep={"kind": ("a",)}), "data.train")
    assert [row["text"] for row in by_name.rows()] == ["x", "y"]


def test_what_lies_deeper_is_no_text_and_other_metadata_is_passed_over(tmp_path: Path) -> None:
    lists = table(text=([[0], [1]], datasets.Sequence(datasets.ClassLabel(names=["yes", "no"]))))
    settings = CorpusSettings(input=str(written(lists, tmp_path / "c", "parquet")))
    found = [record for job in plan_jobs(settings) for record in job.rows.records()]
    assert ["text is list" in str(record.fault) for record in found] == [True, True]
    for metadata in (b"{", b"[]", b'{"info": {"features": null}}', b'{"info": {"features": {"a": [1]}}}'):
        assert class_names(pa.schema([("a", pa.int64())], {b"huggingface": metadata})) == {}
    older = b'{"features": {"a": {"num_classes": 2, "names": ["x", "y"], "id": null, "_type": "ClassLabel"}}}'
    assert class_names(pa.schema([("a", pa.int64())], {b"huggingface": older})) == {"a": ("x", "y")}
