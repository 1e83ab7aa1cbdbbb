"""The benchmark of preparation: both sides do the same work."""

import json
from pathlib import Path

import pytest

import benchmarks.input.preparation
from benchmarks.peers.decoded_manifest import prepare
from tests.end_to_end import run
from tests.support.corpora_on_disk import json_lines, samples


@pytest.mark.slow
def test_the_peer_measures_every_clip(tmp_path: Path) -> None:
    manifest = json_lines(tmp_path)
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    absolute = [row | {"audio_filepath": str(tmp_path / row["audio_filepath"])} for row in rows]
    manifest.write_text("\n".join(map(json.dumps, absolute)))
    assert prepare(manifest, tmp_path / "peer", workers=0, max_seconds=0.535) == 4
    kept = [
        row for name in ("train", "validation") for row in json.loads((tmp_path / "peer" / f"{name}.json").read_text())
    ]
    assert sorted(row["duration"] for row in kept) == [len(samples(i)) / 16_000 for i in range(4)]


@pytest.mark.slow
def test_preparation_figures(tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    outcome = run(
        benchmarks.input.preparation.main, "--files", 4, "--rows", 60, "--decoded-rows", 8, "--memory-rows", 10,
        "--workers", 0, "--repeats", 1, "--output", output,
    )  # fmt: skip
    assert outcome.code == 0, outcome.errors
    figures = json.loads(output.read_text())
    assert figures["workers"]["0"]["headers"] > 0
    for cells, rows in zip(figures["memory"].values(), ([10, 100, 1000], [1, 10, 100]), strict=True):
        assert [cell["rows"] for cell in cells] == rows
    assert benchmarks.input.preparation.table(figures) in outcome.output
