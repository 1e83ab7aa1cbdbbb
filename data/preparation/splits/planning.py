"""Balanced splits, planned before any clip is written: what each job's speakers, recordings or ids weigh, by headers.

What a job's rows weigh lies in the output as ``.jobs/groups-00012.json``, so that a run that goes on counts nothing
twice. Names and sums of all groups are held in memory, some 200 bytes each.
"""

import functools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from ... import storage
from ...audio.decoding import UndecodableAudio, samples_of
from ...corpora.formats import Job, plan_jobs
from ...corpora.record import Record
from ...errors import DataError
from ...jobs import run_all
from ..measuring import Measure, Unusable
from ..settings import PrepareSettings
from .balance import assign
from .groups import corpus_folder, group_of


@dataclass(frozen=True)
class SharedJob(Job):
    """A job with the split of each group in it."""

    splits: dict[str, str]


@dataclass
class Groups:
    """What the groups of a job weigh.

    Attributes:
        digest: of the job's rows.
        milliseconds: of each group's rows that are likely to be kept.
        unknown: rows of each group whose length no header says.
        known: rows whose length is in ``milliseconds``.
    """

    digest: str
    milliseconds: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    known: int = 0


def groups_file(output: str, number: int) -> str:
    """Where it lies what a job's groups weigh."""
    return storage.join(output, f".jobs/groups-{number:05d}.json")


def read_groups(output: str, number: int) -> Groups | None:
    """What an earlier run counted; None where it did not, or not to the end."""
    file = groups_file(output, number)
    try:
        return Groups(**json.loads(storage.read_bytes(file))) if storage.exists(file) else None
    except (ValueError, TypeError):
        return None


def balanced_jobs(
    settings: PrepareSettings, jobs: Iterable[Job], digest: Callable[[Job], str], workers: int, cluster: str | None
) -> Iterator[SharedJob]:
    """The jobs of a corpus with the splits of their groups, after all of it was read once for that.

    Args:
        digest: of a job's rows.

    Raises:
        DataError: if there is nothing to share out, or the corpus changed while it was read.
    """
    totals, unknown = dict[str, int](), dict[str, int]()
    rows = 0

    def take(groups: Groups) -> None:
        nonlocal rows
        rows += groups.known
        for sums, mine in ((totals, groups.milliseconds), (unknown, groups.unknown)):
            for name, amount in mine.items():
                sums[name] = sums.get(name, 0) + amount

    def todo() -> Iterator[Job]:
        for job in jobs:
            groups = read_groups(settings.output, job.number)
            if groups is not None and groups.digest == digest(job):
                take(groups)
            else:
                yield job

    count = functools.partial(count_groups, settings=settings, digest=digest)
    for groups in run_all(count, todo(), workers, cluster):
        take(groups)
    mean = sum(totals.values()) / rows if rows else 1000.0
    weights = {name: total + round(unknown.get(name, 0) * mean) for name, total in totals.items()}
    assigned = assign(weights, settings.shares or {"train": 1.0}, settings.split_seed)
    for job in plan_jobs(settings.corpus):
        found = read_groups(settings.output, job.number)
        if found is None or found.digest != digest(job):
            raise DataError(f"{settings.corpus.input} changed while it was read: the same command goes on")
        yield SharedJob(job.number, job.rows, {name: assigned[name] for name in found.milliseconds})


def count_groups(job: Job, settings: PrepareSettings, digest: Callable[[Job], str]) -> Groups:
    """What a job's groups weigh; written to the output, too."""
    folder = corpus_folder(settings.corpus) if settings.split_by == "recording" else ""
    measure = Measure(settings.clips.model_copy(update={"check": "headers"}), lambda _: None)
    needs_text = settings.score is None or not settings.score.pseudo_label
    groups = Groups(digest(job))
    for record in job.rows.records():
        name = group_of(record, settings.split_by, folder)
        if name is None:
            continue
        seconds = expected_seconds(record, measure, needs_text)
        groups.milliseconds.setdefault(name, 0)
        if seconds is None:
            groups.unknown[name] = groups.unknown.get(name, 0) + 1
        elif settings.clips.min_seconds <= seconds <= settings.clips.max_seconds:
            groups.milliseconds[name] += round(seconds * 1000)
            groups.known += 1
    storage.write_bytes(groups_file(settings.output, job.number), json.dumps(asdict(groups)).encode())
    return groups


def expected_seconds(record: Record, measure: Measure, needs_text: bool = True) -> float | None:
    """The length of a clip as the corpus or a header says it; 0 where it will be left out, None where neither says."""
    if record.fault or (needs_text and not (record.text or "").strip()):
        return 0.0
    if record.end is not None:
        return record.end - record.start
    if record.duration is not None:
        return record.duration
    if record.start:
        return None
    audio: Any = record.audio
    try:
        if (direct := samples_of(audio)) is not None:
            return len(direct[0]) / direct[1]
        if isinstance(audio, dict):
            audio = audio.get("bytes") or audio.get("path")
        return measure.seconds(audio, record)
    except (Unusable, UndecodableAudio):
        return 0.0
