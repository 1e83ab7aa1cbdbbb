"""How much memory a process can still take: of the machine, of its control group, of its address space, of its GPU."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

GROUPS, MOUNT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
RESERVED = 256 * 2**20  # of address space that threads take and do not fill: their stacks and arenas
UNLIMITED = 2**60  # version 1 writes a number near 2^63 where there is no limit


def machine_room() -> int | None:
    """Bytes that programs can still take of this machine, within the control group; None where it is not said."""
    rooms = [linux_bytes("/proc/meminfo", "MemAvailable"), control_group_room()]
    return min((room for room in rooms if room is not None), default=None)


def process_room() -> int | None:
    """Bytes that this process can still take, its part of what this machine's ranks share; None where not known."""
    rooms = []
    machine, limit = machine_room(), address_space_limit()
    if machine is not None:
        rooms.append(machine // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if limit is not None:
        rooms.append(limit - (linux_bytes("/proc/self/status", "VmSize") or 0))
    return max(0, min(rooms)) if rooms else None


def control_group_room(groups: Path = GROUPS, mount: Path = MOUNT) -> int | None:
    """Bytes that the control group of this process may still take, with all groups above it; None without a limit.

    A container or a scheduler limits memory this way; beyond it the system kills the process without a word. Pages of
    files that were read count as free: the system drops them first.

    Args:
        groups: the process's groups, as Linux lists them.
        mount: where the groups lie.
    """
    try:
        lines = groups.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    rooms = []
    for line in lines:
        number, controllers, path = line.split(":", 2)
        names = ("memory.max", "memory.current", "inactive_file")
        top = mount
        if "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            top = mount / "memory"
        elif number != "0":
            continue
        # In a container the path is often that on the host, of which only the top is there.
        own = top / path.lstrip("/")
        folders = [own, *own.parents]
        rooms += [room_in(folder, *names) for folder in folders[: folders.index(top) + 1]]
    return min((room for room in rooms if room is not None), default=None)


def room_in(folder: Path, limit: str, usage: str, file_pages: str) -> int | None:
    """The same for one group; None where it has no limit."""
    try:
        most = int((folder / limit).read_text(encoding="ascii"))
        used = int((folder / usage).read_text(encoding="ascii"))
    except (OSError, ValueError):  # not there, or "max"
        return None
    with_files = 0
    try:
        rows = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
        with_files = int(rows.get(file_pages, 0))
    except (OSError, ValueError):
        pass
    return None if most >= UNLIMITED else max(0, most - used + with_files)


def gpu_room(device: Any) -> int:
    """Bytes of a CUDA device that torch can still reserve, or holds already; CUDA's context is in neither."""
    import torch

    return int(torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device))


def address_space_for(room: int) -> int | None:
    """The address space that this process has once it took so many bytes more; None where the system does not say."""
    taken = linux_bytes("/proc/self/status", "VmSize")
    return None if taken is None else taken + room + RESERVED


@contextmanager
def address_space_within(most: int | None) -> Iterator[None]:
    """Have allocations fail beyond an address space of so many bytes, where the system would kill the process for them.

    Args:
        most: None leaves everything as it is.
    """
    if most is None:
        yield
        return
    import resource

    usual, highest = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (most if usual == resource.RLIM_INFINITY else min(most, usual), highest))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (usual, highest))


def give_back() -> None:
    """Give what the C library's allocator holds free back to the system, where it can (glibc)."""
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def linux_bytes(file: str, name: str) -> int | None:
    """A line of one of Linux' files about memory, in bytes; None on other systems."""
    try:
        lines = Path(file).read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)


def address_space_limit() -> int | None:
    """Bytes that the shell or a scheduler allows this process (``ulimit -v``); None without a limit."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit
