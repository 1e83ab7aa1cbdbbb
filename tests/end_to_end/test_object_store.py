"""From an object store and back to it: prepare, inspect, stream, train with two processes, killed and resumed."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import launch.prepare
from data import storage
from tests.end_to_end import run
from tests.end_to_end.test_engines import Runs
from tests.support.object_store import object_store

CHILDREN = Path(__file__).resolve().parents[2] / "recordings" / "children_speech"
STEPS = 14


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with object_store() as address:
        yield address


@pytest.fixture(scope="module", params=["synthetic", "children"])
def prepared(request: pytest.FixtureRequest, bucket: str, corpus: Path) -> tuple[str, dict[str, Any]]:
    """A corpus put into the store, prepared there by the command, and its manifest."""
    if request.param == "children" and not CHILDREN.is_dir():
        pytest.skip("the children's speech is not here")
    files = sorted((corpus if request.param == "synthetic" else CHILDREN).glob("train-*.parquet"))[:2]
    source, output = f"{bucket}/{request.param}/corpus", f"{bucket}/{request.param}/prepared"
    for file in files:
        storage.write_bytes(f"{source}/{file.name}", file.read_bytes())
    language = "az" if request.param == "synthetic" else "en"
    outcome = run(
        launch.prepare.main, source, "--output", output, "--language", language, "--split", "train=0.8,validation=0.2",
        "--split-by", "speaker", "--workers", 2, "--job-rows", 50, "--max-samples", 200,
    )  # fmt: skip
    assert outcome.code == 0, outcome.errors
    manifest = json.loads(storage.read_bytes(f"{output}/manifest.json"))
    clips = {split: values["clips"] for split, values in manifest["splits"].items()}
    assert sum(clips.values()) == manifest["rows"] == min(200, 120 if language == "az" else 440)
    assert set(clips) == {"train", "validation"}
    return output, manifest


def test_inspection_from_the_store(prepared: tuple[str, dict[str, Any]], bucket: str) -> None:
    output, manifest = prepared
    page = f"{bucket}/pages/inspection.html"
    outcome = run(launch.prepare.main, output, "--inspect", "--report", page, "--workers", 0)
    assert outcome.code == 0, outcome.output
    assert f"{manifest['rows']:,}" in outcome.output
    assert storage.read_bytes(page).startswith(b"<!doctype html>")


@pytest.mark.slow
def test_two_processes_stream_from_the_store_killed_and_resumed(
    prepared: tuple[str, dict[str, Any]], tmp_path: Path
) -> None:
    output, manifest = prepared
    columns = {"id": "id", "duration": "duration", "language": "language"}
    validation = {"files": f"{output}/validation-*.parquet", "columns": columns, "max_utterances": 4}
    values = {
        "output_dir": "set by each job",
        "model": {"architecture": {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "attention_heads": 2}},
        "data": {
            "language": manifest["settings"]["corpus"]["language"],
            "train": {"files": f"{output}/train-*.parquet", "columns": columns},
            "validation": validation,
            "shuffle_window": 16,
            "workers": 2,
            "lanes": 4,
        },
        "training": {"steps": STEPS, "batch_size": 4, "batch_seconds": 35},
        "optimizer": {"learning_rate": 1e-3, "warmup_steps": 3},
        "engine": {"precision": "fp32", "timeout_minutes": 1},
        "evaluation": {"every_steps": 100, "batch_size": 4, "max_new_tokens": 4},
        "checkpoints": {"every_steps": 4},
        "logging": {"every_steps": 1, "record_batches": True},
    }
    runs = Runs(tmp_path, values)
    lanes = ("data.lanes=4",)
    runs.add("whole", "ddp", lanes)
    for step, resume in ((6, False), (9, True)):
        kill = {"step": step, "ranks": [step % 2], "number": signal.SIGKILL}
        runs.add("killed", "ddp", lanes, resume=resume, signal=kill)
    runs.add("killed", "ddp", lanes, resume=True)
    runs.run()
    assert [min(codes) for codes in runs.exit_codes("killed")] == [-9, -9, 0], runs.log("killed")
    assert runs.exit_codes("whole") == [[0, 0]], runs.log("whole")
    for rank in (0, 1):
        assert runs.batches("killed", rank) == runs.batches("whole", rank)
        assert len(runs.batches("whole", rank)) == STEPS
    first_epoch = {row["step"] for row in runs.metrics("whole", "train") if row["epoch"] == 0}
    seen = [
        name
        for rank in (0, 1)
        for row in runs.batches("whole", rank)
        if row["step"] in first_epoch
        for batch in row["ids"]
        for name in batch
    ]
    assert len(seen) == len(set(seen)), "no utterance comes twice in an epoch"
    if len(first_epoch) < STEPS:
        assert len(seen) == manifest["splits"]["train"]["clips"], "and none is missing"
    else:
        assert len(seen) > 60
