"""The formats that are known, and a corpus of any of them in jobs that can be done apart from each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .. import storage
from ..audio.suffixes import is_sound, suffix_of_path
from ..errors import DataError, nearest
from .archives import check_kind, is_archive, unpacked
from .census import Census
from .format import Format, Listed, Rows
from .places import numbered, split_of_file
from .readers.folders import AUDIO_FOLDER, COMMON_VOICE, RECORDINGS
from .readers.kaldi import KALDI
from .readers.lhotse import LHOTSE
from .readers.parquet import ARROW, HUB, PARQUET
from .readers.published import FLEURS, LJ_SPEECH, VOX_POPULI
from .readers.segments import SEGMENTS, RecordRows
from .readers.tables import JSON, TABLE, TEXT_TABLE
from .readers.webdataset import WEBDATASET
from .second.names import NamePattern, is_pattern
from .second.rows import PairedRows
from .settings import CorpusSettings

# In the order in which they are tried. A folder that is of none is read as the last that reads folders.
FORMATS = (
    KALDI, COMMON_VOICE, LJ_SPEECH, FLEURS, VOX_POPULI, AUDIO_FOLDER, LHOTSE, WEBDATASET, PARQUET, ARROW, SEGMENTS,
    TABLE, TEXT_TABLE, JSON, HUB, RECORDINGS,
)  # fmt: skip
KINDS = ("auto", *dict.fromkeys(known.kind for known in FORMATS))


ELSE = 'a pattern of files such as "{name}_room.wav", channel or left_channel is right'
SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")


@dataclass(frozen=True)
class Job:
    """A piece with its number; job and settings decide what comes out, whoever runs it and when."""

    number: int
    rows: Rows


def plan_jobs(settings: CorpusSettings, census: Census | None = None) -> Iterator[Job]:
    """The jobs of a corpus, in its order, read as they are asked for.

    Args:
        census: is told what was taken of the corpus, and what was not.

    Raises:
        DataError: if there is nothing, nothing known, or a file that cannot be read.
    """
    number = 0
    left = settings.max_samples
    census = census or Census()
    for rows in pieces(settings, census):
        if settings.second is not None:
            rows = paired(rows, settings)
        layout = getattr(rows, "layout", None)
        if layout is not None:
            census.take_layout(layout)
        if left is not None:
            rows, taken = rows.limited(left)
            left -= taken
        yield Job(number, rows)
        number += 1
        if left == 0:
            return
    if not number:
        raise DataError(f"{settings.input} has no rows")


def pieces(settings: CorpusSettings, census: Census) -> Iterator[Rows]:
    """The corpus's rows in pieces."""
    formats = formats_of(settings)
    if not formats:
        raise DataError(f"--kind is {settings.kind!r}{nearest(settings.kind, KINDS)}; one of {', '.join(KINDS)}")
    if not any(known.suffixes or known.sign for known in formats):  # a name elsewhere
        yield from formats[0].read(settings.input, settings, None, census)
        return
    address = place_of(settings)
    if storage.is_folder(address):
        yield from read_folder(address, formats, settings, census)
        return
    files = matching(address)
    if not files:
        near = "; for a dataset of the hub say --kind hub" if address.count("/") == 1 and "." not in address else ""
        raise DataError(f"{settings.input} is neither a file nor a folder, and no glob that matches one{near}")
    for file in files:
        split = split_of_file(file) if len(files) > 1 else None
        yield from file_format(file, formats, settings).read(file, settings, split, census)


def formats_of(settings: CorpusSettings) -> list[Format]:
    """The formats that a corpus may be of."""
    return [known for known in FORMATS if settings.kind in ("auto", known.kind)]


def place_of(settings: CorpusSettings) -> str:
    """The address that a corpus is read at: its input, or the folder that it is unpacked into if it is an archive."""
    address = settings.input.rstrip("/") or "/"
    if names_archive(address) and not any(takes(known, address, settings) for known in formats_of(settings)):
        return unpacked(address, settings.cache)
    return address


def read_folder(folder: str, formats: Sequence[Format], settings: CorpusSettings, census: Census) -> Iterator[Rows]:
    """A folder, by the first of these formats that recognises it, else by the last that reads folders.

    The census is told which of its files were used, and which were not.

    Raises:
        DataError: if it holds nothing that they know.
    """
    able = [known for known in formats if known.sign]
    if not able:
        raise DataError(f"{folder} is a folder; a corpus of kind {settings.kind} is a file")
    chosen = next((known for known in able if known.is_folder(folder, settings)), able[-1])
    is_empty = True
    for rows in chosen.read(folder, settings, None, census):
        is_empty = False
        use_audio(rows, census, settings.second)
        yield rows
    files = storage.files_below(folder)
    census.leave(files, folder)
    if is_empty and not files:
        raise DataError(f"{folder} is empty")
    if is_empty:
        there = "".join(f"; {line}" for line in census.lines())
        if any(kind.startswith((".csv", ".tsv", ".json")) for kind in census.left):
            there += "; a table of the recordings is named itself, not its folder"
        raise DataError(f"{folder} has no rows that are known{there}; known are {', '.join(one.sign for one in able)}")


def paired(rows: Rows, settings: CorpusSettings) -> PairedRows:
    """A piece whose records have their second recordings.

    Raises:
        DataError: if a column has them, and the corpus has no columns.
    """
    if settings.second_column is not None and not isinstance(rows, RecordRows):
        layout = getattr(rows, "layout", None)
        if getattr(layout, "second", None) is None:
            raise DataError(f"--second {settings.second_column} is a column, and {settings.input} has none; {ELSE}")
    return PairedRows(rows, str(settings.second))


def use_audio(rows: Rows, census: Census, second: str | None = None) -> None:
    """Tell the census of the recordings that a piece's rows name; not every piece can tell without reading them.

    Args:
        second: what tells the second recording of each, if it is a pattern.
    """
    pattern = NamePattern(str(second)) if is_pattern(second) else None

    def use(*files: str) -> None:
        census.use(*files)
        if pattern is not None:
            census.use(*filter(None, map(pattern.place, files)))

    if hasattr(rows, "audio_files"):
        use(*rows.audio_files())
        return
    if not isinstance(rows, Listed):
        census.knows_audio = False
        return
    piece: Any = rows
    layout = getattr(rows, "layout", None)
    if layout is None:
        audio = (value for record in rows.records() for value in (record.audio, record.second))
    else:  # rows become records where they are prepared, which takes longer
        columns = [name for name in (layout.names["audio"], layout.second) if name]
        parsed = (row for row in piece.parsed() if isinstance(row, dict))
        audio = (layout.audio(row.get(name), [])[0] for row in parsed for name in columns)
    for value in audio:
        path = value.get("path") if isinstance(value, dict) else value
        if isinstance(path, str) and path:
            use(path)


def matching(address: str) -> list[str]:
    """The files that an address stands for: one, those of a glob, or those of a range such as ``shard-{000..017}.tar``.

    Raises:
        DataError: if one of a range is not there.
    """
    files: list[str] = []
    places = numbered(address)
    for place in places:
        found = storage.matching(place)
        if not found and len(places) > 1:
            raise DataError(f"{address}: {place} is not there")
        files += found
    return files


def names_archive(address: str) -> bool:
    """Whether an address is that of one archive, neither several nor a folder."""
    is_pattern = any(sign in address for sign in "*?[{") and not storage.exists(address)
    return is_archive(address) and not is_pattern and not storage.is_folder(address)


def takes(known: Format, file: str, settings: CorpusSettings) -> bool:
    """Whether a format recognises a file."""
    return bool(known.suffixes) and file.lower().endswith(known.suffixes) and known.is_file(file, settings)


def file_format(file: str, formats: Sequence[Format], settings: CorpusSettings) -> Format:
    """The first of these formats that recognises a file; the only one that reads files, whatever it is.

    Raises:
        DataError: if none does.
    """
    able = [known for known in formats if known.suffixes]
    if not able:
        raise DataError(f"{file} is a file; a corpus of kind {settings.kind} is a folder")
    for known in able:
        if len(able) == 1 or takes(known, file, settings):
            return known
    check_kind(file)
    if suffix_of_path(file) in SPREADSHEETS:
        raise DataError(f"{file} is a spreadsheet: save it as CSV, with whatever separator, in UTF-8 or UTF-16")
    if is_sound(file):
        raise DataError(f"{file} is a recording: name the folder that has it and its transcript")
    if is_archive(file):
        raise DataError(f"{file} is an archive and no shard of WebDataset; archives are read one at a time: name one")
    suffixes = dict.fromkeys(suffix for known in able for suffix in known.suffixes if not suffix.endswith(".gz"))
    raise DataError(f"{file} is none of {', '.join(suffixes)}, an archive or a folder; --kind says what it is")
