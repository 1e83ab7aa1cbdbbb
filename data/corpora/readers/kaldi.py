"""Kaldi's data folders: wav.scp, text, and if there are any segments, utt2spk and utt2lang.

Their indices are held in memory, some 300 bytes a recording and a speaker's mention.
"""

import posixpath
import re
import shlex
from collections.abc import Iterator

from ... import storage
from ...audio.decoding import one_line
from ...errors import DataError
from ..census import Census
from ..columns import Layout
from ..format import Format, in_pieces
from ..settings import CorpusSettings
from .tables import Objects, opened

SEPARATOR = re.compile(r"[ \t]+")
DECODERS = {("flac", "-c", "-d", "-s"), ("flac", "-cds"), ("flac", "-dcs"), ("cat",)}  # which change no sample


def read_kaldi(folder: str, settings: CorpusSettings, split: str | None, census: Census) -> Iterator[Objects]:
    """The folder's utterances in pieces.

    Raises:
        DataError: for a missing file, a line that is not as Kaldi has it, or a command in wav.scp that would have to
            be run.
    """
    recordings = {name: recording(folder, name, value) for name, value in unique(folder, "wav.scp")}
    speakers = dict(pairs(folder, "utt2spk", optional=True))
    languages = dict(pairs(folder, "utt2lang", optional=True))
    segments = dict(unique(folder, "segments", optional=True))
    columns = ("audio", "text", "id", "speaker", "language", "start", "end")
    layout = Layout.of(folder, settings, columns, root="", split=split)  # paths as Kaldi has them

    def rows() -> Iterator[dict[str, object]]:
        for utterance, text in pairs(folder, "text", values=False):
            source, start, end = utterance, None, None
            if segments:
                source, start, end = segment(folder, utterance, segments.get(utterance))
            known = (recordings.get(source), text, utterance, speakers.get(utterance), languages.get(utterance))
            yield dict(zip(columns, (*known, start, end), strict=True))

    file, first = posixpath.join(folder, "text"), 0
    for first, piece in in_pieces(rows(), settings.job_rows):
        yield Objects(file=file, first=first, rows=piece, layout=layout)
    if not first:
        raise DataError(f"{file} is empty")


KALDI = Format(
    "kaldi", read_kaldi, sign="wav.scp", is_folder=lambda folder, _: storage.exists(storage.join(folder, "wav.scp"))
)


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
