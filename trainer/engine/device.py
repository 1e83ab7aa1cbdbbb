"""The device: which one a command line asks for, its name, what it can compute, how much memory was used."""

import platform
import re
import resource
import sys
from pathlib import Path

import torch

from data.errors import nearest

from ..config.reading import ConfigError

# From the makers' data sheets: words of the name, then TFLOP/s of dense operations in 16 bits (bf16, or fp16 on GPUs
# without it) and in fp32 without TF32. The first entry that fits counts.
PEAKS = (
    ("H100 PCIe", 756, 51),
    ("H100", 989, 67),
    ("H200", 989, 67),
    ("B200", 2250, 80),
    ("A100", 312, 19.5),
    ("L40S", 362, 91.6),
    ("L4", 121, 30.3),
    ("A10G", 70, 31.2),
    ("A10", 125, 31.2),
    ("RTX A6000", 155, 38.7),
    ("RTX 5090", 209, 104.8),
    ("RTX 4090", 165, 82.6),
    ("RTX 3090", 71, 35.6),
    ("RTX 3060", 51, 12.7),
    ("V100", 125, 15.7),
    ("T4", 65, 8.1),
)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
OTHER_BUILDS = frozenset(("mig", "laptop", "nvl"))  # slices and slower builds under the same name


def find_device(name: str) -> torch.device:
    """The device for ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises ConfigError if there is no such device here.
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


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done what was asked of it; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def find_dtype(name: str, device: torch.device) -> torch.dtype:
    """The precision for ``fp32``, ``bf16``, ``fp16`` or ``auto``: fp32 on CPUs, bf16 on GPUs that have it, or fp16."""
    if name == "auto":
        if device.type == "cpu":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return DTYPES[name]


def multiplies_bf16() -> bool:
    """Whether the CPU has instructions for products in bf16."""
    asked = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))  # private
    return any(ask is not None and ask() for ask in asked)


def peak_memory_bytes() -> int:
    """The most memory this process has held, in bytes: allocated on the GPU if there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def hardware() -> str:
    """The device in words: the GPU's name, or the CPU's with the number of threads that torch uses."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{processor_name()}, {torch.get_num_threads()} threads"


def processor_name() -> str:
    """The CPU's model, as far as the system says."""
    told = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    named = re.search(r"^model name\s*:\s*(.+)$", told, re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


def peak_of(name: str, precision: str = "bf16") -> float | None:
    """A GPU's peak in operations a second, by the name that its driver gives; None if it is not in the table."""
    words = set(re.split(r"[\s-]+", name.lower()))
    if words & OTHER_BUILDS:
        return None
    for text, half, single in PEAKS:
        if set(text.lower().split()) <= words:
            return (single if precision == "fp32" else half) * 1e12
    return None
