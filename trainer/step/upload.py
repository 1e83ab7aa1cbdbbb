"""Copies of small values to the training device, for which the host does not wait."""

import torch


def upload(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Values that the host has just made, on the device, without waiting for the work that a GPU has queued.

    A GPU copies by itself only from page-locked memory; torch's allocator keeps that until the copy is made.
    """
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)
