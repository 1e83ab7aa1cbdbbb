"""What all ranks must agree on within a step, in one all-reduce."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch


class Targets(NamedTuple):
    """Target tokens of a step on all ranks, and those of them that are of noisy utterances."""

    tokens: int
    noisy: int


@dataclass(frozen=True)
class Verdict:
    """Sums over all ranks.

    Attributes:
        finite: every rank's loss is a finite number.
        finite_gradient: so was the gradient of the step before.
        stop: some rank was asked to stop.
        failed: some rank could not read its next data.
        next_tokens: target tokens that all ranks have ready for the next step.
        next_noisy: those of them that are of noisy utterances.
        exhausted: every rank's data has run out.
        loss: sum of the ranks' losses.
        rows, broken: rows read, and broken rows among them.
        utterances, audio_seconds: of this microbatch.
    """

    finite: bool
    finite_gradient: bool
    stop: bool
    failed: bool
    next_tokens: int
    next_noisy: int
    exhausted: bool
    loss: float
    rows: int
    broken: int
    utterances: int
    audio_seconds: float

    @property
    def next_targets(self) -> Targets:
        return Targets(self.next_tokens, self.next_noisy)


def agree(
    accelerator: Any,
    *,
    loss: torch.Tensor | None = None,
    gradient_norm: torch.Tensor | None = None,
    stop: bool = False,
    failed: bool = False,
    next_tokens: int = 0,
    next_noisy: int = 0,
    exhausted: bool = False,
    rows: int = 0,
    broken: int = 0,
    utterances: int = 0,
    audio_seconds: float = 0.0,
) -> Verdict:
    """Sum this rank's figures over all ranks; every rank must call it, and gets the same verdict.

    It is also where a step waits for the device, once: ``loss`` and ``gradient_norm`` are looked at here.
    """
    device = accelerator.device
    # float64 counts exactly to 2^53; a GPU without it (MPS) is never distributed.
    kind = torch.float32 if device.type == "mps" else torch.float64
    figures = torch.tensor(
        [
            0.0,
            0.0,
            float(stop),
            float(failed),
            next_tokens,
            next_noisy,
            float(not exhausted),
            rows,
            broken,
            utterances,
            audio_seconds,
            0.0,
        ],
        dtype=kind,
        device=device,
    )
    if loss is not None:
        value = loss.detach().to(kind)
        finite = torch.isfinite(value)
        figures[0] = (~finite).to(kind)
        figures[1] = torch.where(finite, value, torch.zeros_like(value))
    if gradient_norm is not None:
        figures[-1] = (~torch.isfinite(gradient_norm.detach())).to(kind)
    if accelerator.num_processes > 1:
        torch.distributed.all_reduce(figures)
    infinite, total, stops, failures, tokens, noisy, live, rows_, broken_, utterances_, seconds, infinite_gradients = (
        figures.tolist()
    )
    return Verdict(
        finite=infinite == 0,
        finite_gradient=infinite_gradients == 0,
        stop=stops > 0,
        failed=failures > 0,
        next_tokens=int(tokens),
        next_noisy=int(noisy),
        exhausted=live == 0,
        loss=total,
        rows=int(rows_),
        broken=int(broken_),
        utterances=int(utterances_),
        audio_seconds=seconds,
    )
