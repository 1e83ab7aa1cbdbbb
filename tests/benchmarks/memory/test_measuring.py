"""Measured cells: what is written of them, and that one which dies takes no other with it."""

import json
import math
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import benchmarks.memory.measure_command
from benchmarks.memory import measuring
from benchmarks.memory.cell_process import (
    COULD_NOT,
    WatchedBatches,
    describe_batches,
    end_with,
    peak_bytes,
    take_steps,
)
from benchmarks.memory.jobs import Job
from benchmarks.memory.random_weights import model_for_shape
from data.batches.loader import BatchGroup
from tests.end_to_end import run
from trainer.config.reading import load_config
from trainer.memory.cells import synthetic_group
from trainer.memory.flops import step_flops
from trainer.model.building import planned_model

SPEEDS = (
    "steps_per_second",
    "utterances_per_second",
    "audio_seconds_per_second",
    "target_tokens_per_second",
    "model_flops_per_step",
    "flops_per_second",
)


def measure(*arguments: object) -> Any:
    return run(benchmarks.memory.measure_command.main, *arguments)


@pytest.fixture
def tiny_job(tiny_config: Path) -> Job:
    values = load_config(tiny_config).model_dump(mode="json")
    return Job(values, batch_size=2, seconds=1.0, tokens=12, warmup=1, steps=2, threads=1, on_cpu=True)


@pytest.mark.slow
def test_a_cell_without_memory_is_reported_and_the_others_go_on(tiny_config: Path, tmp_path: Path) -> None:
    """The first wants 3.6 GiB of audio where 3 may be had; the stream, which has fewer rows, and the second train."""
    output = tmp_path / "figures" / "cells.json"
    sizes = ("--batch-sizes", "60000,2", "--seconds", 1, "--tokens", 12)
    limits = ("--cpu", "--limit-gib", 3, "--steps", 2, "--data", "both", "--output", output)
    outcome = measure("--config", tiny_config, *sizes, *limits, "training.accumulation=2", "data.shuffle_window=20")
    assert outcome.code == 0, outcome.errors
    found = json.loads(output.read_text())
    assert {"device", "cores", "threads", "versions", "date"} <= found["machine"].keys()
    assert found["command"].startswith("python -m benchmarks.memory measure --config")
    lacking, _, synthetic, stream = found["cells"]
    assert lacking["status"] == "out_of_memory" and "allocate memory" in lacking["reason"]
    assert lacking["batch_size"] == 60_000 and "step_seconds" not in lacking
    assert "out of memory" in outcome.output
    for cell, data in ((synthetic, "synthetic"), (stream, "stream")):
        assert cell["status"] == "measured" and cell["reason"] is None and cell["data"] == data
        assert cell["model"] == "own shape" and cell["optimizer"] == "adamw" and cell["accumulation"] == 2
        assert len(cell["step_seconds"]) == cell["steps"] == 2 and cell["warmup_steps"] == 1
        assert cell["peak_bytes"]["resident"] > 100 * 2**20 and cell["peak_bytes"]["allocated"] is None
        assert all(cell[name] > 0 for name in SPEEDS)
        total = sum(cell["step_seconds"])
        assert cell["utterances_per_second"] == pytest.approx(2 * 2 * 2 / total), "steps, microbatches, utterances"
        assert cell["utilisation"] is None, "nobody knows what this CPU could do"
    assert synthetic["mean_clip_seconds"] == 1 and synthetic["mean_target_tokens"] == 12 - 3
    assert stream["mean_clip_seconds"] != 1 and 0 < stream["data_wait_share"] < 1
    assert synthetic["data_wait_share"] < 0.01


def test_a_rank_that_is_killed_ends_the_cell(tiny_job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by the system when memory runs out; the other rank would wait for ever."""
    monkeypatch.setattr(measuring, "SECONDS_TO_LEAVE", 0.2)
    started = time.monotonic()
    cell = measuring.measure_cell(replace(tiny_job, processes=2), 60, "tests.support.ending_rank")
    assert time.monotonic() - started < 30
    assert cell["status"] == "killed"
    assert cell["reason"] == "rank 1 of 2: ended by SIGKILL; the system does that when memory runs out"
    assert cell["processes"] == 2 and cell["peak_bytes"]["resident"] is None


def test_a_cell_that_takes_too_long_is_ended_and_the_next_begins(tiny_job: Job, tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    written: list[int] = []

    def tell(cell: dict[str, Any]) -> None:
        told.append(cell)
        written.append(len(json.loads((tmp_path / "cells.json").read_text())["cells"]))

    found = measuring.measure_cells([tiny_job, tiny_job], 0.3, "typed", tmp_path / "cells.json", tell)
    assert [cell["status"] for cell in found["cells"]] == ["killed", "killed"]
    assert found["cells"][0]["reason"] == "not done after 0.3 s, and ended"
    assert written == [1, 2], "each is in the file when it is told of"
    assert json.loads((tmp_path / "cells.json").read_text()) == found


def test_a_rank_does_not_outlive_what_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a benchmark that is killed leaves a process on the GPU."""
    parents = iter([7, 7, 1])
    left: list[int] = []
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(os, "_exit", left.append)
    end_with(7)
    assert left == [COULD_NOT]


@pytest.mark.parametrize(
    ("ranks", "status", "reason"),
    [
        ([(-9, {}, "")], "killed", "ended by SIGKILL; the system does that when memory runs out"),
        ([(137, {}, "")], "killed", "ended by SIGKILL; the system does that when memory runs out"),
        ([(-11, {}, "")], "killed", "ended by SIGSEGV"),
        (
            [(-6, {}, "terminate called after throwing 'std::bad_alloc'")],
            "out_of_memory",
            "ended by SIGABRT, out of me",
        ),
        ([(1, {}, "Traceback\nImportError: no such thing\n\n")], "failed", "ImportError: no such thing"),
        ([(0, {}, "")], "failed", "it ended without a word"),
        (
            [(1, {}, "lost the other"), (3, {"status": "out_of_memory", "reason": "full", "precision": "bf16"}, "")],
            "out_of_memory",
            "rank 1 of 2: full",
        ),
    ],
)
def test_how_ranks_ended_is_told(ranks: list[Any], status: str, reason: str) -> None:
    found = measuring.outcome_of([measuring.Rank(*rank) for rank in ranks], None)
    assert found[0] == status and str(found[1]).startswith(reason)


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a GPU to measure on")
def test_without_a_gpu_prediction_or_the_cpu_is_offered(tiny_config: Path) -> None:
    outcome = measure("--config", tiny_config)
    assert outcome.code == 2
    assert "benchmarks.memory predict" in outcome.complaint and "--cpu" in outcome.complaint


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--batch-sizes", "1,x"), "'x' is not a whole number"),
        (("--cpu", "--search", "--data", "both"), "--search tries one kind of data"),
        (("--limit-gib", 2), "add --cpu"),
        (("--cpu", "training.batch=3"), "unknown key training.batch"),
    ],
)
def test_bad_arguments(tiny_config: Path, arguments: tuple[Any, ...], complaint: str) -> None:
    outcome = measure("--config", tiny_config, *arguments)
    assert outcome.code == 2 and complaint in outcome.complaint


@pytest.mark.slow
def test_the_search_finds_what_a_limit_lets_through(tiny_config: Path, tmp_path: Path) -> None:
    """Every try a fresh process with 1 GiB: about 6 of them."""
    output = tmp_path / "search.json"
    shape = ("--seconds", 30, "--tokens", 448, "--steps", 1, "--warmup", 0, "--batch-sizes", 16)
    outcome = measure("--config", tiny_config, "--cpu", "--limit-gib", 1, "--search", *shape, "--output", output)
    assert outcome.code == 0, outcome.errors
    found = json.loads(output.read_text())
    largest = found["largest_batch"]
    assert f"batch_size: {largest}" in outcome.output
    fitted = {cell["batch_size"]: cell["status"] == "measured" for cell in found["cells"]}
    assert fitted[largest] and not fitted[largest + 1]
    assert {cell["status"] for cell in found["cells"]} <= {"measured", "out_of_memory", "killed"}


def test_a_search_tells_other_failures(tiny_config: Path, tmp_path: Path) -> None:
    """A checkpoint that is not there is no lack of memory."""
    missing = ("model.architecture=null", f"model.checkpoint={tmp_path / 'missing'}")
    outcome = measure("--config", tiny_config, "--cpu", "--search", *missing)
    assert outcome.code == 1
    assert "another reason than memory" in outcome.complaint and "missing" in outcome.complaint


class Clock:
    """A trainer whose first step takes long, as first steps do, and whose data makes it wait."""

    def __init__(self, group: BatchGroup, wait: float) -> None:
        self.group, self.wait, self.steps = group, wait, 0
        self.batches: Any = WatchedBatches(self, torch.device("cpu"))
        self.config = self.training = self
        self.accumulation, self.accelerator, self.device = 1, self, torch.device("cpu")

    def next_group(self, microbatches: int) -> BatchGroup:
        time.sleep(self.wait)
        return self.group

    def find_data(self, verdict: None = None) -> tuple[BatchGroup, int]:
        return self.group, self.group.target_tokens

    def train_step(self, group: BatchGroup, tokens: int) -> None:
        time.sleep(0.5 if self.steps == 0 else 0.03)
        self.steps += 1
        self.batches.next_group(1)


def test_warm_up_is_not_timed_and_waits_are(tiny_job: Job) -> None:
    trainer: Any = Clock(synthetic_group(tiny_job.cell("fp32"), 100), wait=0.02)
    seen = take_steps(trainer, warmup=1, steps=3)
    assert trainer.steps == 4 and len(seen["step_seconds"]) == len(seen["batches"]) == 3
    assert all(0.05 <= seconds < 0.4 for seconds in seen["step_seconds"])
    assert 3 * 0.02 <= seen["data_wait_seconds"] < sum(seen["step_seconds"]) - 3 * 0.03 + 0.01
    assert seen["batches"][0] == {"seconds": [1.0, 1.0], "tokens": 12, "targets": 18}


def test_operations_are_those_of_the_cell_whatever_its_batch(tiny_job: Job) -> None:
    """Counted utterance by utterance, as the stream's are, they come to those of the synthetic step as a whole."""
    values = tiny_job.config | {"training": tiny_job.config["training"] | {"accumulation": 3}}
    job = replace(tiny_job, config=values)
    cell = job.cell("fp32")
    batches = describe_batches(synthetic_group(cell, 100)) * job.steps
    assert measuring.operations_per_step(cell, job, batches) == pytest.approx(step_flops(cell), rel=1e-6)
    unknown = replace(cell, config=load_unknown(tiny_job))
    assert measuring.operations_per_step(unknown, job, batches) is None


def load_unknown(job: Job) -> Any:
    model = job.config["model"] | {"architecture": None, "checkpoint": "someone/some-whisper"}
    return Job(job.config | {"model": model}).run_config()


@pytest.mark.parametrize(
    ("device", "flops"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("NVIDIA GeForce RTX 4090", 165e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L40", None),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", None),
        ("Some new one", None),
    ],
)
def test_peak_of_a_device_by_the_name_that_its_driver_gives(device: str, flops: float | None) -> None:
    on_gpu = {"peak_bytes": {"device_used": 1}, "machine": {"device": device}}
    assert measuring.device_flops(on_gpu) == flops
    assert measuring.device_flops(on_gpu | {"peak_bytes": {"device_used": None}}) is None


def test_a_published_model_needs_no_download(tiny_values: dict[str, Any], tmp_path: Path) -> None:
    """Its shape and strategy are the plan's, its weights are finite and drawn at random."""
    tiny_values["model"] = {"checkpoint": "openai/whisper-tiny", "strategy": "frozen_encoder", "dropout": 0.1}
    path = tmp_path / "published.yaml"
    path.write_text(yaml.safe_dump(tiny_values), encoding="utf-8")
    config = load_config(path)
    model, planned = model_for_shape(config), planned_model(config)
    described = [(name, p.shape, p.requires_grad) for name, p in model.named_parameters()]
    assert described == [(name, p.shape, p.requires_grad) for name, p in planned.named_parameters()]
    assert model.config.encoder_padding == "clip" and model.config.dropout == 0.1
    assert all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())
    assert model.model.decoder.layers[0].fc1.weight.std() > 0


def test_resident_memory_is_the_peak_of_this_process() -> None:
    cpu = torch.device("cpu")
    before = peak_bytes(cpu)["resident"]
    if before is None:
        pytest.skip("no /proc here")
    ballast = torch.ones(64 * 2**20)
    after = peak_bytes(cpu)["resident"]
    assert after is not None and after >= before and math.isclose(float(ballast[-1]), 1)
    assert after > 256 * 2**20
