"""What an engine holds beside the model, in fake tensors: optimizer states, gradients, buckets, gathered parameters.

Written after what accelerate 1.15's DDP and DeepSpeed 0.19's optimizers allocate; ``check`` holds it against them.
"""

import math
from typing import Any

import torch

from ..config.run import RunConfig
from ..engine.accelerator import deepspeed_config
from ..engine.device import DTYPES
from ..engine.optimizer import optimizer_name
from .cells import Cell
from .timeline import Recorder

LEAST_8BIT = 4096  # numbers of a tensor; bitsandbytes keeps the states of smaller ones in 32 bits
BLOCK_8BIT = 256  # numbers that share a scale
UNPACKED_8BIT = 5  # float32 copies of a tensor that bitsandbytes makes on CPUs, where it has no kernel of its own
REDUCE_BUCKET, LIVE_PARAMETERS, PREFETCH_BUCKET = 500_000_000, 1_000_000_000, 50_000_000  # DeepSpeed's defaults
STATES, GRADIENTS, BUCKETS, PARAMETERS = "optimizer states", "gradients", "buckets", "parameters"
AVERAGE = "moving average"


def parameter_dtype(cell: Cell) -> torch.dtype:
    """DeepSpeed holds parameters in its precision; elsewhere they are float32, and autocast makes copies.

    Frozen weights of linear layers are in the cell's precision everywhere.
    """
    return DTYPES[cell.precision] if cell.config.engine.zero_stage else torch.float32


def state_bytes(name: str, numbers: int) -> int:
    """Bytes of an optimizer's states of one tensor on its device."""
    if name in ("cpu_adam",) or name.startswith("paged"):
        return 0  # in CPU memory, or in memory that moves there
    if name == "adamw_8bit" and numbers >= LEAST_8BIT:
        return 2 * (numbers + 4 * math.ceil(numbers / BLOCK_8BIT))
    return 2 * 4 * numbers


def average_bytes(config: RunConfig, numbers: float) -> float:
    """Bytes of the moving average of so many trained numbers."""
    return 4 * numbers if config.training.ema is not None else 0


class FakeEngine:
    """One process: nothing between the model and torch's optimizer.

    Args:
        trained: the parameters with a gradient.

    Attributes:
        teacher: a clean teacher's encoder beside the model; None without one.
    """

    def __init__(self, cell: Cell, trained: list[torch.nn.Parameter], recorder: Recorder) -> None:
        self.cell, self.trained, self.recorder = cell, trained, recorder
        self.numbers = sum(parameter.numel() for parameter in trained)
        self.held: list[torch.Tensor] = []
        self.teacher: Any = None

    def hold(self, size: float, part: str) -> torch.Tensor | None:
        """Take so many bytes, for this."""
        if size <= 0:
            return None
        with self.recorder.naming(part):
            return torch.empty(math.ceil(size), dtype=torch.uint8)

    def keep(self, size: float, part: str) -> None:
        """Take so many bytes, for good."""
        tensor = self.hold(size, part)
        if tensor is not None:
            self.held.append(tensor)

    def prepare(self) -> None:
        """What is there before a step; to be called with the recorder active."""
        name = optimizer_name(self.cell.config)
        for parameter in self.trained:
            self.keep(state_bytes(name, parameter.numel()), STATES)
            self.keep(average_bytes(self.cell.config, parameter.numel()), AVERAGE)
            parameter.register_post_accumulate_grad_hook(self.gradient_ready)

    def before_backward(self) -> None:
        """Buffers that are there during the backward pass alone."""

    def gradient_ready(self, parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        self.recorder.rename(parameter.grad, GRADIENTS)

    def step(self) -> None:
        """Clip, update and drop the gradients."""
        limit = self.cell.config.training.max_gradient_norm
        with self.recorder.naming("temporary"):
            torch.nn.utils.clip_grad_norm_(self.trained, limit if limit > 0 else math.inf)
            if optimizer_name(self.cell.config) == "adamw_8bit" and not self.recorder.on_gpu:
                largest = max(parameter.numel() for parameter in self.trained)
                self.hold(4 * largest * UNPACKED_8BIT, "temporary")
        for parameter in self.trained:
            parameter.grad = None


class FakeDDP(FakeEngine):
    """DDP: flat buckets for all gradients; after the sum over ranks the gradients are views of the buckets."""

    def prepare(self) -> None:
        super().prepare()
        self.keep(sum(p.numel() * p.element_size() for p in self.trained), GRADIENTS)

    def gradient_ready(self, parameter: torch.Tensor) -> None:
        parameter.grad = None  # copied into its bucket


class FakeZero(FakeEngine):
    """DeepSpeed ZeRO 1 and 2: states and the gradients that the optimizer reads are shared out over the ranks."""

    def __init__(self, cell: Cell, trained: list[torch.nn.Parameter], recorder: Recorder) -> None:
        super().__init__(cell, trained, recorder)
        self.settings = deepspeed_config(cell.config, cell.precision)["zero_optimization"]
        self.size = torch.tensor([], dtype=parameter_dtype(cell)).element_size()
        self.offloads = cell.config.engine.cpu_offload != "none"
        self.bucket_numbers = int(self.settings.get("reduce_bucket_size", REDUCE_BUCKET))
        self.buffers: list[torch.Tensor | None] = []
        self.reduced: torch.Tensor | None = None
        self.accumulates = cell.config.training.accumulation > 1
        self.filled = self.largest = 0  # numbers in the bucket, and of the largest gradient there

    @property
    def part(self) -> float:
        """The trained numbers whose states this rank holds."""
        return self.numbers / self.cell.processes

    def prepare(self) -> None:
        for parameter in self.trained:
            parameter.register_post_accumulate_grad_hook(self.gradient_ready)
        if self.offloads:
            self.keep(self.size * max(p.numel() for p in self.trained), BUCKETS)
        else:
            if self.accumulates:  # of the microbatches before; ZeRO-1 sums over ranks at the step's end alone
                self.keep(4 * (self.numbers if self.cell.config.engine.zero_stage == 1 else self.part), GRADIENTS)
            self.keep(4 * self.part, "master weights")
            self.keep(state_bytes(optimizer_name(self.cell.config), math.ceil(self.part)), STATES)
            self.keep(average_bytes(self.cell.config, self.part), AVERAGE)

    def before_backward(self) -> None:
        count = 2 if self.settings.get("overlap_comm") else 1
        self.buffers = [self.hold(self.size * self.bucket_numbers, BUCKETS) for _ in range(count)]
        self.filled = self.largest = 0

    def gradient_ready(self, parameter: torch.Tensor) -> None:
        """Into the bucket, which is reduced when it is full; a gradient larger than it is reduced alone."""
        if self.filled + parameter.numel() > self.bucket_numbers:
            self.reduce(self.filled or parameter.numel())
            self.filled = self.largest = 0
        self.filled += parameter.numel()
        self.largest = max(self.largest, parameter.numel())
        parameter.grad = None

    def reduce(self, numbers: int) -> None:
        """A flat copy is reduced, and this rank's part of it is added to its gradients."""
        flat = self.hold(self.size * min(numbers, self.bucket_numbers), BUCKETS)
        if self.reduced is None and not self.offloads and not self.accumulates:
            self.reduced = self.hold(4 * self.part, GRADIENTS)
        if self.size < 4:  # what is added to them is float32 too
            self.hold(4 * self.largest / self.cell.processes, "temporary")
        del flat

    def step(self) -> None:
        self.reduce(self.filled)
        self.buffers, self.reduced = [], None


class FakeBF16Optimizer(FakeZero):
    """ZeRO-1 in bf16, a class of its own in DeepSpeed: every rank sums all gradients in float32."""

    def prepare(self) -> None:
        self.accumulates = False  # what it always holds is enough
        super().prepare()
        self.keep(4 * self.numbers, GRADIENTS)

    def before_backward(self) -> None:
        """It has no buckets."""

    def gradient_ready(self, parameter: torch.Tensor) -> None:
        super(FakeZero, self).gradient_ready(parameter)
        self.hold(4 * parameter.numel(), "temporary")

    def step(self) -> None:
        flat = self.hold(4 * min(self.numbers, REDUCE_BUCKET), BUCKETS)
        self.hold(4 * self.part, GRADIENTS)
        del flat
        for parameter in self.trained:
            parameter.grad = None


class FakeZero3(FakeZero):
    """DeepSpeed ZeRO-3: parameters are shared out too, and gathered while they are needed."""

    def prepare(self) -> None:
        self.accumulates = False  # as above
        super().prepare()
        self.keep(self.size * self.bucket_numbers, BUCKETS)
        if not self.offloads:
            self.keep(4 * self.part, GRADIENTS)

    def gather(self, parameters: list[torch.nn.Parameter]) -> None:
        """Hold this rank's share of all parameters, and the most of them that is gathered at once.

        They arrive in a flat buffer; each is a copy of a part of it. It is freed before the backward pass if all
        parameters can stay gathered.
        """
        numbers = sum(parameter.numel() for parameter in parameters)
        live = int(self.settings.get("stage3_max_live_parameters", LIVE_PARAMETERS))
        prefetched = int(self.settings.get("stage3_prefetch_bucket_size", PREFETCH_BUCKET))
        if self.cell.config.engine.cpu_offload != "parameters":
            self.keep(self.size * numbers / self.cell.processes, PARAMETERS)
        self.keep(self.size * min(numbers, live + prefetched), "gathered parameters")
        self.buffers = [self.hold(self.size * min(numbers, prefetched), "gathered parameters")]
        self.keeps_all = numbers <= live

    def before_backward(self) -> None:
        """Its bucket is always there."""
        if self.keeps_all:
            self.buffers = []

    def reduce(self, numbers: int) -> None:
        """In place."""


def fake_engine(cell: Cell, trained: list[torch.nn.Parameter], recorder: Recorder) -> FakeEngine:
    """The engine that a cell runs under."""
    engine = cell.config.engine
    kind: type[FakeEngine] = FakeDDP if cell.processes > 1 else FakeEngine
    if engine.zero_stage:
        kind = FakeZero3 if engine.zero_stage == 3 else FakeZero
    if engine.zero_stage == 1 and cell.precision == "bf16" and engine.cpu_offload == "none":
        kind = FakeBF16Optimizer
    return kind(cell, trained, recorder)
