"""Folders of recordings with their transcripts, and Common Voice's, which is a table beside a folder."""

import posixpath
from collections.abc import Iterator
from itertools import islice
from typing import Any

from .. import storage
from ..audio.decoding import AUDIO_SUFFIXES, one_line
from ..errors import DataError
from .columns import SPLIT_NAMES, Layout, resolve_columns
from .settings import CorpusSettings
from .tables import Objects, Rows, opened, read_table

METADATA = ("metadata.jsonl", "metadata.csv")
SPLIT_FOLDERS = ("train", "validation", "dev", "valid", "val", "test", "eval")
COMMON_VOICE = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
TRANSCRIPTS_BESIDE = ".trans.txt"  # LibriSpeech: a line for each recording of the folder


def split_of_folder(name: str) -> str | None:
    return SPLIT_NAMES.get(name, name) if name in SPLIT_FOLDERS else None


def read_common_voice(folder: str, settings: CorpusSettings) -> Iterator[Rows]:
    """A Common Voice folder: its splits where it has them, else what was validated; clips in ``clips/``."""
    tables = {split: storage.join(folder, name) for split, name in COMMON_VOICE.items()}
    found: dict[str | None, str] = {split: file for split, file in tables.items() if storage.exists(file)}
    columns = {"audio": "path", "text": "sentence", "speaker": "client_id", "id": "path"} | settings.columns
    settings = settings.model_copy(update={"columns": columns})
    for split, file in (found or {None: storage.join(folder, "validated.tsv")}).items():
        yield from read_table(file, settings, split, storage.join(folder, "clips"))


def metadata_files(folder: str) -> list[tuple[str | None, str]]:
    """Split and file of each metadata.jsonl or .csv in a folder and in its train/, validation/ and test/."""
    places = [(None, folder)] + [(split_of_folder(name), storage.join(folder, name)) for name in SPLIT_FOLDERS]
    found = []
    for split, place in places:
        file = next((storage.join(place, name) for name in METADATA if storage.exists(storage.join(place, name))), None)
        if file:
            found.append((split, file))
    return found


def read_recordings(folder: str, settings: CorpusSettings) -> Iterator[Rows]:
    """Recordings with a .txt beside each, or with LibriSpeech's ``*.trans.txt`` beside several.

    A first folder called train, validation (dev, valid, val) or test (eval) gives the split.

    Raises:
        DataError: if there is not one recording with a transcript.
    """
    files = storage.files_below(folder)
    there = set(files)
    layout = Layout(
        names=resolve_columns(settings, ["audio", "text", "id", "split"], folder),
        root=folder,
        confined=True,
        language=settings.language,
    )

    def rows() -> Iterator[dict[str, Any]]:
        for file in files:
            stem, suffix = posixpath.splitext(file)
            if suffix.lower() in AUDIO_SUFFIXES and f"{stem}.txt" in there:
                yield row(folder, file, transcript(f"{stem}.txt"))
            elif file.endswith(TRANSCRIPTS_BESIDE):
                yield from rows_beside(folder, file, there)

    first, everything = 1, rows()
    while piece := tuple(islice(everything, settings.job_rows)):
        yield Objects(folder, first, piece, layout)
        first += len(piece)
    if first == 1:
        raise DataError(
            f"{folder} has no {' or '.join(METADATA)}, no wav.scp, no Parquet and no recording with a .txt beside it"
        )


def row(folder: str, file: str, text: Any) -> dict[str, Any]:
    relative = file[len(folder.rstrip("/")) + 1 :]
    split = split_of_folder(relative.split("/", 1)[0]) if "/" in relative else None
    return {"audio": relative, "text": text, "id": posixpath.splitext(relative)[0], "split": split}


def transcript(file: str) -> Any:
    """The words of a file; a list, which is no text, where they are not UTF-8."""
    try:
        return storage.read_bytes(file).decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        return [f"not UTF-8: {one_line(error)}"]


def rows_beside(folder: str, file: str, there: set[str]) -> Iterator[dict[str, Any]]:
    with opened(file) as lines:
        for line in lines:
            name, _, text = line.decode("utf-8", "replace").strip().partition(" ")
            stem = storage.join(posixpath.dirname(file), name)
            audio = next((f"{stem}{suffix}" for suffix in sorted(AUDIO_SUFFIXES) if f"{stem}{suffix}" in there), None)
            if name:
                yield row(folder, audio or f"{stem}.flac", text)
