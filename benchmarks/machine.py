"""What a figure was measured on: hardware, versions, date. Every committed result carries it."""

import datetime
import importlib.metadata
import os
import platform
import socket
from typing import Any

import torch

from trainer.engine.device import processor_name

PACKAGES = ("torch", "transformers", "accelerate", "deepspeed", "datasets")


def describe_machine(device: torch.device | None = None) -> dict[str, Any]:
    """Processor or GPU, cores, threads, Python, versions of the main libraries, and today's date (UTC)."""
    on_gpu = device is not None and device.type == "cuda"
    installed = {str(one.name).lower(): one.version for one in importlib.metadata.distributions()}
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else processor_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: installed[name] for name in PACKAGES if name in installed},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def free_port() -> int:
    """A TCP port of this machine on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def as_launched(rank: int, processes: int, port: int) -> dict[str, str]:
    """The environment variables that a launcher on this machine gives a rank."""
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    return {name: str(value) for name, value in own.items()} | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
