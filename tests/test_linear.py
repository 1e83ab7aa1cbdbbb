"""The decoding linear layer and one-query attention: the same numbers as the plain ones, whichever way they take."""

import pytest
import torch
import torch.nn.functional as F

from modeling.attention import attend
from modeling.linear import FEW_ROWS, FewRowsLinear, decode_faster, has_onednn


@pytest.mark.parametrize(("wide", "narrow"), [(96, 64), (64, 96), (64, 51), (32, 1)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (4, 2), (FEW_ROWS, 1), (FEW_ROWS + 1, 1), (2, 40)], ids=str)
def test_equal_to_torch(wide: int, narrow: int, bias: bool, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = FewRowsLinear(wide, narrow, bias)
    states = torch.randn(*shape, wide)
    expected = F.linear(states, layer.weight, layer.bias)
    with torch.no_grad():
        found = layer(states)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected)


@pytest.fixture(autouse=True)
def small_weights_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers of these tests are small: let oneDNN have them all the same."""
    monkeypatch.setattr("modeling.linear.LARGE_WEIGHT", 0)


@pytest.mark.skipif(not has_onednn(), reason="torch's float32 products here are not oneDNN's")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(40,), (3, 20), (2, 3, 7)], ids=str)
def test_through_onednn_outputs_and_gradients_are_torch_s(bias: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    fast = FewRowsLinear(48, 96, bias)
    plain = torch.nn.Linear(48, 96, bias)
    plain.load_state_dict(fast.state_dict())
    states = torch.randn(*shape, 48)
    direction = torch.randn(*shape, 96)
    found = []
    for layer in (fast, plain):
        given = states.clone().requires_grad_()
        output = layer(given)
        (output * direction).sum().backward()
        found.append((output.detach(), given.grad, *(parameter.grad for parameter in layer.parameters())))
        assert ("OneDnn" in type(output.grad_fn).__name__) == (layer is fast)
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert all(parameter.grad.is_contiguous() for parameter in fast.parameters())


@pytest.mark.skipif(not has_onednn(), reason="torch's float32 products here are not oneDNN's")
def test_small_weights_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of other lengths are other shapes, each of which oneDNN prepares anew."""
    monkeypatch.setattr("modeling.linear.LARGE_WEIGHT", 2**18)
    states = torch.randn(20, 512)
    for outputs, through in ((511, False), (512, True)):
        output = FewRowsLinear(512, outputs)(states)
        assert ("OneDnn" in type(output.grad_fn).__name__) == through


@pytest.mark.skipif(not has_onednn(), reason="torch's float32 products here are not oneDNN's")
def test_what_onednn_does_not_get(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen weights get no gradient; other dtypes, autocast, fake tensors and ``onednn = False`` take torch's way."""
    layer = FewRowsLinear(32, 64)
    layer.weight.requires_grad_(False)
    states = torch.randn(40, 32, requires_grad=True)
    layer(states).sum().backward()
    assert layer.weight.grad is None and states.grad is not None and layer.bias.grad is not None
    monkeypatch.setattr("modeling.linear.product", None)  # whoever comes there now fails
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(states).dtype == torch.bfloat16
    layer.double()(states.double())
    layer.float()
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True) as mode:
        layer(mode.from_tensor(states))
    layer.onednn = False
    layer(states)


@pytest.mark.parametrize("rows", [1, FEW_ROWS, 20])
@pytest.mark.parametrize("with_gradient", [True, False])
def test_a_trace_is_made_and_is_right_for_other_rows(rows: int, with_gradient: bool) -> None:
    layer = FewRowsLinear(32, 64)
    with torch.set_grad_enabled(with_gradient):
        traced = torch.jit.trace(layer, torch.randn(rows, 32))
        states = torch.randn(rows + 30, 32)
        torch.testing.assert_close(traced(states), F.linear(states, layer.weight, layer.bias))


@pytest.mark.parametrize("rows", [1, 20])
def test_function_transforms(rows: int) -> None:
    """torch.func's grad, vmap and jvp, and forward-mode differentiation as such."""
    layer = FewRowsLinear(32, 64)
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
    monkeypatch.setattr("modeling.linear.OneDnnLinear", None)
    layer = FewRowsLinear(32, 64).requires_grad_(False)
    states = torch.randn(20, 32)
    torch.testing.assert_close(layer(states), F.linear(states, layer.weight, layer.bias))
    with torch.no_grad():
        layer.requires_grad_(True)(states)


def test_few_rows_take_the_fast_way_and_training_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    product = torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda *arguments: calls.append(1) or product(*arguments))
    layer = FewRowsLinear(32, 64)
    layer(torch.randn(1, 1, 32)).sum().backward()
    assert not calls
    with torch.no_grad():
        layer(torch.randn(1, FEW_ROWS + 1, 32))
        assert not calls
        layer(torch.randn(1, FEW_ROWS, 32))
    assert calls


def test_rows_that_are_not_contiguous() -> None:
    layer = FewRowsLinear(32, 64)
    states = torch.randn(4, 32, 2).transpose(1, 2)
    with torch.no_grad():
        torch.testing.assert_close(layer(states), F.linear(states, layer.weight, layer.bias))


def test_other_dtypes() -> None:
    layer = FewRowsLinear(32, 64).to(torch.bfloat16)
    states = torch.randn(1, 1, 32, dtype=torch.bfloat16)
    with torch.no_grad():
        torch.testing.assert_close(layer(states), F.linear(states, layer.weight, layer.bias))
    single = layer.float()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert single(torch.randn(1, 1, 32)).dtype == torch.bfloat16


def test_a_weight_that_was_resized() -> None:
    layer = FewRowsLinear(32, 64)
    layer.weight = torch.nn.Parameter(torch.randn(67, 32))
    layer.bias = None
    states = torch.randn(1, 1, 32)
    with torch.no_grad():
        torch.testing.assert_close(layer(states), F.linear(states, layer.weight))


def test_only_plain_linear_layers_are_made_faster() -> None:
    """What quantises a model looks for nn.Linear itself while it loads, and puts its own classes in its place."""

    class Quantised(torch.nn.Linear):
        pass

    model = torch.nn.ModuleDict({"plain": torch.nn.Linear(2, 2), "own": Quantised(2, 2), "norm": torch.nn.LayerNorm(2)})
    before = model.state_dict()
    decode_faster(model)
    assert [type(module) for module in model.values()] == [FewRowsLinear, Quantised, torch.nn.LayerNorm]
    assert model.state_dict().keys() == before.keys()


def test_loaded_models_are_fast_and_models_being_built_plain() -> None:
    from modeling.published import model_without_weights, published_shape

    shape = published_shape("openai/whisper-tiny")
    assert shape is not None
    built = model_without_weights(shape)
    assert not any(isinstance(module, FewRowsLinear) for module in built.modules())


@pytest.mark.parametrize("masked", [True, False])
def test_attention_of_one_query(masked: bool) -> None:
    torch.manual_seed(0)
    queries, keys, values = torch.randn(3, 4, 1, 8), torch.randn(3, 4, 10, 8), torch.randn(3, 4, 10, 8)
    mask = (torch.arange(10) < torch.tensor([10, 4, 1])[:, None])[:, None, None] if masked else None
    found, weights = attend(queries, keys, values, mask)
    expected = F.scaled_dot_product_attention(queries, keys, values, mask, scale=1.0)
    torch.testing.assert_close(found, expected)
    assert weights is not None
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 4, 1))
    if mask is not None:
        assert not weights.masked_select(~mask.expand_as(weights)).any()
