"""A checkpoint and recordings for launch/transcribe.py."""

from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

import launch.transcribe
from tests.end_to_end import Outcome, run
from tests.support.films import noise
from tests.support.untrained import save_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("checkpoints") / "clip")


@pytest.fixture
def transcribe(checkpoint: Path) -> Callable[..., Outcome]:
    return lambda *arguments: run(launch.transcribe.main, "--checkpoint", checkpoint, *arguments)


@pytest.fixture
def recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with recordings in it."""
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    soundfile.write("good.wav", noise(0.5), 16_000)
    soundfile.write("no_samples.wav", noise(0), 16_000)
    Path("text.wav").write_text("not a recording")
    return tmp_path
