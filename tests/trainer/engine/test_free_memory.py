"""How much memory a process can still take, from files as Linux writes them and from the limits of this process."""

import resource
import sys
from pathlib import Path

import pytest
import torch

from trainer.engine import free_memory
from trainer.engine.free_memory import (
    address_space_for,
    address_space_within,
    control_group_room,
    machine_room,
    process_room,
)

MIB = 2**20


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n", encoding="ascii")


def test_a_group_of_version_2_counts_with_those_above_it(tmp_path: Path) -> None:
    groups = tmp_path / "cgroup"
    groups.write_text("0::/slurm/job\n", encoding="ascii")
    top = tmp_path / "fs"
    write(top / "slurm" / "job", memory__max="max", memory__current=1 * MIB)
    assert control_group_room(groups, top) is None
    stat = f"anon {700 * MIB}\ninactive_file {200 * MIB}"
    write(top / "slurm", memory__max=1000 * MIB, memory__current=900 * MIB, memory__stat=stat)
    assert control_group_room(groups, top) == 300 * MIB
    write(top / "slurm" / "job", memory__max=600 * MIB, memory__current=450 * MIB)
    assert control_group_room(groups, top) == 150 * MIB
    write(top / "slurm" / "job", memory__max=600 * MIB, memory__current=650 * MIB)
    assert control_group_room(groups, top) == 0


def test_a_container_sees_its_own_group_at_the_top(tmp_path: Path) -> None:
    groups = tmp_path / "cgroup"
    groups.write_text("0::/docker/123\n", encoding="ascii")  # of the host: not there inside
    write(tmp_path / "fs", memory__max=800 * MIB, memory__current=300 * MIB)
    assert control_group_room(groups, tmp_path / "fs") == 500 * MIB


def test_groups_of_version_1(tmp_path: Path) -> None:
    groups = tmp_path / "cgroup"
    groups.write_text("9:cpu,cpuacct:/\n4:memory:/job\n0::/\n", encoding="ascii")
    top = tmp_path / "fs"
    unlimited = 9223372036854771712
    write(top / "memory", memory__limit_in_bytes=unlimited, memory__usage_in_bytes=MIB)
    assert control_group_room(groups, top) is None
    stat = f"inactive_file 5\ntotal_inactive_file {100 * MIB}"
    own = {"memory__limit_in_bytes": 500 * MIB, "memory__usage_in_bytes": 200 * MIB, "memory__stat": stat}
    write(top / "memory" / "job", **own)
    assert control_group_room(groups, top) == 400 * MIB


def test_without_groups(tmp_path: Path) -> None:
    assert control_group_room(tmp_path / "none", tmp_path) is None


def test_ranks_of_a_machine_share_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_memory, "linux_bytes", lambda file, name: {"MemAvailable": 900, "VmSize": 60}[name])
    monkeypatch.setattr(free_memory, "control_group_room", lambda: 600)
    monkeypatch.setattr(free_memory, "address_space_limit", lambda: None)
    assert machine_room() == process_room() == 600
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert process_room() == 300
    monkeypatch.setattr(free_memory, "address_space_limit", lambda: 100)  # each has its own
    assert process_room() == 40


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux")
def test_beyond_the_room_torch_says_that_memory_ran_out() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    with address_space_within(address_space_for(64 * MIB)):
        torch.empty(64 * MIB, dtype=torch.uint8)
        with pytest.raises(RuntimeError, match="memory"):
            torch.empty(640 * MIB, dtype=torch.uint8)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    with address_space_within(None):
        torch.empty(640 * MIB, dtype=torch.uint8)
