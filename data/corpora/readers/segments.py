"""Long recordings with a table or annotation files that say what is spoken when, read as one record for each segment.

Times that cannot be, and segments of a
recording that overlap without that being meant, end the reading; whatever else is wrong is the fault of one record.
"""

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace

from ... import storage
from ...audio.suffixes import suffix_of_path
from ...errors import DataError
from ..annotations.tiers import Annotations, Segment, TierChoice, decoded_text
from ..annotations.timeline import Timeline, segment_id
from ..census import Census
from ..format import Format, Listed, digest, in_pieces
from ..places import relative, split_of_path
from ..record import Record
from ..settings import CorpusSettings
from .beside import ANNOTATIONS, FORMATS, OWN_SUFFIXES, Pairs, Undecided, pair_files
from .found_files import TABLE_SUFFIXES, FoundFiles, find_files
from .segment_tables import read_segment_table
from .tables import read_table

ADDED = ("channel", "second", "second_channel", "second_place", "segments", "before")  # fields of a record


@dataclass(frozen=True, kw_only=True)
class RecordRows(Listed):
    """Records as they are."""

    def records(self) -> Iterator[Record]:
        return iter(self.rows)

    def digest(self) -> str:
        described = (asdict(row) | {"place": ""} for row in self.rows)
        # Rows without them are as they were before there were any.
        described = ({name: value for name, value in row.items() if name not in ADDED or value} for row in described)
        return digest(repr(sorted(row.items())).encode("utf-8", "surrogatepass") for row in described)


def read_segmented(address: str, settings: CorpusSettings, split: str | None, census: Census) -> Iterator[RecordRows]:
    """The segments at an address in pieces; see :func:`read_segments`. Folders alone name their split.

    Raises:
        DataError: before the first piece, for times that are reversed or overlap, and what else cannot be read.
    """
    found = find_files(address, settings.second)
    pairs = None if found.tables else pair_files(found, settings)
    for _ in read_found(found, pairs, settings, census):
        pass
    for _, piece in in_pieces(read_found(found, pairs, settings, Census()), settings.job_rows):
        yield RecordRows(rows=piece)


def read_segments(address: str, settings: CorpusSettings, census: Census) -> Iterator[Record]:
    """The segments at an address: in the order of a table, or of the annotation files' paths.

    It is that of a table, an annotation file, a glob of either, or a folder. In a folder, tables ``segments.csv``,
    ``.tsv`` or ``.jsonl`` are read where there is one; else each annotation file with the recording beside it, or at
    the same place below ``settings.audio_root``. Folders ``train``, ``validation`` (``dev``) and ``test`` name the
    split. Holds one annotation file and the names of all files; for tables see
    :func:`.segment_tables.read_segment_table`.

    Raises:
        DataError: naming file and row, when it is reached, for what cannot be read and for times that cannot be.
    """
    found = find_files(address, settings.second)
    yield from read_found(found, None if found.tables else pair_files(found, settings), settings, census)


def read_found(found: FoundFiles, pairs: Pairs | None, settings: CorpusSettings, census: Census) -> Iterator[Record]:
    """The segments of tables, or of pairs of annotation files and recordings where there is no table."""
    if pairs is not None:
        for name, option in (
            ("columns", "--columns"),
            ("extra_columns", "--keep-columns"),
            ("second_column", f"--second {settings.second_column}"),
        ):
            if getattr(settings, name):
                raise DataError(f"{option} is for tables of segments, but there is none at {found.address}")
        yield from read_annotations(found, pairs, settings, census)
        return
    if settings.tiers:
        raise DataError(f"--tiers: {found.tables[0]} is a table, which has none")
    folders: dict[str, str] = {}
    for table in found.tables:
        other = folders.setdefault(posixpath.dirname(table), table)
        if found.is_folder and other != table:
            raise DataError(f"{other} and {table} are both tables of segments; name one of them as input")
    for table in found.tables:
        yield from read_segment_table(table, settings, split_of_path(relative(table, found.root)), census)


def is_segmented(address: str, settings: CorpusSettings) -> bool:
    """Whether :func:`read_segments` is the reader for this address: for a table with start and end, and for annotation
    files unless their recordings have transcripts without times, too.

    Raises:
        Undecided: see :func:`.beside.pair_files`.
    """
    try:
        found = find_files(address, settings.second)
        if found.tables:
            one_row = settings.model_copy(update={"job_rows": 1})
            rows = next(read_table(found.tables[0], one_row, None, Census()), None)
            return rows is not None and None not in (rows.layout.names["start"], rows.layout.names["end"])
        return pair_files(found, settings).is_segmented
    except (storage.StorageError, Undecided):
        raise
    except DataError:  # another reader will say what is wrong
        return False


def read_annotations(found: FoundFiles, pairs: Pairs, settings: CorpusSettings, census: Census) -> Iterator[Record]:
    """The segments of annotation files; then, each with its fault, the recordings that have none."""
    recordings, choice = pairs.recordings, TierChoice(settings.tiers)
    if pairs.faults:
        raise DataError(pairs.faults[0])
    if not recordings.by_path:
        raise DataError(f"{found.address}: {recordings.none_here()}")
    annotated_by: dict[str, str] = {}
    for one in pairs.chosen:
        census.use(one.file)
        annotations, audio = Annotations(()), one.recording
        if not one.is_plain:
            annotations = ANNOTATIONS[suffix_of_path(one.file)](storage.read_bytes(one.file), one.file)
            audio = recordings.linked(one.file, annotations.media) or audio
        if audio is not None:
            other = annotated_by.setdefault(audio, one.file)
            if other != one.file and not settings.allow_overlaps:
                raise DataError(f"{other} and {one.file} both annotate {audio}; --allow-overlaps reads both")
        whole = Record(one.file, audio, language=one.code or annotations.language or settings.language,
                       split=split_of_path(relative(one.file, found.root)))  # fmt: skip
        if one.is_plain:
            yield transcribed(whole, found.root)
            continue
        segments = choice.choose(annotations.tiers, one.file)
        if not segments:
            yield replace(
                whole, fault=recordings.absence(one.file) if audio is None else choice.nothing(annotations.tiers)
            )
        absent = None if audio else recordings.absence(one.file)
        yield from annotated(replace(whole, fault=absent), segments, found.root, settings)
    if not annotated_by:
        formats = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise DataError(f"{found.address}: no {formats} that has a recording of the same name beside it")
    choice.check_all_seen(found.address)
    for line in (*choice.notices(), *pairs.notices(found.root)):
        census.notice(line)
    if found.is_folder:
        stems = {posixpath.splitext(audio)[0] for audio in annotated_by}
        for audio in filter(set(found.files).__contains__, recordings.by_path.values()):
            if posixpath.splitext(audio)[0] not in stems:
                split = split_of_path(relative(audio, found.root))
                if settings.without_text:
                    yield Record(audio, audio, id=posixpath.splitext(relative(audio, found.root))[0], split=split,
                                 language=settings.language)  # fmt: skip
                else:
                    yield Record(audio, audio, split=split, fault="a recording without annotation")


def transcribed(whole: Record, root: str) -> Record:
    """A recording with the transcript at its place, a text without times."""
    name = posixpath.splitext(relative(str(whole.audio), root))[0]
    content = storage.read_bytes(whole.place)
    try:
        text = decoded_text(content, whole.place).strip()
    except DataError as error:
        return replace(whole, fault=str(error))
    return replace(whole, text=text, id=name)


def annotated(whole: Record, segments: Iterable[Segment], root: str, settings: CorpusSettings) -> Iterator[Record]:
    """The segments of one annotation file as records.

    Args:
        whole: the recording, with the annotation file as its place.

    Raises:
        DataError: naming file and line, or tier and interval, for segments that overlap.
    """
    file = whole.place
    name = posixpath.splitext(relative(file, root))[0]
    timeline, labels = Timeline(), list[str]()
    for number, segment in enumerate(segments):
        labels.append(segment.label)
        place = f"{file}: {segment.label}"
        if not segment.end:  # an annotation whose time is not known
            yield replace(whole, place=place, text=segment.text, fault=segment.fault)
            continue
        if not settings.allow_overlaps:
            try:
                timeline.add(segment.start, segment.end, number, labels.__getitem__)
            except DataError as error:
                tiers = "--tiers chooses, " if segment.label.startswith("tier") else ""
                raise DataError(f"{place}: {error}; {tiers}--allow-overlaps reads all") from None
        speaker = segment.speaker if settings.allow_overlaps else None
        yield replace(
            whole,
            place=place,
            text=segment.text,
            id=segment_id(name, segment.start, segment.end, speaker),
            speaker=segment.speaker,
            start=segment.start,
            end=segment.end,
            fault=segment.fault or whole.fault,
        )


SEGMENTS = Format(
    "segments",
    read_segmented,
    suffixes=(*TABLE_SUFFIXES, *OWN_SUFFIXES),
    is_file=is_segmented,
    sign="recording with a .TextGrid, .eaf, .srt, .vtt or timestamped .txt beside it",
    is_folder=is_segmented,
)
