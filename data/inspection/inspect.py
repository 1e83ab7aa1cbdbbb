"""Inspects a corpus on several processes or machines. Pages and tables are made by trainer/pages."""

import functools

from ..corpora.formats import Job, plan_jobs
from ..corpora.settings import CorpusSettings
from ..jobs import run_all
from ..terminal import Progress
from .facts import InspectionSettings
from .labels import open_labels
from .tally import Inspection, inspect_records


def inspect_job(job: Job, settings: InspectionSettings) -> Inspection:
    return inspect_records(job.rows.records(), settings)


def inspect_corpus(
    corpus: CorpusSettings, settings: InspectionSettings, workers: int = 0, cluster: str | None = None
) -> Inspection:
    """Decode and examine every clip of a corpus; nothing is written.

    Raises:
        DataError: if the corpus cannot be read at all.
        WorkerDied: if a process ended early.
    """
    if settings.tokenizer:
        open_labels(settings.tokenizer)  # a wrong name shows now
    whole = Inspection(settings)
    with Progress() as progress:
        inspect = functools.partial(inspect_job, settings=settings)
        for part in run_all(inspect, plan_jobs(corpus, whole.census), workers, cluster):
            whole.merge(part)
            progress.add(part.clips)
    return whole
