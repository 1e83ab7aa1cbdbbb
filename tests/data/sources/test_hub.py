"""Datasets of a hub on loopback are streamed, shared out, resumed and prepared, whatever the hub does meanwhile."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from data.audio.decoding import decode_audio
from tests import ROOT

from ...support.corpora_on_disk import samples
from ...support.dataset_hub import CONFIGURATIONS, SPLIT_ROWS, DatasetHub, speech_dataset, texts
from ..preparation.test_prepare import rows_of
from ..preparation.test_resume import content

DATASET = "team/small"
VIEWER = "datasets-server.127.0.0.1"  # which the library asks about a dataset's newest commit, if it is there


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return speech_dataset()


@pytest.fixture
def hub(files: dict[str, bytes]) -> Iterator[DatasetHub]:
    with DatasetHub() as server:
        server.commit(DATASET, files)
        yield server


def run(hub: DatasetHub, home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    home.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=hub.environment(home), capture_output=True, text=True, timeout=120
    )


def read(hub: DatasetHub, home: Path, *settings: dict[str, Any]) -> list[dict[str, Any]]:
    """What :mod:`tests.support.hub_reader` says of each source."""
    done = run(hub, home, "-m", "tests.support.hub_reader", *map(json.dumps, settings))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def preparation(output: Path, *more: str, workers: int = 0, splits: tuple[str, ...] = tuple(SPLIT_ROWS)) -> list[str]:
    command = ["launch/prepare.py", DATASET, "--kind", "hub", "--hub-name", "az", "--hub-splits", *splits]
    return [*command, "--output", str(output), "--workers", str(workers), *more]


def failing(hub: DatasetHub, home: Path, *command: str) -> str:
    """The last line of a command that ends as a user's mistake does."""
    done = run(hub, home, *command)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    return done.stderr.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def undisturbed(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a healthy hub's dataset becomes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with DatasetHub() as hub:
        hub.commit(DATASET, files)
        done = run(hub, folder / "home", *preparation(folder / "out"))
        assert done.returncode == 0, done.stderr
        assert not hub.elsewhere
    return folder / "out"


# Streaming


def test_a_dataset_is_read_once_by_all_lanes_and_resumed_at_every_row(hub: DatasetHub, tmp_path: Path) -> None:
    """Three shards in an order that the seed draws: one a lane, or shared out row by row."""
    lanes = (1, 3, 2)
    results = read(hub, tmp_path / "home", *({"hub": DATASET, "name": "az", "lanes": count} for count in lanes))
    for count, result in zip(lanes, results, strict=True):
        assert result["rows"] == texts("az", "train")
        assert sorted(chain(*result["lanes"])) == sorted(texts("az", "train"))
        assert all(len(rows) == SPLIT_ROWS["train"] // count for rows in result["lanes"])
        for rows, gone_on in zip(result["lanes"], result["gone_on"], strict=True):
            assert gone_on == [rows] * (len(rows) - 1)
    assert results[0]["lanes"][0] != texts("az", "train")
    assert hub.elsewhere <= {VIEWER}


@pytest.mark.slow
def test_configuration_split_and_revision(hub: DatasetHub, files: dict[str, bytes], tmp_path: Path) -> None:
    before = hub.commit(DATASET, files)
    hub.commit(DATASET, swapped(files))
    settings: list[dict[str, Any]] = [
        *({"hub": DATASET, "name": name, "split": "test"} for name in CONFIGURATIONS),
        {"hub": DATASET, "name": "az"},
        {"hub": DATASET, "name": "az", "revision": before},
        {"files": f"hf://datasets/{DATASET}@{before}/az/train-*.parquet", "lanes": 2},
    ]
    *tests, newest, older, parquet = (result["rows"] for result in read(hub, tmp_path / "home", *settings))
    assert tests == [texts(name, "test") for name in CONFIGURATIONS]
    assert newest == texts("tr", "train")[:4] + texts("az", "train")[4:]
    assert older == parquet == texts("az", "train")
    assert hub.elsewhere <= {VIEWER}


def swapped(files: dict[str, bytes]) -> dict[str, bytes]:
    """A later commit: the first shard is another."""
    name = "train-00000-of-00003.parquet"
    return files | {f"az/{name}": files[f"tr/{name}"]}


def test_a_column_that_is_not_there(hub: DatasetHub, tmp_path: Path) -> None:
    settings = json.dumps({"hub": DATASET, "name": "az", "columns": {"text": "tekst"}})
    message = failing(hub, tmp_path / "home", "-m", "tests.support.hub_reader", settings)
    assert "data.train.columns.text" in message and "did you mean 'text'?" in message


# Preparing


def test_splits_are_prepared(undisturbed: Path) -> None:
    rows = rows_of(undisturbed)
    assert {row["split_name"] for row in rows} == {"train", "test"}
    for split, count in SPLIT_ROWS.items():
        by_text = {row["text"]: row for row in rows if row["split_name"] == split}
        assert by_text.keys() == set(texts("az", split))
        of_split = [by_text[text] for text in texts("az", split)]
        assert [row["id"] for row in of_split] == [f"az-{split}-{i}" for i in range(count)]
        assert [len(decode_audio(row["audio"])) for row in of_split] == [len(samples(i)) for i in range(count)]
        assert all(row["speaker"] for row in of_split)


def is_group(number: int) -> bool:
    """Whether a process group has any process."""
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_killed_and_gone_on_with(hub: DatasetHub, undisturbed: Path, tmp_path: Path) -> None:
    """Two workers, which end with the process that started them; that is killed when only the last shard is left."""
    output, home = tmp_path / "out", tmp_path / "home"
    home.mkdir()
    hub.held_at = "az/test-00001"
    command = [sys.executable, *preparation(output, workers=2)]
    with subprocess.Popen(command, cwd=ROOT, env=hub.environment(home), start_new_session=True) as process:
        try:
            deadline = time.monotonic() + 90
            while len(list(output.glob(".jobs/0*.json"))) < 4 and time.monotonic() < deadline:
                assert process.poll() is None
                time.sleep(0.05)
            process.kill()
            process.wait()
            while is_group(process.pid) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not is_group(process.pid), "workers go on without anybody to take what they do"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert len(list(output.glob(".jobs/0*.json"))) == 4 and not (output / "manifest.json").exists()
    hub.held_at = None
    hub.asked.clear()
    done = run(hub, home, *preparation(output, workers=2))
    assert done.returncode == 0 and "done before" in done.stdout, done.stderr
    assert not [asked for asked in hub.asked if "train-00001" in asked or "train-00002" in asked]
    assert content(output) == content(undisturbed)
    assert not hub.elsewhere


def test_columns_are_found_by_their_usual_names(hub: DatasetHub, undisturbed: Path, tmp_path: Path) -> None:
    hub.commit(DATASET, speech_dataset(audio="wav", text="sentence"))
    done = run(hub, tmp_path / "home", *preparation(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    made, before = content(tmp_path / "out"), content(undisturbed)
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in (tmp_path / "out", undisturbed)]
    taken = [manifest["corpus"].pop("columns") for manifest in manifests]
    assert taken[0] == taken[1] | {"audio": "wav", "text": "sentence"} and manifests[0] == manifests[1]
    assert made | {"manifest.json": ""} == before | {"manifest.json": ""}


@pytest.mark.slow
def test_columns_without_usual_names(hub: DatasetHub, tmp_path: Path) -> None:
    hub.commit(DATASET, speech_dataset(text="words"))
    message = failing(hub, tmp_path / "home", *preparation(tmp_path / "out"))
    assert "no column for text by a usual name: say --columns text=NAME, one of id, audio, words, speaker" in message


@pytest.mark.slow
def test_a_new_commit_is_prepared_anew(hub: DatasetHub, files: dict[str, bytes], tmp_path: Path) -> None:
    output, home = tmp_path / "out", tmp_path / "home"
    train = preparation(output, splits=("train",))
    assert run(hub, home, *train).returncode == 0
    hub.commit(DATASET, swapped(files))
    done = run(hub, home, *train)
    assert done.returncode == 0 and "done before" not in done.stdout, done.stdout
    assert {row["text"] for row in rows_of(output)} == {*texts("tr", "train")[:4], *texts("az", "train")[4:]}


# What may be wrong


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["team/nothing"], "hub dataset team/nothing: there is no such dataset"),
        ([DATASET], "available configs: ['az', 'tr']"),
        ([DATASET, "--hub-name", "de"], "'de' not found. Available: ['az', 'tr']"),
        ([DATASET, "--hub-name", "az", "--hub-splits", "train", "dev"], "dev. Available splits: ['train', 'test']"),
        ([DATASET, "--hub-name", "az", "--hub-revision", "old"], "Revision Not Found"),
    ],
)
def test_what_the_hub_does_not_have(hub: DatasetHub, tmp_path: Path, command: list[str], expected: str) -> None:
    given = [*command, "--kind", "hub", "--output", str(tmp_path / "out"), "--workers", "0"]
    message = failing(hub, tmp_path / "home", "launch/prepare.py", *given)
    assert message.startswith("error: input: cannot open hub dataset") and expected in message
    assert not (tmp_path / "out" / "manifest.json").exists()


FAILURES = {
    "told of the dataset": [("GET /api/datasets/team/small", 500)] * 2 + [("/tree/", 503)] * 2,
    "opening": [("HEAD", 503)] * 2 + [("GET /datasets/team/small/resolve", 500)] * 3,
    "reading": [("train-00001", 500)] * 3 + [("test-00001", 429)] * 3,
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_hub_that_fails_and_recovers(hub: DatasetHub, undisturbed: Path, tmp_path: Path, case: str) -> None:
    hub.failing = list(FAILURES[case])
    done = run(hub, tmp_path / "home", *preparation(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert not hub.failing
    assert content(tmp_path / "out") == content(undisturbed)


@pytest.mark.slow
def test_a_hub_that_does_not_recover(hub: DatasetHub, tmp_path: Path) -> None:
    hub.failing = [("/api/datasets", 500)] * 50
    message = failing(hub, tmp_path / "home", *preparation(tmp_path / "out"))
    assert "cannot open hf://datasets/team/small" in message and "500" in message and "(tried 5 times)" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_hub_that_goes_away_in_the_middle_of_a_shard(hub: DatasetHub, undisturbed: Path, tmp_path: Path) -> None:
    output, home = tmp_path / "out", tmp_path / "home"
    hub.gone_at = ("az/train-00002", 1)
    message = failing(hub, home, *preparation(output, workers=1))
    assert message.startswith("error: input: cannot read hub dataset team/small (az), split ")  # whoever meets it first
    assert [path.name for path in sorted(output.glob(".jobs/0*.json"))] == ["00000.json", "00001.json"]
    assert not (output / "manifest.json").exists()
    hub.gone = False
    done = run(hub, home, *preparation(output, workers=1))
    assert done.returncode == 0 and "done before" in done.stdout, done.stderr
    assert content(output) == content(undisturbed)


@pytest.mark.slow
def test_a_hub_that_goes_away_when_a_job_has_written_rows(hub: DatasetHub, tmp_path: Path) -> None:
    """Of --max-samples a split is one job; to know what is left for the next split, its rows are counted before."""
    output, home = tmp_path / "out", tmp_path / "home"
    hub.gone_at = ("az/train-00002", 2)
    message = failing(hub, home, *preparation(output, "--max-samples", "14"))
    assert message.startswith("error: input: cannot read hub dataset team/small (az), split train: ")
    assert not [path for path in output.rglob("*") if path.is_file() and path.name not in ("settings.json", "lock")]
    hub.gone = False
    done = run(hub, home, *preparation(output, "--max-samples", "14"))
    assert done.returncode == 0, done.stderr
    assert {row["text"] for row in rows_of(output)} == {*texts("az", "train"), *texts("az", "test")[:2]}
