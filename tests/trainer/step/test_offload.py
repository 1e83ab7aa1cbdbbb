"""Activations in CPU memory: which tensors wait there, each once, and that gradients are the same."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef

import trainer.step.offload
from trainer.step.offload import HostCopy, OffloadedActivations, Packed, SideStream


@pytest.fixture(autouse=True)
def copies(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """The shapes of the copies that a test makes; small tensors wait, too."""
    made: list[torch.Size] = []

    def copy(storage: Any, kept: torch.Tensor, device: torch.device, number: int) -> HostCopy:
        made.append(kept.shape)
        return HostCopy(storage, kept, device, number)

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


@dataclass(frozen=True)
class Place:
    """Where a tensor lies, without holding its memory."""

    storage: StorageWeakRef
    dtype: torch.dtype
    geometry: tuple[Any, ...]

    def tensor(self) -> torch.Tensor:
        assert not self.storage.expired(), "memory was given back before its copy was waited for"
        storage = torch.UntypedStorage._new_with_weak_ptr(self.storage.cdata)
        return torch.empty(0, dtype=self.dtype).set_(storage, *self.geometry)


def place_of(tensor: torch.Tensor) -> Place:
    geometry = (tensor.storage_offset(), tensor.size(), tensor.stride())
    return Place(StorageWeakRef(tensor.untyped_storage()), tensor.dtype, geometry)


@dataclass
class LateSide:
    """The latest that a GPU's stream may copy: when the computation waits for it, and not before.

    Attributes:
        asked: pairs of target and source, in order.
        done: how many of them are done.
        most: the most bytes that were asked for and not waited for.
    """

    asked: list[tuple[Place, Place]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    done: int = 0
    most: int = 0

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> int:
        target.fill_(float("nan"))
        self.asked.append((place_of(target), place_of(source)))
        self.sizes.append(source.nbytes)
        self.most = max(self.most, sum(self.sizes[self.done :]))
        return len(self.asked)

    def wait(self, event: int) -> None:
        for target, source in self.asked[self.done : event]:
            target.tensor().copy_(source.tensor())
        self.done = max(self.done, event)


SIZE = 64 * 64 * 4  # bytes of each tensor below


@pytest.mark.parametrize("beside", [0, 3 * SIZE, 2**28])
def test_copies_beside_the_computation_are_waited_for(monkeypatch: pytest.MonkeyPatch, beside: int) -> None:
    """However late they are: memory is not in new use before, and nothing is read that has not come back."""
    monkeypatch.setattr(trainer.step.offload, "BESIDE", beside)
    first, start = (torch.randn(64, 64, requires_grad=True) for _ in range(2))

    def loss() -> torch.Tensor:
        """As an encoder and its decoder: what the first part gives is used by each layer of the second."""
        encoded = start
        for _ in range(6):
            encoded = encoded.sin() * 1.1
        states = first
        for _ in range(6):
            states = (states * encoded).cos()
        unused = (encoded * 2).exp()  # kept, and never asked for
        return states.sum() + unused.detach().sum()

    side = LateSide()
    offload = OffloadedActivations([], on_cpu=True, side=side)
    expected = torch.autograd.grad(loss(), [first, start])
    for _ in range(2):
        found = gradients(offload, loss, [first, start])
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one, other)
        assert not offload.leaving and not offload.copies
    assert side.most <= beside + SIZE if beside < 2**28 else side.most > 8 * SIZE


def test_what_was_fetched_for_nothing_is_waited_for_before_it_is_dropped() -> None:
    """A backward pass that asks for a part, as for some of the inputs, and a forward pass after it."""
    first, second = (torch.randn(64, 64, requires_grad=True) for _ in range(2))
    side = LateSide()
    offload = OffloadedActivations([], on_cpu=True, side=side)
    with offload:
        value = (first * 1.5).sin().sum() + (second * 1.5).sin().sum()
    (found,) = torch.autograd.grad(value, [second])
    torch.testing.assert_close(found, 1.5 * (second * 1.5).cos())
    assert offload.fetched
    with offload:
        assert not offload.fetched and side.done == len(side.asked)


def test_a_gpus_stream_copies_what_has_been_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for its streams: which waits for which, and where the copy is asked for."""
    said: list[str] = []

    class Stream:
        def __init__(self, name: Any) -> None:
            self.name = name if isinstance(name, str) else "side"

        def wait_stream(self, other: "Stream") -> None:
            said.append(f"{self.name} waits for {other.name}")

        def wait_event(self, event: str) -> None:
            said.append(f"{self.name} waits for the {event}")

        def record_event(self) -> str:
            return f"event of {self.name}"

        def __enter__(self) -> None:
            said.append(f"on {self.name}")

        def __exit__(self, *error: object) -> None:
            said.append(f"off {self.name}")

    class Target:
        def copy_(self, source: torch.Tensor, non_blocking: bool) -> None:
            said.append("copy" if non_blocking else "blocking copy")

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream("computation"))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    side, target = SideStream(torch.device("cuda")), Target()
    side.wait(side.copy(target, torch.ones(1)))  # type: ignore[arg-type]
    expected = "side waits for computation, on side, copy, off side, computation waits for the event of side"
    assert said == expected.split(", ")
