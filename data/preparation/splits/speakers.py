"""Whether a corpus says who speaks, found out before anything is written where splits are by speaker."""

import itertools
import re
from collections.abc import Iterator

from ... import storage
from ...corpora.census import Census
from ...corpora.format import Listed
from ...corpora.formats import Job
from ...corpora.second.rows import unpaired
from ...corpora.settings import KNOWN_NAMES
from ...errors import DataError
from ..settings import PrepareSettings
from .groups import speaker_key

ROWS_LOOKED_AT = 10_000  # without a speaker in any of them, all the others would have to have one
ROWS_OF_FILE = 100  # of a piece that does not hold its rows
# Parts of columns' names that may mean a speaker, or something else: asked for, never taken.
PERHAPS = re.compile(
    "actor|artist|author|child|client|contributor|donor|informant|kid|narrator|participant|patient|person|pupil|reader|"
    "speaker|spk|student|subject|talker|user|voice|worker",
    re.IGNORECASE,
)


def with_speakers(jobs: Iterator[Job], settings: PrepareSettings, census: Census) -> Iterator[Job]:
    """The jobs, once it is seen that they name a speaker.

    Raises:
        DataError: where none is named, with the columns that could be meant; later for a table without a speaker.
    """
    seen: list[Job] = []
    rows, found = 0, False
    for job in jobs:
        check_layout(job)
        seen.append(job)
        limit = None if isinstance(unpaired(job.rows), Listed) else ROWS_OF_FILE
        for record in itertools.islice(job.rows.records(), limit):
            rows += 1
            found = found or speaker_key(record.speaker) is not None
        if found or rows >= ROWS_LOOKED_AT:
            break
    if not found:
        raise DataError(f"{settings.corpus.input}: {not_said(settings, census, rows)}")
    for job in itertools.chain(seen, jobs):
        check_layout(job)
        yield job


def check_layout(job: Job) -> None:
    """Raises: DataError: if a job's rows have columns, and none of them is the speaker's."""
    layout = getattr(job.rows, "layout", None)
    if layout is not None and layout.names_its_columns and layout.names["speaker"] is None:
        place = getattr(job.rows, "file", "the corpus")
        raise DataError(f"{place} has no column for the speaker by a usual name, and --split-by speaker wants one: "
                        f"{asked_for(layout.unused)}")  # fmt: skip


def asked_for(columns: tuple[str, ...] | list[str]) -> str:
    """What to say of columns that nobody has taken."""
    if not columns:
        return "there is no other column; take --split-by id or recording"
    likely = [name for name in columns if PERHAPS.search(name)]
    hint = f" ({likely[0]!r} looks like it)" if len(likely) == 1 else ""
    return f"say --columns speaker=NAME, one of {', '.join(columns)}{hint}"


def not_said(settings: PrepareSettings, census: Census, rows: int) -> str:
    """Why splits by speaker cannot be, where no row has one."""
    whose = f"the first {rows:,} rows" if rows >= ROWS_LOOKED_AT else f"{rows:,} rows"
    told = f"not one of {whose} names a speaker, and --split-by speaker wants one: "
    if settings.corpus.kind in ("auto", "kaldi") and storage.exists(storage.join(settings.corpus.input, "wav.scp")):
        return f"{told}Kaldi's utt2spk does, and there is none, or it lacks them"
    if "speaker" in census.columns:
        return f"{told}the column {census.columns['speaker']} is empty; name another, --columns speaker=NAME" + (
            f", one of {', '.join(census.unused)}" if census.unused else ""
        )
    if census.columns:
        return told + asked_for(census.unused)
    names = ", ".join(KNOWN_NAMES["speaker"][:2])
    return f"{told}put them into a table with a column such as {names}, or take --split-by id or recording"
