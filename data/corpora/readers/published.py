"""Tables of published corpora that have no header, or no column of paths: LJ Speech, FLEURS and VoxPopuli.

LJ Speech: https://keithito.com/LJ-Speech-Dataset; FLEURS: https://huggingface.co/datasets/google/fleurs;
VoxPopuli: https://github.com/facebookresearch/voxpopuli.
"""

import posixpath
import re
from collections.abc import Callable, Iterator

from ... import storage
from ...audio.suffixes import is_sound
from ...errors import DataError
from ..census import Census
from ..columns import Layout
from ..format import Fault, Format, Reader, in_pieces
from ..named_recordings import NamedRecordings
from ..places import is_hidden, relative, split_of_path
from ..settings import CorpusSettings
from .table_files.dialects import dialect_of
from .table_files.separated import UNDECODED, Dialect, Fields, Lines, rows_of
from .table_files.text_files import HOW_TO_SAVE, opened_text
from .tables import Objects

AUDIO, NAME = "recording", "recording_name"  # columns that these tables are given
FLEURS_TABLES = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
FLEURS_COLUMNS = ("id", "file_name", "raw_transcription", "transcription", "words", "num_samples", "gender")
VOX_POPULI_TABLES = {"train": "asr_train.tsv", "validation": "asr_dev.tsv", "test": "asr_test.tsv"}
LJ_SPEECH_NAMES = ("metadata.csv", "metadata.txt")
LJ_SPEECH_COLUMNS: dict[int, Fields] = {2: ("id", "text"), 3: ("id", "raw_text", "normalized_text")}


def read_named(
    file: str, dialect: Dialect, name: str, layout: Layout, recordings: NamedRecordings
) -> Iterator[tuple[int, tuple[dict[str, object] | Fault, ...]]]:
    """The rows of a table, each with the address and the name of its recording, in pieces after their first number.

    Args:
        name: the column with the recording's name.
    """
    size = recordings.settings.job_rows
    place = dialect.header.index(name)

    def rows() -> Iterator[dict[str, object] | Fault]:
        with opened_text(file) as content:
            for _, fields in rows_of(Lines(content), dialect, file):
                yield row(fields)

    def row(fields: Fields) -> dict[str, object] | Fault:
        if len(fields) != len(dialect.header):
            return Fault(f"{len(fields)} fields where there are to be {len(dialect.header)}")
        if any(map(UNDECODED.search, fields)):
            return Fault(f"not UTF-8: {HOW_TO_SAVE}")
        values: dict[str, object] = dict(zip(dialect.header, fields, strict=True))
        found = recordings.find(fields[place], layout.split)
        if isinstance(found, Fault):
            return found
        stem = posixpath.splitext(fields[place])[0] if is_sound(fields[place]) else fields[place]
        return values | {AUDIO: found, NAME: f"{recordings.prefix}{stem}"}

    yield from in_pieces(rows(), size)


def read_published(
    file: str, dialect: Dialect, name: str, recordings: NamedRecordings, split: str | None = None
) -> Iterator[Objects]:
    """A table whose column ``name`` has its recordings' names, in pieces."""
    settings = recordings.settings
    recordings.census.use(file)
    columns = {"audio": AUDIO, "id": NAME} | settings.columns
    own = settings.model_copy(update={"audio_root": None, "columns": columns})  # what was found lies in the root
    layout = Layout.of(file, own, (*dialect.header, AUDIO, NAME), root="", split=split)
    for first, piece in read_named(file, dialect, name, layout, recordings):
        yield Objects(file=file, first=first, rows=piece, layout=layout)


def recordings_of(file: str, folder: str, settings: CorpusSettings, census: Census) -> NamedRecordings:
    """Where the recordings of a table are looked for: in --audio-root, else in a folder."""
    return NamedRecordings(settings.audio_root or folder or ".", settings, census)


def first_fields(file: str, separator: str) -> Fields:
    """The fields of a file's first line, none where it cannot be read."""
    try:
        with opened_text(file) as content:
            line = content.readline(2**16).decode("utf-8", "replace")
    except DataError:
        return ()
    return tuple(line.rstrip("\r\n").split(separator))


# LJ Speech


def is_lj_speech(file: str, settings: CorpusSettings) -> bool:
    """Whether a file is LJ Speech's metadata.csv: names of recordings in wavs/, pipes, texts, no header."""
    if posixpath.basename(file) not in LJ_SPEECH_NAMES:
        return False
    fields = first_fields(file, "|")
    if len(fields) not in LJ_SPEECH_COLUMNS or not fields[0] or "/" in fields[0]:
        return False
    wav = storage.join(posixpath.dirname(file), f"wavs/{fields[0]}")
    return any(storage.exists(storage.as_spelt(f"{wav}{suffix}")) for suffix in ("", ".wav", ".flac"))


def lj_speech_tables(folder: str, settings: CorpusSettings) -> list[str]:
    """A folder's metadata.csv if it is of this form; if it has none, those of the folders below it, as of books."""
    own = [storage.join(folder, name) for name in LJ_SPEECH_NAMES]
    own = [file for file in own if storage.exists(file)]
    found = own or [file for file in storage.files_below(folder) if not is_hidden(file, folder)]
    return [file for file in found if is_lj_speech(file, settings)]


def read_lj_speech(address: str, settings: CorpusSettings, split: str | None, census: Census) -> Iterator[Objects]:
    """LJ Speech and corpora of its form; of three columns the last is the text, with numbers written out."""
    if not storage.is_folder(address):
        yield from read_lj_speech_table(address, settings, split, census)
        return
    for file in lj_speech_tables(address, settings):
        place = posixpath.dirname(relative(file, address))
        part = split_of_path(f"{place}/") if place else split
        yield from read_lj_speech_table(file, settings, part, census, prefix=f"{place}/" if place else "")


def read_lj_speech_table(
    file: str, settings: CorpusSettings, split: str | None, census: Census, *, prefix: str = ""
) -> Iterator[Objects]:
    """One table; ``prefix``: of the ids, which are the recordings' names."""
    header = LJ_SPEECH_COLUMNS.get(len(first_fields(file, "|")))
    if header is None:
        raise DataError(f"{file}: line 1 has no two or three fields with pipes, as LJ Speech has")
    if len(header) == 3 and "text" not in settings.columns:
        census.notice(f"{file}: the text is the third column, with numbers and abbreviations written out; "
                      f"{settings.names_column('text', 'raw_text')} takes the second")  # fmt: skip
    recordings = recordings_of(file, storage.join(posixpath.dirname(file), "wavs"), settings, census)
    recordings.prefix = prefix
    yield from read_published(file, Dialect("|", "none", header, begins=0), "id", recordings, split)


# FLEURS


def is_fleurs(file: str, settings: CorpusSettings) -> bool:
    """Whether a file is a table of FLEURS: seven columns with tabs, no header."""
    if posixpath.basename(file) not in FLEURS_TABLES.values():
        return False
    fields = first_fields(file, "\t")
    return len(fields) == len(FLEURS_COLUMNS) and is_sound(fields[1]) and fields[5].strip().isdecimal()


def tables_in(folder: str, tables: dict[str, str]) -> dict[str | None, str]:
    """Those of a corpus's tables that lie in a folder, by split."""
    found: dict[str | None, str] = {split: storage.join(folder, name) for split, name in tables.items()}
    return {split: file for split, file in found.items() if storage.exists(file)}


def read_fleurs(address: str, settings: CorpusSettings, split: str | None, census: Census) -> Iterator[Objects]:
    """A language of FLEURS, or one of its tables; recordings lie in folders or in archives for each split.

    The text is ``transcription``, in small letters without punctuation. A sentence's ``id`` is shared by those who read
    it, so that the id is the recording's name.
    """
    whole = storage.is_folder(address)
    tables = tables_in(address, FLEURS_TABLES) if whole else {split: address}
    folder = address if whole else posixpath.dirname(address)
    if "text" not in settings.columns:
        census.notice(f"{address}: the text is transcription, in small letters without punctuation; "
                      f"{settings.names_column('text', 'raw_transcription')} takes it as it was written")  # fmt: skip
    recordings = recordings_of(address, folder, settings, census)
    for part, file in tables.items():
        yield from read_published(file, Dialect("\t", "none", FLEURS_COLUMNS, begins=0), "file_name", recordings, part)


# VoxPopuli


def is_vox_populi(file: str, settings: CorpusSettings) -> bool:
    """Whether a file is a table of VoxPopuli's transcribed speech: ids and texts, and no column of paths."""
    if not re.fullmatch(r"asr_\w+\.tsv", posixpath.basename(file)):
        return False
    return {"id", "raw_text", "normalized_text"} <= set(first_fields(file, "\t"))


def read_vox_populi(address: str, settings: CorpusSettings, split: str | None, census: Census) -> Iterator[Objects]:
    """A language of VoxPopuli, or one of its tables; recordings lie below it, in folders or archives, by their ids.

    The text is ``normalized_text``; ``raw_text`` has capitals and punctuation, and is empty in some rows.
    """
    whole = storage.is_folder(address)
    tables = tables_in(address, VOX_POPULI_TABLES) if whole else {split: address}
    if "text" not in settings.columns:
        census.notice(f"{address}: the text is normalized_text; {settings.names_column('text', 'raw_text')} takes it "
                      "as it was written, where it is there")  # fmt: skip
    recordings = recordings_of(address, address if whole else posixpath.dirname(address), settings, census)
    for part, file in tables.items():
        dialect = dialect_of(file, settings)
        for notice in dialect.notices:
            census.notice(notice)
        yield from read_published(file, dialect, "id", recordings, part)


def format_of_tables(
    kind: str, read: Reader, is_table: Callable[[str, CorpusSettings], bool], tables: dict[str, str], sign: str
) -> Format:
    """A format that is a folder with some of these tables, by split, or one of them."""

    def is_folder(folder: str, settings: CorpusSettings) -> bool:
        return any(is_table(file, settings) for file in tables_in(folder, tables).values())

    return Format(kind, read, suffixes=(".tsv",), is_file=is_table, sign=sign, is_folder=is_folder)


LJ_SPEECH = Format(
    "lj_speech",
    read_lj_speech,
    suffixes=(".csv", ".txt"),
    is_file=is_lj_speech,
    sign="metadata.csv with pipes beside wavs/",
    is_folder=lambda folder, settings: bool(lj_speech_tables(folder, settings)),
)
FLEURS = format_of_tables("fleurs", read_fleurs, is_fleurs, FLEURS_TABLES, "train.tsv of FLEURS")
VOX_POPULI = format_of_tables(
    "vox_populi", read_vox_populi, is_vox_populi, VOX_POPULI_TABLES, "asr_train.tsv of VoxPopuli"
)
