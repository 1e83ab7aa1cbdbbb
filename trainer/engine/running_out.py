"""Which errors mean that memory ran out, and how much of it there was."""

import re
from typing import Any

from .free_memory import address_space_limit, linux_bytes, machine_room

# What torch, its allocators, cuBLAS, oneDNN and the system say when memory runs out without a torch.OutOfMemoryError.
OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "cublas_status_alloc_failed",
    "could not create a memory",
    "std::bad_alloc",
)
ASKED = re.compile(r"tried to allocate ([\d.]+) ?(bytes|[KMG]iB)", re.IGNORECASE)
UNITS = {"bytes": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def says_out_of_memory(text: str) -> bool:
    """Whether a message or a log says that memory ran out."""
    return any(sign in text.lower() for sign in OUT_OF_MEMORY)


def is_out_of_memory(error: BaseException, limited: bool = False) -> bool:
    """Whether an error means that memory ran out, on a GPU or on the CPU.

    Args:
        limited: the process has a memory limit. oneDNN then fails to create a kernel without saying why.
    """
    import torch

    if limited and str(error).startswith("could not create a"):
        return True
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, (RuntimeError, OSError)) and says_out_of_memory(str(error))


def memory_message(error: BaseException, device: Any) -> str:
    """A phrase with what was asked for, in use and free on a torch device."""
    asked = ASKED.search(str(error))
    told = [f"{size(float(asked[1]) * UNITS[asked[2].lower()])} more were asked for"] if asked else []
    if device.type == "cuda":
        import torch

        free, total = torch.cuda.mem_get_info(device)
        own = torch.cuda.memory_allocated(device)
        told.append(f"of its {size(total)}, {size(total - free)} were in use ({size(own)} by this run's tensors)")
        told.append(f"{size(free)} were free")
        return ", ".join(told)
    resident, available = linux_bytes("/proc/self/status", "VmRSS"), machine_room()
    limit = address_space_limit()
    if resident is not None:
        told.append(f"this process had {size(resident)}")
    if available is not None:
        told.append(f"{size(available)} were free")
    if limit is not None:
        told.append(f"it may have {size(limit)} of address space (ulimit -v)")
    return ", ".join(told)


def size(count: float) -> str:
    """Bytes in the unit that suits them."""
    if count >= 2**30:
        return f"{count / 2**30:.1f} GiB"
    return f"{count / 2**20:.0f} MiB" if count >= 10 * 2**20 else f"{count / 2**10:.0f} KiB"
