"""What the address of a file tells: its name in a folder, whether it is hidden, and the split it belongs to."""

import os
import posixpath
import re

from .. import storage

SPLIT_NAMES = {"dev": "validation", "valid": "validation", "val": "validation", "eval": "test"}
SPLIT_FOLDERS = ("train", "validation", "dev", "valid", "val", "test", "eval")


def normal(address: str) -> str:
    """An address without ``.`` and ``..``."""
    if storage.is_remote(address):
        protocol, path = address.split("://", 1)
        return f"{protocol}://{posixpath.normpath(path)}"
    return os.path.normpath(os.path.abspath(address))


def canonical(address: str) -> str:
    """One spelling of an address: without ``.`` and ``..``, and memory:///a as memory://a."""
    return re.sub(r"^([^:/]+):/{2,}", r"\1://", normal(address))


def relative(address: str, folder: str) -> str:
    """An address as seen from a folder; all of it, without its protocol, where it is not inside."""
    path, root = canonical(address), canonical(folder).rstrip("/") + "/"
    return re.sub(r"^[^:/]+://", "", path.removeprefix(root)).lstrip("/")


def lies_below(address: str, folder: str) -> bool:
    """Whether an address lies in a folder or further below it, by its name."""
    return canonical(address).startswith(canonical(folder).rstrip("/") + "/")


def is_hidden(file: str, folder: str) -> bool:
    """Whether a file, or a folder between it and ``folder``, has a name that begins with a dot."""
    return "/." in f"/{relative(file, folder)}"


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
