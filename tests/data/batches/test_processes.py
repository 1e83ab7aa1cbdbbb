"""Lanes read in processes give what they give in this one; what goes wrong in a process is told here."""

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from data.augmentation import warning
from data.batches import loader
from data.batches.labels import LabelEncoder
from data.batches.lanes import Batching
from data.batches.loader import READ_AHEAD, TrainingBatches, join_states
from data.batches.passing import IS_POSSIBLE, connected, send
from data.batches.processes import Message, Reader, Share, give, items, portable
from data.errors import DataError
from data.jobs import WorkerDied
from data.sources.source import Source
from tests import ROOT

from .test_loader import Run, build_run, clips, ids_of, labels  # noqa: F401 - fixtures

pytestmark = pytest.mark.skipif(not IS_POSSIBLE, reason="Linux only")


class InThisProcess:
    """Stands in for a Starter: its readers are threads, behind the same sockets, of the same pickled sources."""

    def __init__(self, batching: Batching, augmenter: Any) -> None:
        self.sources, self.augmenter = pickle.dumps(batching.sources), augmenter
        self.batching = pickle.loads(pickle.dumps(replace(batching, sources=())))
        self.shares: list[Share] = []

    def read(self, share: Share, pinned: bool) -> Reader:
        own, other = connected()
        self.shares.append(share)
        free, closed = threading.Semaphore(share.read_ahead), threading.Event()

        def serve() -> None:
            with other, contextlib.suppress(OSError):  # the reader was closed
                every = items(replace(self.batching, sources=pickle.loads(self.sources)), self.augmenter, share)
                try:
                    give(other, every, free, [])
                except DataError as error:
                    send(other, Message(error=portable(error)))
                closed.wait()

        def count() -> None:
            with contextlib.suppress(OSError):
                while other.recv(1):
                    free.release()
            free.release()
            closed.set()

        threading.Thread(target=serve, daemon=True).start()
        threading.Thread(target=count, daemon=True).start()
        return Reader(own, pinned)

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class SeparateRun(Run):
    """A run whose lanes are read by :class:`InThisProcess`."""

    def batches(self, rank: int = 0, state: dict[str, Any] | None = None) -> TrainingBatches:
        batching = Batching(self.sources, self.config, self.labels, 3, self.seed)
        return TrainingBatches(batching, rank, self.ranks, state, in_processes=True)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "Starter", InThisProcess)


def separate(run: Run, workers: int) -> SeparateRun:
    config = run.config.model_copy(update={"workers": workers})
    return SeparateRun(run.sources, config, run.labels, run.seed, run.ranks, run.microbatches)


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(("lanes", "workers", "ranks"), [(4, 1, 1), (5, 3, 1), (5, 2, 2)])
def test_steps_are_those_without_workers_whatever_their_number(
    clips: str,  # noqa: F811
    labels: LabelEncoder,  # noqa: F811
    lanes: int,
    workers: int,
    ranks: int,
) -> None:
    """Through the end of an epoch, and from states in the middle of it, also with another number of workers."""
    run = replace(build_run(clips, labels, lanes), ranks=ranks, microbatches=3)
    steps = run.steps(9)
    assert steps[-1].epoch >= 1
    again = separate(run, workers).steps(9)
    assert ids_of(again) == ids_of(steps)
    assert [step.state for step in again] == [step.state for step in steps]
    begin = 2
    assert ids_of(separate(run, workers + 1).steps(4, again[begin].state)) == ids_of(steps[begin + 1 : begin + 5])


@pytest.mark.usefixtures("stand_in")
def test_a_process_reads_its_share_a_few_batches_ahead(clips: str, labels: LabelEncoder) -> None:  # noqa: F811
    with separate(build_run(clips, labels, 5), 2).open() as (batches,):
        shares = batches.starter.shares  # type: ignore[union-attr]
        assert [list(share.positions) for share in shares] == [[0, 2, 4], [1, 3]]
        assert [share.read_ahead for share in shares] == [3 * READ_AHEAD, 2 * READ_AHEAD]
        batches.next_group(1)
        state = batches.next_group(2).state
    with separate(build_run(clips, labels, 5), 2).open(join_states([state])) as (batches,):
        shares = batches.starter.shares  # type: ignore[union-attr]
        assert [list(share.positions) for share in shares] == [[3, 0, 2], [4, 1]], "in the order of their turns"


@pytest.mark.usefixtures("stand_in")
def test_an_error_in_a_process_is_raised_where_its_batch_would_have_come(
    tmp_path: Path,
    clips: str,  # noqa: F811
    labels: LabelEncoder,  # noqa: F811
) -> None:
    (tmp_path / "a.parquet").write_bytes(Path(clips.replace("*", "0")).read_bytes())
    run = build_run(str(tmp_path / "*.parquet"), labels, lanes=1)
    assert run.sources[0].parquet is not None  # its footer was read
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content[:200] + bytes(len(content) - 200))
    with separate(run, 1).open() as (batches,), pytest.raises(DataError, match=r"cannot read .*a\.parquet"):
        batches.next_group(9)


def test_no_process_without_workers_and_none_unless_asked_for(
    clips: str,  # noqa: F811
    labels: LabelEncoder,  # noqa: F811
) -> None:
    with separate(build_run(clips, labels, 2), 0).open() as (batches,):
        assert batches.starter is None
    with build_run(clips, labels, 2, workers=1).open() as (batches,):
        assert batches.starter is None


def test_a_reader_tells_warnings_and_that_its_process_died(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warning, "PRINTED", set())
    ours, theirs = connected()
    reader = Reader(ours, pinned=False)
    send(theirs, Message(error=OSError("gone"), warnings=("a clip is broken",)))
    send(theirs, Message(error=OSError("gone"), warnings=("a clip is broken",)))
    for _ in range(2):
        with pytest.raises(OSError, match="gone"):
            next(reader)
    assert capsys.readouterr().err == "warning: a clip is broken\n"
    theirs.close()
    with pytest.raises(WorkerDied, match="killed for lack of memory"):
        next(reader)
    reader.close()


def test_warnings_are_gathered_for_another_process(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warning, "PRINTED", set())
    monkeypatch.setattr(warning, "GATHERED", [])
    told = warning.gather()
    for text in ("one", "one", "two"):
        warning.warn_once(text)
    assert told == ["one", "two"] and not capsys.readouterr().err


def test_an_error_that_cannot_travel_arrives_in_words() -> None:
    class Strange(Exception):
        def __init__(self, number: int, name: str) -> None:
            super().__init__(f"{number} {name}")

    arrived = portable(Strange(1, "a"))
    assert type(arrived) is RuntimeError and str(arrived) == "Strange: 1 a"
    assert pickle.loads(pickle.dumps(arrived)).__notes__ == arrived.__notes__ and "data.workers" in arrived.__notes__[0]
    same = DataError("kept")
    assert portable(same) is same


def test_an_opened_source_travels(clips: str) -> None:  # noqa: F811
    source = Source(build_run(clips, None).sources[0].config, "data.train")  # type: ignore[arg-type]
    assert source.parquet is not None
    list(source.rows())
    copy = pickle.loads(pickle.dumps(source))
    assert copy.parquet.kept == {} and [row["id"] for row in copy.rows()] == [row["id"] for row in source.rows()]


PROGRAM = """
import json, sys
from data.batches import loader
from data.batches.labels import LabelEncoder
from tests.data.batches.test_loader import build_run
from modeling.byte_processor import build_byte_processor
from tests.data.batches.test_processes import separate

loader.READ_AHEAD = 1
labels = LabelEncoder(build_byte_processor(["az"]).tokenizer, True, "az")
with separate(build_run(sys.argv[1], labels, 4), 2).open() as (batches,):
    for line in sys.stdin:
        group = batches.next_group(1)
        if group.exhausted:
            batches.next_epoch()
        print(json.dumps([batches.starter.process.pid, [b and b.ids for b in group.batches]]), flush=True)
"""


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until_gone(pids: list[int]) -> None:
    end = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < end, "still there"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["a reader is killed", "the owner is killed", "the owner closes"])
def test_real_processes(clips: str, labels: LabelEncoder, end: str) -> None:  # noqa: F811
    """Into a second epoch, through signals to all of them, until one of them ends."""
    command = [sys.executable, "-c", PROGRAM, clips]
    owner = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert owner.stdin is not None and owner.stdout is not None

    def next_group() -> tuple[int, list[Any]]:
        owner.stdin.write("\n")  # type: ignore[union-attr]
        owner.stdin.flush()  # type: ignore[union-attr]
        return tuple(json.loads(owner.stdout.readline()))  # type: ignore[union-attr]

    with build_run(clips, labels, 4).open() as (expected,):
        number = since = 0
        while since < 2:  # groups of the second epoch: more remain than can be on their way already
            group = expected.next_group(1)
            starter, ids = next_group()
            assert ids == [batch and batch.ids for batch in group.batches]
            number, since = number + 1, since + expected.epoch
            if group.exhausted:
                expected.next_epoch()
            if number == 3:
                for pid in [starter, *children(starter)]:
                    os.kill(pid, signal.SIGINT)
                    os.kill(pid, signal.SIGTERM)
    assert expected.epoch == 1
    pids = [starter, *children(starter)]
    assert len(pids) >= 3
    if end == "a reader is killed":
        for pid in pids[1:]:
            os.kill(pid, signal.SIGKILL)
        _, errors = owner.communicate("\n" * 20)
        assert owner.returncode == 1 and errors.count("Traceback") == 1 and "WorkerDied: a process that reads" in errors
    elif end == "the owner is killed":
        owner.kill()
        assert not owner.communicate()[1]
    else:
        _, errors = owner.communicate("")
        assert owner.returncode == 0 and not errors
    wait_until_gone(pids)


def test_batches_come_into_memory_that_is_asked_to_be_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    empty = torch.empty

    def recorded(*size: Any, pin_memory: bool = False, **options: Any) -> torch.Tensor:
        asked.append(pin_memory)
        return empty(*size, **options)

    monkeypatch.setattr(torch, "empty", recorded)
    for pinned in (False, True):
        ours, theirs = connected()
        with ours, theirs, pytest.raises(RuntimeError):
            send(theirs, Message(error=RuntimeError("seen")))
            next(Reader(ours, pinned))
    assert asked == [False, True]
