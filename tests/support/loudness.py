"""A detector that takes for speech what is loud, so that tests need no weights, and sounds for it."""

import numpy as np

from tests.support.films import noise
from trainer.transcription.voice.detector import FRAME, NOTHING, Before, SpeechDetector


class Loudness(SpeechDetector):
    def __init__(self) -> None:
        pass

    def probabilities(self, audio: np.ndarray, before: Before = NOTHING) -> tuple[np.ndarray, Before]:
        frames = np.pad(audio, (0, -len(audio) % FRAME)).reshape(-1, FRAME)
        return (np.abs(frames).max(axis=1) > 0.1).astype(np.float32), before


def spoken(*parts: tuple[str, float]) -> np.ndarray:
    """``loud`` and ``faint`` noise of these seconds, one after the other, float32 [N], 16 kHz."""
    levels = {"loud": 1.0, "faint": 0.02}
    return np.concatenate([levels[kind] * noise(length) for kind, length in parts]).astype(np.float32)
