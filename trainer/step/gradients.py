"""Clipping of gradients, and the end of a run whose loss or gradient is not a finite number.

A step does not wait for its own gradient norm, which would stop the device. The ranks agree on it in the all-reduce of
the next step; the optimizer has left such an update out by then.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch

from data.utterance import AudioBatch

from ..record.journal import append
from .agreement import Report, Verdict, agree

SMALLEST = 1e-6  # added to the norm, as torch.nn.utils.clip_grad_norm_ does


class NonFiniteLoss(RuntimeError):
    """A rank's loss, or the gradient's norm, is not a finite number."""

    exit_code = 1


class Unchecked(NamedTuple):
    """The gradient norm of a step that was taken, not yet synchronised with the host, and the step's last audio."""

    step: int
    norm: torch.Tensor
    audio: AudioBatch | None


class Gradients:
    """Clips the gradients of each step, and holds their norm until the ranks agree that it is finite.

    Args:
        accelerator, model, optimizer: prepared by the engine.
        limit: the norm that gradients are clipped to; 0 leaves them alone.
        folder: the run's, where the batch that is to blame is written down.
    """

    def __init__(self, accelerator: Any, model: Any, optimizer: Any, limit: float, folder: Path) -> None:
        self.accelerator, self.model, self.limit = accelerator, model, limit
        self.fused = fused_optimizer(accelerator, optimizer)
        self.is_deepspeed = accelerator.distributed_type.name == "DEEPSPEED"
        self.path = folder / "non_finite_loss.jsonl"
        self.norm: Any = None  # of the last step, before clipping
        self.unchecked: Unchecked | None = None

    @property
    def unchecked_norm(self) -> torch.Tensor | None:
        """The last step's gradient norm, if the ranks have still to agree on it."""
        return self.unchecked.norm if self.unchecked else None

    def clip(self, step: int, audio: AudioBatch | None) -> None:
        """Clip after a backward pass; before a step's last microbatch nothing is done."""
        if not self.accelerator.sync_gradients:
            return
        self.norm = norm = self.clipped()
        if norm is None or self.accelerator.mixed_precision == "fp16":  # fp16's loss scaling skips such a step
            return
        if not isinstance(norm, torch.Tensor):
            if not math.isfinite(norm):
                self.refuse(step, "gradient", norm, audio)
            return
        self.unchecked = Unchecked(step, norm, audio)
        if self.fused is None and not self.is_deepspeed:
            self.check()  # other optimizers do not leave the weights alone where the norm is not finite

    def clipped(self) -> Any:
        """Clip, and return the norm before: a scalar on the device, or a number that is the same on all ranks.

        DeepSpeed clips in its step. It has looked at the norm then, and left the step out where that is not finite: the
        norm is a number then, and else a tensor.
        """
        if self.is_deepspeed:
            norm = self.model.get_global_grad_norm()
            return norm.item() if isinstance(norm, torch.Tensor) and norm.device.type == "cpu" else norm
        if self.fused is not None:
            norm = gradient_norm(self.model.parameters())
            clip_in_step(self.fused, norm, self.limit)
            return norm
        return self.accelerator.clip_grad_norm_(self.model.parameters(), self.limit or math.inf)

    def check(self) -> None:
        """Wait for the last step's gradient norm; all ranks call it after the same step. Raises as :meth:`heed`."""
        if self.unchecked is not None:
            verdict = agree(self.accelerator, Report(), gradient_norm=self.unchecked.norm)
            self.heed_gradient(verdict, self.unchecked.step)

    def heed(self, verdict: Verdict, step: int, loss: torch.Tensor, audio: AudioBatch | None) -> None:
        """End the run if any rank's loss of this microbatch, or gradient of the step before, is not finite.

        Raises NonFiniteLoss on every rank.
        """
        self.heed_gradient(verdict, step - 1)
        if not verdict.finite:
            self.refuse(step, "loss", loss.detach(), audio if not torch.isfinite(loss) else None)

    def heed_gradient(self, verdict: Verdict, last_step: int) -> None:
        """As :meth:`heed` for the gradient alone, whatever this rank's own norm is."""
        unchecked, self.unchecked = self.unchecked, None
        if verdict.finite_gradient:
            return
        step, norm, audio = unchecked or (last_step, math.nan, None)
        self.refuse(step, "gradient", norm, None if math.isfinite(float(norm)) else audio)

    def refuse(self, step: int, what: str, value: Any, audio: AudioBatch | None) -> NoReturn:
        """End the run on every rank; the batch of a rank that is to blame is written down, and nothing is saved."""
        if audio is not None:
            rank = self.accelerator.process_index
            append(self.path, {"step": step, "rank": rank, what: str(float(value)), "ids": audio.ids})
        self.accelerator.wait_for_everyone()
        raise NonFiniteLoss(
            f"step {step}: the {what} is not a finite number; the step is not part of any checkpoint. The batch's ids "
            f"are in {self.path}; --resume goes on from the last checkpoint"
        )


def fused_optimizer(accelerator: Any, optimizer: Any) -> Any:
    """The optimizer inside Accelerate's, if it can clip by itself; else None.

    The fused AdamW scales gradients while it reads them, without a pass of its own, and changes nothing where the norm
    is not finite. Under fp16 torch's GradScaler sets what is set here; DeepSpeed clips by itself.
    """
    if accelerator.distributed_type.name == "DEEPSPEED" or accelerator.mixed_precision == "fp16":
        return None
    inner = getattr(optimizer, "optimizer", optimizer)
    fused = isinstance(inner, torch.optim.AdamW) and all(group.get("fused") for group in inner.param_groups)
    return inner if fused else None


def gradient_norm(parameters: Iterable[torch.Tensor]) -> torch.Tensor:
    """The norm over all gradients, a float32 scalar on their device, without waiting for the device."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return torch.zeros(())
    norms = torch._foreach_norm(gradients)
    return torch.linalg.vector_norm(torch.stack([norm.float() for norm in norms]))


def clip_in_step(optimizer: Any, norm: torch.Tensor, limit: float) -> None:
    """Have a fused optimizer's next step clip to ``limit`` (0: not at all), or do nothing if ``norm`` is not finite."""
    optimizer.grad_scale = ((norm + SMALLEST) / limit).clamp(min=1.0) if limit > 0 else None
    optimizer.found_inf = (~torch.isfinite(norm)).float()
