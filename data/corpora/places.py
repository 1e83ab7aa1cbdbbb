"""What the address of a file tells: its name in a folder, whether it is hidden, and the split it belongs to."""

import functools
import os
import posixpath
import re
import unicodedata
from collections import UserDict
from typing import Any, TypeVar

from .. import storage

SPLIT_NAMES = {"dev": "validation", "valid": "validation", "val": "validation", "eval": "test"}
Value = TypeVar("Value")
SPLIT_FOLDERS = ("train", "validation", "dev", "valid", "val", "test", "eval")


def normal(address: str) -> str:
    """An address without ``.`` and ``..``."""
    if storage.is_remote(address):
        protocol, path = address.split("://", 1)
        return f"{protocol}://{posixpath.normpath(path)}"
    return os.path.normpath(os.path.abspath(address))


def canonical(address: str) -> str:
    """One spelling of an address: without ``.`` and ``..``, and memory:///a as memory://a."""
    folder, _, name = address.rpartition("/")
    if name in ("", ".", "..") or not folder or folder.endswith((":", "/")):
        return canonical_folder(address, os.getcwd())
    here = "" if folder.startswith("/") else os.getcwd()
    return f"{canonical_folder(folder, here).rstrip('/')}/{name}"


@functools.lru_cache(maxsize=4096)
def canonical_folder(address: str, here: str) -> str:
    """As :func:`canonical`, kept for many files of a folder; ``here``: the working folder, where it matters."""
    return re.sub(r"^([^:/]+):/{2,}", r"\1://", normal(address))


def relative(address: str, folder: str) -> str:
    """An address as seen from a folder; all of it, without its protocol, where it is not inside."""
    path, root = canonical(address), canonical(folder).rstrip("/") + "/"
    if path.startswith(root) and not storage.is_remote(path):
        return path[len(root) :]
    return re.sub(r"^[^:/]+://", "", path.removeprefix(root)).lstrip("/")


def stem_of(path: str) -> str:
    """A path without its suffix and the slashes that it begins with."""
    return posixpath.splitext(path.lstrip("/"))[0]


def lies_below(address: str, folder: str) -> bool:
    """Whether an address lies in a folder or further below it, by its name."""
    return canonical(address).startswith(canonical(folder).rstrip("/") + "/")


def is_hidden(file: str, folder: str) -> bool:
    """Whether a file, or a folder between it and ``folder``, has a name that begins with a dot."""
    return "/." in f"/{file}" and "/." in f"/{relative(file, folder)}"


def split_of_folder(name: str) -> str | None:
    """The split that a folder's name says: ``dev`` is validation; None for other names."""
    return SPLIT_NAMES.get(name, name) if name in SPLIT_FOLDERS else None


def split_of_path(path: str) -> str | None:
    """The split that the first folder of a relative path names."""
    first, slash, _ = path.partition("/")
    return split_of_folder(first.lower()) if slash else None


def split_of_file(file: str) -> str | None:
    """The split that a file's name begins with: ``train-00000.parquet``, ``dev_clean.tsv``."""
    return split_of_folder(re.split("[-_.]", posixpath.basename(file), maxsplit=1)[0])


def numbered(address: str) -> list[str]:
    """The addresses that a range in braces stands for, as in ``shard-{000..017}.tar``; the address itself without one.

    As many figures as the first number has are written.
    """
    found = re.search(r"\{(\d+)\.\.(\d+)\}", address)
    if found is None or storage.exists(address):
        return [address]
    begin, end = address[: found.start()], address[found.end() :]
    names = (f"{begin}{number:0{len(found[1])}}{end}" for number in range(int(found[1]), int(found[2]) + 1))
    return [place for name in names for place in numbered(name)]


class Spelt(UserDict[str, Value]):
    """Values by name or path; a name in another of Unicode's forms is found, too, where its own is not there.

    See :func:`data.storage.as_spelt`.
    """

    def __init__(self, *values: Any) -> None:
        self.forms: dict[str, str] = {}
        super().__init__(*values)

    def spelling(self, name: Any) -> str | None:
        """The name as it is here; None where it is not."""
        if name in self.data:
            return str(name)
        other = None if name.isascii() else self.forms.get(unicodedata.normalize("NFC", name))
        return other if other in self.data else None

    def __setitem__(self, name: str, value: Value) -> None:
        self.data[name] = value
        if not name.isascii():
            self.forms.setdefault(unicodedata.normalize("NFC", name), name)

    def __contains__(self, name: Any) -> bool:
        return self.spelling(name) is not None

    def __missing__(self, name: str) -> Value:
        other = self.spelling(name)
        if other is None:
            raise KeyError(name)
        return self.data[other]

    def __delitem__(self, name: str) -> None:
        del self.data[self.spelling(name) or name]

    def setdefault(self, name: str, value: Any = None) -> Any:
        """As a dict's: names in two forms are two names."""
        if name not in self.data:
            self[name] = value
        return self.data[name]
