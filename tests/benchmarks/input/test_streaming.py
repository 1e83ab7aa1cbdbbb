"""The benchmark of streaming: it runs, and counts what it says it counts."""

import json
from pathlib import Path

import numpy as np
import pytest

import benchmarks.input.frames
import benchmarks.input.streaming
from benchmarks.input import beside_training
from benchmarks.input.speech_like_clips import RATE, clip, encoded
from tests.end_to_end import run


def test_clips_pack_as_speech_does() -> None:
    samples = clip(3.4, 1)
    assert len(samples) == round(3.4 * RATE) and np.abs(samples).max() == pytest.approx(0.5)
    assert 15_000 < len(encoded(samples)) / 3.4 < 28_000, "bytes a second; FLAC of read speech has about 20,000"
    quiet = np.abs(samples.reshape(-1, 160)).mean(axis=1) < 0.01
    assert 0.02 < quiet.mean() < 0.6, "pauses"
    assert not np.array_equal(clip(0.5, 1), clip(0.5, 2)) and np.array_equal(clip(0.5, 1), clip(0.5, 1))


def test_padding_is_counted_in_frames() -> None:
    assert benchmarks.input.streaming.padding_waste(np.full(64, 2.0), 8) == 0
    assert benchmarks.input.streaming.padding_waste(np.array([1.0, 2.0]), 2) == pytest.approx(0.25)
    assert benchmarks.input.streaming.padding_waste(np.array([1.0, 2.0]), 2, budget=2.0) == 0


def test_what_rounding_frames_up_costs() -> None:
    exact, rounded = benchmarks.input.frames.planned(64, windows=2)
    found = benchmarks.input.frames.cost(64, windows=2)
    assert all(0 <= more - less < 64 for less, more in zip(exact, rounded, strict=True))
    assert found["batches"] == 64 and 0 < found["more_frames"] < 0.1 and found["lengths_rounded"] < found["lengths"]


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [("threads",), pytest.param(("threads", "processes"), marks=pytest.mark.slow)])
def test_streaming_figures(
    corpus: Path, tmp_path: Path, kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {kind: beside_training.KINDS[kind] for kind in kinds}
    monkeypatch.setattr(beside_training, "KINDS", known)
    output = tmp_path / "figures" / "streaming.json"
    files = f"{corpus}/train-*.parquet"
    outcome = run(benchmarks.input.streaming.main, "--quick", "--data", files, "--output", output)
    assert outcome.code == 0, outcome.errors
    figures = json.loads(output.read_text())
    assert [one["utterances"] for one in figures["speed"].values()] == [120] * 3
    assert set(figures["beside"]) == set(kinds)
    assert all(value > 0 for one in figures["beside"].values() for value in one.values())
    assert figures["resume"]["state_bytes"] < 1000 and figures["resume"]["seconds"] < 5
    assert figures["waste"][files]["utterances"] == 120
    assert {one["rows"] for one in figures["memory"]} == {200, 400}
    assert figures["log_mel"]["ratio"] > 1
    assert output.with_suffix(".md").read_text() == benchmarks.input.streaming.table(figures)
    assert "stream, workers 2" in outcome.output
