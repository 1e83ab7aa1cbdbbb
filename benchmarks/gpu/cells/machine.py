"""What the machine is, what it can do at most, and what the doctor says of it."""

import importlib.metadata
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch

from benchmarks.machine import describe_machine
from trainer.doctor import report
from trainer.doctor.speed import copy_speed, product_speed
from trainer.engine.device import peak_of

from ..setting import Part, Setting

MORE = ("bitsandbytes", "peft", "triton", "tokenizers", "numpy", "pyarrow", "soundfile")


def machine(setting: Setting) -> Iterator[Part]:
    yield Part("machine", lambda: describe(setting))
    yield Part("ceilings", lambda: ceilings(setting))
    yield Part("doctor", doctor)


def describe(setting: Setting) -> dict[str, Any]:
    """Hardware, versions and date, with what only a GPU has."""
    device = setting.device
    found = describe_machine(None if setting.on_cpu else device)
    installed = {str(one.name).lower(): one.version for one in importlib.metadata.distributions()}
    found["versions"] |= {name: installed[name] for name in MORE if name in installed}
    found["cuda"], found["cudnn"] = torch.version.cuda, torch.backends.cudnn.version()
    if not setting.on_cpu:
        about = torch.cuda.get_device_properties(device)
        found |= {"memory_bytes": about.total_memory, "multiprocessors": about.multi_processor_count}
        found["capability"] = f"{about.major}.{about.minor}"
    return found


def ceilings(setting: Setting) -> dict[str, Any]:
    """The rates that no step passes: of a copy within the device, read and written, and of a product of matrices."""
    device, name = setting.device, describe_machine(None if setting.on_cpu else setting.device)["device"]
    width = setting.size(8192, 512)
    copied = torch.randn(setting.size(2**30, 2**22), device=device)
    peak = None if setting.on_cpu else peak_of(name)
    speed = product_speed(width, setting.dtype, device)
    return {
        "copy_bytes_per_second": 2 * copy_speed(copied, device),
        "product_flops_per_second": speed,
        "product_float32_flops_per_second": product_speed(width, torch.float32, device),
        "peak_flops_per_second": peak,
        "product_share_of_peak": None if peak is None else speed / peak,
    }


def doctor() -> dict[str, Any]:
    """What ``launch/doctor.py`` finds."""
    findings = report.look(None)
    return {"fit": report.exit_code(findings) == 0, "findings": [asdict(finding) for finding in findings]}
