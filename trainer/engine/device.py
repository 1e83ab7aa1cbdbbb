"""The device and the precision that a command line asks for, refused before a model is loaded if they are not there."""

import torch

from data.errors import nearest

from ..config.reading import ConfigError


def find_device(name: str) -> torch.device:
    """The device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; ``auto`` is a GPU if there is one.

    Raises:
        ConfigError: if there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, colon, index = name.partition(":")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (kind == "cuda" and gpus and not colon) or (index.isdigit() and int(index) < gpus):
        return torch.device(name)
    if kind != "cuda" or (colon and not index.isdigit()):
        raise ConfigError(f"--device is {name!r}; it must be auto, cpu, cuda or cuda:N{nearest(name, ('cpu', 'cuda'))}")
    here = f"GPUs 0 to {gpus - 1}" if gpus else "no CUDA GPU"
    raise ConfigError(f"--device is {name!r}, but torch sees {here} here")


def find_dtype(name: str, device: torch.device) -> torch.dtype:
    """The precision for ``fp32``, ``bf16``, ``fp16`` or ``auto``: fp32 on CPUs, bf16 on GPUs that have it, or fp16."""
    if name == "auto":
        if device.type == "cpu":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
