"""Folders of recordings with their transcripts, and Common Voice's, which is a table beside a folder."""

import posixpath
from collections.abc import Iterator
from itertools import islice
from typing import Any

from .. import storage
from ..audio.decoding import AUDIO_SUFFIXES
from .columns import Layout
from .format import Format, Rows, in_pieces
from .places import SPLIT_FOLDERS, split_of_folder, split_of_path
from .settings import CorpusSettings
from .tables import Objects, opened, read_table

METADATA = ("metadata.jsonl", "metadata.csv")
COMMON_VOICE_TABLES = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv", None: "validated.tsv"}
TRANSCRIPTS_BESIDE = ".trans.txt"  # LibriSpeech: a line for each recording of the folder


def common_voice_tables(folder: str) -> dict[str | None, str]:
    """The tables of a Common Voice folder, by split; what was validated counts where there are no splits."""
    tables = {split: storage.join(folder, name) for split, name in COMMON_VOICE_TABLES.items()}
    found = {split: file for split, file in tables.items() if storage.exists(file)}
    return {split: file for split, file in found.items() if split or len(found) == 1}


def read_common_voice(folder: str, settings: CorpusSettings, split: str | None) -> Iterator[Rows]:
    """A Common Voice folder: its tables, with the recordings in ``clips/``."""
    columns = {"audio": "path", "text": "sentence", "speaker": "client_id", "id": "path"} | settings.columns
    settings = settings.model_copy(update={"columns": columns})
    for split, file in common_voice_tables(folder).items():
        yield from read_table(file, settings, split, root=storage.join(folder, "clips"))


def metadata_files(folder: str) -> Iterator[tuple[str | None, str]]:
    """Split and file of each metadata.jsonl or .csv in a folder and in its train/, validation/ and test/."""
    places = [(None, folder)] + [(split_of_folder(name), storage.join(folder, name)) for name in SPLIT_FOLDERS]
    for split, place in places:
        tables = (storage.join(place, name) for name in METADATA)
        yield from ((split, table) for table in islice(filter(storage.exists, tables), 1))


def read_audio_folder(folder: str, settings: CorpusSettings, split: str | None) -> Iterator[Rows]:
    """A folder of recordings with a metadata.jsonl or .csv, or one in each split's folder."""
    for split, file in metadata_files(folder):
        yield from read_table(file, settings, split)


def read_recordings(folder: str, settings: CorpusSettings, split: str | None) -> Iterator[Rows]:
    """Recordings with a .txt beside each, or with LibriSpeech's ``*.trans.txt`` beside several.

    A first folder called train, validation (dev, valid, val) or test (eval) gives the split.
    """
    files = storage.files_below(folder)
    there = set(files)
    inside = settings.model_copy(update={"audio_root": folder})
    layout = Layout.of(folder, inside, ("audio", "text", "id", "split"), root=folder)

    def rows() -> Iterator[dict[str, Any]]:
        for file in files:
            stem, suffix = posixpath.splitext(file)
            if suffix.lower() in AUDIO_SUFFIXES and f"{stem}.txt" in there:
                yield row(folder, file, transcript(f"{stem}.txt"))
            elif file.endswith(TRANSCRIPTS_BESIDE):
                yield from rows_beside(folder, file, there)

    for first, piece in in_pieces(rows(), settings.job_rows):
        yield Objects(file=folder, first=first, rows=piece, layout=layout)


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


def row(folder: str, file: str, text: Any) -> dict[str, Any]:
    """The row of a recording in a folder."""
    relative = file[len(folder.rstrip("/")) + 1 :]
    return {"audio": relative, "text": text, "id": posixpath.splitext(relative)[0], "split": split_of_path(relative)}


def transcript(file: str) -> str | bytes:
    """The words of a file; bytes, which are refused as text later, where they are not UTF-8."""
    try:
        return storage.read_bytes(file).decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return b""


def rows_beside(folder: str, file: str, there: set[str]) -> Iterator[dict[str, Any]]:
    """The rows of a file of lines ``name text``; ``there``: all files of the folder."""
    with opened(file) as lines:
        for line in lines:
            name, _, text = line.decode("utf-8", "replace").strip().partition(" ")
            stem = storage.join(posixpath.dirname(file), name)
            audio = next((f"{stem}{suffix}" for suffix in sorted(AUDIO_SUFFIXES) if f"{stem}{suffix}" in there), None)
            if name:
                yield row(folder, audio or f"{stem}.flac", text)
