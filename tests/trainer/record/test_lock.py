"""One job at a time in a run's folder; a killed one's lock is no obstacle, nor is one that a data worker inherited."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import launch.train
from tests import ROOT
from tests.end_to_end import Outcome, run
from trainer.config.reading import ConfigError
from trainer.record.lock import LOCK, only_one, refuse_if_locked
from trainer.record.saving import RunLock

TRAIN = ROOT / "launch" / "train.py"
LONG = ("training.steps=100000", "data.validation=null", "checkpoints.every_steps=1")


@pytest.fixture
def train(tiny_config: Path) -> Callable[..., Outcome]:
    """Trains the tiny model into ``run``, with overrides and flags."""
    return lambda *arguments: run(launch.train.main, "--config", tiny_config, *arguments)


def wait_for(there: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    limit = time.monotonic() + 60
    while not there():
        assert time.monotonic() < limit
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def test_a_second_job_in_the_folder_is_refused_until_the_first_is_killed(
    train: Callable[..., Outcome], tiny_config: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    options = (*LONG, "data.workers=1")
    command = [sys.executable, str(TRAIN), "--config", str(tiny_config), *options]
    environment = os.environ | {"PYTHONPATH": str(TRAIN.parents[1])}
    job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    try:
        wait_for(lambda: list(folder.glob("checkpoints/step_*")), job)
        for flags in (("--resume",), ()):
            outcome = train(*flags, *options)
            assert outcome.code == 2
            assert f"another job is at work on the run in {folder}" in outcome.complaint
            assert f"process {job.pid} on " in outcome.complaint
    finally:
        os.kill(job.pid, signal.SIGKILL)
        job.communicate(timeout=30)
    outcome = train("--resume", *options, "training.steps=1", "optimizer.warmup_steps=0")  # is done already
    assert outcome.code == 0, outcome.errors


def test_the_lock_is_let_go_when_a_run_ends(train: Callable[..., Outcome], tmp_path: Path) -> None:
    assert train("training.steps=1", "optimizer.warmup_steps=0", "data.validation=null").code == 0
    refuse_if_locked(tmp_path / "run", "the run")
    with only_one(tmp_path / "run"):
        pass


def test_a_refused_run_leaves_no_lock(train: Callable[..., Outcome], tmp_path: Path) -> None:
    assert train("data.train.files=nowhere.parquet").code == 2
    assert not (tmp_path / "run").exists()


def test_a_folder_with_a_lock_alone_is_free(train: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).write_text("")
    assert train("training.steps=1", "optimizer.warmup_steps=0", "data.validation=null").code == 0


@pytest.mark.parametrize("for_children", [True, False])
def test_a_forked_child_keeps_the_lock_only_where_it_is_meant_to(tmp_path: Path, for_children: bool) -> None:
    with only_one(tmp_path, for_children=for_children):
        (reader, writer), (told, tells) = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            os.write(tells, b" ")
            os.read(reader, 1)
            os._exit(0)
        os.read(told, 1)
    try:
        if for_children:
            with pytest.raises(ConfigError, match="another job is at work on a plan"), only_one(tmp_path):
                pass
        else:
            with only_one(tmp_path):
                pass
    finally:
        os.write(writer, b" ")
        os.waitpid(child, 0)


def test_the_holder_is_named(tmp_path: Path) -> None:
    with only_one(tmp_path, "the run"):
        holder = json.loads((tmp_path / LOCK).read_text())
        assert holder["process"] == os.getpid()
        with pytest.raises(ConfigError, match=f"process {os.getpid()} on {holder['host']}, since 20"):
            refuse_if_locked(tmp_path, "the run")


def test_of_two_jobs_that_found_the_folder_empty_the_later_is_refused(tmp_path: Path) -> None:
    """Also where the first one has ended before the second one takes the lock."""
    alone: Any = SimpleNamespace(is_main_process=True, num_processes=1)
    with RunLock(tmp_path, was_empty=True) as lock:
        lock.take(alone)
        (tmp_path / "config.yaml").write_text("")
    with RunLock(tmp_path, was_empty=True) as lock, pytest.raises(ConfigError, match="has just begun a run"):
        lock.take(alone)
    with RunLock(tmp_path, was_empty=False) as lock:
        lock.take(alone)


def test_a_run_that_goes_on_clears_away_what_a_kill_left(train: Callable[..., Outcome], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    options = ("optimizer.warmup_steps=0", "evaluation.every_steps=1")
    assert train("training.steps=1", *options).code == 0
    (folder / "best").rename(folder / ".old_best")  # killed between two renames
    for unfinished in (folder / ".partial_best", folder / "checkpoints" / ".partial_step_00000009"):
        unfinished.mkdir()
    outcome = train("--resume", "training.steps=2", "data.validation=null", *options)
    assert outcome.code == 0, outcome.errors
    assert (folder / "best" / "model.safetensors").exists()
    assert not list(folder.rglob(".partial_*")) and not list(folder.rglob(".old_*"))
