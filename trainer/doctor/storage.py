"""The disk of output_dir: whether the run's files fit, how fast it is, and whether it is a network mount."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ..checks import Finding, judged
from ..record.disk import GIGABYTE, files_of_a_run
from ..record.durable import existing
from .facts import Facts

WRITTEN_BYTES = 48 * 2**20
SLOW_WRITE = 50e6  # bytes a second: a checkpoint of whisper-small takes more than a minute
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "9p")


def check_disk(facts: Facts) -> Iterator[Finding]:
    """Free space compared with the size of the run's files."""
    folder = existing(Path(facts.config.output_dir if facts.config is not None else "."))
    free = shutil.disk_usage(folder).free
    there = f"{free / GIGABYTE:.1f} GB free at {folder}"
    if facts.config is None:
        yield Finding("disk", "good", there)
        return
    if facts.model is None:
        yield Finding("disk", "note", f"{there}; what checkpoints take is not known without the model's shape")
        return
    files = files_of_a_run(facts.config, facts.model)
    found = (
        f"{there}; the run takes up to {files.total / GIGABYTE:.1f} GB: {files.kept} + 1 checkpoints of "
        f"{files.checkpoint / GIGABYTE:.2f} GB, best and final of {files.folder / GIGABYTE:.2f} GB each"
    )
    remedy = "another output_dir, a smaller checkpoints.keep, or free some"
    yield judged(files.total > free, "disk", found, remedy, state="lacks")


def check_file_system(facts: Facts) -> Iterator[Finding]:
    """Network mounts and memory file systems. Several machines need a network mount; it slows a single one."""
    if facts.config is None:
        return
    folder = existing(Path(facts.config.output_dir)).resolve()
    kind, place = mount_of(folder)
    if kind in NETWORK:
        found = f"{kind}, mounted at {place}: every checkpoint goes over the network"
        remedy = "" if facts.processes > facts.local_processes else "a local output_dir is faster for one machine"
        yield Finding("file system", "note", found, remedy)
    elif kind in ("tmpfs", "ramfs"):
        yield Finding("file system", "note", f"{kind} at {place}: gone with the machine", "another output_dir")
    elif facts.processes > facts.local_processes:
        found = f"{kind} at {place}: local, as far as the mount says"
        yield Finding("file system", "note", found, "output_dir must lie where all machines see it")
    else:
        yield Finding("file system", "good", f"{kind} at {place}")


def mount_of(folder: Path) -> tuple[str, str]:
    """Kind and mount point of the file system that holds a folder."""
    kind, place = "unknown", "/"
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, at, of_kind, *_ = line.split()
        at = at.replace("\\040", " ")
        if folder.is_relative_to(at) and len(at) >= len(place):
            kind, place = of_kind, at
    return kind, place


def check_write_speed(facts: Facts) -> Iterator[Finding]:
    """Time the writing of a temporary file of some dozen megabytes, flushed to the disk."""
    if not facts.measure:
        return
    folder = existing(Path(facts.config.output_dir if facts.config is not None else "."))
    if shutil.disk_usage(folder).free < 4 * WRITTEN_BYTES:
        return
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor_") as file:
        block, started = os.urandom(2**20), time.perf_counter()
        for _ in range(WRITTEN_BYTES // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        speed = WRITTEN_BYTES / (time.perf_counter() - started)
    found = f"{speed / 1e6:.0f} MB/s"
    if facts.config is not None and facts.model is not None:
        found += f": a checkpoint takes {files_of_a_run(facts.config, facts.model).checkpoint / speed:.0f} s"
    yield judged(speed < SLOW_WRITE, "writing", found, "raise checkpoints.every_steps, or another output_dir")
