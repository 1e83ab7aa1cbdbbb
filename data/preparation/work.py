"""One job from its rows to what is written of them: done in any process of any machine, with the same outcome."""

import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from .. import storage
from ..corpora.formats import Job
from .checking import ClipCheck, Dropped
from .settings import PrepareSettings
from .shards import AudioFolderPieces, ParquetShards, Shard, original_of
from .splits.groups import Heard, Splits, corpus_folder
from .splits.planning import SharedJob
from .splits.repeated import AudioDigests
from .splits.shares import HashSplit


@dataclass(frozen=True)
class JobResult:
    """What became of a job; lies in the output as ``.jobs/00012.json`` once all of it is written.

    Attributes:
        digest: of the rows that were read.
        rows: read.
        dropped: rows left out, with the reason.
        notices: what was put right, how often.
        audio: digests of the clips; see :class:`.splits.repeated.AudioDigests`.
        heard: which speakers and recordings are in which split; see :class:`.splits.groups.Heard`.
    """

    number: int
    digest: str
    rows: int
    shards: tuple[Shard, ...]
    dropped: tuple[Dropped, ...]
    notices: dict[str, int] = field(default_factory=dict)
    heard: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    audio: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """As it lies in the output."""
        return json.dumps(asdict(self), ensure_ascii=False).encode("utf-8", "replace")

    @classmethod
    def from_json(cls, content: bytes) -> "JobResult":
        """A result from :meth:`to_json`."""
        values: dict[str, Any] = json.loads(content)
        values["shards"] = tuple(Shard(**shard) for shard in values["shards"])
        values["dropped"] = tuple(Dropped(**row) for row in values["dropped"])
        return cls(**values)


def is_whole(output: str, result: JobResult, layout: str) -> bool:
    """Whether what a job wrote is still there, to the byte."""
    for shard in result.shards:
        places = (original_of(output, shard.file), storage.join(output, shard.file))
        written = next((size for place in places if (size := storage.size(place)) is not None), None)
        if written != shard.size:
            return False
        if layout == "audiofolder":
            folder = f"{shard.split}/{result.number:05d}"
            folders = (storage.join(output, folder), original_of(output, folder))
            if sum(len(storage.files_below(place)) for place in folders) < shard.clips:
                return False
    return True


def job_digest(job: Job) -> str:
    """Changes when a job's rows change, how they are read, or which splits they are shared out to."""
    layout = getattr(job.rows, "layout", None)
    described = f"{job.rows.digest()}:{layout!r}"
    if isinstance(job, SharedJob):
        described += f":{sorted(job.splits.items())!r}"
    return hashlib.blake2b(described.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def result_file(output: str, number: int) -> str:
    """Where the result of a job lies."""
    return storage.join(output, f".jobs/{number:05d}.json")


def run_job(job: Job, settings: PrepareSettings) -> JobResult:
    """Read, check and write a job's rows; its result is written last.

    Raises:
        DataError: if its input cannot be read or its output not be written.
    """
    folder = corpus_folder(settings.corpus)
    heard, digests = Heard(), AudioDigests()
    kind = AudioFolderPieces if settings.layout == "audiofolder" else ParquetShards
    dropped: list[Dropped] = []
    rows = 0
    with (
        storage.writing(settings.output),
        contextlib.closing(ClipCheck(settings.clips, settings.embed_audio, splits_of(job, settings, folder))) as check,
        contextlib.closing(kind(settings.output, job.number, settings.corpus.carried)) as writer,
    ):
        for record in job.rows.records():
            rows += 1
            outcome = check(record)
            if isinstance(outcome, Dropped):
                dropped.append(outcome)
            else:
                writer.add(outcome)
                heard.add(record, outcome.split, settings.split_by, folder)
                digests.add(outcome.id, outcome.audio, outcome.split)
        shards = writer.finish()
    result = JobResult(
        number=job.number,
        digest=job_digest(job),
        rows=rows,
        shards=tuple(shards),
        dropped=tuple(dropped),
        notices=check.notices,
        heard=heard.to_json(),
        audio=digests.to_json(),
    )
    storage.write_bytes(result_file(settings.output, job.number), result.to_json())
    return result


def splits_of(job: Job, settings: PrepareSettings, folder: str) -> Splits | None:
    """Which split each clip of a job belongs to; None where the corpus says it."""
    if settings.shares is None:
        return None
    if isinstance(job, SharedJob):
        return Splits(settings.split_by, job.splits.__getitem__, folder, by_final_id=False)
    of_group = HashSplit(settings.shares, settings.split_seed)
    return Splits(settings.split_by, of_group, folder, by_final_id=True)
