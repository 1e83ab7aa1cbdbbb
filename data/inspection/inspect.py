"""A corpus inspected by several processes or machines; the page and the table of it are made elsewhere."""

import functools
from dataclasses import dataclass

from ..corpora.shapes import Job, plan_jobs
from ..jobs import run_all
from ..preparation.report import Progress
from ..preparation.settings import CorpusSettings
from .facts import InspectionSettings
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
