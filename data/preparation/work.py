"""One job from its rows to what is written of them: done in any process of any machine, with the same outcome."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .. import storage
from ..audio.cutting import WINDOW_SECONDS, cut_at_quiet, has_sound
from ..audio.decoding import UndecodableAudio, decode_audio
from ..corpora.formats import Job
from ..corpora.record import Record
from ..utterance import SAMPLING_RATE
from .checking import Clip, ClipCheck, Dropped, checked_text, name_of
from .checking import dropped as dropped_as
from .clips import cut_clip
from .long_recordings.splitting import split_text
from .long_recordings.windows import in_windows
from .measuring import Unusable
from .scores import GIVEN, Score, Scorer, ScoreSettings, Sounding
from .settings import PrepareSettings
from .shards import AudioFolderPieces, ParquetShards, Shard, original_of
from .splits.groups import Heard, Splits, corpus_folder
from .splits.planning import SharedJob
from .splits.repeated import AudioDigests
from .splits.shares import HashSplit

CLIPS_AHEAD = 512  # scored together at most, in batches of similar length ...
SECONDS_AHEAD = 3600.0  # ... and of audio, which is held decoded, but for the last clip


Outcome = tuple[Record, Clip | Dropped]


@dataclass(frozen=True)
class JobResult:
    """What became of a job; lies in the output as ``.jobs/00012.json`` once all of it is written.

    Attributes:
        digest: of the rows that were read.
        rows: read.
        dropped: rows left out, with the reason.
        notices: what was put right, how often.
        audio: digests of the clips; see :class:`.splits.repeated.AudioDigests`.
        absent: the first second recording that was looked for and is not there.
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
    absent: str = ""

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
            if sum(len(storage.files_below(place)) for place in folders) < shard.clips + shard.with_second:
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


def run_job(job: Job, settings: PrepareSettings, scorer: Scorer | None = None) -> JobResult:
    """Read, check, score and write a job's rows; its result is written last.

    Args:
        scorer: scores the clips if ``settings.score`` says how.

    Raises:
        DataError: if its input cannot be read or its output not be written.
    """
    folder = corpus_folder(settings.corpus)
    heard, digests = Heard(), AudioDigests()
    kind = AudioFolderPieces if settings.layout == "audiofolder" else ParquetShards
    score, needs_text = settings.score, settings.score is None or not settings.score.pseudo_label
    columns, with_second = {} if score is None else score.columns, settings.corpus.second is not None
    dropped: list[Dropped] = []
    rows = 0
    with (
        storage.writing(settings.output),
        contextlib.closing(
            ClipCheck(settings.clips, settings.embed_audio, splits_of(job, settings, folder), needs_text)
        ) as check,
        contextlib.closing(
            kind(
                settings.output,
                job.number,
                settings.corpus.carried,
                columns,
                with_second=with_second,
                with_windows=settings.windows is not None,
            )
        ) as writer,
    ):

        def outcomes_of_rows() -> Iterator[Outcome]:
            nonlocal rows
            records = job.rows.records()
            if settings.windows is not None:
                records = in_windows(records, settings.windows, one_speaker=settings.split_by == "speaker")
            for record in records:
                rows += 1
                outcome = check(record)
                too_long = isinstance(outcome, Dropped) and outcome.kind == "too long"
                has_text = bool((record.text or "").strip())
                if too_long and not needs_text and not has_text:
                    yield from cut_outcomes(record, check)
                elif too_long and has_text and settings.split_long:
                    yield from cut_outcomes(record, check, scorer)
                else:
                    yield record, outcome

        outcomes = outcomes_of_rows()
        if score is not None:
            assert scorer is not None
            outcomes = scored(outcomes, scorer, score, check.notice)
        for record, outcome in outcomes:
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
        absent=check.second.absent,
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


def cut_outcomes(record: Record, check: ClipCheck, scorer: Scorer | None = None) -> Iterator[Outcome]:
    """The parts with sound of a recording that is too long, cut at pauses as transcription cuts them.

    Args:
        scorer: hears where the transcript is to be cut, too; None of a recording without one.
    """
    name = record.id or name_of(record)
    try:
        pieces = cut_at_quiet(cut_clip(record), min(check.settings.max_seconds, WINDOW_SECONDS))
    except UndecodableAudio as error:
        yield record, dropped_as(record, "undecodable audio", str(error))
        return
    pieces = [piece for piece in pieces if has_sound(piece.audio)]
    if not pieces:
        yield (
            record,
            dropped_as(record, "nothing heard", "the recording is silent, and has no transcript", broken=False),
        )
        return
    texts: list[str] | None = [""] * len(pieces)
    if scorer is not None:
        texts = split_text(record.text or "", [piece.audio for piece in pieces], record.language, scorer.open())
    if texts is None:
        reason = "it is too long, and what the model of --score hears does not tell where to cut its transcript"
        yield record, dropped_as(record, "too long", reason, broken=False)
        return
    what = "recordings without a transcript" if scorer is None else "segments that are too long"
    check.notice(f"{what}, cut at pauses")
    split_of = check.split_of
    try:
        if split_of is not None:
            split = split_of(record, name)
            check.split_of = lambda *_: split  # all parts are in that of the whole
        for piece, text in zip(pieces, texts, strict=True):
            if scorer is not None and not text:
                continue  # nothing is heard there
            start = record.start + piece.begin / SAMPLING_RATE
            stop = start + piece.seconds
            own = f"{name}-{round(1000 * start)}-{round(1000 * stop)}"
            part = replace(record, id=own, start=start, end=stop, duration=None, text=text or record.text)
            yield part, check(part)
    except Unusable as error:
        yield record, dropped_as(record, error.kind, error.reason, error.broken)
    finally:
        check.split_of = split_of


def scored(
    outcomes: Iterable[Outcome], scorer: Scorer, settings: ScoreSettings, notice: Callable[[str], None]
) -> Iterator[Outcome]:
    """The same clips in the same order with their scores; those without a transcript get the hypothesis as theirs.

    A bounded number is read ahead. Which clips are scored together is decided by the job's rows alone.
    """
    ahead: list[Outcome] = []
    seconds = 0.0
    for record, outcome in outcomes:
        ahead.append((record, outcome))
        seconds += outcome.duration if isinstance(outcome, Clip) else 0.0
        if len(ahead) == CLIPS_AHEAD or seconds >= SECONDS_AHEAD:
            yield from scored_together(ahead, scorer, settings, notice)
            ahead, seconds = [], 0.0
    yield from scored_together(ahead, scorer, settings, notice)


def scored_together(
    outcomes: Sequence[Outcome], scorer: Scorer, settings: ScoreSettings, notice: Callable[[str], None]
) -> Iterator[Outcome]:
    """As :func:`scored`, for outcomes that are held."""
    result: list[Outcome] = list(outcomes)
    heard: list[tuple[int, Record, Clip, Sounding]] = []
    for row, (record, clip) in enumerate(outcomes):
        if isinstance(clip, Dropped):
            continue
        try:
            audio = decode_audio(clip.path if clip.audio is None else clip.audio)
        except UndecodableAudio as error:
            result[row] = record, dropped_as(record, "undecodable audio", str(error))
            continue
        heard.append((row, record, clip, Sounding(audio, clip.text or None, clip.language)))
    scores = scorer.open()([sounding for *_, sounding in heard]) if heard else []
    for (row, record, clip, _), score in zip(heard, scores, strict=True):
        result[row] = record, labelled(record, clip, score, settings)
        if score is None:
            notice("clips in a language that the model of --score does not know")
        elif clip.text and score.evidence is None:
            notice("transcripts too long for the model of --score, which says nothing of them")
    yield from result


def labelled(record: Record, clip: Clip, score: Score | None, settings: ScoreSettings) -> Clip | Dropped:
    """A scored clip with its text and with where that comes from."""
    if clip.text:
        return replace(clip, score=score, label=GIVEN if settings.pseudo_label else None)
    if score is None:
        reason = f"{settings.checkpoint} does not know the language {clip.language!r}"
        return dropped_as(record, "unusable pseudo-label", reason, broken=False)
    try:
        text = checked_text(score.hypothesis)
    except Unusable as error:
        kind = "nothing heard" if error.kind == "empty text" else "unusable pseudo-label"
        reason = f"there is no transcript, and the model's is none: {error.reason}"
        return dropped_as(record, kind, reason, broken=False)
    return replace(clip, score=score, text=text, label=settings.checkpoint, language=clip.language or score.language)
