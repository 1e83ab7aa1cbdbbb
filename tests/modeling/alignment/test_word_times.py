"""Words begin and end where the alignment heads look, with pauses between them, in plain and dual-attention Whisper."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

from modeling.alignment.heads import all_heads
from modeling.alignment.word_times import SpelledWords, in_order, word_times
from modeling.checkpoints import open_model
from tests.support.untrained import save_checkpoint

PROMPT = (257, 303, 305, 309)
FRAMES = 60
HEAD_SIZE = 16
NOWHERE = HEAD_SIZE - 1  # a dimension that no frame has


class Fixed(torch.nn.Module):
    """Gives each clip the same projection, whatever it is of: float32 [L, width], cut to the input's length."""

    def __init__(self, rows: torch.Tensor) -> None:
        super().__init__()
        self.rows = rows

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.rows[: states.shape[1]].expand(len(states), -1, -1)


@pytest.fixture(scope="module", params=[None, "clip"], ids=["plain", "dual"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("checkpoints") / "tiny"
    return open_model(str(save_checkpoint(folder, padding=request.param))).eval()


def look_at(model: Any, spans: list[tuple[int, int]], head: int = 1) -> None:
    """Make a head of the last layer look at a span of frames for each token; the other heads at all frames alike."""
    queries, keys = torch.zeros(24, 32), torch.zeros(FRAMES, 32)
    own = head * HEAD_SIZE
    queries[: len(PROMPT) - 1, own + NOWHERE] = 60.0
    for token, (begin, end) in enumerate(spans):
        queries[len(PROMPT) - 1 + token, own + token] = 60.0
        keys[begin:end, own + token] = 1.0
    attention = model.get_decoder().layers[-1].encoder_attn
    attention.q_proj, attention.k_proj = Fixed(queries), Fixed(keys)


def encoded(clips: int) -> BaseModelOutput:
    return BaseModelOutput(last_hidden_state=torch.zeros(clips, FRAMES, 32))


def test_words_are_where_attention_is_forced_to_be(model: Any) -> None:
    look_at(model, [(0, 10), (10, 15), (15, 30), (30, 44), (44, 60)])
    text = SpelledWords(PROMPT, [[97], [98, 99], [100, 101]])
    (found,) = word_times(model, encoded(1), [text], [np.zeros(FRAMES, np.float32)], [(1, 1)])
    assert found.starts.tolist() == pytest.approx([0.0, 0.2, 0.6])
    assert found.ends.tolist() == pytest.approx([0.2, 0.6, 1.2])
    assert ((found.probabilities > 0) & (found.probabilities < 1)).all()


def test_silence_belongs_to_no_word(model: Any) -> None:
    """The attention moves on to the next word in the pause before it, and to the first before anything is heard."""
    look_at(model, [(0, 20), (20, 35), (35, 60)])
    silence = np.full(FRAMES, -1, np.float32)
    silence[:6] = silence[18:26] = silence[33:40] = silence[55:] = 1
    text = SpelledWords(PROMPT, [[97], [98], [99]])
    (found,) = word_times(model, encoded(1), [text], [silence], [(1, 1)])
    assert found.starts.tolist() == pytest.approx([0.12, 0.52, 0.8])
    assert found.ends.tolist() == pytest.approx([0.36, 0.66, 1.1])


def test_a_clip_does_not_change_with_its_batch(model: Any) -> None:
    look_at(model, [(0, 10), (10, 15), (15, 30), (30, 44)])
    texts = [SpelledWords(PROMPT, [[97, 98], [99]]), SpelledWords(PROMPT, []), SpelledWords(PROMPT, [[100]] * 4)]
    silences = [np.zeros(length, np.float32) for length in (35, 20, 60)]
    heads = all_heads(model.config)
    together = word_times(model, encoded(3), texts, silences, heads)
    for text, silence, found in zip(texts, silences, together, strict=True):
        (alone,) = word_times(model, encoded(1), [text], [silence], heads)
        assert found.starts.tolist() == alone.starts.tolist()
        assert found.ends.tolist() == alone.ends.tolist()
        np.testing.assert_allclose(found.probabilities, alone.probabilities, rtol=1e-5)
        assert len(found.starts) == len(text.words)


def test_only_the_given_heads_count(model: Any) -> None:
    look_at(model, [(0, 40), (40, 60)], head=0)
    text, silence = SpelledWords(PROMPT, [[97], [98]]), np.zeros(FRAMES, np.float32)
    (found,) = word_times(model, encoded(1), [text], [silence], [(1, 0)])
    assert found.starts.tolist() == pytest.approx([0.0, 0.8])


@pytest.mark.parametrize("frames", [1, 3, 7])
def test_more_words_than_frames_keep_their_order(frames: int) -> None:
    generator = np.random.default_rng(0)
    starts = np.sort(generator.integers(0, frames, (20, 5)), axis=1)
    ends = np.sort(generator.integers(0, frames, (20, 5)), axis=1)
    starts, ends = in_order(starts, ends, frames)
    assert (starts < ends).all()
    assert (starts >= 0).all()
    assert (ends <= max(frames, 5)).all()
    assert (ends[:, :-1] <= starts[:, 1:]).all()
