"""The search for the largest batch: right for every limit, survives what it says it survives, agreed on by ranks."""

import json
import math
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch

import benchmarks.memory.measure_command
from benchmarks.memory.batch_search import release, survives
from tests import ROOT
from tests.end_to_end import run
from trainer.memory.advice import search


@pytest.mark.parametrize("start", [1, 3, 8, 100])
@pytest.mark.parametrize("limit", [0, 1, 2, 7, 8, 9, 63, 64, 100, 199, 200, 500])
def test_every_limit_is_found_in_few_tries(start: int, limit: int) -> None:
    tried: list[int] = []

    def fits(size: int) -> bool:
        tried.append(size)
        return size <= limit

    assert search(fits, start, most=200) == min(limit, 200)
    assert len(tried) == len(set(tried)) and max(tried) <= 200 and min(tried) >= 1
    assert tried[0] == start, "the size that was asked for comes first"
    assert len(tried) <= 2 * math.log2(200) + 2


def test_a_search_begins_with_a_batch_that_may_be_tried() -> None:
    with pytest.raises(ValueError, match="from 1 to 6, not 7"):
        search(lambda size: True, start=7, most=6)


class Tensor:
    """Stands for what a step holds."""


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_a_lack_of_memory_is_survived_and_nothing_kept(error: Exception) -> None:
    held: list[weakref.ref] = []

    def step(size: int) -> None:
        tensor = Tensor()
        held.append(weakref.ref(tensor))
        try:
            raise KeyError("what went before")
        except KeyError:
            raise error  # noqa: B904 - the chain is what is tested

    assert not survives(step, 3)
    assert held[0]() is None, "the error's traceback still holds the step's tensors"


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    def step(size: int) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        survives(step, 3)
    release()
    assert survives(lambda size: None, 3)


@pytest.mark.slow
def test_two_ranks_agree_on_what_fits_both(tmp_path: Path) -> None:
    """Each has another limit; no rank waits for the other, all try the same sizes and end with the same number."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
    done = subprocess.run(
        [*command, "tests.support.batch_search_rank", str(tmp_path), "37", "11"],
        cwd=ROOT,
        timeout=120,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2))
    assert first == second
    assert first["largest"] == 11
    assert first["tried"] == [2, 4, 8, 16, 12, 10, 11]


TINY = """
output_dir: unused
model: {architecture: {d_model: 32, encoder_layers: 2, decoder_layers: 2, attention_heads: 2}}
data: {language: az, train: {files: unused.parquet}}
training: {steps: 12, batch_size: 16}
engine: {precision: fp32}
"""


def launched(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    (folder / "tiny.yaml").write_text(TINY)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
    command += ["benchmarks.memory", "measure", "--cpu", "--config", str(folder / "tiny.yaml"), *arguments]
    return subprocess.run(command, cwd=ROOT, timeout=280, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux")
def test_a_launchers_processes_search_with_real_steps(tmp_path: Path) -> None:
    """Both ranks run out of real memory again and again, and go on; one of them prints what both found."""
    done = launched(tmp_path, "--search", "--limit-gib", "1", "--seconds", "30", "--tokens", "448")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("batch_size: ") == 1
    largest = int(done.stdout.split("batch_size: ")[1].split()[0])
    assert 4 <= largest <= 128, done.stdout


def test_what_a_launcher_must_not_start_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring starts its own processes; ZeRO's ranks cannot fail one by one."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    monkeypatch.setenv("WORLD_SIZE", "2")
    command = ("--cpu", "--config", tmp_path / "tiny.yaml")
    for arguments, complaint in (
        ((), "leave the launcher out"),
        (("--search", "engine.zero_stage=2"), "starts each try"),
    ):
        outcome = run(benchmarks.memory.measure_command.main, *command, *arguments)
        assert outcome.code == 2 and complaint in outcome.complaint
