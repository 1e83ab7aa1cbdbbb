"""A checkpoint that goes on from what is final: the tokens are those of a hearing at once, in shorter windows too."""

from pathlib import Path

import numpy as np
import pytest
import torch

from modeling.decoding import encode
from tests.support.films import noise
from tests.support.untrained import save_checkpoint
from trainer.transcription.hearing import Silence
from trainer.transcription.live.listening import LiveListener, window_frames


@pytest.fixture(scope="module", params=["clip", "window", None])
def listener(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LiveListener:
    folder = save_checkpoint(tmp_path_factory.mktemp("checkpoint"), ("az", "en", "tr"), padding=request.param)
    return LiveListener(str(folder), "az", silence=Silence(no_speech=1.0))


@pytest.fixture
def audio() -> np.ndarray:
    return noise(2.0).astype(np.float32)


def test_words_are_those_of_a_hearing_at_once(
    listener: LiveListener, audio: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.transcription.live.listening.REPEATING", 1e9)
    full = np.pad(audio, (0, 28 * 16_000))
    (right,) = listener.hear([full], ["az"])
    found = listener.hear_on(full, [])
    tokens = [token for word in found.words for token in word.tokens]
    assert tokens == right.tokens[: len(tokens)] and len(tokens) == len(right.tokens)
    assert " ".join(word.text for word in found.words) == right.segments[0].text and found.is_speech
    for known in (1, 5, len(tokens) - 1):
        rest = listener.hear_on(full, tokens[:known]).words
        assert [token for word in rest for token in word.tokens] == tokens[known:]


def test_a_language_that_is_not_given_is_heard(listener: LiveListener, audio: np.ndarray) -> None:
    try:
        listener.language = None
        assert listener.hear_on(audio, []).words
        assert listener.language in (None, "az", "en", "tr")
    finally:
        listener.language = "az"


def test_no_more_is_said_than_anybody_could(listener: LiveListener) -> None:
    """Without training it would go on to the decoder's end."""
    found = listener.hear_on(noise(0.1).astype(np.float32), [])
    assert sum(len(word.tokens) for word in found.words) <= 13


def test_windows_are_multiples_of_ten_seconds() -> None:
    assert [window_frames(round(16_000 * seconds)) for seconds in (0.1, 9.5, 9.6, 19.4, 25, 30)] == [
        1000,
        1000,
        2000,
        2000,
        3000,
        3000,
    ]


def test_a_whole_window_is_encoded_as_by_the_checkpoint(tmp_path: Path) -> None:
    listener = LiveListener(str(save_checkpoint(tmp_path, padding=None)), "az")
    audio = noise(30).astype(np.float32)
    features = listener.log_mel(torch.from_numpy(audio)[None], 3000)
    own = encode(listener.model, features, None).last_hidden_state
    assert torch.allclose(listener.encode_short(audio).last_hidden_state, own, atol=1e-4)
    assert listener.encode_short(audio[:32_000]).last_hidden_state.shape == (1, 500, own.shape[2])
