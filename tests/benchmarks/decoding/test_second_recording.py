"""The cost of second recordings for a token: both sides decode the same clips, of lengths of their own."""

from typing import Any

import pytest
import torch

from benchmarks.decoding import second_recording, tokens
from benchmarks.decoding.second_recording import build, encoded, measure, table

CPU = torch.device("cpu")


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    usual = tokens.published_shape("openai/whisper-tiny")
    assert usual is not None
    smaller = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    smaller |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    monkeypatch.setattr(tokens, "published_shape", lambda name: usual | smaller)
    return build("tiny", CPU, torch.float32)


def test_both_sides_hear_the_same_clips(models: dict[str, Any]) -> None:
    for how, model in models.items():
        both, first = encoded(model, 3, 40)
        assert both.last_hidden_state is not None and first.last_hidden_state is not None
        assert torch.equal(both.last_hidden_state[:, :20], first.last_hidden_state[:, :20])
        if how == "joined":
            assert 60 < both.last_hidden_state.shape[1] <= 80 and both.secondary_hidden_state is None
        else:
            assert both.secondary_hidden_state is not None and both.secondary_frame_lengths is not None
            assert not torch.equal(both.secondary_frame_lengths, first.frame_lengths)


def test_a_cell_is_measured_and_told(models: dict[str, Any]) -> None:
    cells = measure(models, batch=2, seconds=1, tokens=2, repeats=1)
    assert [cell["second_recording"] for cell in cells] == ["joined", "attention"]
    joined, attention = cells
    assert attention["ratio_of_bytes_read"] == 1 < joined["ratio_of_bytes_read"]
    assert joined["token_ms"]["with"] > 0 and table("tiny", cells).count("\n") == 1


def test_a_turn_of_a_side_is_timed_by_clock_and_processor(models: dict[str, Any]) -> None:
    _, first = encoded(models["joined"], 1, 10)
    seconds, worked = second_recording.timed(models["joined"], first, 1)
    assert seconds > 0 and worked > 0
