"""The decoding linear layer and one-query attention: the same numbers as the plain ones, whichever way they take."""

import copy
import pickle
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.nn import Linear
from transformers import WhisperConfig, WhisperForConditionalGeneration

import modeling.network.linear
from modeling import DualWhisperConfig, DualWhisperForConditionalGeneration
from modeling.adapters import LoraSettings, add_lora
from modeling.checkpoint_files import Base
from modeling.network.attention import additive, attend
from modeling.network.linear import (
    FEW_ROWS,
    choose_onednn,
    goes_through_onednn,
    has_onednn,
    linear,
    onednn_is_faster,
    product,
    quicken,
)
from tests.support.plain_whisper import SHAPE


class Fast(Linear):
    """Computes as the model's own code does; for what wants a module."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return modeling.network.linear.fast_forward(self, states)


@pytest.mark.parametrize(("wide", "narrow"), [(96, 64), (64, 96), (64, 51), (32, 1)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (4, 2), (FEW_ROWS, 1), (FEW_ROWS + 1, 1), (2, 40)], ids=str)
def test_equal_to_torch(wide: int, narrow: int, bias: bool, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = Linear(wide, narrow, bias)
    states = torch.randn(*shape, wide)
    expected = F.linear(states, layer.weight, layer.bias)
    with torch.no_grad():
        found = linear(layer, states)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected)


@pytest.fixture(autouse=True)
def small_weights_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers of these tests are small: let oneDNN have them all the same, whether it is faster here or not."""
    monkeypatch.setattr("modeling.network.linear.LARGE_WEIGHT", 0)
    monkeypatch.setattr("modeling.network.linear.onednn_is_faster", has_onednn)


@pytest.mark.skipif(not has_onednn(), reason="torch's float32 products here are not oneDNN's")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(40,), (3, 20), (2, 3, 7)], ids=str)
def test_through_onednn_outputs_and_gradients_are_torch_s(bias: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    fast, plain = Linear(48, 96, bias), Linear(48, 96, bias)
    plain.load_state_dict(fast.state_dict())
    states = torch.randn(*shape, 48)
    direction = torch.randn(*shape, 96)
    found = []
    for layer in (fast, plain):
        given = states.clone().requires_grad_()
        output = linear(layer, given) if layer is fast else layer(given)
        (output * direction).sum().backward()
        found.append((output.detach(), given.grad, *(parameter.grad for parameter in layer.parameters())))
        assert ("OneDnn" in type(output.grad_fn).__name__) == (layer is fast)
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert all(parameter.grad.is_contiguous() for parameter in fast.parameters())


@pytest.mark.skipif(not has_onednn(), reason="torch's float32 products here are not oneDNN's")
def test_small_weights_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of other lengths are other shapes, each of which oneDNN prepares anew."""
    monkeypatch.setattr("modeling.network.linear.LARGE_WEIGHT", 2**18)
    states = torch.randn(20, 512)
    for outputs, through in ((511, False), (512, True)):
        output = linear(Linear(512, outputs), states)
        assert ("OneDnn" in type(output.grad_fn).__name__) == through


@pytest.mark.skipif(not has_onednn(), reason="torch's float32 products here are not oneDNN's")
def test_what_onednn_does_not_get(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen weights get no gradient; other dtypes, autocast, fake tensors and what was not chosen take torch's way."""
    layer = Linear(32, 64)
    layer.weight.requires_grad_(False)
    states = torch.randn(40, 32, requires_grad=True)
    linear(layer, states).sum().backward()
    assert layer.weight.grad is None and states.grad is not None and layer.bias.grad is not None
    monkeypatch.setattr("modeling.network.linear.product", None)  # whoever comes there now fails
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(layer, states).dtype == torch.bfloat16
    linear(layer.double(), states.double())
    layer.float()
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True) as mode:
        linear(layer, mode.from_tensor(states))
    choose_onednn(layer, False)
    linear(layer, states)


@pytest.mark.skipif(not has_onednn(), reason="torch's float32 products here are not oneDNN's")
@pytest.mark.parametrize(("slowed", "expected"), [("product", False), ("F.linear", True)])
def test_the_faster_way_is_chosen(slowed: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the two is made slow; a layer whose way was chosen by hand keeps it."""
    usual = product if slowed == "product" else F.linear

    def slow(*given: torch.Tensor) -> torch.Tensor:
        time.sleep(0.02)
        return usual(*given)

    assert has_onednn()
    monkeypatch.setattr(f"modeling.network.linear.{slowed}", slow)
    monkeypatch.setattr("modeling.network.linear.onednn_is_faster", onednn_is_faster.__wrapped__)
    layer = Linear(4, 4)
    assert goes_through_onednn(layer) == expected
    for wanted in (True, False):
        choose_onednn(layer, wanted)
        assert goes_through_onednn(layer) == wanted
    choose_onednn(layer, None)
    assert goes_through_onednn(layer) == expected


@pytest.mark.parametrize("rows", [1, FEW_ROWS, 20])
@pytest.mark.parametrize("with_gradient", [True, False])
def test_a_trace_is_made_and_is_right_for_other_rows(rows: int, with_gradient: bool) -> None:
    layer = Fast(32, 64)
    with torch.set_grad_enabled(with_gradient):
        traced = torch.jit.trace(layer, torch.randn(rows, 32))
        states = torch.randn(rows + 30, 32)
        torch.testing.assert_close(traced(states), F.linear(states, layer.weight, layer.bias))


@pytest.mark.parametrize("rows", [1, 20])
def test_function_transforms(rows: int) -> None:
    """torch.func's grad, vmap and jvp, and forward-mode differentiation as such."""
    layer = Fast(32, 64)
    parameters = {name: parameter.detach() for name, parameter in layer.named_parameters()}
    states, direction = torch.randn(rows, 32), torch.randn(rows, 32)

    def total(own: dict[str, torch.Tensor], given: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, own, given).square().sum()

    found = torch.func.grad(total)(parameters, states)
    total(dict(layer.named_parameters()), states).backward()
    torch.testing.assert_close(found["weight"], layer.weight.grad)
    with torch.no_grad():
        each = torch.func.vmap(layer)(torch.stack((states, 2 * states)))
        torch.testing.assert_close(each[1], F.linear(2 * states, layer.weight, layer.bias))
        expected = F.linear(direction, layer.weight)
        torch.testing.assert_close(torch.func.jvp(layer, (states,), (direction,))[1], expected)
        with torch.autograd.forward_ad.dual_level():
            output = layer(torch.autograd.forward_ad.make_dual(states, direction))
            torch.testing.assert_close(torch.autograd.forward_ad.unpack_dual(output).tangent, expected)


@pytest.mark.skipif(not has_onednn(), reason="torch's float32 products here are not oneDNN's")
def test_without_gradients_there_is_nothing_of_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modeling.network.linear.OneDnnLinear", None)
    layer = Linear(32, 64).requires_grad_(False)
    states = torch.randn(20, 32)
    torch.testing.assert_close(linear(layer, states), F.linear(states, layer.weight, layer.bias))
    with torch.no_grad():
        linear(layer.requires_grad_(True), states)


def test_few_rows_take_the_fast_way_and_training_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    product = torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda *arguments: calls.append(1) or product(*arguments))
    layer = Linear(32, 64)
    linear(layer, torch.randn(1, 1, 32)).sum().backward()
    assert not calls
    with torch.no_grad():
        linear(layer, torch.randn(1, FEW_ROWS + 1, 32))
        assert not calls
        linear(layer, torch.randn(1, FEW_ROWS, 32))
    assert calls


def test_rows_that_are_not_contiguous() -> None:
    layer = Linear(32, 64)
    states = torch.randn(4, 32, 2).transpose(1, 2)
    with torch.no_grad():
        torch.testing.assert_close(linear(layer, states), F.linear(states, layer.weight, layer.bias))


def test_other_dtypes() -> None:
    layer = Linear(32, 64).to(torch.bfloat16)
    states = torch.randn(1, 1, 32, dtype=torch.bfloat16)
    with torch.no_grad():
        torch.testing.assert_close(linear(layer, states), F.linear(states, layer.weight, layer.bias))
    single = layer.float()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert linear(single, torch.randn(1, 1, 32)).dtype == torch.bfloat16


def test_a_weight_that_was_resized() -> None:
    layer = Linear(32, 64)
    layer.weight = torch.nn.Parameter(torch.randn(67, 32))
    layer.bias = None
    states = torch.randn(1, 1, 32)
    with torch.no_grad():
        torch.testing.assert_close(linear(layer, states), F.linear(states, layer.weight))


@pytest.fixture
def fast_ways(monkeypatch: pytest.MonkeyPatch) -> list[Linear]:
    """The layers whose product was computed here."""
    seen: list[Linear] = []
    usual = modeling.network.linear.fast_product
    monkeypatch.setattr(
        "modeling.network.linear.fast_product", lambda layer, states: seen.append(layer) or usual(layer, states)
    )
    return seen


def test_a_layer_that_somebody_touched_is_called_as_it_is(fast_ways: list[Linear]) -> None:
    """A subclass, hooks of every kind, a forward of its own, a parametrised weight, a wrapper."""

    class Other(Linear):
        pass

    hooked, watched, forward, parametrised = Linear(4, 4), Linear(4, 4), Linear(4, 4), Linear(4, 4)
    calls: list[str] = []
    hooked.register_forward_hook(lambda *_: calls.append("after"))
    watched.register_full_backward_hook(lambda *_: calls.append("backward"))
    forward.forward = lambda states: calls.append("own") or states  # type: ignore[method-assign]
    torch.nn.utils.parametrizations.orthogonal(parametrised)
    states = torch.randn(2, 4, requires_grad=True)
    for layer in (Other(4, 4), hooked, watched, forward, parametrised, torch.nn.Identity()):
        assert torch.equal(linear(layer, states), layer(states))
    linear(watched, states).sum().backward()
    assert calls == ["after", "after", "own", "own", "backward"]
    everywhere = torch.nn.modules.module.register_module_forward_hook(lambda *_: calls.append("everywhere"))
    try:
        linear(Linear(4, 4), states)
    finally:
        everywhere.remove()
    assert calls[-1] == "everywhere" and not fast_ways
    linear(Linear(4, 4), states)
    assert len(fast_ways) == 1


def test_a_quickened_layer_copies_pickles_and_keeps_its_type(fast_ways: list[Linear]) -> None:
    layer = Linear(4, 4)
    quicken(layer)
    states = torch.randn(2, 4)
    for one in (layer, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert type(one) is Linear
        assert torch.equal(one(states), F.linear(states, one.weight, one.bias)) or one.weight is not layer.weight
        assert fast_ways.pop() is one


def fast_layers(model: Any, fast_ways: list[Linear]) -> set[str]:
    """Names of the layers that were computed here in a training step."""
    fast_ways.clear()
    features, ids = torch.randn(2, 80, 100), torch.ones(2, 9, dtype=torch.int64)
    model(features, labels=ids).loss.backward()
    names = {id(module): name for name, module in model.named_modules()}
    return {names[id(layer)] for layer in fast_ways}


@pytest.fixture
def model() -> DualWhisperForConditionalGeneration:
    shape = SHAPE | {"vocab_size": 300, "pad_token_id": 0, "decoder_start_token_id": 1}
    return DualWhisperForConditionalGeneration(DualWhisperConfig(**shape))


def linear_layers(model: torch.nn.Module) -> set[str]:
    return {name for name, module in model.named_modules() if type(module) is Linear}


def test_every_linear_layer_of_the_model_is_exactly_that_and_is_fast(
    model: DualWhisperForConditionalGeneration, fast_ways: list[Linear], tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    for one in (model, DualWhisperForConditionalGeneration.from_pretrained(tmp_path)):
        assert {name for name, module in one.named_modules() if isinstance(module, Linear)} == linear_layers(one)
        assert fast_layers(one, fast_ways) == linear_layers(one)
    assert len(linear_layers(model)) == 2 * 6 + 2 * (3 * 4 + 2 + 2) + 1


def test_below_our_own_adapters_layers_are_fast_too(
    model: DualWhisperForConditionalGeneration, fast_ways: list[Linear]
) -> None:
    """peft calls those that it adapts, not this project's attention."""
    add_lora(
        model, LoraSettings(4, 8, 0.0, ("q_proj", "fc1"), ("encoder", "decoder")), Base("base", None, True, "clip", "")
    )
    adapted = {name for name in linear_layers(model) if ".lora_" in name}
    assert len(adapted) == 2 * (2 * 2 + 2 * 3)
    assert fast_layers(model, fast_ways) == linear_layers(model) - adapted


def test_dynamic_quantisation_finds_as_many_layers_as_in_plain_whisper(
    model: DualWhisperForConditionalGeneration, tmp_path: Path
) -> None:
    """It asks for the type nn.Linear; and what it makes decodes."""
    pytest.importorskip("torch.ao.quantization")
    model.save_pretrained(tmp_path)
    plain = WhisperForConditionalGeneration(WhisperConfig(**SHAPE, vocab_size=300, pad_token_id=0))
    counts = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its end, which torch announces
        for name, one in (("plain", plain), ("dual", DualWhisperForConditionalGeneration.from_pretrained(tmp_path))):
            quantised = torch.ao.quantization.quantize_dynamic(one.eval(), {Linear}, dtype=torch.qint8)
            made = [module for module in quantised.modules() if "quantized" in type(module).__module__]
            left = [module for module in quantised.modules() if isinstance(module, Linear) and module not in made]
            assert not left
            counts[name] = sum(type(module).__name__ == "Linear" for module in made)
    assert counts == {"plain": 33, "dual": 33 + 2 * (4 + 2)}
    quantised.generate(torch.randn(1, 80, 100), max_new_tokens=4)


def test_peft_s_adapters_that_ask_for_the_type_take_a_loaded_model(
    model: DualWhisperForConditionalGeneration, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    if not hasattr(peft, "GloraConfig"):
        pytest.skip("this peft has no GLoRA")
    model.save_pretrained(tmp_path)
    loaded = DualWhisperForConditionalGeneration.from_pretrained(tmp_path)
    adapted = peft.get_peft_model(loaded, peft.GloraConfig(target_modules=["q_proj", "v_proj"]))
    adapted(input_features=torch.randn(1, 80, 100), labels=torch.ones(1, 4, dtype=torch.int64)).loss.backward()
    assert any("glora" in name and p.grad is not None for name, p in adapted.named_parameters())


@pytest.mark.parametrize("masked", [True, False])
def test_attention_of_one_query(masked: bool) -> None:
    torch.manual_seed(0)
    queries, keys, values = torch.randn(3, 4, 1, 8), torch.randn(3, 4, 10, 8), torch.randn(3, 4, 10, 8)
    mask = (torch.arange(10) < torch.tensor([10, 4, 1])[:, None])[:, None, None] if masked else None
    found, weights = attend(queries, keys, values, None if mask is None else additive(mask, torch.float32))
    expected = F.scaled_dot_product_attention(queries, keys, values, mask, scale=1.0)
    torch.testing.assert_close(found, expected)
    assert weights is not None
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 4, 1))
    if mask is not None:
        assert not weights.masked_select(~mask.expand_as(weights)).any()
