"""Activations in CPU memory: which tensors wait there, each once, and that gradients are the same."""

from typing import Any

import pytest
import torch

import trainer.step.offload
from trainer.step.offload import HostCopy, OffloadedActivations, Packed


@pytest.fixture(autouse=True)
def copies(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """The shapes of the copies that a test makes; small tensors wait, too."""
    made: list[torch.Size] = []

    def copy(storage: Any, kept: torch.Tensor, device: torch.device) -> HostCopy:
        made.append(kept.shape)
        return HostCopy(storage, kept, device)

    monkeypatch.setattr(trainer.step.offload, "HostCopy", copy)
    monkeypatch.setattr(trainer.step.offload, "SMALLEST", 16)
    return made


def gradients(context: Any, loss: Any, given: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    with context:
        value = loss()
    return torch.autograd.grad(value, given)


def test_what_several_operations_keep_is_copied_once(copies: list[torch.Size]) -> None:
    """As the encoder's output for the keys and values of each of the decoder's layers, in whatever shape."""
    layers = torch.nn.ModuleList(torch.nn.Linear(8, 8, bias=False) for _ in range(4))
    scale = torch.nn.Parameter(torch.randn(6, 2, 8))
    clips = torch.randn(2, 6, 8, requires_grad=True)

    def loss() -> torch.Tensor:
        output = clips * 1.5
        views = (output, output, output.view(12, 8), output.view(3, 4, 8))
        products = [layer(view).sum() for layer, view in zip(layers, views, strict=True)]
        return torch.stack([*products, (scale * output.transpose(0, 1)).sum()]).sum()

    given = [clips, scale, *layers.parameters()]
    offload = OffloadedActivations(layers.parameters(), on_cpu=True)
    found = gradients(offload, loss, given)
    assert copies == [(2 * 6 * 8,)]
    assert not offload.copies, "nothing refers to them after the backward pass"
    for one, other in zip(found, torch.autograd.grad(loss(), given), strict=True):
        torch.testing.assert_close(one, other)


def test_of_a_large_storage_the_part_is_copied(copies: list[torch.Size]) -> None:
    clips = torch.randn(100, 8, requires_grad=True)
    offload = OffloadedActivations([], on_cpu=True)
    (found,) = gradients(offload, lambda: (clips * 2)[3:6].square().sum(), [clips])
    assert copies == [(3, 8)]
    torch.testing.assert_close(found[3:6], 8 * clips.detach()[3:6])


def test_written_to_in_between_it_is_another_tensor() -> None:
    first, second = (torch.ones(4, 8, requires_grad=True) for _ in range(2))
    states = torch.full((4, 8), 3.0)

    def loss() -> torch.Tensor:
        products = first * states
        states.add_(2)
        return (products + second * states).sum()

    found = gradients(OffloadedActivations([], on_cpu=True), loss, [first, second])
    assert [gradient.unique().tolist() for gradient in found] == [[3.0], [5.0]]


def test_memory_that_is_used_again_is_not_taken_for_what_was_there() -> None:
    """Offloaded, a tensor is freed in the forward pass, and the next has its address."""
    start = torch.randn(64, 64, requires_grad=True)

    def loss() -> torch.Tensor:
        states = start
        for _ in range(20):
            states = states.sin() * 1.1
        return states.sum()

    (found,) = gradients(OffloadedActivations([], on_cpu=True), loss, [start])
    torch.testing.assert_close(found, torch.autograd.grad(loss(), [start])[0])


@pytest.mark.parametrize("frozen", [False, True])
def test_the_copies_of_weights_that_autocast_makes_stay(copies: list[torch.Size], frozen: bool) -> None:
    layer, conv = torch.nn.Linear(16, 24).requires_grad_(not frozen), torch.nn.Conv1d(8, 16, 3, padding=1)
    clips = torch.randn(2, 8, 10, requires_grad=True)

    def loss() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return layer(conv(clips * 2).transpose(1, 2)).float().square().sum()

    parameters = [*layer.parameters(), *conv.parameters()]
    offload = OffloadedActivations(parameters, on_cpu=True)
    packed: list[Any] = []
    pack = offload.pack_hook

    def hook(tensor: torch.Tensor) -> Any:
        packed.append((tuple(tensor.shape), tensor.dtype, isinstance(result := pack(tensor), Packed)))
        return result

    offload.pack_hook = hook
    found = gradients(offload, loss, [clips, *conv.parameters()])
    weights = [one for one in packed if one[0] in ((16, 24), (24, 16), (16, 8, 3)) and one[1] == torch.bfloat16]
    assert weights and not any(offloaded for _, _, offloaded in weights)
    assert copies, "activations do wait"
    for one, other in zip(found, torch.autograd.grad(loss(), [clips, *conv.parameters()]), strict=True):
        torch.testing.assert_close(one, other)


def test_on_a_cpu_nothing_is_done_unless_asked_for(copies: list[torch.Size]) -> None:
    clips = torch.randn(4, 8, requires_grad=True)
    gradients(OffloadedActivations([]), lambda: (clips * 2).square().sum(), [clips])
    assert not copies
    gradients(OffloadedActivations([], on_cpu=True), lambda: (clips * 2).square().sum(), [clips])
    assert copies
