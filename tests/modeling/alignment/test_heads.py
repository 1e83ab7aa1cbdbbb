"""Which heads a model's words are timed by."""

from pathlib import Path
from typing import Any

import pytest
from transformers import WhisperConfig

from modeling.alignment.heads import alignment_heads, of_same_shape, published_heads, upper_heads
from modeling.checkpoint_files import CheckpointError
from modeling.checkpoints import lifted, open_model
from modeling.published import PUBLISHED, published_shape
from tests.support.untrained import save_checkpoint


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("checkpoints") / "plain"
    return open_model(str(save_checkpoint(folder, padding=None)))


def test_without_any_known_the_upper_half_counts(plain: Any) -> None:
    assert alignment_heads(plain) == ((1, 0), (1, 1)) == upper_heads(plain.config)


def test_the_generation_configs_heads_count_and_a_lifted_model_keeps_them(plain: Any) -> None:
    plain.generation_config.alignment_heads = [[0, 1], [1, 0]]
    assert alignment_heads(plain) == ((0, 1), (1, 0))
    plain.config.dual_attention = True
    assert alignment_heads(lifted(plain)) == ((0, 1), (1, 0))


@pytest.mark.parametrize("heads", [[[2, 0]], [[0, 2]], [[-1, 0]], [[0]], 7])
def test_heads_that_are_not_there_are_refused_in_a_line(plain: Any, heads: Any) -> None:
    plain.generation_config.alignment_heads = heads
    with pytest.raises(CheckpointError, match=r"^alignment_heads [^\n]*$"):
        alignment_heads(plain)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_heads_are_heads_of_their_size(name: str) -> None:
    shape, heads = published_shape(name), published_heads(name)
    assert shape is not None
    assert heads
    assert len(set(heads)) == len(heads)
    assert all(layer < shape["decoder_layers"] and head < shape["decoder_attention_heads"] for layer, head in heads)


def test_a_fine_tuned_whisper_of_a_published_shape_has_its_heads() -> None:
    for name in ("openai/whisper-base", "openai/whisper-base.en", "openai/whisper-large-v3-turbo"):
        assert of_same_shape(WhisperConfig(**published_shape(name))) == published_heads(name)
    other_vocabulary = WhisperConfig(**{**published_shape("openai/whisper-base"), "vocab_size": 1811})
    assert of_same_shape(other_vocabulary) is None
