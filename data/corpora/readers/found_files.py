"""The files at an address, and the recordings among them, found by the names of their annotations.

Knows names alone, and looks into no file.
"""

import glob
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from ... import storage
from ...audio.suffixes import is_recording, is_sound, suffix_of_path
from ...errors import DataError, nearest
from ..places import Spelt, canonical, is_hidden, relative
from ..second.names import without_seconds
from ..settings import CorpusSettings
from .tables import JSON, TABLE

TABLE_IN_FOLDER = re.compile(r"segments\.(csv|tsv|jsonl)(\.gz)?")
TABLE_SUFFIXES = TABLE.suffixes + JSON.suffixes
SUBTITLES = (".srt", ".vtt", ".sbv")
# Of annotation files. Where a recording has several, that of the first format is read.
ANNOTATION_SUFFIXES = (".eaf", ".textgrid", *SUBTITLES, ".json", ".txt")
LOSSLESS = (".wav", ".flac", ".w64", ".aiff", ".aif", ".caf", ".au")  # taken first where a recording is there twice
# talk.en, talk.pt-BR, talk.en.forced: a language code after the name, as subtitles have it
LANGUAGE = re.compile(r"(.+)\.([A-Za-z]{2,3})(?:[-_][A-Za-z0-9]{2,8})*(?:\.(?:cc|default|forced|hi|sdh))*")


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


def find_files(address: str, second: str | None = None) -> FoundFiles:
    """A folder's files, a glob's, or the file itself; ``second``: what tells those that are second recordings."""
    if not address.strip():
        raise DataError("the input is empty: a file, a folder or a glob is right")
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
    files = without_seconds([file for file in files if not is_hidden(file, root)], second)
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
        self.by_stem = Spelt[list[str]]()
        self.unreadable = Spelt[str]()  # by stem: what only other programs decode
        for folder in self.roots:
            if found.is_folder and folder == found.root:
                files = found.files
            elif found.below or folder != found.root:
                files = storage.files_below(folder)
            else:
                files = storage.matching(f"{glob.escape(folder.rstrip('/'))}/*")
            sound = [file for file in files if is_sound(file) and not is_hidden(file, folder)]
            sound = without_seconds(sound, settings.second)
            for file in sorted(sound, key=lambda name: (suffix_of_path(name) not in LOSSLESS, name)):
                place = canonical(file)
                if is_recording(file):
                    self.by_path.setdefault(place, file)
                    self.by_stem.setdefault(without_suffix(place), []).append(file)
                else:
                    self.unreadable.setdefault(without_suffix(place), file)
        # talk.wav.srt is for talk.wav alone, and talk.srt beside it for another talk
        names = (
            place for file in found.files if suffix_of_path(file) in ANNOTATION_SUFFIXES for place in self.places(file)
        )
        self.named = {self.by_path[place] for place in names if place in self.by_path}

    def places(self, annotation: str) -> list[str]:
        """Where the annotation's recording may lie, without suffix: in the audio root, or beside it."""
        stem = without_suffix(relative(annotation, self.root))
        return [canonical(f"{folder.rstrip('/')}/{stem}") for folder in self.roots]

    def beside(self, annotation: str) -> tuple[str | None, str | None]:
        """The recording with the annotation's name, in the audio root or beside it, and the language that the name of
        subtitles tells; None where there is none."""
        places = self.places(annotation)
        recording = self.at(places)
        if recording is None and suffix_of_path(annotation) in SUBTITLES:
            parts = [LANGUAGE.fullmatch(place) for place in places]
            recording = self.at([part[1] for part in parts if part])
            if recording is not None and parts[0]:  # all places end alike
                return recording, parts[0][2].lower()
        return recording, None

    def at(self, places: Iterable[str]) -> str | None:
        """The first recording that one of these names means."""
        for place in places:
            if place in self.by_path:
                return self.by_path[place]
            if place in self.by_stem:
                same = self.by_stem[place]
                return next((one for one in same if one not in self.named), same[0])
        return None

    def linked(self, annotation: str, media: Iterable[tuple[str, str]]) -> str | None:
        """The first recording that an ELAN file names and that is there: by its relative URL, or by name beside it."""
        folder = posixpath.dirname(annotation) or "."
        for urls in media:
            for url in urls:
                for name in (url, unquote(url), posixpath.basename(unquote(url).replace("\\", "/"))):
                    if name and ":" not in name and (place := canonical(f"{folder}/{name}")) in self.by_path:
                        return self.by_path[place]
        return None

    def none_here(self) -> str:
        """What to say where there is no recording at all."""
        found = sorted(self.unreadable.values())
        other = f"; {posixpath.basename(found[0])} and what else may be here, ffmpeg would read" if found else ""
        return f"no recordings in {' or '.join(self.roots)}{other}"

    def absence(self, annotation: str) -> str:
        """What to say of an annotation without recording."""
        for place in self.places(annotation):
            if place in self.unreadable:
                return f"{posixpath.basename(self.unreadable[place])} cannot be decoded here; ffmpeg would read it"
        folder = posixpath.dirname(canonical(annotation))
        near = (posixpath.basename(path) for path in self.by_path if posixpath.dirname(path) == folder)
        like = nearest(without_suffix(posixpath.basename(annotation)), near)
        return f"no recording of the same name beside it, nor in --audio-root{like}"


def without_suffix(file: str) -> str:
    """A path without its suffix."""
    return posixpath.splitext(file)[0]
