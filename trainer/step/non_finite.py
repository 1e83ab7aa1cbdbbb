"""Losses and gradients that are not finite numbers end a run on every rank before they reach the weights.

A step does not wait for its own gradient norm, which would stop the device: the norm is looked at in the next step's
all-reduce. The optimizer has left such an update out by then.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch

from data.utterance import AudioBatch

from ..record.journal import append
from .agreement import Verdict, agree


class NonFiniteLoss(RuntimeError):
    """A rank's loss, or the gradient's norm, is not a finite number."""

    exit_code = 1


class Unchecked(NamedTuple):
    """The gradient norm of a step that was taken, not yet synchronised with the host, and the step's last audio."""

    step: int
    norm: torch.Tensor
    audio: AudioBatch | None


class FiniteCheck:
    """Holds the last step's gradient norm until the ranks agree on it.

    Args:
        folder: the run's, where the batch that is to blame is written down.
    """

    def __init__(self, accelerator: Any, folder: Path) -> None:
        self.accelerator, self.path = accelerator, folder / "non_finite_loss.jsonl"
        self.unchecked: Unchecked | None = None

    @property
    def norm(self) -> torch.Tensor | None:
        """The gradient norm that is still to be agreed on."""
        return self.unchecked.norm if self.unchecked else None

    def note(self, step: int, norm: torch.Tensor, audio: AudioBatch | None) -> None:
        self.unchecked = Unchecked(step, norm, audio)

    def check(self) -> None:
        """Wait for the last step's gradient norm, and end the run on every rank if any rank's is not a finite number.

        All ranks must call it after the same step.
        """
        if self.unchecked is not None:
            norm = torch.as_tensor(self.unchecked.norm, device=self.accelerator.device)  # DeepSpeed's is a number
            self.heed(agree(self.accelerator, gradient_norm=norm), self.unchecked.step)

    def heed(self, verdict: Verdict, last_step: int) -> None:
        """End the run if the ranks have agreed that the last gradient was not finite, whatever this rank's norm is."""
        unchecked, self.unchecked = self.unchecked, None
        if verdict.finite_gradient:
            return
        step, norm, audio = unchecked or (last_step, math.nan, None)
        self.refuse(step, "gradient", norm, None if math.isfinite(float(norm)) else audio)

    def refuse(self, step: int, what: str, value: Any, audio: AudioBatch | None) -> NoReturn:
        """End the run on every rank, this rank's batch written down if it is to blame; nothing is saved."""
        if audio is not None:
            rank = self.accelerator.process_index
            append(self.path, {"step": step, "rank": rank, what: str(float(value)), "ids": audio.ids})
        self.accelerator.wait_for_everyone()
        raise NonFiniteLoss(
            f"step {step}: the {what} is not a finite number; the step is not part of any checkpoint. The batch's ids "
            f"are in {self.path}; --resume goes on from the last checkpoint"
        )
