"""Values of keep and drop that no row has are told: what is misspelled in drop would be trained on."""

from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.sources.config import SourceConfig
from data.sources.filters import speakers_of, values_not_there
from data.sources.source import Source


@pytest.fixture
def files(tmp_path: Path) -> str:
    for part, speakers in enumerate((["ann", "bob"], ["eve", None])):
        rows = {"audio": [b"a", b"b"], "text": ["a", "b"], "speaker": speakers, "grade": [1, 2], "adult": [True, False]}
        rows["where"] = [{"city": "x"}, {"city": "y"}]
        pq.write_table(pa.table(rows), tmp_path / f"{part}.parquet")
    return str(tmp_path / "*.parquet")


def told(**values: object) -> list[str]:
    return values_not_there(Source(SourceConfig(**values), "data.train"))  # type: ignore[arg-type]


def test_values_that_no_row_has(files: str) -> None:
    assert told(files=files, drop={"speaker": ["ann ", "eve"]}) == [
        "data.train.drop: no row has speaker 'ann ' (did you mean 'ann'?)"
    ]
    assert told(files=files, keep={"speaker": ["bob"], "grade": [3]}) == ["data.train.keep: no row has grade '3'"]


def test_values_that_are_there_are_compared_as_rows_are(files: str) -> None:
    assert not told(files=files, drop={"speaker": ["ann", "None"], "grade": ["1", 2], "adult": [True]})
    assert not told(files=files)


def test_what_cannot_be_looked_at_quickly_is_not(files: str) -> None:
    assert not told(hub="someone/something", drop={"speaker": ["ann "]})
    assert not told(files=files, drop={"nothing": ["x"]})  # said as a column that is missing
    assert not told(files=files, drop={"where": ["x"]})


def test_classes_are_called_by_their_names_or_numbers(tmp_path: Path) -> None:
    gender = datasets.ClassLabel(names=["male", "female", "other"])
    rows = datasets.Dataset.from_dict({"audio": ["a", "b"], "text": ["a", "b"], "gender": [0, 1]})
    rows.cast_column("gender", gender).to_parquet(tmp_path / "classes.parquet")
    files = str(tmp_path / "classes.parquet")
    assert not told(files=files, keep={"gender": ["female", 0]})
    assert told(files=files, drop={"gender": ["femal", 2]}) == [
        "data.train.drop: no row has gender 'femal' (did you mean 'female'?)",
        "data.train.drop: no row has gender '2'",
    ]


def test_speakers_are_those_of_the_rows_that_are_kept(files: str) -> None:
    def speakers(**values: object) -> set[str] | None:
        return speakers_of(Source(SourceConfig(files=files, **values), "data.train"))  # type: ignore[arg-type]

    named = {"speaker": "speaker"}
    assert speakers(columns=named) == {"ann", "bob", "eve"}
    assert speakers(columns=named, drop={"speaker": ["ann"]}) == {"bob", "eve"}
    assert speakers(columns=named, keep={"grade": [1]}) == {"ann", "eve"}
    assert speakers() is None
