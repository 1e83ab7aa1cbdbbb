"""The model beside transformers' own Whisper: arguments, configuration, parts by themselves, the graph of gradients.

Whatever plain Whisper's configuration can ask for is done here too, or refused.
"""

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers.models.whisper import modeling_whisper

from modeling import DualWhisperConfig, DualWhisperForConditionalGeneration, DualWhisperModel
from modeling.network.decoder import DualWhisperDecoder
from modeling.network.encoder import DualWhisperEncoder, fit_to_clips
from tests.ladder.test_training import labels

PAIRS = [
    (DualWhisperForConditionalGeneration, modeling_whisper.WhisperForConditionalGeneration),
    (DualWhisperModel, modeling_whisper.WhisperModel),
    (DualWhisperEncoder, modeling_whisper.WhisperEncoder),
    (DualWhisperDecoder, modeling_whisper.WhisperDecoder),
]
IDS = torch.arange(18).view(2, 9)


def positional(function: Any) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]


@pytest.mark.promise("model, loss, gradients")
@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda one: one.__name__)
def test_arguments_come_in_whispers_order_and_our_own_after_them(ours: Any, theirs: Any) -> None:
    """Masks of single heads, which older releases take, are left out and refused."""
    found, expected = positional(ours.forward), positional(theirs.forward)
    shared = [name for name in expected if name in found]
    assert [name for name in found if name in expected] == shared
    assert set(expected) - set(shared) <= {"head_mask", "decoder_head_mask", "cross_attn_head_mask", "cache_position"}
    own = [name for name in found if name not in expected]
    optional = ["output_attentions", "output_hidden_states", "return_dict", "decoder_position_ids", "position_ids"]
    assert [name for name in own if name not in optional] == [n for n in found[-len(own) :] if n not in optional]
    assert ("feature_lengths" in own) == (ours is not DualWhisperDecoder)


@pytest.mark.promise("model, loss, gradients")
@torch.no_grad()
def test_arguments_by_place(plain: Any, lifted: Any, features: torch.Tensor) -> None:
    for model, other in ((plain, lifted), (plain.model, lifted.model)):
        expected, found = (one(features, None, IDS, return_dict=False)[0] for one in (model, other))
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)


@pytest.mark.promise("model, loss, gradients")
@pytest.mark.parametrize("name", ["head_mask", "decoder_head_mask", "cross_attn_head_mask"])
def test_masks_of_single_heads_are_refused(lifted: Any, features: torch.Tensor, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is given"):
        lifted(features, decoder_input_ids=IDS, **{name: torch.ones(2, 4)})


@pytest.mark.promise("model, loss, gradients")
def test_rows_must_be_as_many_as_clips(lifted: Any, features: torch.Tensor) -> None:
    three = torch.cat((features, features[:1]))
    for use_cache in (True, False):
        with pytest.raises(ValueError, match="has 1 rows for 3 clips"):
            lifted(three, decoder_input_ids=IDS[:1], use_cache=use_cache)
    with pytest.raises(ValueError, match="has 2 rows for 3 clips"):
        lifted(three, labels=labels())


@pytest.mark.promise("model, loss, gradients")
@pytest.mark.parametrize("use_cache", [True, False])
def test_weights_that_are_returned_are_those_that_were_used(
    trained: Any, features: torch.Tensor, use_cache: bool
) -> None:
    """Gradients reach all of them, the cross-attentions' too where they share a place in the cache."""
    output = trained(features, decoder_input_ids=IDS, use_cache=use_cache, output_attentions=True)
    told = ["encoder_attentions", "decoder_attentions", "cross_attentions", "secondary_attentions"]
    weights = [tensor for name in told for tensor in getattr(output, name)]
    assert len(weights) == 8
    for tensor in weights:
        tensor.retain_grad()
    output.logits.square().sum().backward()
    assert all(tensor.grad is not None and tensor.grad.any() for tensor in weights)


@pytest.mark.promise("cached steps")
@torch.no_grad()
def test_no_weights_are_told_that_nobody_asked_for(trained: Any, features: torch.Tensor) -> None:
    output = trained(features[:1], decoder_input_ids=IDS[:1, :1])
    assert output.decoder_attentions is None and output.cross_attentions is None
    assert output.secondary_attentions is None and output.gates is not None


@pytest.mark.promise("model, loss, gradients")
@pytest.mark.parametrize("use_cache", [True, False])
@torch.no_grad()
def test_a_decoder_without_encoder_states_skips_cross_attention(plain: Any, lifted: Any, use_cache: bool) -> None:
    found, expected = (
        model.model.decoder(input_ids=IDS, use_cache=use_cache, return_dict=True) for model in (lifted, plain)
    )
    torch.testing.assert_close(found.last_hidden_state, expected.last_hidden_state, atol=1e-4, rtol=1e-4)
    assert found.cross_attentions is None and found.gates is None
    if use_cache:
        ids = IDS[:, :1]
        found, expected = (
            model.model.decoder(input_ids=ids, past_key_values=one.past_key_values, use_cache=True, return_dict=True)
            for model, one in ((lifted, found), (plain, expected))
        )
        torch.testing.assert_close(found.last_hidden_state, expected.last_hidden_state, atol=1e-4, rtol=1e-4)


@pytest.mark.promise("model, loss, gradients")
def test_encoder_and_decoder_are_models_of_their_own(trained: Any, features: torch.Tensor, tmp_path: Path) -> None:
    trained.to(torch.float64)
    parts = trained.model.encoder, trained.model.decoder
    for part in parts:
        assert (part.dtype, part.device.type) == (torch.float64, "cpu")
        part.save_pretrained(tmp_path / type(part).__name__)
    encoder, decoder = (type(part).from_pretrained(tmp_path / type(part).__name__) for part in parts)
    for part, again in zip(parts, (encoder.double(), decoder.double()), strict=True):
        assert part.state_dict().keys() == again.state_dict().keys()
        assert all(torch.equal(value, again.state_dict()[name]) for name, value in part.state_dict().items())
    assert not encoder.embed_positions.weight.requires_grad
    states = encoder(features.double()).last_hidden_state
    expected = trained(features.double(), decoder_input_ids=IDS).encoder_last_hidden_state
    torch.testing.assert_close(states, expected)
    assert decoder.get_input_embeddings() is decoder.embed_tokens
    encoder.gradient_checkpointing_enable()
    assert encoder.gradient_checkpointing and not trained.model.encoder.gradient_checkpointing


@pytest.mark.promise("model, loss, gradients")
def test_a_part_does_not_open_from_a_whole_model(trained: Any, tmp_path: Path) -> None:
    """transformers' own classes would fill it with random numbers, and say so in a table."""
    trained.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="tensors of the model, such as"):
        DualWhisperDecoder.from_pretrained(tmp_path)


@pytest.mark.promise("model, loss, gradients")
@torch.no_grad()
def test_auto_model_opens_it_without_its_head(
    trained: Any, lifted: Any, plain_folder: Path, features: torch.Tensor, tmp_path: Path
) -> None:
    trained.save_pretrained(tmp_path / "whole")
    references = json.loads((tmp_path / "whole" / "config.json").read_text())["auto_map"]
    assert {"AutoModel", "AutoModelForSpeechSeq2Seq"} <= references.keys()
    model = transformers.AutoModel.from_pretrained(tmp_path / "whole").eval()
    assert type(model) is DualWhisperModel
    expected = trained.model.eval()(features, decoder_input_ids=IDS).last_hidden_state
    torch.testing.assert_close(model(features, decoder_input_ids=IDS).last_hidden_state, expected)
    assert not model.encoder.embed_positions.weight.requires_grad
    model.save_pretrained(tmp_path / "bare")
    again = transformers.AutoModel.from_pretrained(tmp_path / "bare").eval()
    torch.testing.assert_close(again(features, decoder_input_ids=IDS).last_hidden_state, expected)
    plain = DualWhisperModel.from_pretrained(plain_folder).eval()
    expected = lifted.model(features, decoder_input_ids=IDS).last_hidden_state
    torch.testing.assert_close(plain(features, decoder_input_ids=IDS).last_hidden_state, expected)


def training_loss(model: Any, features: torch.Tensor) -> torch.Tensor:
    np.random.seed(0)
    return model.train()(features.clone(), labels=labels()).loss


@pytest.mark.promise("model, loss, gradients")
def test_spec_augment_as_the_configuration_asks(plain: Any, lifted: Any, features: torch.Tensor) -> None:
    before = training_loss(lifted, features)
    for model in (plain, lifted):
        model.config.apply_spec_augment = True
        model.config.mask_time_prob, model.config.mask_feature_prob = 0.3, 0.2
        model.config.mask_time_length, model.config.mask_feature_length = 20, 5
    kept = features.clone()
    found = training_loss(lifted, features)
    torch.testing.assert_close(found, training_loss(plain, features))
    assert abs(found - before) > 1e-4
    assert torch.equal(kept, features)
    with torch.no_grad():
        found, expected = (model.eval()(features, labels=labels()).loss for model in (lifted, plain))
    torch.testing.assert_close(found, expected)


@pytest.mark.promise("model, loss, gradients")
def test_spec_augment_leaves_the_clips_as_long_as_they_are(trained: Any, features: torch.Tensor) -> None:
    """A masked span looks like padding; so the ends are found first, and spans lie before them."""
    trained.config.apply_spec_augment, trained.config.encoder_padding = True, "clip"
    trained.config.mask_time_prob, trained.config.mask_time_length = 0.9, 8
    features[1, :, 60:] = 0
    lengths, seen = fit_to_clips(features, 200)[1], []
    trained.model.encoder.register_forward_pre_hook(
        lambda module, given, named: seen.append((given[0], named["feature_lengths"])), with_kwargs=True
    )
    training_loss(trained, features)
    ((masked, told),) = seen
    assert list(told) == lengths and lengths[1] == 60 - 1 + 50 + 1
    silent = (masked == 0).all(dim=1)
    assert silent[0].any() and silent[1, : lengths[1]].any() and not silent[1, lengths[1] :].any()


@pytest.mark.promise("model, loss, gradients")
@pytest.mark.parametrize("option", ["encoder_layerdrop", "decoder_layerdrop"])
def test_what_is_not_done_is_refused_when_a_checkpoint_is_opened(plain_folder: Path, option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} is 0.1"):
        DualWhisperForConditionalGeneration.from_pretrained(plain_folder, **{option: 0.1})


@pytest.mark.promise("model, loss, gradients")
def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="d_model is 64, which 5 attention heads do not divide"):
        DualWhisperForConditionalGeneration(DualWhisperConfig(d_model=64, encoder_attention_heads=5))


@pytest.mark.promise("model, loss, gradients")
def test_attention_implementations(lifted: Any, plain_folder: Path, features: torch.Tensor, tmp_path: Path) -> None:
    """What there is gives the same; anything else is refused, at opening and afterwards."""
    if not hasattr(lifted.config, "_attn_implementation"):
        return  # before 4.36 there is one
    assert lifted.config._attn_implementation == "sdpa"
    eager = DualWhisperForConditionalGeneration.from_pretrained(plain_folder, attn_implementation="eager").eval()
    assert eager.config._attn_implementation == "eager"
    with torch.no_grad():
        found, expected = (model(features, decoder_input_ids=IDS) for model in (eager, lifted))
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-3, rtol=1e-4)
    assert found.cross_attentions is None
    for name in ("flash_attention_2", "flex_attention", "somebody's own"):
        with pytest.raises((ValueError, ImportError), match=r"attn_implementation|[Ff]lash|[Ff]lex"):
            DualWhisperForConditionalGeneration.from_pretrained(plain_folder, attn_implementation=name)
    lifted.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="'flash_attention_2'; this model has sdpa and eager"):
        lifted(features, decoder_input_ids=IDS)


@pytest.mark.promise("model, loss, gradients")
@torch.no_grad()
def test_configuration_that_changes_the_output(plain: Any, lifted: Any, features: torch.Tensor, tmp_path: Path) -> None:
    """``return_dict`` and what is to be told are the configuration's where nobody says; embeddings are not scaled."""
    plain.config.scale_embedding = True
    plain.save_pretrained(tmp_path, safe_serialization=True)
    scaled = DualWhisperForConditionalGeneration.from_pretrained(tmp_path).eval()
    expected = type(plain).from_pretrained(tmp_path, use_safetensors=True).eval()(features, decoder_input_ids=IDS)
    torch.testing.assert_close(scaled(features, decoder_input_ids=IDS).logits, expected.logits, atol=1e-3, rtol=1e-4)
    lifted.config.return_dict = False
    output = lifted(features, decoder_input_ids=IDS)
    assert isinstance(output, tuple) and isinstance(lifted.model.encoder(features), tuple)
    assert isinstance(lifted.model.decoder(input_ids=IDS), tuple)
    assert lifted(features, decoder_input_ids=IDS, return_dict=True).logits.shape == output[0].shape


@pytest.mark.promise("model, loss, gradients")
def test_an_untied_projection_must_be_in_the_checkpoint(plain_folder: Path) -> None:
    if getattr(DualWhisperForConditionalGeneration, "_keys_to_ignore_on_load_missing", None):
        return  # older releases do not say that it is missing
    with pytest.raises(ValueError, match=r"such as proj_out\.weight"):
        DualWhisperForConditionalGeneration.from_pretrained(plain_folder, tie_word_embeddings=False)


@pytest.mark.promise("model, loss, gradients")
def test_the_loss_comes_of_the_logits_that_are_returned(trained: Any, features: torch.Tensor) -> None:
    output = trained.train()(features, labels=labels())
    output.logits.retain_grad()
    output.loss.backward()
    assert output.logits.grad.any()
    alone = trained(features, labels=labels(), loss_only=True)
    assert alone.logits is None
    torch.testing.assert_close(alone.loss, output.loss)


@pytest.mark.promise("model, loss, gradients")
@torch.no_grad()
def test_resized_embeddings(trained: Any, features: torch.Tensor, tmp_path: Path) -> None:
    before = trained(features, decoder_input_ids=IDS).logits
    trained.resize_token_embeddings(before.shape[-1] + 5)
    assert trained.proj_out.weight is trained.model.decoder.get_input_embeddings().weight
    after = trained(features, decoder_input_ids=IDS).logits
    torch.testing.assert_close(after[..., :-5], before)
    trained.save_pretrained(tmp_path)
    again = DualWhisperForConditionalGeneration.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again(features, decoder_input_ids=IDS).logits, after)


@pytest.mark.promise("model, loss, gradients")
def test_labels_need_a_token_for_padding(lifted: Any, features: torch.Tensor) -> None:
    lifted.config.pad_token_id = None
    with pytest.raises(ValueError, match="pad_token_id is None"):
        lifted(features, labels=labels())
