"""Sources weighed by their size to a power: the shares, their order of drawing, and sizes that are not known."""

import re
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from data.batches.mixture import mixing_rows, mixing_shares, mixture_lines
from data.config import DataConfig
from data.errors import DataError
from modeling.byte_processor import build_byte_processor

from .test_mixture import LabelEncoder, Mixture, ids, write_source

SOURCES = [{"files": "a.parquet"}, {"files": "b.parquet"}, {"files": "c.parquet"}]
ROWS = [9000, 900, 100]


def config(**values: Any) -> DataConfig:
    return DataConfig(**{"train": SOURCES} | values)


@pytest.mark.parametrize(
    ("temperature", "shares"),
    [(1, [0.9, 0.09, 0.01]), (2, [0.7033, 0.2224, 0.0741]), (5, [0.4908, 0.3097, 0.1996]), (1000, [1 / 3] * 3)],
)
def test_rows_to_the_power_of_one_by_temperature(temperature: float, shares: list[float]) -> None:
    found = mixing_shares(config(mixing_temperature=temperature), ROWS)
    assert found == pytest.approx(shares, abs=0.002)
    powers = [rows ** (1 / temperature) for rows in ROWS]
    assert found == pytest.approx([power / sum(powers) for power in powers])


def test_without_a_temperature_sizes_say_nothing() -> None:
    assert mixing_shares(config(), [None, 7, None]) == pytest.approx([1 / 3] * 3)
    assert mixing_rows(config(), ROWS) is None


def test_weights_multiply() -> None:
    train = [{**SOURCES[0], "weight": 0.5}, SOURCES[1], {**SOURCES[2], "weight": 3}]
    found = mixing_shares(config(train=train, mixing_temperature=2), [400, 100, 100])
    assert found == pytest.approx([10 / 50, 10 / 50, 30 / 50])
    lines = mixture_lines(config(train=train, mixing_temperature=2), [400, 100, 100])
    assert lines[0] == (
        "data.train.0: files a.parquet: 20.0% of the utterances (weight 0.5 x 400 rows to the power 1/2)"
    )
    assert lines[1].endswith("20.0% of the utterances (100 rows to the power 1/2)")
    assert mixture_lines(config(), ROWS)[0] == "data.train.0: files a.parquet: 33.3% of the utterances"


def test_rows_that_are_given_go_before_those_that_are_counted() -> None:
    given = config(mixing_temperature=1, mixing_rows=[None, 500, 500])
    assert mixing_rows(given, [1000, 7, None]) == (1000, 500, 500)
    assert mixing_shares(given, [1000, 7, None]) == pytest.approx([0.5, 0.25, 0.25])


def test_a_size_that_is_not_known_is_asked_for() -> None:
    train = [SOURCES[0], {"hub": "someone/something"}]
    expected = re.escape(
        "data.train.1: hub dataset someone/something, split train does not say how many rows it has, and "
        "data.mixing_temperature weighs by them: give a number, as in data.mixing_rows=[null, 20000], or"
    )
    with pytest.raises(DataError, match=expected):
        mixing_shares(config(train=train, mixing_temperature=2), [10, None])
    with pytest.raises(DataError, match=r"data\.train\.2: files c\.parquet has no rows"):
        mixing_shares(config(mixing_temperature=2), [10, 10, 0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mixing_temperature": 0.5}, "greater than or equal to 1"),
        ({"mixing_temperature": 2, "train": SOURCES[0]}, "and train is one source"),
        ({"mixing_rows": [1, 2, 3]}, "mixing_rows says nothing without mixing_temperature"),
        ({"mixing_rows": [1, 2], "mixing_temperature": 2}, "mixing_rows has 2 numbers, and train 3 sources"),
        ({"mixing_rows": [1, 2, 0], "mixing_temperature": 2}, "greater than 0"),
    ],
)
def test_settings_that_cannot_be(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**values)


@pytest.fixture(scope="module")
def labels() -> LabelEncoder:
    return LabelEncoder(build_byte_processor(["az", "tr"]).tokenizer, True, "az")


@pytest.mark.parametrize("lanes", [1, 2])
def test_what_is_drawn_has_these_shares_on_every_lane(labels: LabelEncoder, tmp_path: Path, lanes: int) -> None:
    files = [write_source(tmp_path, name, rows) for name, rows in (("a", 90), ("b", 10))]
    mixture = Mixture(labels, *({"files": file} for file in files), mixing_temperature=2)
    drawn: Counter[str] = Counter()
    for lane in range(lanes):
        drawn += Counter(name[0] for name in ids(list(islice(mixture.lane(lane, lanes), 240 // lanes))))
    assert drawn["a"] / sum(drawn.values()) == pytest.approx(0.75, abs=0.015)  # 3 to 1


def test_limits_count_and_filters_are_asked_about(labels: LabelEncoder, tmp_path: Path) -> None:
    files = [write_source(tmp_path, name, 40) for name in "ab"]
    limited = Mixture(labels, {"files": files[0], "max_utterances": 10}, {"files": files[1]}, mixing_temperature=1)
    assert limited.batching.shares == pytest.approx([0.2, 0.8])
    filtered = [{"files": files[0], "keep": {"kind": ["even"]}}, {"files": files[1]}]
    with pytest.raises(DataError, match=r"data\.train\.0: .* does not say how many rows"):
        next(Mixture(labels, *filtered, mixing_temperature=1).lane())
    given = Mixture(labels, *filtered, mixing_temperature=1, mixing_rows=[20, None])
    assert given.batching.shares == pytest.approx([1 / 3, 2 / 3])


def test_a_run_s_position_goes_on_with_the_same_shares(labels: LabelEncoder, tmp_path: Path) -> None:
    files = [write_source(tmp_path, name, rows) for name, rows in (("a", 40), ("b", 7))]
    mixture = Mixture(labels, *({"files": file} for file in files), mixing_temperature=3)
    items = list(islice(mixture.lane(), 40))
    assert ids(list(islice(mixture.lane(position=items[17].position), 22))) == ids(items[18:])
