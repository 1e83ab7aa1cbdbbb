"""Whole speakers shared out: near the shares asked for, whatever the order; what was asked for and got is told."""

import itertools
import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from data.errors import DataError
from data.preparation.prepare import prepare
from data.preparation.splits import planning
from data.preparation.splits.balance import assign, fill_often
from data.preparation.summary import print_summary

from ...support.corpora_on_disk import encoded
from .test_prepare import rows_of, settings

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def distance(weights: dict[str, int], chosen: dict[str, str]) -> float:
    """Of the splits from their shares, in sum, as a share of everything."""
    total = sum(weights.values())
    return sum(abs(sum(weights[n] for n in weights if chosen[n] == s) / total - share) for s, share in SHARES.items())


def some_weights(groups: int, seed: int) -> dict[str, int]:
    chance = random.Random(seed)
    return {f"s{i}": chance.randint(1, 100) * chance.choice((1, 1, 1000)) for i in range(groups)}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("groups", [3, 5, 7])
def test_few_speakers_are_shared_out_as_well_as_can_be(groups: int, seed: int) -> None:
    weights = some_weights(groups, seed)
    ways = [dict(zip(weights, way, strict=True)) for way in itertools.product(SHARES, repeat=groups)]
    best = min(distance(weights, way) for way in ways if set(way.values()) == set(SHARES))
    chosen = assign(weights, SHARES)
    assert set(chosen.values()) == set(SHARES)  # where no split need be empty, none is
    assert distance(weights, chosen) == pytest.approx(best, abs=1e-6)
    amounts = np.array(sorted(weights.values(), reverse=True), float)
    targets = np.array(list(SHARES.values())) * amounts.sum()
    sums = np.bincount(fill_often(amounts, targets, np.random.default_rng(0)), amounts, 3)
    assert np.abs(sums - targets).sum() / amounts.sum() == pytest.approx(best, abs=0.02)  # as many are shared out


@pytest.mark.parametrize("groups", [12, 60, 500, 5000])
def test_many_speakers_come_to_their_shares(groups: int) -> None:
    weights = {f"s{i}": random.Random(i).randint(1000, 60_000) for i in range(groups)}
    assert distance(weights, assign(weights, SHARES)) < (0.02 if groups == 12 else 0.001)


@pytest.mark.parametrize("groups", [7, 60])
def test_the_order_of_speakers_says_nothing(groups: int) -> None:
    weights = some_weights(groups, 1)
    assert assign(dict(reversed(weights.items())), SHARES) == assign(weights, SHARES)


def test_what_filling_leaves_uneven_is_evened_out() -> None:
    """Sixteen speakers of unlike lengths: filling the splits alone leaves 0.5 % of the audio in wrong ones, in sum."""
    off = []
    for seed in range(6):
        lengths = np.exp(np.random.default_rng((16, seed)).normal(11, 1, 16)).astype(int).tolist()
        weights = {f"s{i}": length for i, length in enumerate(lengths)}
        off.append(distance(weights, assign(weights, SHARES)))
    assert np.mean(off) < 0.002


def test_seeds_share_out_differently() -> None:
    weights = {f"s{i}": 1000 for i in range(50)}
    assert len({tuple(sorted(assign(weights, SHARES, seed).items())) for seed in range(5)}) == 5


def test_one_giant_and_those_who_say_nothing_usable() -> None:
    chosen = assign({"giant": 10**9, "a": 1000, "b": 1000, "silent": 0}, SHARES)
    assert chosen["giant"] == chosen["silent"] == "train" and {chosen["a"], chosen["b"]} == {"validation", "test"}
    assert assign({"silent": 0}, SHARES) == {"silent": "train"} and assign({}, SHARES) == {}


# Corpora


def corpus(folder: Path, clips: int = 60, speakers: int = 10, **more: Any) -> Path:
    """Clips of 0.12 s and more, a speaker's clips one after the other; with a CSV."""
    folder.mkdir(parents=True)
    lines = []
    for number in range(clips):
        seconds = 0.12 + 0.01 * (number * speakers // clips)
        soundfile.write(folder / f"{number}.wav", np.full(round(16_000 * seconds), 0.1), 16_000)
        lines.append(
            {"file": f"{number}.wav", "text": f"text {number}", "speaker": f"s{number * speakers // clips}"} | more
        )
    (folder / "c.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder / "c.jsonl"


@pytest.fixture(scope="module")
def sixty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus(tmp_path_factory.mktemp("sixty") / "in")


def splits_of(output: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in rows_of(output):
        found.setdefault(row["speaker"], set()).add(row["split_name"])
    return found


def test_sixty_clips_of_ten_speakers(sixty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values: dict[str, Any] = {"shares": SHARES, "split_by": "speaker"}
    summary = prepare(settings(sixty, tmp_path / "hashed", **values))
    print_summary(summary, "out")
    told = capsys.readouterr().out
    for name in SHARES:
        clips = summary.splits.get(name, (0, 0.0))[0]
        assert f"{name}: asked for {SHARES[name]:.1%}, got {clips / 60:.1%} of the clips ({clips}; " in told
    assert "each of 10 speakers goes where a hash of its name falls: --split-method balanced" in told
    manifest = json.loads((tmp_path / "hashed" / "manifest.json").read_text())
    assert manifest["shares"]["train"]["asked"] == 0.8
    assert manifest["shares"]["train"]["of_clips"] == round(summary.splits["train"][0] / 60, 4)
    assert sum(share["speakers"] for share in manifest["shares"].values()) == 10

    summary = prepare(settings(sixty, tmp_path / "out", split_method="balanced", **values))
    print_summary(summary, "out")
    told = capsys.readouterr().out
    assert {name: clips for name, (clips, _) in summary.splits.items()} == {"train": 48, "validation": 6, "test": 6}
    assert not summary.warnings and "got 80.0% of the clips (48; 8 speakers)" in told
    assert all(len(places) == 1 for places in splits_of(tmp_path / "out").values())
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["shares"]["validation"]["of_audio"] == pytest.approx(0.1, abs=0.01)


def test_three_speakers_make_three_splits_and_the_summary_says_why(tmp_path: Path) -> None:
    few = corpus(tmp_path / "in", clips=9, speakers=3)
    summary = prepare(settings(few, tmp_path / "out", shares=SHARES, split_by="speaker", split_method="balanced"))
    assert {clips for clips, _ in summary.splits.values()} == {3}
    assert summary.shares[-1] == "shares differ since speakers stay whole: 3 in all"
    two = corpus(tmp_path / "two", clips=4, speakers=2)
    summary = prepare(settings(two, tmp_path / "o2", shares=SHARES, split_by="speaker", split_method="balanced"))
    assert len(summary.splits) == 2
    assert [line for line in summary.warnings if "is empty: there are fewer speakers than splits" in line]


def test_shares_that_were_met_need_no_reason(sixty: Path, tmp_path: Path) -> None:
    summary = prepare(settings(sixty, tmp_path / "out", shares=SHARES, split_method="balanced"))
    assert len(summary.shares) == 3 and summary.splits["train"][0] in range(45, 52)  # by seconds


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_rows_jobs_and_workers_in_any_order(sixty: Path, tmp_path: Path, workers: int) -> None:
    values: dict[str, Any] = {"shares": SHARES, "split_by": "speaker", "split_method": "balanced"}
    prepare(settings(sixty, tmp_path / "out", **values))
    lines = sixty.read_text().splitlines()
    random.Random(0).shuffle(lines)
    mixed = sixty.with_name("mixed.jsonl")
    mixed.write_text("\n".join(lines))
    prepare(settings(mixed, tmp_path / "mixed", **values, job_rows=7), workers)
    assert splits_of(tmp_path / "mixed") == splits_of(tmp_path / "out")


def test_what_will_be_left_out_weighs_nothing(tmp_path: Path) -> None:
    content = {
        "audio": [encoded(0) if i % 2 else b"garbage" for i in range(40)],
        "text": [f"text {i}" for i in range(40)],
        "speaker": [f"s{i // 4}" if i < 20 else f"s{5 + (i - 20) // 4}" for i in range(40)],
        "id": [f"id{i}" for i in range(40)],
    }
    pq.write_table(pa.table(content), tmp_path / "c.parquet", row_group_size=5)
    summary = prepare(settings(tmp_path / "c.parquet", tmp_path / "out", shares=SHARES, split_by="speaker",
                               split_method="balanced", max_skipped_share=1.0, job_rows=10))  # fmt: skip
    assert {name: clips for name, (clips, _) in summary.splits.items()} == {"train": 16, "validation": 2, "test": 2}


def test_balanced_splits_go_on_after_a_kill(sixty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values: dict[str, Any] = {"shares": SHARES, "split_by": "speaker", "split_method": "balanced", "job_rows": 10}
    prepare(settings(sixty, tmp_path / "whole", **values))
    counted: list[int] = []
    count = planning.count_groups

    def killed(job: Any, *arguments: Any, **named: Any) -> Any:
        if job.number == 3 and len(counted) == 3:
            counted.append(-1)
            raise KeyboardInterrupt
        counted.append(job.number)
        return count(job, *arguments, **named)

    monkeypatch.setattr(planning, "count_groups", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(settings(sixty, tmp_path / "out", **values))
    prepare(settings(sixty, tmp_path / "out", **values))
    assert counted == [0, 1, 2, -1, 3, 4, 5]  # no job twice
    assert prepare(settings(sixty, tmp_path / "out", **values)).reused == 60
    for name in ("manifest.json", "quarantine.jsonl", *(path.name for path in (tmp_path / "whole").glob("*.parquet"))):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_what_was_counted_with_other_settings_is_counted_anew(
    sixty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that ended before a clip was written leaves its output to any settings."""
    values: dict[str, Any] = {"shares": SHARES, "split_method": "balanced", "job_rows": 10}
    with monkeypatch.context() as patch:
        patch.setattr(planning, "assign", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare(settings(sixty, tmp_path / "out", split_by="speaker", **values))
    assert list((tmp_path / "out" / ".jobs").glob("groups-*.json"))
    prepare(settings(sixty, tmp_path / "out", split_by="id", **values))
    prepare(settings(sixty, tmp_path / "fresh", split_by="id", **values))
    assert splits_of(tmp_path / "out") == splits_of(tmp_path / "fresh")


def test_a_corpus_that_has_grown_is_shared_out_anew(tmp_path: Path) -> None:
    values: dict[str, Any] = {"shares": SHARES, "split_by": "speaker", "split_method": "balanced", "job_rows": 10}
    grown = corpus(tmp_path / "in", clips=40, speakers=5)
    lines = grown.read_text().splitlines()
    grown.write_text("\n".join(lines[:20]))
    prepare(settings(grown, tmp_path / "out", **values))
    grown.write_text("\n".join(lines))
    prepare(settings(grown, tmp_path / "out", **values))
    prepare(settings(grown, tmp_path / "fresh", **values))
    assert splits_of(tmp_path / "out") == splits_of(tmp_path / "fresh")
    grown.write_text("\n".join(lines[:20]))
    prepare(settings(grown, tmp_path / "out", **values))
    left = [name for name in os.listdir(tmp_path / "out" / ".jobs") if name.startswith("groups-")]
    assert sorted(left) == ["groups-00000.json", "groups-00001.json"]


def test_other_methods_want_another_output(sixty: Path, tmp_path: Path) -> None:
    prepare(settings(sixty, tmp_path / "out", shares=SHARES, split_by="speaker"))
    with pytest.raises(DataError, match="split_method was None, is 'balanced'"):
        prepare(settings(sixty, tmp_path / "out", shares=SHARES, split_by="speaker", split_method="balanced"))
