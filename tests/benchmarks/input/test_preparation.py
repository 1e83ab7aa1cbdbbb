"""The benchmark of preparation: both sides do the same work, and the committed figures keep what was asked."""

import json
from pathlib import Path

import benchmarks.input.preparation
from benchmarks.peers.decoded_manifest import prepare
from tests import ROOT
from tests.end_to_end import run
from tests.support.corpora_on_disk import json_lines, samples

RESULTS = ROOT / "benchmarks" / "results" / "preparation" / "preparation.json"


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


def test_preparation_is_as_fast_and_as_small_as_was_asked() -> None:
    figures = json.loads(RESULTS.read_text("utf-8"))
    for cell in figures["workers"].values():
        assert cell["ratio"] >= 20
    for cells in figures["memory"].values():
        rows, peaks = zip(*((cell["rows"], cell["peak_bytes"]) for cell in cells), strict=True)
        assert [one / rows[0] for one in rows] == [1, 10, 100]
        assert max(peaks) < 1.25 * min(peaks)


def test_the_page_says_what_the_files_say() -> None:
    import benchmarks.input.streaming

    page = (RESULTS.parents[3] / "docs" / "data.md").read_text("utf-8")
    assert benchmarks.input.preparation.table(json.loads(RESULTS.read_text("utf-8"))) in page
    streaming = RESULTS.parents[1] / "streaming" / "streaming.json"
    assert benchmarks.input.streaming.table(json.loads(streaming.read_text("utf-8"))) in page
