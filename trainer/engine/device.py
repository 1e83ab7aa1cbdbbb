"""The device: which one a command line asks for, its kernels and precision, its name, how much memory was used."""

import contextlib
import os
import platform
import re
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

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
ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")


class Kernels(NamedTuple):
    """Which kernels a GPU may choose: products in TF32, and cuDNN's attention."""

    tf32: bool = False
    cudnn_attention: bool = False


EXACT = Kernels()
CURRENT = EXACT  # by the last choose_kernels


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


def settle_device(device: torch.device, kernels: Kernels = EXACT) -> None:
    """What every command does before it computes on a device: choose its kernels and how its memory is cut."""
    choose_kernels(kernels)
    if device.type == "cuda":
        use_expandable_segments(device)


def choose_kernels(kernels: Kernels) -> None:
    """Say which kernels this process may use on GPUs; needs none.

    Torch 2.11 and later take cuDNN's attention first on H100, H200 and B200. It builds a plan for each new shape, 23 to
    500 ms, and here nearly every batch and every decoded token has one. With a mask its gradient can be NaN (pytorch
    issue 196678).

    Torch computes float32 convolutions in TF32 unless told otherwise. Its older settings are used, one for products and
    one for convolutions: where the newer ones are mixed in, reading the older raises, as libraries do.
    """
    global CURRENT
    CURRENT = kernels
    torch.backends.cuda.enable_cudnn_sdp(kernels.cudnn_attention)
    torch.set_float32_matmul_precision("high" if kernels.tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = kernels.tf32


@contextlib.contextmanager
def exact_kernels() -> Iterator[None]:
    """A context for decoding and measuring: float32 is float32, and cuDNN's attention is off, whatever training has."""
    before = CURRENT
    choose_kernels(EXACT)
    try:
        yield
    finally:
        choose_kernels(before)


def use_expandable_segments(device: torch.device) -> None:
    """Let CUDA's allocator extend its blocks, so that lengths that vary do not cut memory into unusable pieces.

    Nothing is changed where the user has set the allocator, nor where the system cannot do it: on Windows, under WSL
    (pytorch issue 192330), and where a first allocation fails, as on some virtual GPUs.
    """
    if any(name in os.environ for name in ALLOCATOR_VARIABLES):
        return
    if sys.platform == "win32" or "microsoft" in platform.release().lower():
        return
    set_allocator("expandable_segments:True")
    try:
        torch.empty(1, device=device)
    except RuntimeError:
        set_allocator("expandable_segments:False")


def set_allocator(settings: str) -> None:
    """Torch reads the environment once, when it is imported or first uses the GPU; this works at any time."""
    core: Any = torch._C
    name = "_accelerator_setAllocatorSettings"  # since torch 2.9
    if not hasattr(core, name):
        name = "_cuda_cudaCachingAllocator_set_allocator_settings"
    getattr(core, name)(settings)


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done what was asked of it; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def find_dtype(name: str, device: torch.device) -> torch.dtype:
    """The precision for ``fp32``, ``bf16``, ``fp16`` or ``auto``: fp32 on CPUs, bf16 on GPUs that have it, or fp16.

    Raises ConfigError if the GPU lacks the precision asked for.
    """
    has_bf16 = device.type != "cuda" or computes_bf16(device)
    if name == "auto":
        if device.type == "cpu":
            return torch.float32
        return torch.bfloat16 if has_bf16 else torch.float16
    if name == "bf16" and not has_bf16:
        raise ConfigError(f"--dtype is 'bf16', which {torch.cuda.get_device_name(device)} lacks", "use fp16 or fp32")
    return DTYPES[name]


def multiplies_bf16() -> bool:
    """Whether the CPU has instructions for products in bf16."""
    asked = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))  # private
    return any(ask is not None and ask() for ask in asked)


def computes_bf16(device: torch.device | None = None) -> bool:
    """Whether a GPU computes bf16 itself. Older ones, such as T4 and V100, emulate it, which is slow.

    Args:
        device: with its number; without, the current GPU.
    """
    with torch.cuda.device(device) if device is not None and device.index else contextlib.nullcontext():
        return torch.cuda.is_bf16_supported(including_emulation=False)


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
