"""What the checks look at, gathered once. A test describes another machine by other values."""

import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..checks import Inputs
from ..config.run import RunConfig
from ..model.building import planned_model

PROJECT = "dual-attention-whisper"
LIBRARIES = ("torch", "transformers", "accelerate", "deepspeed", "peft", "datasets", "bitsandbytes")


@dataclass(frozen=True)
class Gpu:
    """A GPU as torch sees it; ``free_bytes`` is what no program holds."""

    name: str
    memory_bytes: int
    free_bytes: int
    capability: tuple[int, int]


@dataclass(frozen=True)
class Facts:
    """A machine, its software, and the config that it should run.

    Attributes:
        config: the config to check for; None: check what any run needs.
        asked: the config's file and what overrides it, as on a command line.
        versions: of installed libraries, by their canonical name.
        environment: variables.
        driver: the NVIDIA driver's version, None where there is no driver.
        driver_cuda: the CUDA version that the driver can run at most.
        processes, local_processes: started by the launcher, in all and on this machine.
        measure: time copies, products and writes.
    """

    config: RunConfig | None = None
    asked: str = ""
    python: tuple[int, ...] = tuple(sys.version_info[:3])
    versions: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    driver_cuda: tuple[int, int] | None = None
    processes: int = 1
    local_processes: int = 1
    measure: bool = True

    @cached_property
    def inputs(self) -> Inputs:
        """What the config names, as far as it can be opened without a download. There must be a config."""
        assert self.config is not None
        holds_a_run = (Path(self.config.output_dir) / "config.yaml").exists()  # which a run would go on with
        return Inputs(self.config, lambda *begun: (planned_model(*begun), None), resume=holds_a_run)

    @cached_property
    def model(self) -> Any:
        """The config's model; None without a config, where only the hub knows its shape, or where it cannot be made."""
        try:
            return self.inputs.model if self.config is not None else None
        except Exception:  # reported by the check of the model
            return None


def gather_facts(config: RunConfig | None, asked: str = "", measure: bool = True) -> Facts:
    """The facts of this machine. What cannot be found out keeps its default."""
    environment = dict(os.environ)
    return Facts(
        config,
        asked,
        versions=installed_versions(),
        environment=environment,
        gpus=gpus_here(),
        driver=nvidia_driver(),
        driver_cuda=cuda_of_the_driver(),
        processes=count(environment, "WORLD_SIZE"),
        local_processes=count(environment, "LOCAL_WORLD_SIZE"),
        measure=measure,
    )


def count(environment: Mapping[str, str], name: str) -> int:
    """A launcher's count in an environment variable; 1 if it is not set."""
    value = environment.get(name, "")
    return int(value) if value.isdigit() else 1


def canonical(name: str) -> str:
    """A library's name as package indexes compare them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_versions() -> dict[str, str]:
    """Versions by canonical name."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name:  # a half-removed one has none
            found.setdefault(canonical(name), distribution.version)
    return found


def gpus_here() -> tuple[Gpu, ...]:
    """The GPUs that torch can use; an empty tuple if asking about one of them fails."""
    try:
        import torch

        if not torch.cuda.is_available():
            return ()
        found = []
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            free, whole = torch.cuda.mem_get_info(index)
            found.append(Gpu(properties.name, whole, free, (properties.major, properties.minor)))
        return tuple(found)
    except Exception:  # a broken driver; check_gpus reports it
        return ()


def nvidia_driver() -> str | None:
    """The kernel module's version."""
    path = Path("/proc/driver/nvidia/version")
    try:
        match = re.search(r"Kernel Module.*?(\d+\.\d+(?:\.\d+)?)", path.read_text(encoding="utf-8"))
    except OSError:
        return None
    return match[1] if match else "unknown"


def cuda_of_the_driver() -> tuple[int, int] | None:
    """The CUDA version that the driver supports, from its library, without starting CUDA."""
    import ctypes

    try:
        version = ctypes.c_int()
        if platform.system() != "Linux" or ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version)):
            return None
    except (OSError, AttributeError):
        return None
    return version.value // 1000, version.value % 1000 // 10
