"""A corpus inspected by several processes or machines, told as a table and written as a page."""

import datetime
import functools
from dataclasses import dataclass

from .. import storage
from ..corpora.planning import Job, plan_jobs
from ..corpora.settings import CorpusSettings
from ..jobs import run_all
from ..preparation.inspection_page import write_inspection_page
from ..preparation.inspection_table import print_inspection
from ..progress import Progress
from .facts import InspectionSettings
from .findings import problems, would_fail
from .labels import open_labels
from .tally import Inspection, inspect_records


@dataclass(frozen=True)
class InspectedJob:
    """What was found in a job's rows."""

    rows: int
    inspection: Inspection


def inspect_job(job: Job, settings: InspectionSettings) -> InspectedJob:
    inspection = inspect_records(job.rows.records(), settings)
    return InspectedJob(inspection.clips, inspection)


def inspect_corpus(
    corpus: CorpusSettings, settings: InspectionSettings, workers: int = 0, cluster: str | None = None
) -> Inspection:
    """Every clip of a corpus decoded and looked at; nothing is written.

    Raises:
        DataError: if the corpus cannot be read at all.
        WorkerDied: if a process ended early.
    """
    if settings.tokenizer:
        open_labels(settings.tokenizer)  # a wrong name shows now
    whole = Inspection(settings)
    with Progress() as progress:
        inspect = functools.partial(inspect_job, settings=settings)
        for job in run_all(inspect, plan_jobs(corpus), workers, cluster):
            whole.merge(job.inspection)
            progress.add(job.rows)
    return whole


def check_page(page: str) -> None:
    """See that a page can be written there, before hours of looking at clips.

    Raises:
        StorageError: if it cannot.
    """
    if not storage.exists(page):
        storage.write_bytes(page, b"")
        storage.remove(page)


def write_page(inspection: Inspection, address: str, page: str) -> None:
    """The page of an inspection made today, at any address."""
    write_inspection_page(inspection, address, page, datetime.datetime.now(datetime.UTC).date())


def tell_inspection(inspection: Inspection, address: str, page: str) -> int:
    """Print the table, write the page (any address), and return 1 if training would fail on something, else 0."""
    print_inspection(inspection, address)
    write_page(inspection, address, page)
    print(f"the same as a page, with plots: {page}")
    return int(would_fail(problems(inspection)))
