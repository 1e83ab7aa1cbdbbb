"""A hub that gives no answer is asked one set of times, with a line for each."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from botocore.exceptions import EndpointConnectionError

import modeling.hub
from data import storage
from data.errors import DataError
from data.sources import hub
from modeling.checkpoints import CheckpointError, checkpoint_kind, open_model, open_processor
from modeling.hub import ATTEMPTS
from tests import ROOT

from ..support.corpora_on_disk import encoded
from ..support.dataset_hub import DatasetHub
from ..support.untrained import save_checkpoint


@pytest.fixture
def gone() -> Iterator[DatasetHub]:
    with DatasetHub() as server:
        server.gone = True
        yield server


def run(hub: DatasetHub, home: Path, *command: object) -> subprocess.CompletedProcess[str]:
    home.mkdir(exist_ok=True)
    words = [sys.executable, *map(str, command)]
    environment = hub.environment(home)
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)


def check_told(done: subprocess.CompletedProcess[str], hub: DatasetHub, error: str) -> None:
    """One line for each attempt, the last of them the error."""
    assert done.returncode == 2
    *before, last = done.stderr.splitlines()
    assert len(before) == ATTEMPTS - 1 and all(line.endswith("; trying again") for line in before), done.stderr
    assert last.startswith(f"error: {error}") and f"(tried {ATTEMPTS} times)" in last
    assert len([asked for asked in hub.asked if "agent-harnesses" not in asked]) == ATTEMPTS


def test_a_dataset(gone: DatasetHub, tmp_path: Path) -> None:
    done = run(gone, tmp_path / "home", "-m", "tests.support.hub_reader", '{"hub": "team/small"}')
    check_told(done, gone, "data.train: cannot open hf://datasets/team/small: ")


def test_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(modeling.hub, "FOUND", ["the hub gives no answer: no route to host (tried 5 times)"])
    for opens in (checkpoint_kind, open_processor, open_model):
        with pytest.raises(CheckpointError) as refused:
            opens("team/whisper")
        assert str(refused.value) == (
            "cannot open checkpoint team/whisper, which is no folder here: the hub gives no answer: no route to host "
            "(tried 5 times), and it was not downloaded before"
        )


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "eval", "transcribe"])
def test_a_command_that_wants_a_checkpoint(gone: DatasetHub, tiny_config: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "clip.flac").write_bytes(encoded(0))
    arguments: dict[str, tuple[object, ...]] = {
        "train": ("--config", tiny_config, "model.architecture=null", "model.checkpoint=team/whisper"),
        "eval": ("--config", tiny_config, "--checkpoint", "team/whisper"),
        "transcribe": ("--checkpoint", "team/whisper", tmp_path / "clip.flac"),
    }
    done = run(gone, tmp_path / "home", f"launch/{command}.py", *arguments[command])
    check_told(done, gone, "cannot open checkpoint team/whisper, which is no folder here: the hub gives no answer: ")
    assert "and it was not downloaded before" in done.stderr


def test_a_checkpoint_that_was_downloaded_before(gone: DatasetHub, tmp_path: Path) -> None:
    """It is opened as it is, without a question for each of its files."""
    (tmp_path / "clip.flac").write_bytes(encoded(0))
    stored = tmp_path / "home" / "hub" / "models--team--whisper"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs" / "main").write_text("0" * 40)
    shutil.move(save_checkpoint(tmp_path / "whisper", padding=None), stored / "snapshots" / ("0" * 40))
    done = run(gone, tmp_path / "home", "launch/transcribe.py", "--checkpoint", "team/whisper", tmp_path / "clip.flac")
    assert done.returncode == 0, done.stderr
    *asked, told = done.stderr.splitlines()
    assert len(asked) == ATTEMPTS - 1
    assert told.endswith("(tried 5 times); team/whisper is opened as it was downloaded before")
    assert len([asked for asked in gone.asked if "agent-harnesses" not in asked]) == ATTEMPTS


def test_what_a_library_has_tried_long_enough_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def question() -> None:
        asked.append(1)
        raise ConnectionError("no route to host")

    monkeypatch.setattr(storage.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(hub, "is_offline", lambda: False)
    with pytest.raises(DataError, match=r"\(tried 5 times\)"):
        hub.answered(question, "team/small", "data.train")
    assert len(asked) == 5
    monkeypatch.setattr(hub, "LIBRARY_SECONDS", 0.0)
    with pytest.raises(DataError, match="cannot open hub dataset team/small: no route to host"):
        hub.answered(question, "team/small", "data.train")
    assert len(asked) == 6


def test_an_object_store_that_is_not_reached_is_tried_by_its_library_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def action() -> None:
        asked.append(1)
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9/bucket")

    monkeypatch.setattr(storage, "LIBRARY_SECONDS", 0.0)
    with pytest.raises(storage.StorageError, match="Could not connect to the endpoint"):
        storage.retried(action, "s3://bucket/train.parquet")
    assert len(asked) == 1
