"""The encoded file behind a row's audio value: bytes, a path, or an address."""

import contextlib
import io
import os
import posixpath
from collections.abc import Iterator
from typing import Any

from .. import storage
from .headers import open_plain
from .undecodable import UndecodableAudio, one_line


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn what fails while a file is read into an UndecodableAudio that names the path and the reason."""
    try:
        yield
    except UndecodableAudio:
        raise
    except storage.StorageError as error:
        raise UndecodableAudio(one_line(error)) from None
    except (OSError, ValueError) as error:  # the latter for a path that no file can have
        raise UndecodableAudio(f"cannot open {one_line(path)}: {storage.reason(error)}") from None


def open_audio(value: Any, root: str | None, confined: bool = False) -> io.BufferedIOBase:
    """The encoded file behind a row's audio value, from bytes or from a path (any fsspec address).

    Args:
        root: what relative paths are relative to, and may not leave.
        confined: absolute paths and addresses must lie in ``root`` too.
    """
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, (bytes, bytearray)):
        return io.BytesIO(value)
    if not isinstance(value, str) or not value:
        raise UndecodableAudio(f"no audio: neither bytes nor a path nor samples, but {type(value).__name__}")
    path = value
    if root:
        path = storage.join(root, value)
        absolute = path == value
        if (confined or not absolute) and not lies_in(path, root):
            hint = "" if confined else "; set audio_root to a folder with all audio in it, and give paths in that"
            raise UndecodableAudio(f"{one_line(value)} lies outside {root}{hint}")
    with reading(path):
        if storage.is_remote(path):
            return io.BytesIO(storage.read_bytes(path))
        return os.fdopen(open_plain(storage.as_spelt(path)), "rb")


def lies_in(path: str, folder: str) -> bool:
    """Whether a path is below a folder, by its name alone: symbolic links are not resolved."""
    if storage.is_remote(path) != storage.is_remote(folder):
        return False
    if not storage.is_remote(path):
        path, folder = os.path.abspath(path), os.path.abspath(folder)
    return posixpath.normpath(path).startswith(posixpath.normpath(folder).rstrip("/") + "/")
