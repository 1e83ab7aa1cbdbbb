"""Long recordings with a table or annotation files that say what is spoken when, read as one record for each segment.

Decides what lies at an address and which recording an annotation belongs to. Times that cannot be, and segments of a
recording that overlap without that being meant, end the reading; whatever else is wrong is the fault of one record.
"""

import glob
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from urllib.parse import unquote

from ... import storage
from ...audio.suffixes import is_recording
from ...errors import DataError
from ..annotations.elan import read_elan
from ..annotations.textgrid import read_text_grid
from ..annotations.tiers import Annotations, Segment, Tier, TierChoice
from ..annotations.timed_text import is_timed_text, read_timed_text
from ..annotations.timeline import Timeline, segment_id
from ..census import Census
from ..format import Format, Listed, digest, in_pieces
from ..places import Spelt, canonical, is_hidden, relative, split_of_path
from ..record import Record
from ..settings import CorpusSettings
from .segment_tables import read_segment_table
from .tables import JSON, TABLE, read_table

TABLE_IN_FOLDER = re.compile(r"segments\.(csv|tsv|jsonl)(\.gz)?")
TABLE_SUFFIXES = TABLE.suffixes + JSON.suffixes
# The formats of annotation files by suffix. Where a recording has several files, that of the first format is read.
ANNOTATIONS: dict[str, Callable[[bytes, str], Annotations]] = {
    ".eaf": read_elan,
    ".textgrid": lambda content, file: Annotations(read_text_grid(content, file)),
    ".txt": lambda content, file: Annotations([Tier("", tuple(read_timed_text(content, file)))]),
}
OF_OTHERS_TOO = ".txt"  # a file with this suffix may be something else, such as a readme
OWN_SUFFIXES = tuple(suffix for suffix in ANNOTATIONS if suffix != OF_OTHERS_TOO)
LOSSLESS = (".wav", ".flac", ".w64", ".aiff", ".aif", ".caf", ".au")  # taken first where a recording is there twice


@dataclass(frozen=True, kw_only=True)
class RecordRows(Listed):
    """Records as they are."""

    def records(self) -> Iterator[Record]:
        return iter(self.rows)

    def digest(self) -> str:
        described = (asdict(row) | {"place": ""} for row in self.rows)
        return digest(repr(sorted(row.items())).encode("utf-8", "surrogatepass") for row in described)


def read_segmented(address: str, settings: CorpusSettings, split: str | None, census: Census) -> Iterator[RecordRows]:
    """The segments at an address in pieces; see :func:`read_segments`. Folders alone name their split.

    Raises:
        DataError: before the first piece, for times that are reversed or overlap, and what else cannot be read.
    """
    for _ in read_segments(address, settings, census):
        pass
    for _, piece in in_pieces(read_segments(address, settings, census), settings.job_rows):
        yield RecordRows(rows=piece)


def read_segments(address: str, settings: CorpusSettings, census: Census) -> Iterator[Record]:
    """The segments at an address: in the order of a table, or of the annotation files' paths.

    It is that of a table, an annotation file, a glob of either, or a folder. In a folder, tables ``segments.csv``,
    ``.tsv`` or ``.jsonl`` are read where there is one; else each ``.eaf``, ``.TextGrid`` or ``.txt`` with the recording
    beside it, or at the same place below ``settings.audio_root``. Folders ``train``, ``validation`` (``dev``) and
    ``test`` name the split. Holds one annotation file and the names of all files; for tables see
    :func:`.segment_tables.read_segment_table`.

    Raises:
        DataError: naming file and row, when it is reached, for what cannot be read and for times that cannot be.
    """
    found = find_files(address)
    if not found.tables:
        for name, option in (("columns", "--columns"), ("extra_columns", "--keep-columns")):
            if getattr(settings, name):
                raise DataError(f"{option} is for tables of segments, but there is none at {address}")
        yield from read_annotations(found, settings, census)
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
    """Whether :func:`read_segments` is the reader for this address: for a table with start and end, for timestamped
    text beside recordings, and for other annotation files unless the recordings have transcripts without times too."""
    try:
        found = find_files(address)
        if found.tables:
            one_row = settings.model_copy(update={"job_rows": 1})
            rows = next(read_table(found.tables[0], one_row, None, Census()), None)
            return rows is not None and None not in (rows.layout.names["start"], rows.layout.names["end"])
        recordings = Recordings(found, settings)
        for file in found.files:
            if file.lower().endswith(OF_OTHERS_TOO) and recordings.beside(file):
                timed = is_timed_text(storage.read_bytes(file), file)
                if timed is not None:
                    return timed
        return any(file.lower().endswith(OWN_SUFFIXES) for file in found.files)
    except storage.StorageError:
        raise
    except DataError:  # another reader will say what is wrong
        return False


@dataclass(frozen=True)
class FoundFiles:
    """The files at an address.

    Attributes:
        root: the folder that names are relative to.
        files: sorted, without hidden ones.
        tables: those that are tables of segments.
        below: whether files further below the root belong here too.
    """

    address: str
    root: str
    files: list[str]
    tables: list[str]
    is_folder: bool
    below: bool


def find_files(address: str) -> FoundFiles:
    """A folder's files, a glob's, or the file itself."""
    address = address.rstrip("/") or "/"
    is_folder = storage.is_folder(address)
    below = is_folder or not storage.exists(address)
    if is_folder:
        root, files = address, storage.files_below(address)
    elif below:
        root, files = posixpath.dirname(re.split(r"[*?\[]", address, maxsplit=1)[0]), storage.matching(address)
    else:
        root, files = posixpath.dirname(address), [address]
    root = root or "."
    files = [file for file in files if not is_hidden(file, root)]
    if not files:
        raise DataError(f"{address}: there is no such file, and no folder with files")
    if is_folder:
        tables = [file for file in files if TABLE_IN_FOLDER.fullmatch(posixpath.basename(file))]
    else:
        tables = [file for file in files if file.lower().endswith(TABLE_SUFFIXES)]
    return FoundFiles(address=address, root=root, files=files, tables=tables, is_folder=is_folder, below=below)


class Recordings:
    """The recordings in a folder and, if there is one, in the audio root; found by their annotation or by address."""

    def __init__(self, found: FoundFiles, settings: CorpusSettings) -> None:
        self.root = found.root
        self.roots = list(dict.fromkeys([settings.audio_root or found.root, found.root]))
        self.by_path = Spelt[str]()
        self.by_stem = Spelt[str]()
        for folder in self.roots:
            if found.is_folder and folder == found.root:
                files = found.files
            elif found.below or folder != found.root:
                files = storage.files_below(folder)
            else:
                files = storage.matching(f"{glob.escape(folder.rstrip('/'))}/*")
            audio = [file for file in files if is_recording(file)]
            for file in sorted(audio, key=lambda name: (posixpath.splitext(name)[1].lower() not in LOSSLESS, name)):
                if not is_hidden(file, folder):
                    self.by_path.setdefault(canonical(file), file)
                    self.by_stem.setdefault(posixpath.splitext(canonical(file))[0], file)

    def beside(self, annotation: str) -> str | None:
        """The recording with the annotation's name, in the audio root or beside it."""
        stem = posixpath.splitext(relative(annotation, self.root))[0]
        places = (canonical(f"{folder.rstrip('/')}/{stem}") for folder in self.roots)
        return next((self.by_stem[place] for place in places if place in self.by_stem), None)

    def linked(self, annotation: str, media: Iterable[tuple[str, str]]) -> str | None:
        """The first recording that an ELAN file names and that is there: by its relative URL, or by name beside it."""
        folder = posixpath.dirname(annotation) or "."
        for urls in media:
            for url in urls:
                for name in (url, unquote(url), posixpath.basename(unquote(url).replace("\\", "/"))):
                    if name and ":" not in name and (place := canonical(f"{folder}/{name}")) in self.by_path:
                        return self.by_path[place]
        return None


def annotation_files(files: Iterable[str]) -> list[str]:
    """The annotation files among these, sorted, one for each path without suffix."""
    best: dict[str, tuple[int, str]] = {}
    for file in files:
        stem, suffix = posixpath.splitext(file)
        if suffix.lower() in ANNOTATIONS:
            choice = (list(ANNOTATIONS).index(suffix.lower()), file)
            best[stem] = min(best.get(stem, choice), choice)
    return [best[stem][1] for stem in sorted(best)]


def read_annotations(found: FoundFiles, settings: CorpusSettings, census: Census) -> Iterator[Record]:
    """The segments of annotation files; then, each with its fault, the recordings that have none."""
    recordings, choice = Recordings(found, settings), TierChoice(settings.tiers)
    if not recordings.by_path:
        raise DataError(f"{found.address}: no recordings in {' or '.join(recordings.roots)}")
    annotated_by: dict[str, str] = {}
    for file in annotation_files(found.files):
        kind = posixpath.splitext(file)[1].lower()
        audio = recordings.beside(file)
        if kind == OF_OTHERS_TOO and audio is None and found.below:
            continue
        census.use(file)
        annotations = ANNOTATIONS[kind](storage.read_bytes(file), file)
        audio = recordings.linked(file, annotations.media) or audio
        segments = choice.choose(annotations.tiers, file)
        if audio is not None:
            other = annotated_by.setdefault(audio, file)
            if other != file and not settings.allow_overlaps:
                raise DataError(f"{other} and {file} both annotate {audio}; --allow-overlaps reads both")
        yield from annotated(file, audio, segments, found.root, settings)
    if not annotated_by:
        raise DataError(f"{found.address}: no .eaf, .TextGrid or .txt that has a recording of the same name beside it")
    choice.check_all_seen(found.address)
    if found.is_folder:
        stems = {posixpath.splitext(audio)[0] for audio in annotated_by}
        for audio in filter(set(found.files).__contains__, recordings.by_path.values()):
            if posixpath.splitext(audio)[0] not in stems:
                split = split_of_path(relative(audio, found.root))
                yield Record(audio, audio, split=split, fault="a recording without annotation")


def annotated(
    file: str, audio: str | None, segments: Iterable[Segment], root: str, settings: CorpusSettings
) -> Iterator[Record]:
    """The segments of one annotation file as records; one record with a fault if it has none.

    Raises:
        DataError: naming file and line, or tier and interval, for segments that overlap.
    """
    path = relative(file, root)
    absent = None if audio else "no recording of the same name beside it, nor in --audio-root"
    whole = Record(file, audio, language=settings.language, split=split_of_path(path))
    timeline, labels = Timeline(), list[str]()
    number = -1
    for number, segment in enumerate(segments):
        labels.append(segment.label)
        if not segment.end:  # an annotation whose time is not known
            yield replace(whole, place=f"{file}: {segment.label}", text=segment.text, fault=segment.fault)
            continue
        if not settings.allow_overlaps:
            try:
                timeline.add(segment.start, segment.end, number, labels.__getitem__)
            except DataError as error:
                hint = "; --tiers chooses, --allow-overlaps reads all" if segment.label.startswith("tier") else ""
                raise DataError(f"{file}: {segment.label}: {error}{hint}") from None
        speaker = segment.speaker if settings.allow_overlaps else None
        yield replace(
            whole,
            place=f"{file}: {segment.label}",
            text=segment.text,
            id=segment_id(posixpath.splitext(path)[0], segment.start, segment.end, speaker),
            speaker=segment.speaker,
            start=segment.start,
            end=segment.end,
            fault=segment.fault or absent,
        )
    if number < 0:
        yield replace(whole, fault=absent or "no segments in it")


SEGMENTS = Format(
    "segments",
    read_segmented,
    suffixes=(*TABLE_SUFFIXES, *OWN_SUFFIXES),
    is_file=is_segmented,
    sign="recording with a .TextGrid, .eaf or timestamped .txt beside it",
    is_folder=is_segmented,
)
