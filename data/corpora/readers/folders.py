"""Folders of recordings with their transcripts, and Common Voice's, which is a table beside a folder."""

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from types import MappingProxyType
from typing import Any

from ... import storage
from ...audio.suffixes import is_recording, suffix_of_path
from ...errors import DataError
from ..annotations.text_kinds import check_plain
from ..annotations.tiers import decoded_text
from ..census import Census
from ..columns import Layout
from ..format import Format, Rows, in_pieces
from ..places import SPLIT_FOLDERS, Spelt, is_hidden, lies_below, relative, split_of_folder, split_of_path
from ..second.names import without_seconds
from ..settings import CorpusSettings
from .beside import notice_annotations
from .found_files import LOSSLESS
from .tables import Objects, read_table

METADATA = ("metadata.jsonl", "metadata.csv")
COMMON_VOICE_TABLES = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv", None: "validated.tsv"}
TRANSCRIPTS_BESIDE = ".trans.txt"  # LibriSpeech: a line for each recording of the folder
READER_AND_CHAPTER = re.compile(r"(?P<reader>\d+)-(?P<chapter>\d+)\.trans\.txt")  # in folders reader/chapter


def common_voice_tables(folder: str) -> dict[str | None, str]:
    """The tables of a Common Voice folder, by split; what was validated counts where there are no splits."""
    tables = {split: storage.join(folder, name) for split, name in COMMON_VOICE_TABLES.items()}
    found = {split: file for split, file in tables.items() if storage.exists(file)}
    return {split: file for split, file in found.items() if split or len(found) == 1}


def read_common_voice(folder: str, settings: CorpusSettings, split: str | None, census: Census) -> Iterator[Rows]:
    """A Common Voice folder: its tables, with the recordings in ``clips/``."""
    columns = {"audio": "path", "text": "sentence", "speaker": "client_id", "id": "path"} | settings.columns
    settings = settings.model_copy(update={"columns": columns})
    for split, file in common_voice_tables(folder).items():
        yield from read_table(file, settings, split, census, root=storage.join(folder, "clips"))


def metadata_files(folder: str) -> Iterator[tuple[str | None, str]]:
    """Split and file of each metadata.jsonl or .csv in a folder and in its train/, validation/ and test/."""
    places = [(None, folder)] + [(split_of_folder(name), storage.join(folder, name)) for name in SPLIT_FOLDERS]
    for split, place in places:
        tables = (storage.join(place, name) for name in METADATA)
        yield from ((split, table) for table in islice(filter(storage.exists, tables), 1))


def read_audio_folder(folder: str, settings: CorpusSettings, split: str | None, census: Census) -> Iterator[Rows]:
    """A folder of recordings with a metadata.jsonl or .csv, or one in each split's folder."""
    for split, file in metadata_files(folder):
        yield from read_table(file, settings, split, census)


@dataclass(frozen=True, kw_only=True)
class Recordings(Objects):
    """Rows of recordings, each of which is found by its file."""

    def place(self, number: int) -> str:
        return storage.join(self.file, self.rows[number - self.first]["audio"])


def read_recordings(folder: str, settings: CorpusSettings, split: str | None, census: Census) -> Iterator[Rows]:
    """Recordings with a .txt beside each, or with LibriSpeech's ``*.trans.txt`` beside several.

    Capitals in a suffix do not count. A first folder called train, validation (dev, valid, val) or test (eval) gives
    the split. Of a recording in several encodings one is read. One without a transcript is a row where
    ``settings.without_text`` asks for it. In LibriSpeech's layout (https://www.openslr.org/12) the folder of a reader
    gives the speaker.

    Raises:
        DataError: when it is reached, for a .txt that says when; see :func:`..annotations.text_kinds.check_plain`.
    """
    shown = [file for file in storage.files_below(folder) if not is_hidden(file, folder)]
    files = without_seconds(shown, settings.second)
    census.use(*set(shown).difference(files))
    transcripts: Spelt[str] = Spelt({without_suffix(file): file for file in files if suffix_of_path(file) == ".txt"})
    inside = settings.without_columns.model_copy(update={"audio_root": folder})
    layout = Layout.of(folder, inside, ("audio", "text", "id", "split", "speaker"), root=folder)
    layout = replace(layout, names_its_columns=False)
    notice_annotations(files, transcripts, census)
    lines: Spelt[str] = Spelt(dict(lines_beside(folder, files, census)))
    readers = readers_of(files)

    repeated: list[list[str]] = []

    def rows() -> Iterator[dict[str, Any]]:
        for stem, copies in encodings(files).items():
            text: Any = None
            if stem in lines:
                text = lines.pop(stem)
            elif stem in transcripts:
                census.use(transcripts[stem])
                text = transcript(transcripts[stem])
                check_plain(text, transcripts[stem])
            elif not settings.without_text:
                continue
            if len(copies) > 1:
                repeated.append(copies)
                census.use(*copies)
            yield row(folder, copies[0], text, readers)
        for stem, text in lines.items():
            yield row(folder, f"{stem}.flac", text, readers)
        if repeated:
            first, other = map(posixpath.basename, repeated[0][:2])
            what = "recordings lie" if len(repeated) > 1 else "recording lies"
            census.notice(
                f"{len(repeated):,} {what} there in several encodings; of each one is read: {first}, not {other}"
            )

    for first, piece in in_pieces(rows(), settings.job_rows):
        yield Recordings(file=folder, first=first, rows=piece, layout=layout)


COMMON_VOICE = Format(
    "common_voice",
    read_common_voice,
    sign="clips/ beside a train.tsv",
    is_folder=lambda folder, _: storage.exists(storage.join(folder, "clips")) and bool(common_voice_tables(folder)),
)
AUDIO_FOLDER = Format(
    "folder", read_audio_folder, sign=" or ".join(METADATA), is_folder=lambda folder, _: any(metadata_files(folder))
)
RECORDINGS = Format("folder", read_recordings, sign="recording with a .txt beside it")


def without_suffix(file: str) -> str:
    """A path without its suffix."""
    return posixpath.splitext(file)[0]


def encodings(files: Iterable[str]) -> dict[str, list[str]]:
    """The recordings by their paths without suffix; of those that differ in the suffix alone, lossless ones first."""
    found: dict[str, list[str]] = {}
    for file in filter(is_recording, files):
        found.setdefault(without_suffix(file), []).append(file)
    for copies in found.values():
        copies.sort(key=lambda file: (suffix_of_path(file) not in LOSSLESS, file))
    return found


def row(folder: str, file: str, text: Any, readers: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """The row of a recording in a folder; ``readers``: of folders."""
    inside = lies_below(file, folder)
    name = relative(file, folder) if inside else file[len(folder.rstrip("/")) + 1 :]  # as written: it is refused later
    values = {"audio": name, "text": text, "id": posixpath.splitext(name)[0], "split": split_of_path(name)}
    return values | {"speaker": readers.get(posixpath.dirname(file))}


def readers_of(files: Iterable[str]) -> dict[str, str]:
    """The reader of each folder ``reader/chapter`` that has a ``reader-chapter.trans.txt``, as LibriSpeech's have."""
    readers = {}
    for file in files:
        folder, name = posixpath.split(file)
        found = READER_AND_CHAPTER.fullmatch(name)
        if found and folder.split("/")[-2:] == [found["reader"], found["chapter"]]:
            readers[folder] = found["reader"]
    return readers


def transcript(file: str) -> str | bytes:
    """The words of a file; bytes, which are refused as text later, where they are not UTF-8 or marked as UTF-16."""
    content = storage.read_bytes(file)
    try:
        return decoded_text(content, file).strip()
    except DataError:
        return b""


def lines_beside(folder: str, files: Iterable[str], census: Census) -> Iterator[tuple[str, str]]:
    """Path without suffix, and text, of each line ``name text`` of LibriSpeech's files."""
    for file in files:
        if not file.endswith(TRANSCRIPTS_BESIDE):
            continue
        census.use(file)
        for line in storage.read_bytes(file).decode("utf-8-sig", "replace").splitlines():
            name, _, text = line.strip().partition(" ")
            if name:
                yield storage.join(posixpath.dirname(file), name), text
