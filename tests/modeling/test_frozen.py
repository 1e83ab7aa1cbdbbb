"""Frozen weights held in half precision: the same products, nothing lost in what is saved, no casts at each call."""

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from modeling import DualWhisperForConditionalGeneration
from modeling.frozen import frozen_in_linear, hold_frozen, rounding_of
from tests.modeling.network.test_precision import Operations, half, loss_of, small


def with_frozen_encoder() -> DualWhisperForConditionalGeneration:
    model = small(init_std=0.1)
    model.model.encoder.requires_grad_(False)
    return model


def test_the_loss_is_the_same_and_frozen_weights_are_cast_no_more() -> None:
    usual = with_frozen_encoder()
    held = copy.deepcopy(usual)
    hold_frozen(held, torch.bfloat16, keep=True)
    assert held.model.encoder.layers[0].fc1.weight.dtype == torch.bfloat16
    assert held.model.decoder.layers[0].fc1.weight.dtype == torch.float32
    assert held.dtype == torch.float32  # which transformers writes into config.json
    with half():
        first, second = loss_of(usual), loss_of(held)
    assert torch.equal(first, second)
    features = torch.randn(1, 80, 40)
    with half(), torch.no_grad():
        held.model.encoder(features)
        with Operations() as counted:
            for _ in range(10):
                held.model.encoder(features)
    assert counted.casts == 10 * (2 * 2 + 1 + 4)  # norms, features, the convolutions' weights and biases


def test_what_is_saved_and_loaded_loses_nothing(tmp_path: Path) -> None:
    usual = with_frozen_encoder()
    held = copy.deepcopy(usual)
    hold_frozen(held, torch.bfloat16, keep=True)
    before = usual.state_dict()
    for name, tensor in held.state_dict().items():
        assert torch.equal(tensor, before[name]) and tensor.dtype == torch.float32, name
    held.save_pretrained(tmp_path, state_dict=held.state_dict())
    stored = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(tensor, before[name]) for name, tensor in stored.items())
    config = json.loads((tmp_path / "config.json").read_text())
    assert config.get("dtype", config.get("torch_dtype")) == "float32"
    other = small(init_std=0.3).state_dict()
    held.load_state_dict(other)
    assert all(torch.equal(tensor, other[name]) for name, tensor in held.state_dict().items())
    weight = held.model.encoder.layers[1].fc2.weight
    assert torch.equal(weight, other["model.encoder.layers.1.fc2.weight"].to(torch.bfloat16))


def test_shared_and_trained_weights_stay() -> None:
    model = small()
    model.requires_grad_(False)
    model.model.decoder.layers[0].fc1.requires_grad_(True)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    chosen = {names[id(parameter)] for *_, parameter in frozen_in_linear(model)}
    assert "model.decoder.embed_tokens.weight" not in chosen  # the vocabulary projection's too
    assert "model.decoder.layers.0.fc1.weight" not in chosen
    assert {"model.decoder.layers.0.fc2.bias", "model.encoder.layers.0.self_attn.k_proj.weight"} <= chosen
    assert not any("norm" in name or "conv" in name or "embed" in name for name in chosen)


def test_without_copies_the_state_is_rounded() -> None:
    model = with_frozen_encoder()
    full = model.model.encoder.layers[0].fc1.weight.clone()
    hold_frozen(model, torch.bfloat16, keep=False)
    layer = model.model.encoder.layers[0].fc1
    assert torch.equal(model.state_dict()["model.encoder.layers.0.fc1.weight"], full.to(torch.bfloat16))
    assert rounding_of(layer) == pytest.approx((full - layer.weight).square().sum().item())
    assert rounding_of(model.model.decoder.layers[0].fc1) == 0.0


def test_gradients_pass_through_frozen_layers() -> None:
    model = small()
    model.model.encoder.layers[1].requires_grad_(False)
    hold_frozen(model, torch.bfloat16, keep=True)
    with half():
        loss_of(model).backward()
    assert model.model.encoder.layers[0].fc1.weight.grad is not None
    assert model.model.encoder.layers[1].fc1.weight.grad is None
