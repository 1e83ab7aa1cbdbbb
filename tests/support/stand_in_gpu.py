"""A GPU that is played on the CPU, to see without one where the host would wait for it.

Its tensors say that they are of ``cuda:0`` and compute with their numbers on the CPU. Raised is :class:`HostWaits`, by
what stops the host until a GPU has done all that it was given: reading a number, copies from memory that is not
page-locked, copies that are not ``non_blocking``, and operations whose result's shape depends on numbers. What is
copied to the host is NaN until an event that was recorded after it is waited for; :attr:`StandInGpu.waits` counts
these.

Torch's own C++ takes the tensors for some of the CPU.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

GPU = torch.device("cuda", 0)
READS = (
    "tolist",
    "item",
    "numpy",
    "__float__",
    "__int__",
    "__bool__",
    "__index__",
    "__array__",
    "__format__",
    "__repr__",
)
SHAPED_BY_NUMBERS = (
    "_local_scalar_dense",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "repeat_interleave",
    "unique_dim",
    "_unique2",
)


class HostWaits(AssertionError):
    """The host would wait for the GPU here."""


class OnGpu(torch.Tensor):
    """A tensor of the stand-in GPU; ``held`` has its numbers."""

    held: torch.Tensor
    device = property(lambda self: GPU)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "OnGpu":
        made: OnGpu = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, held.shape, strides=held.stride(), dtype=held.dtype, requires_grad=held.requires_grad
        )
        made.held = held.detach()
        return made

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        name, options = operation.overloadpacket.__name__, dict(options or {})
        gpu = StandInGpu.current
        gpu.operations[name] += 1
        if gpu.is_strict:
            if name in SHAPED_BY_NUMBERS:
                raise HostWaits(f"{name}, which reads from the GPU")
            if name.startswith(("index", "_unsafe_index", "_index_put")) and isinstance(arguments[1], (list, tuple)):
                for index in (one for one in arguments[1] if one is not None):
                    if index.dtype in (torch.bool, torch.uint8) or not isinstance(index, cls):
                        raise HostWaits(f"{name} by a mask, or by an index on the CPU")
            if name == "copy_" and isinstance(arguments[0], cls) is not isinstance(arguments[1], cls):
                gpu.check_copy(arguments[1], non_blocking=len(arguments) > 2 and arguments[2])
            elif any(type(value) is torch.Tensor and value.dim() for value in arguments):
                raise AssertionError(f"{name} of tensors on the CPU and on the GPU")
        if "device" in options:
            options["device"] = torch.device("cpu")
        given = tree_map(lambda value: value.held if isinstance(value, cls) else value, (arguments, options))
        result = operation(*given[0], **given[1])
        if name.endswith("_") and isinstance(arguments[0], cls):
            return arguments[0]
        return tree_map(lambda value: cls(value) if isinstance(value, torch.Tensor) else value, result)


class StandInGpu(TorchFunctionMode):
    """A context in which ``cuda:0`` is played.

    Attributes:
        is_strict: whether what waits is refused; off while a model is brought to the GPU.
        waits: how often the host waited for an event.
        operations: by name, of the GPU's tensors.
    """

    current: "StandInGpu"

    def __init__(self) -> None:
        super().__init__()
        self.is_strict = False
        self.waits, self.operations = 0, Counter[str]()
        self.page_locked: dict[int, torch.Tensor] = {}  # kept, so that no other gets a storage's address
        self.underway: list[tuple[torch.Tensor, torch.Tensor]] = []

    @contextmanager
    def strictly(self) -> Iterator[None]:
        """Refuse what waits."""
        self.is_strict, self.waits = True, 0
        self.operations.clear()
        try:
            yield
        finally:
            self.is_strict = False

    def __enter__(self) -> Any:
        StandInGpu.current = self
        self.patched = (
            patch.object(torch.cuda, "Event", lambda **_: Event(self)),
            patch.object(Optimizer, "_group_tensors_by_device_and_dtype", staticmethod(grouped)),
        )
        for one in self.patched:
            one.start()
        return super().__enter__()

    def __exit__(self, *details: Any) -> None:
        for one in self.patched:
            one.stop()
        super().__exit__(*details)

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        options = dict(options or {})
        name = getattr(function, "__name__", "")
        first = arguments[0] if arguments else None
        if isinstance(first, torch.Tensor):
            if function is torch.Tensor.backward:  # which may run the forward pass again, where no mode would be active
                with Again(self), Again(self):  # one is taken off by torch's own function
                    return torch.autograd.backward(first)
            if isinstance(first, OnGpu) and name == "__setitem__" and not isinstance(arguments[2], torch.Tensor):
                return first[arguments[1]].fill_(arguments[2])
            if isinstance(first, OnGpu) and name in READS and self.is_strict:
                raise HostWaits(f"{name} of a tensor on the GPU")
            if isinstance(first, OnGpu) and name in READS:
                return getattr(first.held, name)(*arguments[1:], **options)
            if name == "pin_memory":
                return self.pinned(first)
            if name == "is_pinned":
                return self.is_page_locked(first)
            if name in ("to", "cpu", "cuda"):
                return self.moved(name, first, arguments[1:], options)
            if name.startswith("new_") or name.endswith("_like"):
                options.pop("device", None)
                source = first.held if isinstance(first, OnGpu) else first
                return self.same_kind(first, function(source, *arguments[1:], **options))
        pins = options.pop("pin_memory", False)
        device = options.get("device")
        if device is not None and torch.device(device).type == "cuda":
            if self.is_strict and name in ("tensor", "as_tensor", "asarray"):
                raise HostWaits(f"{name} of numbers on the host, with a GPU as its device")
            return OnGpu(function(*arguments, **options | {"device": "cpu"}))
        result = function(*arguments, **options)
        return self.pinned(result) if pins else result

    def same_kind(self, first: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
        return OnGpu(result) if isinstance(first, OnGpu) else result

    def pinned(self, values: torch.Tensor) -> torch.Tensor:
        if isinstance(values, OnGpu):
            raise AssertionError("only what is on the CPU can be page-locked")
        if self.is_page_locked(values):
            return values
        copy = values.clone()
        self.page_locked[copy.untyped_storage().data_ptr()] = copy
        return copy

    def is_page_locked(self, values: torch.Tensor) -> bool:
        return values.numel() == 0 or values.untyped_storage().data_ptr() in self.page_locked

    def check_copy(self, source: torch.Tensor, non_blocking: bool) -> None:
        """Refuse a copy between host and GPU that waits."""
        if not self.is_strict:
            return
        if not non_blocking:
            raise HostWaits("a copy between host and GPU that is not non_blocking")
        if not isinstance(source, OnGpu) and not self.is_page_locked(source):
            raise HostWaits("a copy to the GPU from memory that is not page-locked")

    def moved(self, name: str, values: torch.Tensor, arguments: Any, options: dict[str, Any]) -> torch.Tensor:
        """``Tensor.to`` and its like."""
        method: Callable[..., torch.Tensor] = getattr(torch.Tensor, name)
        if name == "to":
            device, dtype, non_blocking, _ = torch._C._nn._parse_to(*arguments, **options)
        else:
            device, dtype, non_blocking = torch.device(name), None, options.get("non_blocking", False)
        if device is None or (device.type == "cuda") is isinstance(values, OnGpu):
            return values if dtype is None else values.to(dtype)
        self.check_copy(values, non_blocking)
        if isinstance(values, OnGpu):
            source = values.held.to(dtype) if dtype else values.held.clone()
            if not self.is_strict:
                return source
            copy = torch.full_like(source, float("nan")) if source.is_floating_point() else torch.zeros_like(source)
            self.underway.append((copy, source))
            return copy
        return OnGpu(method(values.detach(), "cpu", dtype) if dtype else values.detach().clone())


USUAL_GROUPS = Optimizer._group_tensors_by_device_and_dtype


def grouped(*given: Any, **more: Any) -> dict[Any, Any]:
    """The optimizer's tensors by device, of which the GPU is the only one."""
    return {(GPU, dtype): found for (_, dtype), found in USUAL_GROUPS(*given, **more).items()}


class Again(TorchFunctionMode):
    """A mode within itself."""

    def __init__(self, gpu: StandInGpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, *given: Any, **more: Any) -> Any:
        return self.gpu.__torch_function__(*given, **more)


class Event:
    """``torch.cuda.Event``: brings what was copied to the host before it was recorded."""

    def __init__(self, gpu: StandInGpu) -> None:
        self.gpu = gpu
        self.before: list[tuple[torch.Tensor, torch.Tensor]] = []

    def record(self) -> None:
        self.before = list(self.gpu.underway)

    def synchronize(self) -> None:
        self.gpu.waits += 1
        for copy, source in self.before:
            copy.copy_(source)


def put_on_gpu(model: torch.nn.Module) -> None:
    """Bring a model's parameters and buffers to the stand-in GPU."""
    made: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if id(parameter) not in made:
                    made[id(parameter)] = torch.nn.Parameter(OnGpu(parameter.detach()), parameter.requires_grad)
                module._parameters[name] = made[id(parameter)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = OnGpu(buffer)
