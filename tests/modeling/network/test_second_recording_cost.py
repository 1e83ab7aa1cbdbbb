"""A model that can hear second recordings does nothing more for clips without one: operation for operation."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from modeling import DualWhisperConfig, DualWhisperForConditionalGeneration
from modeling.decoding import encode

DUAL = {"attention": True, "joined": False, "before": False}
LENGTHS = [40, 60, 52]  # mel frames


class Operations(TorchDispatchMode):
    """Counts operations, with the shapes of what they are given."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: Counter[Any] = Counter()

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        shapes = tuple(tuple(one.shape) for one in arguments if isinstance(one, torch.Tensor))
        self.counted[operation, shapes] += 1
        return operation(*arguments, **(options or {}))


def counted(work: Callable[[], Any]) -> Counter[Any]:
    with Operations() as mode:
        work()
    return mode.counted


def model_of(dual: bool, second_recording: str, layers: int = 0) -> Any:
    torch.manual_seed(0)
    shape = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    special = {f"{role}_token_id": 49 for role in ("pad", "bos", "eos", "decoder_start")}
    config = DualWhisperConfig(
        **shape,
        **heads,
        **special,
        vocab_size=50,
        dual_attention=dual,
        second_recording=second_recording,
        second_recording_layers=layers,
        encoder_padding="clip",
    )
    return DualWhisperForConditionalGeneration(config)


def step(model: Any) -> None:
    """Forward and backward pass of three clips without second recordings."""
    features = torch.randn(3, 80, 64, generator=torch.Generator().manual_seed(1))
    ids = torch.arange(15).view(3, 5)
    model.train()
    loss = model(features, feature_lengths=LENGTHS, decoder_input_ids=ids, labels=ids, loss_only=True).loss
    loss.backward()


@torch.no_grad()
def tokens(model: Any) -> None:
    """Three clips encoded, and two tokens of them decoded with the cache."""
    model.eval()
    features = torch.randn(3, 80, 64, generator=torch.Generator().manual_seed(1))
    encoded, past = encode(model, features, LENGTHS), None
    for token in (3, 4):
        ids = torch.full((3, 1), token)
        past = model(
            encoder_outputs=encoded, decoder_input_ids=ids, past_key_values=past, use_cache=True
        ).past_key_values


@pytest.mark.parametrize("layers", [0, 1])
@pytest.mark.parametrize("how", DUAL)
@pytest.mark.parametrize("work", [step, tokens])
def test_clips_without_a_second_recording_cost_nothing_more(work: Callable[[Any], None], how: str, layers: int) -> None:
    if layers and how == "before":
        pytest.skip("the two exclude each other")
    hears, does_not = model_of(DUAL[how], how, layers), model_of(DUAL[how], "none")
    assert counted(lambda: work(hears)) == counted(lambda: work(does_not))


@pytest.mark.parametrize("how", DUAL)
@torch.no_grad()
def test_a_token_with_second_recordings_takes_as_many_operations(how: str) -> None:
    """Of a token after the first: the same operations as without, over more frames where they are joined."""
    model = model_of(DUAL[how], how).eval()
    features = torch.randn(6, 80, 64, generator=torch.Generator().manual_seed(1))
    found = []
    for rows in ((), (0, 1, 2)):
        recordings, lengths = features[: 3 + len(rows)], LENGTHS + [44, 60, 36][: len(rows)]
        encoded = encode(model, recordings, lengths, rows)
        start = {"encoder_outputs": encoded, "use_cache": True}
        past = model(decoder_input_ids=torch.full((3, 1), 3), **start).past_key_values
        names: Counter[str] = Counter()
        for (operation, _), times in counted(
            lambda start=start, past=past: model(decoder_input_ids=torch.full((3, 1), 4), past_key_values=past, **start)
        ).items():
            names[operation.overloadpacket.__name__] += times
        found.append(names)
    without, with_them = found
    products = ("bmm", "mm", "addmm", "baddbmm", "_softmax")
    assert {name: without[name] for name in products} == {name: with_them[name] for name in products}
    # Where attentions read other frames each, masks for both are made once for all layers.
    assert sum(with_them.values()) - sum(without.values()) <= (25 if how == "attention" else 0)
