"""Recordings that a table calls by their names alone, found wherever they lie below a folder or in its archives."""

import posixpath
from collections.abc import Iterable

from .. import storage
from ..audio.suffixes import is_recording
from .archives import is_archive, unpacked
from .census import Census
from .format import Fault
from .places import Spelt, is_hidden, relative, split_of_folder
from .second.names import without_seconds
from .settings import CorpusSettings


class NamedRecordings:
    """The recordings below a folder by their names, with and without suffix. Archives are unpacked where a recording
    lies nowhere else.

    Attributes:
        prefix: of the clips' ids, where recordings of several folders have the same names.
    """

    prefix = ""

    def __init__(self, folder: str, settings: CorpusSettings, census: Census) -> None:
        self.folder, self.settings, self.census = folder, settings, census
        shown = [file for file in storage.files_below(folder) if not is_hidden(file, folder)]
        files = without_seconds(shown, settings.second)
        self.archives = list(filter(is_archive, files))
        self.lying = by_name(files)
        self.packed: Spelt[list[str]] | None = None

    def find(self, name: str, split: str | None) -> str | Fault:
        """The address of a recording, or why there is none; of several that of the split, if one folder is called so.

        Args:
            name: with or without suffix.
        """
        found = self.lying.get(name) or self.among_packed().get(name) or []
        if len(found) > 1:
            found = [file for file in found if split in self.splits(file)] or found
        if len(found) == 1:
            return found[0]
        if found:
            return Fault(f"{name!r} is {relative(found[0], self.folder)} or {relative(found[1], self.folder)}")
        return Fault(f"no recording {name!r} below {self.folder}")

    def splits(self, file: str) -> set[str | None]:
        """The splits that the folders of a file are called by."""
        return {split_of_folder(part.lower()) for part in posixpath.dirname(file).split("/")}

    def among_packed(self) -> Spelt[list[str]]:
        """The recordings of the archives, which are unpacked when first asked for."""
        if self.packed is None:
            folders = [unpacked(archive, self.settings.cache) for archive in self.archives]
            self.packed = by_name(file for folder in folders for file in storage.files_below(folder))
            self.census.use(*self.archives)
        return self.packed


def by_name(files: Iterable[str]) -> Spelt[list[str]]:
    """Recordings by their names, and by their names without suffix."""
    found: Spelt[list[str]] = Spelt()
    for file in filter(is_recording, files):
        name = posixpath.basename(file)
        for key in (name, posixpath.splitext(name)[0]):
            found.setdefault(key, []).append(file)
    return found
