"""The cache: step by step as in one pass, whatever object holds the keys and values, and no larger than it must be."""

from typing import Any

import pytest
import torch

STEPS = (slice(0, 3), slice(3, 4), slice(4, 7), slice(7, 8), slice(8, 9))


def tokens(rows: int) -> torch.Tensor:
    return torch.randint(0, 256, (rows, 9), generator=torch.Generator().manual_seed(7))


@pytest.mark.promise("cached steps")
@torch.no_grad()
def test_step_by_step_as_in_one_pass(trained: Any, features: torch.Tensor) -> None:
    """Logits, and the primary attention's weights, which token timestamps are read from."""
    ids = tokens(2)
    whole = trained(features, decoder_input_ids=ids, use_cache=False, output_attentions=True)
    encoded, past, steps = trained.get_encoder()(features), None, []
    for part in STEPS:
        output = trained(
            encoder_outputs=encoded,
            decoder_input_ids=ids[:, part],
            past_key_values=past,
            use_cache=True,
            output_attentions=True,
        )
        past = output.past_key_values
        steps.append(output)
    logits = torch.cat([step.logits for step in steps], dim=1)
    torch.testing.assert_close(logits, whole.logits, atol=1e-3, rtol=1e-4)
    for layer, weights in enumerate(whole.cross_attentions):
        assert weights.shape[1] == trained.config.decoder_attention_heads
        stepwise = torch.cat([step.cross_attentions[layer] for step in steps], dim=2)
        torch.testing.assert_close(stepwise, weights, atol=1e-5, rtol=1e-3)


@pytest.mark.promise("cached steps")
@torch.no_grad()
def test_it_holds_the_third_attention_and_nothing_more(trained: Any, plain: Any, features: torch.Tensor) -> None:
    """Plain Whisper's keys and values, and those of the encoder once more: 2 · layers · S · width numbers a clip."""
    ids, config = tokens(2), trained.config
    ours, theirs = (
        sum(t.numel() * t.element_size() for t in held_tensors(model(features, decoder_input_ids=ids, use_cache=True)))
        for model in (trained, plain)
    )
    second_attention = 2 * config.decoder_layers * 2 * config.max_source_positions * config.d_model * 4
    assert ours - theirs == second_attention


def held_tensors(output: Any) -> list[torch.Tensor]:
    """Every tensor that a cache keeps, each once, whatever the release calls its parts."""
    found: dict[int, torch.Tensor] = {}
    seen: set[int] = set()
    waiting = [output.past_key_values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            found[value.data_ptr()] = value
        elif id(value) in seen or isinstance(value, (str, int, float, bool, type(None), torch.dtype, torch.device)):
            continue
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, (list, tuple)):
            waiting += value
        elif type(value).__module__.startswith("transformers.cache_utils"):
            waiting += vars(value).values()
        seen.add(id(value))
    return list(found.values())
