"""Splits by hash: the shares that were asked for, and nothing moves when data is added or train grows."""

import pytest

from data.errors import DataError
from data.preparation.splits.shares import HashSplit, parse_shares

NAMES = [f"clip-{i}" for i in range(20_000)]


def test_shares_are_those_that_were_asked_for() -> None:
    split = HashSplit({"train": 0.8, "validation": 0.15, "test": 0.05})
    found = [split(name) for name in NAMES]
    for name, share in (("train", 0.8), ("validation", 0.15), ("test", 0.05)):
        assert found.count(name) / len(found) == pytest.approx(share, abs=0.01)


def test_a_name_s_split_is_fixed_for_ever() -> None:
    """Written down: another hash would move the clips of everybody's next preparation."""
    split = HashSplit({"train": 0.5, "test": 0.5})
    assert [split(name) for name in ("a", "b", "c", "d", "əüş", "")] == [
        "train", "test", "test", "train", "train", "train"
    ]  # fmt: skip


def test_a_larger_share_of_train_takes_and_gives_nothing_away() -> None:
    small, large = HashSplit({"train": 0.8, "test": 0.2}), HashSplit({"train": 0.9, "test": 0.1})
    assert all(large(name) == "train" for name in NAMES if small(name) == "train")


def test_seeds_differ() -> None:
    one, other = (HashSplit({"train": 0.5, "test": 0.5}, seed) for seed in (0, 1))
    same = sum(one(name) == other(name) for name in NAMES) / len(NAMES)
    assert same == pytest.approx(0.5, abs=0.02)
    assert HashSplit({"train": 1.0}, -5)("x") == "train"


@pytest.mark.parametrize(
    "text", ["", "train", "train=", "train=0.5", "train=0.5,test=0.6", "train=1,train=0", "a/b=1", "train=x,test=0.5",
             "train=-1,test=2", "train=0.5,train=0.5", "=1", "../x=1"]
)  # fmt: skip
def test_shares_that_cannot_be(text: str) -> None:
    with pytest.raises(DataError, match="--split is"):
        parse_shares(text)


def test_shares_as_written() -> None:
    assert parse_shares("train=0.9, validation=0.1") == {"train": 0.9, "validation": 0.1}
