"""Kaldi's data folders, and so ESPnet's: wav.scp, text, and if there are any segments, utt2spk and utt2lang.

Their indices are held in memory, some 300 bytes a recording and a speaker's mention.
"""

import json
import posixpath
import re
import shlex
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ... import storage
from ...audio.decoding import one_line
from ...errors import DataError, some_of
from ..census import Census
from ..columns import Layout
from ..format import Fault, Format, Listed, Piece, digest, in_pieces
from ..places import SPLIT_FOLDERS, normal, split_of_folder
from ..record import Record
from ..settings import CorpusSettings
from .kaldi_archives import SUFFIXES, entry_of, is_range, read_entry
from .tables import opened

RECORDINGS = "wav.scp"
FILES = (RECORDINGS, "text", "segments", "utt2spk", "utt2lang")
PARENTS = 4  # of ESPnet's dump/raw/org/train
SEPARATOR = re.compile(r"[ \t]+")
DECODERS = {("flac", "-c", "-d", "-s"), ("flac", "-cds"), ("flac", "-dcs"), ("cat",)}  # which change no sample


@dataclass(frozen=True, kw_only=True)
class KaldiRows(Listed, Piece):
    """Utterances. What lies in archives is read when their records are wanted, once where several follow each other."""

    def records(self) -> Iterator[Record]:
        read_last: tuple[str, bytes | Fault] | None = None
        for number, row in enumerate(self.rows, start=self.first):
            record = self.layout.record(row, f"{self.file}: {self.row_word} {number}")
            entry = entry_of(record.audio) if isinstance(record.audio, str) else None
            if row.get("fault"):
                record = replace(record, fault=row["fault"])
            elif entry is not None and record.fault is None:
                if read_last is None or read_last[0] != record.audio:
                    read_last = record.audio, read_entry(*entry)
                content = read_last[1]
                if isinstance(content, Fault):
                    record = replace(record, audio=None, fault=str(content))
                else:
                    name = f"{record.id}{SUFFIXES.get(content[:4], '')}"
                    record = replace(record, audio={"bytes": content, "path": name})
            yield record

    def digest(self) -> str:
        return digest(json.dumps(row, sort_keys=True).encode() for row in self.rows)

    def audio_files(self) -> set[str]:
        """The recordings, or the archives with them."""
        paths = {self.layout.address(row["audio"])[0] for row in self.rows if row["audio"]}
        return {entry[0] if (entry := entry_of(path)) else path for path in paths}


def read_kaldi(folder: str, settings: CorpusSettings, split: str | None, census: Census) -> Iterator[KaldiRows]:
    """The utterances of a folder, or of its train/, validation/ (dev/) and test/, in pieces.

    Raises:
        DataError: for a missing file, a line that is not as Kaldi has it, or a command in wav.scp that would have to
            be run.
    """
    for part, place in kaldi_folders(folder):
        yield from read_data_folder(place, settings, part or split, census)


def kaldi_folders(folder: str) -> Iterator[tuple[str | None, str]]:
    """Split and place of each folder with a wav.scp: the folder itself, or those in it that a split is called after."""
    if storage.exists(storage.join(folder, RECORDINGS)):
        yield None, folder
        return
    for name in SPLIT_FOLDERS:
        if storage.exists(storage.join(folder, f"{name}/{RECORDINGS}")):
            yield split_of_folder(name), storage.join(folder, name)


def read_data_folder(folder: str, settings: CorpusSettings, split: str | None, census: Census) -> Iterator[KaldiRows]:
    """The utterances of one folder in pieces; the census is told of recordings and segments without a text."""
    census.use(*(storage.join(folder, name) for name in FILES))
    recordings = {name: recording(folder, name, value) for name, value in unique(folder, RECORDINGS)}
    speakers = dict(pairs(folder, "utt2spk", optional=True))
    languages = dict(pairs(folder, "utt2lang", optional=True))
    segments = dict(unique(folder, "segments", optional=True))
    columns = ("audio", "text", "id", "speaker", "language", "start", "end")
    base = "" if settings.audio_root else base_of(folder, recordings.values())
    if base:
        census.notice(f"{storage.join(folder, RECORDINGS)}: its relative paths are read from {base}")
    layout = Layout.of(folder, settings.without_columns, columns, root=base, split=split)
    layout = replace(layout, names_its_columns=False)
    untold = dict.fromkeys(segments or recordings)
    silent = dict.fromkeys(recordings if segments else ())

    def row(utterance: str, text: str | None) -> dict[str, Any]:
        source, start, end = utterance, None, None
        untold.pop(utterance, None)
        if segments:
            source, start, end = segment(folder, utterance, segments.get(utterance))
            silent.pop(source, None)
        known = (recordings.get(source), text, utterance, speakers.get(utterance), languages.get(utterance))
        found = dict(zip(columns, (*known, start, end), strict=True))
        if found["audio"] is None:
            file, name = ("segments", utterance) if segments and not source else (RECORDINGS, source)
            found["fault"] = f"no audio: {file} has no {name}"
        return found

    def rows() -> Iterator[dict[str, Any]]:
        for utterance, text in pairs(folder, "text", optional=settings.without_text, values=False):
            yield row(utterance, text)
        if settings.without_text:
            for utterance in list(untold):
                yield row(utterance, None)

    file, first = posixpath.join(folder, "text"), 0
    for first, piece in in_pieces(rows(), settings.job_rows):
        yield KaldiRows(file=file, first=first, rows=piece, layout=layout)
    if not first:
        raise DataError(f"{file} is empty")
    tell_left(census, untold, f"{'segments' if segments else 'recordings'} of {folder} that {file} has no line for")
    tell_left(census, silent, f"recordings of {folder} that no segment with a text is of")


def tell_left(census: Census, names: Collection[str], what: str) -> None:
    """A notice of what was not used, if anything."""
    if names:
        census.notice(f"not used: {len(names):,} {what}: {some_of(names)}")


def base_of(folder: str, paths: Iterable[str]) -> str:
    """What relative paths in a corpus's lists are relative to, as the first of them shows.

    Recipes write them relative to where they run, which is the folder or one of :data:`PARENTS` above it, unless it
    is the working folder.

    Returns:
        An address; empty for the working folder, where the first file is in none of them, and without relative paths.
    """
    path = next((path for path in paths if not storage.is_remote(path) and not path.startswith("/")), None)
    if path is None:
        return ""
    entry = entry_of(path)
    file = entry[0] if entry else path
    if not storage.is_remote(folder) and storage.exists(file):
        return ""
    place = normal(folder)
    for _ in range(PARENTS + 1):
        if storage.exists(storage.join(place, file)):
            return place
        above = posixpath.dirname(place)
        if above == place or above.endswith(":/"):
            break
        place = above
    return folder if storage.is_remote(folder) else ""


KALDI = Format("kaldi", read_kaldi, sign=RECORDINGS, is_folder=lambda folder, _: any(kaldi_folders(folder)))


def pairs(folder: str, name: str, optional: bool = False, values: bool = True) -> Iterator[tuple[str, str]]:
    """Key and rest of each line of a file; ``values``: a line without a rest is refused."""
    file = storage.join(folder, name)
    if optional and not storage.exists(file):
        return
    with opened(file) as content:
        for number, line in enumerate(content, start=1):
            try:
                words = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                key, _, value = SEPARATOR.sub(" ", words, count=1).partition(" ")
            except UnicodeDecodeError as error:
                if name != "text":
                    raise DataError(f"{file}: line {number}: not UTF-8: {one_line(error)}") from None
                key, value = line.split()[0].decode("utf-8", "replace"), "\ufffd"  # one transcript is not the corpus
            if not key:
                continue
            if values and not value.strip():
                raise DataError(f"{file}: line {number} has {key!r} and nothing after it")
            yield key, value.strip()


def unique(folder: str, name: str, optional: bool = False) -> Iterator[tuple[str, str]]:
    """As :func:`pairs`, but no key may come twice: which of two recordings is meant cannot be told."""
    seen = set()
    for key, value in pairs(folder, name, optional):
        if key in seen:
            raise DataError(f"{storage.join(folder, name)} has {key!r} twice")
        seen.add(key)
        yield key, value


def recording(folder: str, name: str, value: str) -> str:
    """The file of an entry of wav.scp: the path itself, or what a command there only unpacks."""
    if is_range(value):
        raise DataError(f"{posixpath.join(folder, RECORDINGS)}: {name} is a part of what an archive holds, {value!r}; "
                        "only whole recordings are read: copy them without the brackets' part")  # fmt: skip
    if not value.endswith("|"):
        return value
    try:
        command = shlex.split(value[:-1])
    except ValueError:
        command = []
    if command and (posixpath.basename(command[0]), *command[1:-1]) in DECODERS:
        return command[-1]
    raise DataError(f"{posixpath.join(folder, 'wav.scp')}: {name} is a command, {value!r}; no command of a corpus is "
                    "run: run it first and write the path of what comes out")  # fmt: skip


def segment(folder: str, utterance: str, value: str | None) -> tuple[str, str | None, str | None]:
    """Recording, start and end of an utterance; an end of -1 is the recording's."""
    place = f"{posixpath.join(folder, 'segments')}: {utterance}"
    if value is None:
        return "", None, None
    fields = value.split()
    if len(fields) != 3:
        raise DataError(f"{place} has {len(fields)} fields after it; recording, start and end are right")
    return fields[0], fields[1], None if fields[2] in ("-1", "-1.0") else fields[2]
