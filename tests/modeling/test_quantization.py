"""Frozen layers in 8 and 4 bits: which become so, gradients through them, saving and loading, a missing library."""

import copy
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modeling import DualWhisperConfig, DualWhisperForConditionalGeneration
from modeling.quantization import QuantizationError, hush_bitsandbytes, quantize_linear

hush_bitsandbytes()
from peft import LoraConfig, inject_adapter_in_model  # noqa: E402 - imports bitsandbytes

FEATURES = torch.randn(2, 80, 3000, generator=torch.Generator().manual_seed(1))
LABELS = torch.randint(3, 300, (2, 10), generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(bits: Any = None, compute_dtype: torch.dtype = torch.float32) -> Any:
    """A tiny model with adapters, quantised below them if asked."""
    torch.manual_seed(0)
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    shape = {"d_model": 64, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128}
    tokens = {"pad_token_id": 1, "bos_token_id": 1, "eos_token_id": 1, "decoder_start_token_id": 2}
    model: Any = DualWhisperForConditionalGeneration(
        DualWhisperConfig(
            **shape, **heads, **tokens, vocab_size=300, max_target_positions=24, encoder_padding="window", init_std=0.1
        )
    )
    model.requires_grad_(False)
    if bits:
        quantize_linear(model, bits, is_new, compute_dtype)
    torch.manual_seed(2)
    targets = r"model\.(en|de)coder\..*\.(self_attn|encoder_attn)\.(q_proj|v_proj)"
    inject_adapter_in_model(LoraConfig(r=4, lora_alpha=8, target_modules=targets), model)
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.02)  # at their usual beginning, 0, lora_A has no gradient
        if is_new(name):
            parameter.requires_grad_(True)
    return model.train()


def is_new(name: str) -> bool:
    return ".secondary_attn" in name or ".gate" in name


def gradients(model: Any, dtype: torch.dtype = torch.float32) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        loss = model(FEATURES, labels=LABELS, loss_only=True).loss
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(("bits", "kind"), [(8, "Linear8bitLt"), (4, "Linear4bit")])
def test_only_what_is_not_held_back_in_the_layers_is_quantised(bits: Any, kind: str) -> None:
    torch.manual_seed(0)
    model = build()
    plain = build()
    names = [name for name, module in plain.named_modules() if isinstance(module, torch.nn.Linear)]
    model = build(bits)
    quantised = {name for name, module in model.named_modules() if type(module).__module__.startswith("bitsandbytes")}
    assert {type(model.get_submodule(name)).__name__ for name in quantised} == {kind}
    chosen = {name for name in names if ".layers." in name and ".lora_" not in name and not is_new(name)}
    assert quantised == chosen and len(chosen) == 26
    assert any(is_new(name) for name in names), "else nothing was held back"
    for name in set(names) - chosen:
        assert model.get_submodule(name).weight.dtype == torch.float32
        assert torch.equal(model.get_submodule(name).weight, plain.get_submodule(name).weight)
    for name in chosen:
        layer = model.get_submodule(name)
        assert not any(parameter.requires_grad for parameter in layer.parameters())
        before = plain.get_submodule(name).weight
        assert layer.weight.numel() * layer.weight.element_size() == before.numel() * bits // 8
    assert model.proj_out.weight is model.model.decoder.embed_tokens.weight


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("bits", "alike"), [(8, 0.99), (4, 0.7)])
def test_gradients_flow_through(bits: Any, alike: float, dtype: torch.dtype) -> None:
    """All that is trained learns as it would over full weights, also after an evaluation; what is frozen stays."""
    _, expected = gradients(build())
    model = build(bits, dtype)
    kinds = {type(module).__module__ for module in model.modules() if hasattr(module, "lora_A")}
    assert kinds == {"peft.tuners.lora.bnb"}
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    loss, found = gradients(model, dtype)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        cosine = F.cosine_similarity(gradient.flatten(), expected[name].flatten(), dim=0)
        assert cosine > alike, name
    model.eval()
    with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        evaluated = model(FEATURES, labels=LABELS).loss.item()
    assert evaluated == pytest.approx(loss, abs=0.01)
    again, after = gradients(model.train(), dtype)
    assert again == loss
    assert all(torch.equal(after[name], gradient) for name, gradient in found.items())
    for name, parameter in model.named_parameters():
        if name in frozen:
            assert parameter.dtype == frozen[name].dtype and torch.equal(parameter, frozen[name]), name


@pytest.mark.parametrize("bits", [8, 4])
def test_a_state_dict_brings_everything_back(bits: Any) -> None:
    """The scales too, without which the integers mean nothing."""
    model, other = build(bits), build(bits)
    loss, _ = gradients(model)
    with torch.no_grad():
        for module in other.modules():
            if type(module).__module__.startswith("bitsandbytes"):
                scales = module.weight.SCB if bits == 8 else module.quant_state.absmax
                scales.zero_()
        for parameter in other.parameters():
            parameter.data.zero_()
    other.load_state_dict(model.state_dict(), strict=True)
    assert gradients(other)[0] == loss


@pytest.mark.parametrize("bits", [8, 4])
def test_the_weights_are_near_the_full_ones(bits: Any) -> None:
    linear = torch.nn.Linear(64, 192)
    holder = torch.nn.ModuleDict({"layers": torch.nn.ModuleList([linear])})
    model = torch.nn.Sequential(holder)
    assert quantize_linear(model, bits, keep=lambda name: False) == 1
    layer = model.get_submodule("0.layers.0")
    rows = torch.eye(64)
    with torch.no_grad():
        error = (layer.train()(rows) - linear(rows)).abs().max() / linear.weight.abs().max()
    assert 0 < error < {8: 0.01, 4: 0.2}[bits]
    assert torch.equal(layer.bias, linear.bias)


@pytest.mark.parametrize("broken", [False, True])
def test_a_missing_library_is_named(broken: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "bitsandbytes"]:
        monkeypatch.delitem(sys.modules, name)
    if broken:
        (tmp_path / "bitsandbytes.py").write_text("import of_another_version")
        monkeypatch.syspath_prepend(tmp_path)
    else:
        monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    said = "it cannot be imported: No module named 'of_another_version'" if broken else "pip install bitsandbytes"
    with pytest.raises(QuantizationError, match=f"weights in 4 bits need bitsandbytes: {said}$"):
        quantize_linear(torch.nn.Linear(2, 2), 4, keep=lambda name: False)


def test_the_import_says_nothing() -> None:
    code = "from modeling.quantization import import_bitsandbytes; import_bitsandbytes('x needs'); import peft"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert logging.getLogger("bitsandbytes").level == logging.NOTSET, "its other warnings are heard"


def test_scales_follow_a_weight_that_moved_as_a_part_of_its_model() -> None:
    """Moving a model sets its parameters' data and leaves behind what else hangs on them; here left on no device."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"stack": nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(64, 64)])})})
    assert quantize_linear(model, 8, lambda name: False) == 1
    layer, states = model.get_submodule("stack.layers.0"), torch.randn(3, 64)
    moved = copy.deepcopy(layer)
    moved.weight.CB = torch.empty(64, 64, dtype=torch.int8, device="meta")
    assert torch.equal(moved(states), layer(states))
