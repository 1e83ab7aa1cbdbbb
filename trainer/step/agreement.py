"""What all ranks agree on within a step, in one all-reduce: that one cannot read its data, is to stop, or has a loss
that is not finite.

Where a rank runs out of memory or dies, nothing can be agreed on: its connection ends the others (engine/lost_rank.py).
"""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch

from ..engine.accelerator import sum_over_ranks


class Targets(NamedTuple):
    """Target tokens of a step on all ranks, and those of them that are of noisy utterances."""

    tokens: int
    noisy: int


@dataclass(frozen=True)
class Report:
    """What one rank tells the others.

    Attributes:
        stop: it was asked to stop.
        failed: it could not read its next data.
        has_data: its data have not run out.
        next_tokens: target tokens that it has ready for the next step.
        next_noisy: those of them that are of noisy utterances.
        rows, broken: rows read, and broken rows among them.
        utterances, audio_seconds: of this microbatch.
    """

    stop: bool = False
    failed: bool = False
    has_data: bool = False
    next_tokens: int = 0
    next_noisy: int = 0
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
        loss: sum of the ranks' losses.
    """

    finite: bool = True
    finite_gradient: bool = True
    loss: float = 0.0

    @property
    def next_targets(self) -> Targets:
        return Targets(self.next_tokens, self.next_noisy)


def agree(
    accelerator: Any, report: Report, loss: torch.Tensor | None = None, gradient_norm: torch.Tensor | None = None
) -> Verdict:
    """Sum the ranks' reports; every rank must call it, and gets the same verdict.

    It is also where a step waits for the device, once.

    Args:
        loss: of this rank's microbatch, a scalar on the device.
        gradient_norm: of the step before, likewise.
    """
    device = accelerator.device
    # float64 counts exactly to 2^53; a GPU without it (MPS) is never distributed.
    kind = torch.float32 if device.type == "mps" else torch.float64
    figures = torch.tensor([0.0, 0.0, 0.0, *map(float, asdict(report).values())], dtype=kind, device=device)
    if loss is not None:
        value = loss.detach().to(kind)
        finite = torch.isfinite(value)
        figures[0] = (~finite).to(kind)
        figures[1] = torch.where(finite, value, torch.zeros_like(value))
    if gradient_norm is not None:
        figures[2] = (~torch.isfinite(gradient_norm.detach())).to(kind)
    infinite, total, infinite_gradients, *sums = sum_over_ranks(accelerator, figures).tolist()
    empty = asdict(Report())  # whose values tell bools, ints and floats apart
    reported = {name: type(value)(summed) for (name, value), summed in zip(empty.items(), sums, strict=True)}
    return Verdict(**reported, finite=infinite == 0, finite_gradient=infinite_gradients == 0, loss=total)


def any_rank(accelerator: Any, condition: bool) -> bool:
    """Whether the condition holds on any rank; every rank must call it."""
    return agree(accelerator, Report(stop=condition)).stop
