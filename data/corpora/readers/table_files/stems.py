"""Ids from paths: a path without its suffix, but for files of one table that differ in their suffix alone."""

import posixpath
from array import array
from collections.abc import Iterable

from ...places import stem_of


class Stems:
    """The paths of a table so far: which of the next must keep their suffix, as the same path with another came before.

    Of a path a 64-bit hash is kept. Memory: 8 bytes a path while all have one suffix, some 100 bytes from the first
    other suffix on.
    """

    def __init__(self) -> None:
        self.suffix: str | None = None
        self.alike = array("q")
        self.mixed: dict[int, str] | None = None

    def twins(self, paths: Iterable[object]) -> tuple[str, ...]:
        """Those of the next paths that keep their suffix, each once; what is no text is passed over."""
        return tuple(dict.fromkeys(path for path in paths if isinstance(path, str) and path and self.has_twin(path)))

    def has_twin(self, path: str) -> bool:
        """Take a path in; whether one came before that differs in its suffix alone."""
        if self.suffix is None:
            self.suffix = posixpath.splitext(path)[1]
        if self.mixed is None:
            if self.suffix and path.endswith(self.suffix):
                self.alike.append(hash(path[: -len(self.suffix)].lstrip("/")))
                return False
            self.mixed, self.alike = dict.fromkeys(self.alike, self.suffix), array("q")
        suffix = posixpath.splitext(path)[1]
        return self.mixed.setdefault(hash(stem_of(path)), suffix) != suffix
