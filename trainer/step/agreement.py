"""What all ranks agree on within a step, in one all-reduce: that one cannot read its data, is to stop, or has a loss
that is not finite.

On a GPU all of it is queued without waiting. The only wait is for the sums, once they are asked for, and only until the
device has come to them: not for what was queued since.

Where a rank runs out of memory or dies, nothing can be agreed on: its connection ends the others (engine/lost_rank.py).
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch

from ..engine.accelerator import sum_over_ranks
from .upload import upload


class Targets(NamedTuple):
    """Target tokens of a step on all ranks, those of them that are of noisy utterances, and these clips' frames."""

    tokens: int
    noisy: int
    noisy_frames: int = 0


@dataclass(frozen=True)
class Report:
    """What one rank tells the others.

    Attributes:
        stop: it was asked to stop.
        failed: it could not read its next data.
        has_data: its data have not run out.
        next_tokens: target tokens that it has ready for the next step.
        next_noisy: those of them that are of noisy utterances.
        next_noisy_frames: encoder frames of these utterances.
        rows, broken: rows read, and broken rows among them.
        utterances, audio_seconds: of this microbatch.
    """

    stop: bool = False
    failed: bool = False
    has_data: bool = False
    next_tokens: int = 0
    next_noisy: int = 0
    next_noisy_frames: int = 0
    rows: int = 0
    broken: int = 0
    utterances: int = 0
    audio_seconds: float = 0.0


@dataclass(frozen=True)
class Verdict(Report):
    """The ranks' reports together: numbers are summed, and what is true of any rank is true.

    Attributes:
        finite: every rank's loss is a finite number.
        finite_gradient: so was every rank's gradient norm.
        loss: sum of the ranks' losses; not finite if one of them is not.
    """

    finite: bool = True
    finite_gradient: bool = True
    loss: float = 0.0

    @property
    def next_targets(self) -> Targets:
        return Targets(self.next_tokens, self.next_noisy, self.next_noisy_frames)


class Agreement:
    """Reports of all ranks on their way to each other; every rank must make it.

    Args:
        loss: of this rank's microbatch, a scalar on the device.
        gradient_norm: of the step before, likewise.
    """

    def __init__(
        self,
        accelerator: Any,
        report: Report,
        loss: torch.Tensor | None = None,
        gradient_norm: torch.Tensor | None = None,
    ) -> None:
        device = accelerator.device
        on_gpu = device.type == "cuda"
        # float64 counts exactly to 2^53; a GPU without it (MPS) is never distributed.
        kind = torch.float32 if device.type == "mps" else torch.float64
        numbers = (0.0, 0.0, *map(float, asdict(report).values()))
        figures = upload(torch.tensor(numbers, dtype=kind), device)
        for place, value in enumerate((loss, gradient_norm)):
            if value is not None:
                figures[place] = value.detach()
        self.sums = sum_over_ranks(accelerator, figures).to("cpu", non_blocking=on_gpu)
        self.arrived = torch.cuda.Event() if on_gpu else None
        if self.arrived is not None:
            self.arrived.record()

    def verdict(self) -> Verdict:
        """What was agreed, the same on every rank. Waits until a GPU has come to it."""
        if self.arrived is not None:
            self.arrived.synchronize()
        loss, gradient_norm, *sums = self.sums.tolist()
        empty = asdict(Report())  # whose values tell bools, ints and floats apart
        reported = {name: type(value)(summed) for (name, value), summed in zip(empty.items(), sums, strict=True)}
        # In float64 numbers of float32 never add up to infinity: a sum is finite if each of them is.
        finite, finite_gradient = math.isfinite(loss), math.isfinite(gradient_norm)
        return Verdict(**reported, finite=finite, finite_gradient=finite_gradient, loss=loss)


def agree(accelerator: Any, report: Report, gradient_norm: torch.Tensor | None = None) -> Verdict:
    """Sum the ranks' reports and wait for the verdict; every rank must call it, and gets the same."""
    return Agreement(accelerator, report, gradient_norm=gradient_norm).verdict()


def any_rank(accelerator: Any, condition: bool) -> bool:
    """Whether the condition holds on any rank; every rank must call it."""
    return agree(accelerator, Report(stop=condition)).stop
