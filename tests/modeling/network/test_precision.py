"""Half precision: how often it casts, what it multiplies in, which masks its kernels get; float32 stays as it is."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from modeling import DualWhisperConfig, DualWhisperForConditionalGeneration
from modeling.network.attention import MASK_COLUMNS, additive, attend
from modeling.network.precision import computing

SHAPE = {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "vocab_size": 60, "pad_token_id": 0, "decoder_start_token_id": 1}
CASTS = ("_to_copy", "_foreach_copy_")
VIEWS = ("view", "t", "transpose", "detach", "slice", "squeeze", "unsqueeze", "expand", "_unsafe_view", "alias")
VIEWS = (*VIEWS, "split_with_sizes", "select", "device")
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "convolution")


def small(layers: int = 2, **settings: Any) -> DualWhisperForConditionalGeneration:
    """whisper-small's layers where ``layers`` is 12, in a width of 32."""
    torch.manual_seed(0)
    stacks = {f"{side}_{what}": layers for side in ("encoder", "decoder") for what in ("layers",)}
    heads = {f"{side}_attention_heads": 2 for side in ("encoder", "decoder")}
    model = DualWhisperForConditionalGeneration(DualWhisperConfig(d_model=32, **SHAPE | stacks | heads | settings))
    return model.train()


def loss_of(model: Any, lengths: tuple[int, ...] = (60, 40), second: tuple[int, ...] = (), **more: Any) -> torch.Tensor:
    """``second`` are the lengths of second recordings of the last clips."""
    generator = torch.Generator().manual_seed(1)
    clips, both = len(lengths), [*lengths, *second]
    features = torch.randn(len(both), 80, max(both) + 4, generator=generator)
    ids = torch.randint(2, 60, (clips, 12), generator=generator)
    positions = torch.arange(3, ids.numel())
    given = {"decoder_input_ids": ids, "labels": ids, "target_positions": positions, "num_items_in_batch": 1.0}
    heard = {"feature_lengths": both, "second_rows": list(range(clips - len(second), clips))}
    loss: torch.Tensor = model(features, loss_only=True, **heard, **given, **more).loss
    return loss


def with_noise() -> dict[str, Any]:
    return {"noise_target": torch.rand(2, 30), "noise_positions": torch.arange(4, 9), "noise_weight": 0.1}


class Operations(TorchDispatchMode):
    """Counts operations, and keeps the dtypes of what products are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        name = operation.name().partition("::")[2].partition(".")[0]
        self.counts[name] += 1
        if name in PRODUCTS or "scaled_dot_product" in name:
            given = [argument for argument in arguments if isinstance(argument, torch.Tensor)]
            self.dtypes |= {tensor.dtype for tensor in given if "backward" not in name or tensor.dim() == 4}
        return operation(*arguments, **(options or {}))

    @property
    def casts(self) -> int:
        return sum(self.counts[name] for name in CASTS)

    @property
    def total(self) -> int:
        return sum(number for name, number in self.counts.items() if name not in VIEWS)


def half() -> Any:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def test_casts_and_operations_of_a_step_have_a_ceiling() -> None:
    model = small(layers=12)
    with Operations() as forward, half():
        loss = loss_of(model)
    with Operations() as backward:
        loss.backward()
    assert forward.casts <= 120
    assert forward.total <= 800
    assert forward.total + backward.total <= 2250


def test_float32_casts_nothing_and_makes_each_mask_once() -> None:
    with Operations() as counted:
        loss_of(small()).backward()
    assert counted.counts["_foreach_copy_"] == 0
    assert counted.counts["_to_copy"] == 0
    assert counted.counts["masked_fill_"] == 2  # of the encoder's frames, for either stack
    assert counted.counts["where"] == 0


HEARING = (
    {"second_recording": "attention", "second_recording_layers": 1},
    {"second_recording": "joined", "dual_attention": False},
    {"second_recording": "before", "dual_attention": False, "encoder_padding": "clip"},
)


@pytest.mark.parametrize("settings", [{}, {"dual_attention": False}, {"secondary_layer": 1}, *HEARING])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_half_precision_is_within_its_rounding(settings: dict[str, Any], checkpointed: bool) -> None:
    second = (50,) if "second_recording" in settings else ()
    model = small(init_std=0.1, **settings)
    model.model.encoder.checkpoint_layers(checkpointed)
    model.model.decoder.checkpoint_layers(checkpointed)

    def gradients(context: Any) -> tuple[float, dict[str, torch.Tensor]]:
        model.zero_grad()
        with context:
            loss = loss_of(model, second=second)
        loss.backward()
        return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    loss, exact = gradients(nullcontext())
    rounded_loss, rounded = gradients(half())
    assert rounded_loss == pytest.approx(loss, rel=1e-2)
    assert rounded.keys() == exact.keys()
    assert {gradient.dtype for gradient in rounded.values()} == {torch.float32}
    difference = sum((exact[name] - rounded[name]).square().sum() for name in exact)
    assert difference < 0.03**2 * sum(gradient.square().sum() for gradient in exact.values())


@pytest.mark.parametrize("settings", HEARING, ids=str)
def test_a_second_recording_costs_no_casts(settings: dict[str, Any]) -> None:
    """None but of the states that second attentions read; products are in half precision, masks are made once."""
    model = small(layers=2, **settings)
    with Operations() as one, half():
        loss_of(model)
    with Operations() as two, half():
        loss = loss_of(model, second=(50,))
    assert one.casts <= two.casts <= one.casts + 3
    assert two.total <= one.total + 60
    assert two.counts["masked_fill_"] - one.counts["masked_fill_"] <= 2
    with two:
        loss.backward()
    assert two.dtypes == {torch.bfloat16}


def test_a_model_in_bf16_multiplies_nothing_in_float32() -> None:
    """As DeepSpeed holds it, without autocast."""
    model = small().to(torch.bfloat16)
    with Operations() as counted:
        loss_of(model, **with_noise()).backward()
    assert counted.dtypes == {torch.bfloat16}


def test_autocast_multiplies_nothing_in_float32() -> None:
    with Operations() as counted:
        with half():
            loss = loss_of(small(), **with_noise())
        loss.backward()
    assert counted.dtypes == {torch.bfloat16}


@contextmanager
def attention_calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Any, ...]]]:
    """The queries, keys, values and mask of each call of torch's kernels."""
    calls: list[tuple[Any, ...]] = []
    original = F.scaled_dot_product_attention

    def recorded(queries: Any, keys: Any, values: Any, mask: Any = None, **options: Any) -> torch.Tensor:
        calls.append((queries, keys, values, mask))
        return original(queries, keys, values, mask, **options)

    with monkeypatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", recorded)
        yield calls


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_flash_attention_can_be_taken_where_all_clips_are_alike(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype | None
) -> None:
    model = small()
    model = model if dtype is None else model.to(dtype)
    with attention_calls(monkeypatch) as calls, half() if dtype is None else nullcontext():
        loss_of(model, (60, 60))
    assert len(calls) == 2 + 2 * 3
    for queries, keys, values, mask in calls:
        assert mask is None
        for tensor in (queries, keys, values):
            assert tensor.dtype == torch.bfloat16
            assert tensor.stride(-1) == 1 and tensor.shape[-1] <= 256
        assert queries.shape[:2] == keys.shape[:2] and keys.shape == values.shape


@pytest.mark.parametrize("context", [nullcontext, half])
def test_layers_share_one_mask_as_kernels_take_it(monkeypatch: pytest.MonkeyPatch, context: Any) -> None:
    with attention_calls(monkeypatch) as calls, context(), Operations() as counted:
        loss_of(small())
    assert counted.counts["masked_fill_"] == 2
    masks = [mask for *_, mask in calls if mask is not None]
    assert len(masks) == 2 + 2 * 2  # none in the decoder's self-attention
    assert len({mask.data_ptr() for mask in masks}) == 2
    for queries, _, _, mask in calls:
        if mask is not None:
            assert mask.dtype == queries.dtype
            assert mask.stride(-1) == 1 and all(stride % MASK_COLUMNS == 0 for stride in mask.stride()[:-1])


@pytest.mark.parametrize("keys", [7, 16, 600])
@pytest.mark.parametrize("queries", [1, 5])
def test_a_shared_mask_gives_the_same_bits_as_one_of_bools(keys: int, queries: int) -> None:
    torch.manual_seed(0)
    asked, (known, values) = torch.randn(3, 2, queries, 8), torch.randn(2, 3, 2, keys, 8)
    allowed = torch.rand(3, 1, queries, keys) < 0.3
    allowed[..., -1] = True  # kernels that go by blocks see the first ones masked in whole
    allowed[0, ..., : keys // 2] = False
    expected = F.scaled_dot_product_attention(asked, known, values, allowed, scale=1.0)
    added = additive(allowed, torch.float32)
    assert torch.equal(F.scaled_dot_product_attention(asked, known, values, added, scale=1.0), expected)
    found, weights = attend(asked, known, values, added, openly=True)
    torch.testing.assert_close(found, expected)
    assert weights is not None and not weights[~allowed.expand_as(weights)].any()


def test_frozen_and_hooked_layers_are_cast_too() -> None:
    model = small()
    layer = model.model.decoder.layers[0]
    layer.fc1.requires_grad_(False)
    layer.fc2.register_forward_hook(lambda module, inputs, output: output)
    with half():
        loss_of(model).backward()
    assert layer.fc1.weight.grad is None
    assert all(layer.get_submodule(name).weight.grad is not None for name in ("fc2", "self_attn.q_proj", "gate.hidden"))
    assert not any("copies_for_autocast" in module.__dict__ for module in model.modules())


def test_copies_do_not_outlive_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    monkeypatch.setattr(F, "dropout", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), half():
        model.model.encoder.layers[0](torch.zeros(1, 4, 32))
    assert not any("copies_for_autocast" in module.__dict__ for module in model.modules())


def test_only_autocast_changes_states() -> None:
    states = torch.zeros(2)
    assert computing(states) is states
    meta = torch.zeros(2, device="meta")
    with half():
        assert computing(states).dtype == torch.bfloat16
        assert computing(meta) is meta
        double = states.double()
        assert computing(double) is double
    with torch.autocast("cpu", dtype=torch.float16):
        assert computing(states).dtype == torch.float16
