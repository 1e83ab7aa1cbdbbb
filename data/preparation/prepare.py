"""A preparation: jobs planned, those not done yet run, duplicates taken out, and a manifest written last."""

import contextlib
import functools
import itertools
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from .. import storage
from ..corpora.census import Census
from ..corpora.formats import Job, plan_jobs
from ..errors import DataError
from ..jobs import run_all
from .finishing import finish_output, is_own
from .scores import Scorer
from .settings import PrepareSettings
from .splits.planning import balanced_jobs
from .splits.speakers import with_speakers
from .summary import MIN_ROWS_TO_JUDGE, Summary
from .work import JobResult, is_whole, job_digest, result_file, run_job

ROWS_TO_JUDGE_BEFORE_THE_END = 10_000  # likewise while jobs run, since which come first is chance
MARK = ".jobs/settings.json"
LOCK = ".jobs/lock"
RESULT = re.compile(r"\.jobs/\d{5}\.json$")
COUNTED = re.compile(r"\.jobs/groups-\d{5,}\.json$")


Watcher = Callable[[JobResult, bool], None]


def prepare(
    settings: PrepareSettings,
    workers: int = 0,
    cluster: str | None = None,
    overwrite: bool = False,
    watch: Watcher | None = None,
    *,
    scorer: Scorer | None = None,
) -> Summary:
    """Prepare a corpus; killed at any time, the same call goes on where it was.

    Args:
        watch: is told of every job's result, and whether it was there already.
        scorer: scores the clips; needed if ``settings.score`` says how.

    Raises:
        DataError: if the input or output is not as the settings say, or too many rows cannot be used.
        WorkerDied: if a process ended early; what was finished is kept.
    """
    started = time.perf_counter()
    if cluster:
        settings = with_absolute_paths(settings)
    check_output(settings)
    census = Census()
    jobs = plan_jobs(settings.corpus, census)
    if settings.split_by == "speaker":
        jobs = with_speakers(jobs, settings, census)
    first = next(jobs)  # whatever is wrong with the input shows before anything is written
    with storage.writing(settings.output), alone(settings.output):
        begin_output(settings, overwrite)
        summary = Summary(census=census)
        every: Iterator[Job] = itertools.chain([first], jobs)
        if settings.split_method == "balanced":
            every = balanced_jobs(settings, every, job_digest, workers, cluster)
        work = functools.partial(run_job, settings=settings, scorer=scorer)
        run_jobs(settings, every, work, summary, workers=workers, cluster=cluster, watch=watch)
    summary.seconds = time.perf_counter() - started
    return summary


def run_jobs(
    settings: PrepareSettings,
    jobs: Iterator[Job],
    work: Callable[[Job], JobResult],
    summary: Summary,
    *,
    workers: int,
    cluster: str | None,
    watch: Watcher | None,
) -> None:
    """Run the jobs that are not done yet by ``work``, and then finish the output; ``summary`` is filled."""
    numbers: list[int] = []

    def take(result: JobResult, is_reused: bool) -> None:
        summary.add(result, is_reused)
        summary.judge(settings.max_skipped_share, ROWS_TO_JUDGE_BEFORE_THE_END)
        kept = summary.rows - summary.dropped.total()
        if settings.corpus.second is not None and kept >= ROWS_TO_JUDGE_BEFORE_THE_END:
            summary.check_seconds(settings.corpus.second, kept)
        if watch:
            watch(result, is_reused)

    def todo() -> Iterator[Job]:
        for job in jobs:
            numbers.append(job.number)
            result = finished_result(settings, job)
            if result is None:
                yield job
            else:
                take(result, True)

    for result in run_all(work, todo(), workers, cluster):
        take(result, False)
    summary.judge(settings.max_skipped_share, MIN_ROWS_TO_JUDGE)
    finish_output(settings, numbers, summary)


def with_absolute_paths(settings: PrepareSettings) -> PrepareSettings:
    """Local paths as they are for workers with another working folder."""
    corpus = settings.corpus
    paths = {name: value for name in ("input", "audio_root", "cache") if (value := getattr(corpus, name))}
    if corpus.kind == "hub":
        del paths["input"]
    absolute = {name: value if storage.is_remote(value) else os.path.abspath(value) for name, value in paths.items()}
    output = settings.output if storage.is_remote(settings.output) else os.path.abspath(settings.output)
    return settings.model_copy(update={"corpus": corpus.model_copy(update=absolute), "output": output})


@contextlib.contextmanager
def alone(output: str) -> Iterator[None]:
    """Let no other preparation of this machine write to the same output meanwhile; stores have no locks.

    Raises:
        DataError: if another does.
    """
    if storage.is_remote(output):
        yield
        return
    lock = os.path.join(output, LOCK)
    storage.retried(lambda: os.makedirs(os.path.dirname(lock), exist_ok=True), output, "write")
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout:
        raise DataError(f"{output}: another preparation is writing there") from None


def check_output(settings: PrepareSettings) -> None:
    """Refuse an output that would be read as part of the input, or that is something else."""
    inside, folder = (
        address.rstrip("/") + "/" if storage.is_remote(address) else os.path.join(os.path.realpath(address), "")
        for address in (settings.output, settings.corpus.input)
    )
    if inside.startswith(folder) and settings.corpus.kind != "hub":
        raise DataError(f"--output {settings.output} lies in the input, {settings.corpus.input}: name a folder outside")
    if not storage.exists(storage.join(settings.output, MARK)):
        foreign = (file for file in storage.files_below(settings.output) if not file.endswith(LOCK))
        if storage.exists(settings.output) and any(foreign):
            raise DataError(f"{settings.output} holds files that are no preparation's: name another --output")


def begin_output(settings: PrepareSettings, overwrite: bool) -> None:
    """Make the output this preparation's own.

    Raises:
        DataError: if it is another preparation's.
    """
    output = settings.output
    mark = storage.join(output, MARK)
    if overwrite:
        clear(output)
    before = storage.read_bytes(mark).decode() if storage.exists(mark) else None
    files = [] if before == settings.fingerprint() else storage.files_below(output)
    if before is not None and any(RESULT.search(file) for file in files):
        raise DataError(
            f"{output} holds a preparation with other settings ({difference(before, settings)}); "
            "name another --output, or --overwrite it"
        )
    if before != settings.fingerprint():
        for file in filter(COUNTED.search, files):  # weights of groups of another kind
            storage.remove(file)
        storage.write_bytes(mark, settings.fingerprint().encode())
    for unfinished in () if storage.is_remote(output) else Path(output, ".jobs").glob("shards-*/"):
        shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed


def difference(before: str, settings: PrepareSettings) -> str:
    """The first setting that differs, and how."""

    def flat(values: dict, prefix: str = "") -> dict[str, object]:
        items: dict[str, object] = {}
        for key, value in values.items():
            items |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        return items

    old, new = flat(json.loads(before)), flat(json.loads(settings.fingerprint()))
    key = next(key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key))
    return f"{key} was {old.get(key)!r}, is {new.get(key)!r}"


def clear(output: str) -> None:
    """Remove what a preparation left, its mark last, and nothing else."""
    if not storage.exists(storage.join(output, MARK)):
        return
    for file in storage.files_below(output):
        name = file[len(output.rstrip("/")) + 1 :]
        if is_own(name) and name != MARK:
            storage.remove(file)
    storage.remove(storage.join(output, MARK))


def finished_result(settings: PrepareSettings, job: Job) -> JobResult | None:
    """What an earlier run made of the same rows."""
    file = result_file(settings.output, job.number)
    if not storage.exists(file):
        return None
    try:
        result = JobResult.from_json(storage.read_bytes(file))
    except (ValueError, KeyError, TypeError):
        return None
    same = result.digest == job_digest(job) and is_whole(settings.output, result, settings.layout)
    return result if same else None
