"""Clipping by the gradient's norm without a pass of its own: the fused AdamW scales gradients while it reads them.

It also leaves everything as it was where the norm is not a finite number, so nobody has to wait for the device to see.
"""

from collections.abc import Iterable
from typing import Any

import torch

SMALLEST = 1e-6  # added to the norm, as torch.nn.utils.clip_grad_norm_ does


def fused_optimizer(accelerator: Any, optimizer: Any) -> Any:
    """The optimizer inside Accelerate's, if it can clip by itself; else None.

    Under fp16 torch's GradScaler sets what is set here; DeepSpeed clips by itself.
    """
    if accelerator.distributed_type.name == "DEEPSPEED" or accelerator.mixed_precision == "fp16":
        return None
    inner = getattr(optimizer, "optimizer", optimizer)
    fused = isinstance(inner, torch.optim.AdamW) and all(group.get("fused") for group in inner.param_groups)
    return inner if fused else None


def gradient_norm(parameters: Iterable[torch.Tensor]) -> torch.Tensor:
    """The norm over all gradients, a float32 scalar on their device; nothing is waited for."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return torch.zeros(())
    norms = torch._foreach_norm(gradients)
    return torch.linalg.vector_norm(torch.stack([norm.float() for norm in norms]))


def clip_in_step(optimizer: Any, norm: torch.Tensor, limit: float) -> None:
    """Have the optimizer's next step clip to ``limit`` (0: not at all), or change nothing where ``norm`` is not finite.

    Args:
        optimizer: as :func:`fused_optimizer` gives it.
    """
    optimizer.grad_scale = ((norm + SMALLEST) / limit).clamp(min=1.0) if limit > 0 else None
    optimizer.found_inf = (~torch.isfinite(norm)).float()
