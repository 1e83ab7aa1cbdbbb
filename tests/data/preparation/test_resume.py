"""A preparation killed at any time goes on with nothing twice and nothing missing, and ends as if it had not been."""

import hashlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data import jobs as running
from data.errors import DataError
from data.jobs import WorkerDied, run_all
from data.preparation import work
from data.preparation.prepare import prepare
from data.preparation.work import JobResult
from tests import ROOT

from ...support.corpora_on_disk import encoded
from .test_prepare import settings

CLIPS = 60


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 clips, three without text, two with an id that others have."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(6):
        (folder / f"{number}.flac").write_bytes(encoded(number))
    rows = [{"path": f"{i % 6}.flac", "text": f"text {i}", "id": f"id{i}"} for i in range(CLIPS)]
    for number in (7, 22, 41):
        rows[number]["text"] = ""
    rows[30]["id"] = rows[59]["id"] = "id3"
    (folder / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "all.jsonl"


def content(output: Path) -> dict[str, str]:
    """Digests of all that a user sees of an output."""
    files = (path for path in sorted(output.rglob("*")) if path.is_file() and ".jobs" not in path.parts)
    return {str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


ARGUMENTS = ["--job-rows", "5", "--split", "train=0.7,test=0.3", "--language", "az"]


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    output = tmp_path_factory.mktemp("whole") / "out"
    shares = {"train": 0.7, "test": 0.3}
    summary = prepare(settings(corpus, output, job_rows=5, shares=shares))
    assert summary.clips == CLIPS - 5 and summary.dropped == {"empty text": 3, "duplicate id": 2}
    return content(output)


def start(corpus: Path, output: Path, workers: int) -> subprocess.Popen[str]:
    command = [sys.executable, "launch/prepare.py", str(corpus), "--output", str(output), "--workers", str(workers)]
    return subprocess.Popen(
        [*command, *ARGUMENTS], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_again_and_again(corpus: Path, undisturbed: dict[str, str], tmp_path: Path, workers: int) -> None:
    chance = random.Random(workers)
    output = tmp_path / "out"
    kills = 0
    for attempt in range(8):
        process = start(corpus, output, workers)
        jobs = output / ".jobs"
        wanted = chance.randint(1, 4) + (len(list(jobs.glob("0*.json"))) if jobs.exists() else 0)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if jobs.exists() and len(list(jobs.glob("0*.json"))) >= wanted:
                os.killpg(process.pid, signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.001)
        printed, _ = process.communicate(timeout=60)
        if process.returncode == 0:
            assert attempt > 0 and "done before" in printed
            break
        assert process.returncode == -signal.SIGKILL, printed
    assert kills >= 1
    process = start(corpus, output, workers)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0, printed
    assert content(output) == undisturbed


@pytest.mark.parametrize("stage", ["write_bytes", "place"])
def test_stopped_at_every_write(
    corpus: Path, undisturbed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """Every single write is once the last thing that happens before a power cut."""
    from data import storage

    output = tmp_path / "out"
    wanted = settings(corpus, output, job_rows=5, shares={"train": 0.7, "test": 0.3})

    class PowerCut(BaseException):
        pass

    left = [0]
    real = getattr(storage, stage)

    def cut(*arguments: object) -> None:
        if left[0] == 0:
            raise PowerCut
        left[0] -= 1
        real(*arguments)

    monkeypatch.setattr(storage, stage, cut)
    for writes in range(200):
        left[0] = writes % 4 + 1  # each start gets a little further
        try:
            prepare(wanted)
            break
        except PowerCut:
            continue
    else:
        pytest.fail("never finished")
    assert writes > 5
    assert content(output) == undisturbed


def test_workers_and_their_number_change_nothing(corpus: Path, undisturbed: dict[str, str], tmp_path: Path) -> None:
    prepare(settings(corpus, tmp_path / "out", job_rows=5, shares={"train": 0.7, "test": 0.3}), workers=2)
    assert content(tmp_path / "out") == undisturbed


def test_a_cluster_s_output_is_one_machine_s(corpus: Path, undisturbed: dict[str, str], tmp_path: Path) -> None:
    """A Dask scheduler with two worker processes, as on two machines."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        used: set[str] = set()
        summary = prepare(
            settings(corpus, tmp_path / "out", job_rows=5, shares={"train": 0.7, "test": 0.3}),
            cluster=cluster.scheduler_address,
        )
        for worker in cluster.scheduler.workers.values():
            used.add(worker.address)
    assert len(used) == 2 and summary.clips == CLIPS - 5
    assert content(tmp_path / "out") == undisturbed


def test_a_cluster_s_workers_get_whole_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have working folders of their own."""
    from data.preparation.prepare import with_absolute_paths

    monkeypatch.chdir(tmp_path)
    found = with_absolute_paths(settings("a.jsonl", Path("out"), audio_root="s3://b/audio"))
    assert (found.corpus.input, found.output) == (str(tmp_path / "a.jsonl"), str(tmp_path / "out"))
    assert found.corpus.audio_root == "s3://b/audio"
    assert with_absolute_paths(settings("owner/name", Path("out"), kind="hub")).corpus.input == "owner/name"


def test_a_cluster_that_does_not_answer(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "CLUSTER_ANSWERS_IN", 1)
    with pytest.raises(DataError, match="no Dask scheduler answers"):
        prepare(settings(corpus, tmp_path / "out"), cluster="127.0.0.1:1")


def test_a_corpus_that_grew_redoes_only_what_changed(corpus: Path, tmp_path: Path) -> None:
    lines = corpus.read_text().splitlines()
    grown = corpus.with_name("grown.jsonl")
    grown.write_text("\n".join(lines[:32]))
    before: list[JobResult] = []
    prepare(settings(grown, tmp_path / "out", job_rows=5), watch=lambda result, reused: before.append(result))
    grown.write_text("\n".join(lines))
    jobs: dict[int, bool] = {}
    prepare(
        settings(grown, tmp_path / "out", job_rows=5),
        watch=lambda result, reused: jobs.update({result.number: reused}),
    )
    assert len(before) == 7
    # line 32 got its line break only now, so its job is another's
    assert [number for number, reused in sorted(jobs.items()) if reused] == list(range(6))
    prepare(settings(grown, tmp_path / "whole", job_rows=5))
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_corpus_that_shrank_leaves_nothing_behind(corpus: Path, tmp_path: Path) -> None:
    shrunk = corpus.with_name("shrunk.jsonl")
    lines = corpus.read_text().splitlines()
    for layout in ("parquet", "audiofolder"):
        shrunk.write_text("\n".join(lines))
        prepare(settings(shrunk, tmp_path / layout, job_rows=5, layout=layout))
        shrunk.write_text("\n".join(lines[:12]))
        prepare(settings(shrunk, tmp_path / layout, job_rows=5, layout=layout))
        prepare(settings(shrunk, tmp_path / f"{layout}-new", job_rows=5, layout=layout))
        assert content(tmp_path / layout) == content(tmp_path / f"{layout}-new")


def test_what_was_a_duplicate_comes_back_once_the_corpus_is_right(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.flac").write_bytes(encoded(number))
    rows = [{"path": f"{i}.flac", "text": f"text {i}", "id": f"id{i}"} for i in range(6)]
    manifest = tmp_path / "all.jsonl"
    for layout in ("parquet", "audiofolder"):
        output = tmp_path / layout
        manifest.write_text("\n".join(map(json.dumps, [{**rows[0], "id": "id4"}, *rows[1:]])))
        assert prepare(settings(manifest, output, job_rows=2, layout=layout)).dropped == {"duplicate id": 1}
        manifest.write_text("\n".join(map(json.dumps, rows)))
        summary = prepare(settings(manifest, output, job_rows=2, layout=layout))
        assert summary.clips == 6 and summary.reused == 4 and not summary.dropped
        prepare(settings(manifest, tmp_path / f"{layout}-new", job_rows=2, layout=layout))
        assert content(output) == content(tmp_path / f"{layout}-new")


def test_another_preparation_of_the_output_is_refused(corpus: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    prepare(settings(corpus, tmp_path / "out"))
    with FileLock(tmp_path / "out" / ".jobs" / "lock"), pytest.raises(DataError, match="another preparation"):
        prepare(settings(corpus, tmp_path / "out"))
    prepare(settings(corpus, tmp_path / "out"))


def test_another_input_wants_another_output(corpus: Path, tmp_path: Path) -> None:
    prepare(settings(corpus, tmp_path / "out"))
    other = corpus.with_name("other.jsonl")
    other.write_text(corpus.read_text())
    with pytest.raises(DataError, match=r"corpus.input was .*all\.jsonl.*other\.jsonl"):
        prepare(settings(other, tmp_path / "out"))


@pytest.mark.parametrize("layout", ["parquet", "audiofolder"])
@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_what_is_gone_or_damaged_is_made_again(corpus: Path, tmp_path: Path, layout: str, damage: str) -> None:
    output = tmp_path / "out"
    prepare(settings(corpus, output, job_rows=5, layout=layout))
    before = content(output)
    victim = sorted(output.glob("train-*.parquet" if layout == "parquet" else "train/00001/*.flac"))[1]
    piece = output / ".jobs" / "train-00001.jsonl"
    if damage == "cut" and layout == "audiofolder":
        piece.write_bytes(piece.read_bytes()[:-20])
    elif damage == "cut":
        victim.write_bytes(victim.read_bytes()[:-100])
    else:
        victim.unlink()
    summary = prepare(settings(corpus, output, job_rows=5, layout=layout))
    assert summary.rows - summary.reused == 5
    assert content(output) == before


def test_changes_that_leave_sizes_and_texts_as_they_were_are_seen(tmp_path: Path) -> None:
    from ...support.corpora_on_disk import arrow, parquet, transcripts_beside

    folder = parquet(tmp_path / "parquet")
    prepare(settings(folder, tmp_path / "p"))
    changed = (folder / "b.parquet").read_bytes().replace(b"seven", b"SEVEN")
    (folder / "b.parquet").write_bytes(changed)
    summary = prepare(settings(folder, tmp_path / "p"))
    assert summary.reused == 4
    file = arrow(tmp_path / "arrow")
    prepare(settings(file, tmp_path / "a"))
    os.utime(file, ns=(1, 1))
    assert prepare(settings(file, tmp_path / "a")).reused == 0
    spoken = transcripts_beside(tmp_path / "spoken")
    (spoken / "sub").rename(spoken / "validation")
    assert set(prepare(settings(spoken, tmp_path / "s")).splits) == {"validation"}
    (spoken / "validation").rename(spoken / "test")
    assert set(prepare(settings(spoken, tmp_path / "s")).splits) == {"test"}


def test_overwriting_removes_what_is_ours_alone(corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    prepare(settings(corpus, output, job_rows=5))
    (output / "notes").mkdir()
    (output / "notes" / "precious.txt").touch()
    (output / ".jobs" / "shards-of-a-killed-run").mkdir()
    (output / "train-00000.parquet.part-4711").touch()
    prepare(settings(corpus, output, job_rows=20), overwrite=True)
    assert (output / "notes" / "precious.txt").exists()
    assert not (output / ".jobs" / "shards-of-a-killed-run").exists()
    assert not list(output.glob("*.part-*"))
    assert len(list(output.glob("*.parquet"))) == 3


def test_settings_of_a_try_that_prepared_nothing_may_change(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        prepare(settings(corpus, tmp_path / "out"), cluster="nowhere")
    prepare(settings(corpus, tmp_path / "out", max_seconds=20))


def test_an_output_in_the_input_is_refused(tmp_path: Path) -> None:
    from ...support.corpora_on_disk import parquet

    folder = parquet(tmp_path / "corpus")
    with pytest.raises(DataError, match="lies in the input"):
        prepare(settings(folder, folder / "prepared"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_command(corpus: Path, tmp_path: Path, number: int) -> None:
    import psutil

    process = start(corpus, tmp_path / "out", workers=2)
    deadline = time.monotonic() + 30
    while len(psutil.Process(process.pid).children(recursive=True)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    process.communicate(timeout=30)
    gone, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive and len(gone) >= 2


def die(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_worker_that_is_killed_is_told_of() -> None:
    with pytest.raises(WorkerDied, match="the same command goes on"):
        list(run_all(die, range(20), workers=2))


def fail_or_wait(number: int) -> None:
    if number == 3:
        raise DataError("no such row")
    time.sleep(120)


def test_an_error_ends_all_workers_at_once() -> None:
    started = time.monotonic()
    before = set(multiprocessing.active_children())
    with pytest.raises(DataError, match="no such row"):
        list(run_all(fail_or_wait, [1, 3, 2], workers=2))
    assert time.monotonic() - started < 60
    assert set(multiprocessing.active_children()) == before


def test_a_cluster_that_is_lost_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    import contextlib
    from concurrent.futures import ThreadPoolExecutor

    def lost(number: int) -> int:
        raise OSError("Stream is closed")

    @contextlib.contextmanager
    def threads(*arguments: object):
        with ThreadPoolExecutor(1) as pool:
            yield pool, 1

    monkeypatch.setattr(running, "executor", threads)
    with pytest.raises(WorkerDied, match=r"tcp://x:1 was lost: Stream is closed.*goes on"):
        list(run_all(lost, range(3), cluster="tcp://x:1"))


def test_jobs_are_planned_only_as_they_are_needed() -> None:
    planned = []

    def jobs() -> object:
        for number in range(1000):
            planned.append(number)
            yield number

    results = run_all(abs, jobs(), workers=2)  # type: ignore[arg-type]
    next(iter(results))
    assert len(planned) <= 10
    results.close()  # type: ignore[attr-defined]


def test_an_error_in_a_worker_comes_out_and_names_the_file(corpus: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path / "shards"
    folder.mkdir()
    rows = pa.table({"audio": [encoded(i) for i in range(6)], "text": ["x"] * 6})
    for name in ("a", "b"):
        pq.write_table(rows, folder / f"{name}.parquet", compression="zstd")
    damaged = bytearray((folder / "b.parquet").read_bytes())
    damaged[100:4000] = bytes(3900)
    (folder / "b.parquet").write_bytes(damaged)
    with pytest.raises(DataError, match=r"b\.parquet"):
        prepare(settings(folder, tmp_path / "out"), workers=1)


def test_a_result_survives_json() -> None:
    from data.preparation.checking import Dropped
    from data.preparation.shards import Shard

    result = JobResult(3, "abc", 5, (Shard("a", "train", 1, 2.5, 6),), (Dropped("i", "p", "k", "ə"),), {"n": 1})
    assert JobResult.from_json(result.to_json()) == result
    assert work.result_file("s3://b/c", 12) == "s3://b/c/.jobs/00012.json"
