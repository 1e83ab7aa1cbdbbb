"""Common GPUs: how much memory they have to give, and what they can compute."""

import re
from dataclasses import dataclass

from data.errors import nearest

from ..config.reading import ConfigError
from ..engine.device import peak_of

GIB = 2**30


@dataclass(frozen=True)
class Gpu:
    """A kind of GPU.

    Attributes:
        memory_bytes: what a process sees (``torch.cuda.get_device_properties``); less than the name says.
        has_bf16: computes in bf16.
    """

    name: str
    memory_bytes: int
    has_bf16: bool = True

    @property
    def flops(self) -> float | None:
        """Dense half-precision operations a second at most, as :func:`trainer.engine.device.peak_of` has them."""
        return peak_of(self.name)


def _gpu(name: str, gib: float, has_bf16: bool = True) -> Gpu:
    return Gpu(name, int(gib * GIB), has_bf16)


# Memory as drivers report it with error correction on, rounded down; it differs by some 100 MiB between drivers.
GPUS = (
    _gpu("T4 16GB", 14.5, has_bf16=False),
    _gpu("V100 16GB", 15.7, has_bf16=False),
    _gpu("V100 32GB", 31.7, has_bf16=False),
    _gpu("RTX 3060 12GB", 11.6),
    _gpu("RTX 3090 24GB", 23.5),
    _gpu("RTX 4090 24GB", 23.5),
    _gpu("RTX 5090 32GB", 31.3),
    _gpu("A10 24GB", 22.0),
    _gpu("A10G 24GB", 22.0),
    _gpu("L4 24GB", 22.0),
    _gpu("RTX A6000 48GB", 47.4),
    _gpu("L40S 48GB", 44.3),
    _gpu("A100 40GB", 39.3),
    _gpu("A100 80GB", 79.1),
    _gpu("H100 80GB", 79.1),
    _gpu("H200 141GB", 139.7),
    _gpu("B200 192GB", 178.0),
)


def gpu_here() -> Gpu | None:
    """The first GPU that torch can use; None without any."""
    import torch

    if not torch.cuda.is_available():
        return None
    found = torch.cuda.get_device_properties(0)
    return Gpu(found.name, found.total_memory, has_bf16=found.major >= 8)


def find_gpu(text: str) -> Gpu:
    """The GPU of that name ("A100 40GB", also "a100-40gb"), or one that has so much memory ("40 GiB", "24GB").

    Raises:
        ConfigError: listing the known ones.
    """
    wanted = plain(text)
    size = re.fullmatch(r"(\d+(?:\.\d+)?)(gib|gb|g|)", wanted)
    if size and 1 <= float(size[1]) <= 1024:
        unit = 10**9 if size[2] == "gb" else GIB
        return Gpu(f"{size[1]} {'GB' if size[2] == 'gb' else 'GiB'}", int(float(size[1]) * unit))
    named = bool(re.match("[a-z]", wanted))
    found = [gpu for gpu in GPUS if plain(gpu.name) == wanted]
    found = found or [gpu for gpu in GPUS if named and wanted in plain(gpu.name)]
    known = ", ".join(gpu.name for gpu in GPUS)
    if len(found) == 1:
        return found[0]
    if len(found) > 1:
        raise ConfigError(f"--gpu {text!r} may be {' or '.join(gpu.name for gpu in found)}: give its memory too")
    meant = nearest(text, (gpu.name for gpu in GPUS))
    raise ConfigError(
        f"--gpu {text!r} is not known{meant}. Known are {known}; or give its memory, as in --gpu '40 GiB'"
    )


def plain(text: str) -> str:
    """Lower case, without blanks, dashes and the maker's name."""
    return re.sub(r"[\s_-]|nvidia|geforce|tesla", "", text.lower())
