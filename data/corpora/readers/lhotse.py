"""Lhotse's manifests: cuts, or recordings with supervisions; and Shar, cuts with tar files of their recordings beside.

See https://lhotse.readthedocs.io/en/latest/corpus.html, and cuts.html and shar.html there.
"""

import json
import posixpath
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ... import storage
from ...audio.decoding import one_line
from ...errors import DataError, some_of
from ..census import Census
from ..columns import Layout
from ..format import Fault, Format, Listed, Piece, digest, in_pieces
from ..places import SPLIT_FOLDERS, is_hidden, relative, split_of_folder, split_of_path
from ..record import Record
from ..settings import KNOWN_NAMES, CorpusSettings
from ..tar_members import opened_tar
from .kaldi import base_of, tell_left
from .lhotse_cuts import COLUMNS, rows_of_cut
from .table_files.json_items import DECODER, MAX_ITEM, list_items
from .tables import JsonLines, Objects, opened
from .tar_clips import Clip, clips_of

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")
NAMED = re.compile(r"cuts|recordings|supervisions")  # what names of manifests hold
CUTS = ("MonoCut", "MultiCut", "MixedCut", "PaddingCut", "Cut")
SUPERVISION, RECORDING = {"id", "recording_id", "start", "duration"}, {"id", "sources", "sampling_rate", "duration"}
LOOKED_AT = 2**22  # bytes, unpacked, within which the first item of a manifest must end


@dataclass(frozen=True, kw_only=True)
class LhotseRows(Listed, Piece):
    """Supervisions, each with its recording.

    Attributes:
        audio: the tar file with their recordings, in the order of their cuts; empty where they are files.
        version: of that; see :func:`data.storage.version`.
    """

    audio: str = ""
    version: str = ""

    def records(self) -> Iterator[Record]:
        if not self.audio:
            yield from map(self.record, self.rows)
            return
        with opened_tar(self.audio) as tar:
            clips = (clip for clip in clips_of(tar, ("audio",)) if clip.is_row)
            for cut, rows in groupby(self.rows, lambda row: (row["number"], row["cut"])):
                clip = next(clips, None)
                for row in rows:
                    yield self.record(row if row.get("fault") else row | found_in(clip, cut[1]))

    def record(self, row: dict[str, Any]) -> Record:
        """A row as a record."""
        place = f"{self.file}: line {row['number']}"
        if row.get("fault"):
            names = [self.layout.names[key] for key in ("id", "text")]
            name, text = (row.get(key) if key else None for key in names)
            return Record(
                place,
                id=name if isinstance(name, str) else None,
                text=text if isinstance(text, str) else None,
                fault=row["fault"],
            )
        return self.layout.record(row, place)

    def digest(self) -> str:
        rows = (json.dumps(row, sort_keys=True, default=repr).encode() for row in self.rows)
        return digest([posixpath.basename(self.audio).encode(), self.version.encode(), *rows])

    def audio_files(self) -> set[str]:
        """The recordings, or the tar file with them."""
        paths = {row["audio"] for row in self.rows if isinstance(row.get("audio"), str)}
        return {self.audio} if self.audio else {self.layout.address(path)[0] for path in paths}


def found_in(clip: Clip | None, cut: str) -> dict[str, Any]:
    """The audio of a cut, or why there is none."""
    if clip is None or (clip.key != cut and clip.fault is None):
        return {"fault": f"no audio: the tar file has {clip.key if clip else 'nothing'} where {cut} should be"}
    sounds = clip.of_kind("audio")
    if clip.fault is not None or len(sounds) != 1:
        return {"fault": clip.fault or f"no audio: the tar file has {len(sounds)} recordings of {cut}"}
    if not clip.members[sounds[0]]:
        return {"fault": f"no audio: {cut}.{sounds[0]} is empty"}
    return {"audio": {"bytes": clip.members[sounds[0]], "path": f"{posixpath.basename(cut)}.{sounds[0]}"}}


def read_lhotse(address: str, settings: CorpusSettings, split: str | None, census: Census) -> Iterator[LhotseRows]:
    """A manifest, or a folder of them, in pieces. Where there are cuts, recordings and supervisions are not read.

    Raises:
        DataError: if a manifest cannot be read, lacks its other half, or has audio that a command would make.
    """
    if not storage.is_folder(address):
        yield from read_manifest(address, beside(address), settings, split, census)
        return
    kinds = {file: manifest_kind(file) for file in manifests_in(address)}
    chosen = [file for file, kind in kinds.items() if kind == "cuts"]
    if not chosen:
        chosen = [file for file, kind in kinds.items() if kind == "supervisions"]
        chosen = chosen or [file for file, kind in kinds.items() if kind == "recordings"]
    for file in chosen:
        part = split_of_path(relative(file, address)) or split_of_name(file)
        yield from read_manifest(file, [other for other in kinds if other != file], settings, part, census)
    others = [file for file, kind in kinds.items() if kind is not None and not census.is_used(file)]
    if others:
        census.use(*others)
        names = some_of([relative(file, address) for file in others])
        census.notice(f"not used: {len(others):,} manifests of recordings or supervisions: {names}")


def read_manifest(
    file: str, others: Iterable[str], settings: CorpusSettings, split: str | None, census: Census
) -> Iterator[LhotseRows]:
    """Cuts, or supervisions with the recordings among ``others``, in pieces."""
    kind = manifest_kind(file)
    if kind is None:
        raise DataError(f"{file} is no manifest of Lhotse: cuts, or recordings and supervisions, are right")
    if kind == "recordings":
        file, others = half(file, "supervisions", others), [file]
    cuts = numbered(file)
    if kind != "cuts":
        recordings = half(file, "recordings", others)
        census.use(recordings)
        cuts = joined(file, recordings, settings, census)
    census.use(file)
    layout = None
    packed = tar_of(file)
    if packed:
        census.use(packed)

    def rows() -> Iterator[dict[str, Any]]:
        for number, cut in cuts:
            if isinstance(cut, Fault):
                yield {"fault": str(cut), "number": number, "cut": None}
                continue
            if settings.without_text and not cut.get("supervisions"):
                cut = cut | {"supervisions": [silent_supervision(cut)]}
            yield from (row | {"number": number, "cut": cut.get("id")} for row in rows_of_cut(cut, file, bool(packed)))

    size = 2**62 if packed else settings.job_rows  # a tar file is one piece
    for first, piece in in_pieces(rows(), size):
        layout = layout or layout_of(file, settings, split, piece)
        version = storage.version(packed) if packed else ""
        yield LhotseRows(file=file, first=first, rows=piece, layout=layout, audio=packed, version=version)
    if layout is None:
        raise DataError(f"{file} is empty")


def layout_of(file: str, settings: CorpusSettings, split: str | None, rows: Iterable[dict[str, Any]]) -> Layout:
    """How supervisions become records, by the first of them; what they carry beside Lhotse's own are columns, too."""
    rows = list(rows)
    columns = dict.fromkeys(COLUMNS)
    for row in rows:
        columns |= dict.fromkeys(name for name in row if name not in ("number", "cut", "fault"))
    base = "" if settings.audio_root else base_of(posixpath.dirname(file) or ".", paths_of(rows))
    return Layout.of(file, settings, columns, root=base, split=split)


def paths_of(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The paths of recordings."""
    return (row["audio"] for row in rows if isinstance(row.get("audio"), str))


def numbered(file: str) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
    """The items of a manifest, JSON lines or one list, with their numbers from 1.

    Raises:
        DataError: if it cannot be read to its end.
    """
    with opened(file) as content:
        try:
            is_list = content.peek(1).lstrip()[:1] == b"["
            lines = iter(lambda: content.readline(MAX_ITEM), b"")
            items = map(Objects.parse, list_items(file, content)) if is_list else map(JsonLines.parse, lines)
            for number, item in enumerate(items, start=1):
                if item is not None:
                    yield number, item
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"{file} cannot be read to its end: {one_line(error)}") from None


def silent_supervision(cut: dict[str, Any]) -> dict[str, Any]:
    """A supervision of all of a cut, without a text."""
    recording = cut.get("recording")
    length = cut.get("duration", recording.get("duration") if isinstance(recording, dict) else None)
    return {"id": cut.get("id"), "start": 0, "duration": length}


def joined(
    file: str, recordings: str, settings: CorpusSettings, census: Census
) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
    """Supervisions, each as a cut of its whole recording. Recordings are held in memory, about 1 kB each.

    Recordings without a supervision are told, or are cuts without one where ``settings.without_text`` asks for them.
    """
    known: dict[str, dict[str, Any]] = {}
    for number, found in numbered(recordings):
        if isinstance(found, Fault) or not isinstance(found.get("id"), str):
            raise DataError(f"{recordings}: line {number}: {found if isinstance(found, Fault) else 'has no id'}")
        if known.setdefault(found["id"], found) is not found:
            raise DataError(f"{recordings}: line {number} has {found['id']!r}, which came before")
    silent, number = dict.fromkeys(known), 0
    for number, said in numbered(file):
        if isinstance(said, Fault):
            yield number, said
            continue
        name = said.get("recording_id")
        recording = known.get(name) if isinstance(name, str) else None
        if recording is None:
            yield number, Fault(f"no audio: {posixpath.basename(recordings)} has no {name!r}")
            continue
        silent.pop(recording["id"], None)
        yield number, {"id": said.get("id"), "start": 0, "supervisions": [said], "recording": recording}
    if not settings.without_text:
        tell_left(census, silent, f"recordings of {recordings} without a supervision")
        return
    for name in silent:
        number += 1
        yield number, {"id": name, "start": 0, "recording": known[name]}


def half(file: str, kind: str, others: Iterable[str]) -> str:
    """The manifest of the other kind that belongs to one: of the same name but for the kind, or the only one.

    Raises:
        DataError: if there is none.
    """
    found = [other for other in others if manifest_kind(other) == kind]
    named = NAMED.sub(kind, posixpath.basename(file))
    same = [other for other in found if posixpath.basename(other) == named]
    if not same and len(found) != 1:
        place = posixpath.dirname(file) or "."
        raise DataError(f"{file}: its {kind} are not there: {posixpath.join(place, named)}, or one such file beside it")
    return (same or found)[0]


def beside(file: str) -> list[str]:
    """The manifests in a manifest's folder, but for itself."""
    folder = posixpath.dirname(file) or "."
    return [other for other in manifests_in(folder) if other != file and posixpath.dirname(other) in (folder, "")]


def tar_of(file: str) -> str:
    """The tar file with the recordings of Shar's cuts; empty where there is none."""
    folder, name = posixpath.split(file)
    found = re.fullmatch(r"cuts\.(\d+)\.jsonl(\.gz)?", name)
    tars = (storage.join(folder, f"recording.{found[1]}{suffix}") for suffix in (".tar", ".tar.gz")) if found else ()
    return next(filter(storage.exists, tars), "")


def manifests_in(folder: str) -> Iterator[str]:
    """Files that are called as manifests are."""
    for file in storage.files_below(folder):
        name = posixpath.basename(file).lower()
        if name.endswith(SUFFIXES) and NAMED.search(name) and not is_hidden(file, folder):
            yield file


def manifest_kind(file: str) -> str | None:
    """Whether a file holds ``cuts``, ``supervisions`` or ``recordings``, by its first item; None if none of them."""
    first = first_item(file)
    if first is None or first.keys() & set(KNOWN_NAMES["audio"]):
        return None
    if first.get("type") in CUTS and first.keys() & {"supervisions", "tracks", "recording", "features", "num_samples"}:
        return "cuts"
    if first.keys() >= SUPERVISION:
        return "supervisions"
    return "recordings" if first.keys() >= RECORDING and isinstance(first["sources"], list) else None


def first_item(file: str) -> dict[str, Any] | None:
    """The first object of a file of JSON; None if there is none."""
    size = 2**16
    while size <= LOOKED_AT:
        content = storage.read_part(file, 0, size)
        if file.lower().endswith(".gz"):
            try:
                content = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(content, size)
            except zlib.error:
                return None
        text = content.decode("utf-8-sig", "ignore").lstrip().removeprefix("[").lstrip()
        if not text.startswith("{"):
            return None
        try:
            found = DECODER.raw_decode(text)[0]
            return found if isinstance(found, dict) else None
        except (ValueError, RecursionError):
            size *= 8
    return None


def split_of_name(file: str) -> str | None:
    """The split that a part of a manifest's name is: ``cuts_train-clean-100.jsonl.gz``."""
    words = re.split("[-_.]", posixpath.basename(file).lower())
    return next((split_of_folder(word) for word in words if word in SPLIT_FOLDERS), None)


LHOTSE = Format(
    "lhotse",
    read_lhotse,
    suffixes=SUFFIXES,
    is_file=lambda file, _: manifest_kind(file) is not None,
    sign="manifests of Lhotse",
    is_folder=lambda folder, _: any(manifest_kind(file) for file in manifests_in(folder)),
)
