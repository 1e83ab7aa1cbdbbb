"""A preparation: jobs planned, those not done yet run, duplicates taken out, and a manifest written last."""

import functools
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .. import storage
from ..errors import DataError
from .corpora import Job, plan_jobs
from .finishing import finish_output
from .running import run_all
from .settings import PrepareSettings
from .work import JobResult, count_kinds, result_file, run_job

MIN_ROWS_TO_JUDGE = 100  # the share of broken rows is taken of at least so many


@dataclass
class Summary:
    """What came of a preparation.

    Attributes:
        rows: read, in this and in earlier runs of it.
        reused: rows of jobs that were done already.
        splits: clips and seconds of each split.
        dropped: rows left out, by kind.
        notices: what was put right, how often.
        seconds: wall time of this run.
    """

    rows: int = 0
    reused: int = 0
    broken: int = 0
    splits: dict[str, tuple[int, float]] = field(default_factory=dict)
    shards: int = 0
    bytes: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    notices: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def clips(self) -> int:
        return sum(clips for clips, _ in self.splits.values())

    @property
    def audio_seconds(self) -> float:
        return sum(seconds for _, seconds in self.splits.values())


Watcher = Callable[[JobResult, bool], None]


def prepare(
    settings: PrepareSettings,
    workers: int = 0,
    cluster: str | None = None,
    overwrite: bool = False,
    watch: Watcher | None = None,
) -> Summary:
    """Prepare a corpus; killed at any time, the same call goes on where it was.

    Args:
        watch: is told of every job's result, and whether it was there already.

    Raises:
        DataError: if the input or output is not as the settings say, or too many rows cannot be used.
        WorkerDied: if a process ended early; what was finished is kept.
    """
    started = time.perf_counter()
    jobs = plan_jobs(settings.corpus)
    first = next(jobs)  # whatever is wrong with the input shows before anything is written
    begin_output(settings, overwrite)
    summary = Summary()
    numbers: list[int] = []

    def todo() -> Iterator[Job]:
        for job in itertools.chain([first], jobs):
            numbers.append(job.number)
            result = finished_result(settings, job)
            if result is None:
                yield job
            else:
                count(summary, result, settings)
                summary.reused += result.rows
                if watch:
                    watch(result, True)

    for result in run_all(functools.partial(run_job, settings=settings), todo(), workers, cluster):
        count(summary, result, settings)
        if watch:
            watch(result, False)
    finish_output(settings, numbers, summary)
    summary.seconds = time.perf_counter() - started
    return summary


def count(summary: Summary, result: JobResult, settings: PrepareSettings) -> None:
    """Add a job's figures.

    Raises:
        DataError: if too many rows are broken.
    """
    summary.rows += result.rows
    summary.broken += result.broken
    summary.dropped += count_kinds(result.dropped)
    summary.notices += Counter(result.notices)
    if summary.broken > settings.max_skipped_share * max(summary.rows, MIN_ROWS_TO_JUDGE):
        worst = summary.dropped.most_common(1)[0][0]
        example = next(row for row in result.dropped if row.broken)
        raise DataError(
            f"{summary.broken} of {summary.rows} rows cannot be used (--max-skipped-share is "
            f"{settings.max_skipped_share:g}), most of them for: {worst}. One is {example.place}: {example.reason}. "
            f"With a larger share the same command goes on where this one stopped"
        )


def begin_output(settings: PrepareSettings, overwrite: bool) -> None:
    """Make the output this preparation's own.

    Raises:
        DataError: if it is another's, or holds files that are no preparation's.
    """
    mark = storage.join(settings.output, ".jobs/settings.json")
    if overwrite:
        clear(settings.output)
    if storage.exists(mark):
        before = storage.read_bytes(mark).decode()
        if before != settings.fingerprint():
            raise DataError(
                f"{settings.output} holds a preparation with other settings ({difference(before, settings)}); "
                "name another --output, or --overwrite it"
            )
        return
    if storage.exists(settings.output) and storage.files_below(settings.output):
        raise DataError(f"{settings.output} holds files that are no preparation's: name another --output")
    storage.write_bytes(mark, settings.fingerprint().encode())


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
    """Remove what a preparation left, and nothing else."""
    if not storage.exists(storage.join(output, ".jobs/settings.json")):
        return
    for file in storage.files_below(output):
        storage.remove(file)


def finished_result(settings: PrepareSettings, job: Job) -> JobResult | None:
    """What an earlier run made of the same rows."""
    file = result_file(settings.output, job.number)
    if not storage.exists(file):
        return None
    try:
        result = JobResult.from_json(storage.read_bytes(file))
    except (ValueError, KeyError, TypeError):
        return None
    return result if result.digest == job.rows.digest() else None
