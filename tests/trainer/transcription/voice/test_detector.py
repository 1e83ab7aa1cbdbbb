"""How likely somebody speaks: the probabilities are the published model's, and torch's threads stay as they are."""

import importlib.util
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from data.digit_speech import synthesize_clip
from tests import ROOT
from tests.support.films import noise
from trainer.config.reading import ConfigError
from trainer.transcription.voice import detector as module
from trainer.transcription.voice.detector import FRAME, SpeechDetector, weights_path

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("silero_vad"), reason="silero-vad is not installed")


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Two seconds of faint noise, spoken digits, and again noise, float32 [N]."""
    import soundfile

    path, _ = synthesize_clip(tmp_path_factory.mktemp("clip"), voice="az", seed=3)
    said = soundfile.read(path, dtype="float32")[0]
    faint = 0.001 * noise(2.0)
    return np.concatenate([faint, said, faint[:-100]]).astype(np.float32)


@pytest.fixture(scope="module")
def detector() -> SpeechDetector:
    return SpeechDetector()


def test_probabilities_are_those_of_the_published_model(detector: SpeechDetector, speech: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        published = torch.jit.load(str(weights_path()))
    published.reset_states()
    frames = np.pad(speech, (0, -len(speech) % FRAME)).reshape(-1, FRAME)
    with torch.inference_mode():
        right = [float(published(torch.from_numpy(frame), 16_000)) for frame in frames]
    found, _ = detector.probabilities(speech)
    assert found.dtype == np.float32 and len(found) == len(frames)
    assert np.abs(found - right).max() < 1e-4
    assert max(right) > 0.9 and min(right) < 0.1, "speech and silence"


def test_a_recording_may_come_in_parts(
    detector: SpeechDetector, speech: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = detector.probabilities(speech)
    first, before = detector.probabilities(speech[: 40 * FRAME])
    rest, _ = detector.probabilities(speech[40 * FRAME :], before)
    assert np.concatenate([first, rest]) == pytest.approx(whole, abs=1e-5)
    monkeypatch.setattr(module, "FRAMES_AT_ONCE", 7)
    assert detector.probabilities(speech)[0] == pytest.approx(whole, abs=1e-5)


def test_nothing_has_no_probabilities(detector: SpeechDetector) -> None:
    assert len(detector.probabilities(np.zeros(0, np.float32))[0]) == 0


def test_the_threads_of_torch_stay_as_they_are() -> None:
    """The package's own import sets them to one."""
    lines = (
        "import torch; torch.set_num_threads(3)",
        "from trainer.transcription.voice.detector import SpeechDetector; SpeechDetector()",
        "import sys; sys.exit(torch.get_num_threads() != 3 or 'silero_vad' in sys.modules)",
    )
    assert subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=ROOT, check=False).returncode == 0


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install silero-vad"):
        SpeechDetector()
