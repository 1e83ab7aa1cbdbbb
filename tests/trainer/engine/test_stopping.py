"""Signals end commands at once while there is nothing to save; a run that waits for its data saves what it has."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import launch.train
from data.batches.loader import BatchGroup, TrainingBatches
from tests import ROOT
from tests.end_to_end import run
from trainer.command_line import run_command
from trainer.config.reading import ConfigError
from trainer.engine import lost_rank
from trainer.engine.stopping import Ended, StopRequest

from ...support.dataset_hub import DatasetHub, speech_dataset

MODEL = "team/whisper"
DATASET = "team/small"
AT_ONCE = 4.0  # seconds, of a machine with more to do


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return speech_dataset()


@pytest.fixture
def hub(files: dict[str, bytes]) -> Iterator[DatasetHub]:
    with DatasetHub() as server:
        server.commit(DATASET, files)
        yield server


@contextlib.contextmanager
def started(hub: DatasetHub, home: Path, *command: object, **more: str) -> Iterator[subprocess.Popen]:
    """A command at work, which ends with the context."""
    home.mkdir(exist_ok=True)
    with subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=hub.environment(home) | more,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_until(true: Callable[[], object], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it never came to where it should wait"
        time.sleep(0.05)


def end(process: subprocess.Popen, number: int) -> tuple[int, str, str]:
    """Send a signal; the exit code, output and errors."""
    begun = time.monotonic()
    process.send_signal(number)
    output, errors = process.communicate(timeout=AT_ONCE)
    assert time.monotonic() - begun < AT_ONCE
    return process.returncode, output, errors


WAITING = {
    "training, a model": ("launch/train.py", f"model.checkpoint={MODEL}", "model.architecture=null"),
    "training, data": ("launch/train.py", "data.train.files=null", f"data.train.hub={DATASET}", "data.train.name=az"),
    "evaluating": ("launch/eval.py", "--checkpoint", MODEL),
    "transcribing": ("launch/transcribe.py", "--checkpoint", MODEL, "README.md"),
    "preparing": ("launch/prepare.py", DATASET, "--kind", "hub", "--hub-name", "az", "--workers", "2", "--output"),
}


@pytest.mark.parametrize(
    ("what", "number"),
    [
        ("training, a model", signal.SIGTERM),
        pytest.param("training, data", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("training, a model", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("training, data", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("evaluating", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("transcribing", signal.SIGINT, marks=pytest.mark.slow),
        ("preparing", signal.SIGINT),
    ],
)
def test_while_the_hub_gives_no_answer(
    hub: DatasetHub, tiny_config: Path, tmp_path: Path, what: str, number: int
) -> None:
    hub.held_at = "team/"
    command = list(WAITING[what])
    if command[0] in ("launch/train.py", "launch/eval.py"):
        command[1:1] = ["--config", str(tiny_config)]
    if what == "preparing":
        command.append(str(tmp_path / "prepared"))
    with started(hub, tmp_path / "home", *command) as process:
        wait_until(lambda: hub.held, process)
        code, output, errors = end(process, number)
    assert (code, output, errors) == (128 + number, "", f"ended by {signal.Signals(number).name}\n")
    assert not (tmp_path / "run").exists()


def test_while_other_ranks_are_waited_for(hub: DatasetHub, tiny_config: Path, tmp_path: Path) -> None:
    """In native code, where Python's handlers are not called."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with started(hub, tmp_path / "home", "launch/train.py", "--config", tiny_config, **ranks) as process:
        wait_until(lambda: is_open(port), process)
        time.sleep(0.3)
        code, output, errors = end(process, signal.SIGTERM)
    assert (code, output, errors) == (143, "", "ended by SIGTERM\n")
    assert not (tmp_path / "run").exists()


def is_open(port: int) -> bool:
    with socket.socket() as other:
        return other.connect_ex(("127.0.0.1", port)) == 0


DEAF = """
import time
from trainer.command_line import run_command

def deaf(arguments):
    print("at work", flush=True)
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

run_command(deaf)
"""


def test_a_library_that_takes_the_signal_for_a_failure(hub: DatasetHub, tmp_path: Path) -> None:
    with started(hub, tmp_path / "home", "-c", DEAF, PYTHONPATH=str(ROOT)) as process:
        assert process.stdout is not None and process.stdout.readline() == "at work\n"
        time.sleep(0.2)
        assert end(process, signal.SIGINT) == (130, "", "ended by SIGINT\n")


def test_a_rank_that_waits_for_one_that_has_ended(hub: DatasetHub, tmp_path: Path) -> None:
    """A signal stops a run only where other ranks are alive or something is being written; else it ends the process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    module = ("-m", "tests.support.waiting_rank")
    with started(hub, tmp_path / "home", *module, **ranks, PYTHONPATH=str(ROOT)) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "every rank is alive\n"
        process.send_signal(signal.SIGTERM)
        for following in ("another has ended, this one writes\n", "waits\n"):
            time.sleep(0.6)
            assert process.poll() is None, "a stop that a user asked for, or what is being written, was cut off"
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == following
        errors = process.communicate(timeout=AT_ONCE)[1]
    assert (process.returncode, errors) == (143, "ended by SIGTERM: rank 1 has ended; its message says why\n")


class FirstEnds(torch.distributed.HashStore):
    """A store that all clones share, as the launcher's."""

    def clone(self) -> "FirstEnds":  # type: ignore[override]
        return self


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FirstEnds:
    made = FirstEnds()
    monkeypatch.setattr(lost_rank, "launchers_store", lambda: made)
    return made


@pytest.mark.parametrize("error", [KeyError("a bug"), ConfigError("a mistake"), Ended(signal.SIGTERM)])
def test_however_a_rank_ends_it_tells_the_others(
    store: FirstEnds, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def command(arguments: list[str]) -> None:
        raise error

    for rank in ("3", "0"):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises((KeyError, SystemExit)):
            run_command(command)
    assert lost_rank.ended_rank(store) == "rank 3", "the first to end, which has the reason"


def test_a_store_that_gives_no_answer_does_not_keep_a_rank(monkeypatch: pytest.MonkeyPatch, store: FirstEnds) -> None:
    monkeypatch.setattr(lost_rank, "SECONDS", 0.1)
    monkeypatch.setattr(lost_rank, "own_store", lambda: time.sleep(2))
    begun = time.monotonic()
    lost_rank.note_end()
    assert time.monotonic() - begun < 1


def test_after_an_error_signals_end_the_command_again() -> None:
    """While the error is explained, which may take a minute, there is nothing to save."""

    def fails() -> None:
        assert signal.getsignal(signal.SIGTERM) == stop.receive
        raise KeyError

    before = signal.getsignal(signal.SIGTERM)
    with StopRequest(listening=False) as stop:
        with pytest.raises(KeyError):
            stop.heeded_by(fails)
        assert signal.getsignal(signal.SIGTERM) == before


FORKING = """
import os, signal, time
from trainer.command_line import run_command

def forks(arguments):
    child = os.fork()
    if child == 0:
        print("child", flush=True)
        time.sleep(60)
        os._exit(0)
    time.sleep(0.3)
    os.kill(child, signal.SIGTERM)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    time.sleep(1.5)

run_command(forks)
"""


def test_a_forked_child_that_is_ended_ends_alone() -> None:
    done = subprocess.run([sys.executable, "-c", FORKING], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "child\n-15\n", "")


def test_a_run_that_waits_for_its_data_is_saved(hub: DatasetHub, tiny_values: dict[str, Any], tmp_path: Path) -> None:
    """The shard that is read second does not come any more: the step at work is finished and saved."""
    train = {"hub": DATASET, "name": "az", "split": "train", "columns": {"id": "id"}}
    tiny_values["data"] |= {"train": train, "validation": None, "workers": 1, "shuffle_window": 4}
    tiny_values["training"] = {"steps": 100, "batch_size": 2}
    (tmp_path / "hub.yaml").write_text(yaml.safe_dump(tiny_values))
    hub.held_at = "az/train-00002"
    with started(hub, tmp_path / "home", "launch/train.py", "--config", tmp_path / "hub.yaml") as process:
        metrics = tmp_path / "run" / "metrics.jsonl"
        wait_until(lambda: hub.held and metrics.exists() and '"step": 1,' in metrics.read_text(), process)
        time.sleep(0.5)
        code, output, errors = end(process, signal.SIGTERM)
    assert code == 0, errors
    assert "go on with --resume" in output
    assert (tmp_path / "run" / "checkpoints" / "step_00000002" / "run_state.json").exists()


def test_a_run_that_waits_for_its_first_data_has_nothing_to_save(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends as any command does, not as one that was stopped and can be resumed."""
    original = TrainingBatches.next_group

    def interrupted(self: TrainingBatches, microbatches: int) -> BatchGroup:
        os.kill(os.getpid(), signal.SIGINT)
        return original(self, microbatches)

    monkeypatch.setattr(TrainingBatches, "next_group", interrupted)
    outcome = run(launch.train.main, "--config", tiny_config, "data.validation=null")
    assert outcome.code == 130
    assert "go on with --resume" not in outcome.output
    assert not (tmp_path / "run" / "summary.json").exists()
