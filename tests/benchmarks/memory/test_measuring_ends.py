"""How measuring ends: what a search makes of a try that was ended, and what processes leave behind."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import benchmarks.memory.measure_command
from benchmarks.memory import cell_process, measuring
from benchmarks.memory.jobs import Job
from tests.end_to_end import run
from tests.support.untrained import save_checkpoint
from trainer.config.reading import load_config
from trainer.config.run import RunConfig
from trainer.engine.stopping import StopRequest


@pytest.fixture
def tiny_job(tiny_config: Path) -> Job:
    values = load_config(tiny_config).model_dump(mode="json")
    return Job(values, batch_size=2, seconds=1.0, tokens=12, warmup=1, steps=2, threads=1, on_cpu=True)


@pytest.mark.parametrize(
    ("status", "reason", "fits"),
    [
        ("measured", None, True),
        ("out_of_memory", "full", False),
        ("killed", f"rank 1 of 2: ended by {measuring.SYSTEMS_KILL}", False),
        ("killed", "not done after 900 s, and ended", None),
        ("killed", "ended by SIGSEGV", None),
        ("failed", "no such thing", None),
    ],
)
def test_which_ends_of_a_try_say_something_of_memory(
    tiny_config: Path, monkeypatch: pytest.MonkeyPatch, status: str, reason: str | None, fits: bool | None
) -> None:
    """Batches of 4 and more end so. A try that took too long would make the answer too small."""

    def measured(jobs: list[Job], *others: Any) -> dict[str, Any]:
        size = jobs[0].batch_size or 0
        ended = status if size >= 4 else "measured"
        if size > 30:
            ended = "out_of_memory"
        return {"cells": [{"batch_size": size, "status": ended, "reason": reason}]}

    monkeypatch.setattr(benchmarks.memory.measure_command, "measure_cells", measured)
    outcome = run(
        benchmarks.memory.measure_command.main, "--config", tiny_config, "--cpu", "--search", "--batch-sizes", 2
    )
    if fits is None:
        assert outcome.code == 1 and "batch_size:" not in outcome.output
        assert f"batch 4 ended for another reason than memory: {reason}" in outcome.complaint
    else:
        assert outcome.code == 0 and f"batch_size: {30 if fits else 3}\n" in outcome.output
        kept = "4 x accumulation 1" if fits else "2 x accumulation 2"
        said = f"With accumulation 1 a step is then {30 if fits else 3} utterances on each process, not the config's 4"
        assert said in outcome.output and f"batch {kept} keeps it" in outcome.output


def test_a_rank_that_cannot_be_started_leaves_none_behind(
    tiny_job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    original = subprocess.Popen

    def popen(*arguments: Any, **options: Any) -> Any:
        if started:
            raise OSError(11, "Resource temporarily unavailable")
        started.append(original([sys.executable, "-c", "import time; time.sleep(300)"]))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", popen)
    try:
        with pytest.raises(OSError, match="temporarily unavailable"):
            measuring.run_ranks(replace(tiny_job, processes=2), tmp_path, 60, "tests.support.ending_rank")
        assert started[0].poll() is not None
    finally:
        started[0].kill()
        started[0].wait()


def test_noise_does_not_go_into_the_encoders_cache(tiny_values: dict[str, Any], tiny_job: Job, tmp_path: Path) -> None:
    tiny_values["model"] = {"checkpoint": str(save_checkpoint(tmp_path / "plain")), "strategy": "frozen_encoder"}
    tiny_values["performance"] = {"cache_encoder": str(tmp_path / "cache")}
    values = RunConfig.model_validate(tiny_values).model_dump(mode="json")
    for data, kept in (("synthetic", False), ("stream", True)):
        job = replace(tiny_job, config=values, data=data)
        with StopRequest() as stop:
            trainer = cell_process.build(job, job.run_config(), tmp_path, stop)
            trainer.batches.close()
        assert (trainer.loss.encoder_cache is not None) is kept
        assert (tmp_path / "cache").exists() is kept
