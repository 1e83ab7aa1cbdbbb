"""Files on disks and in object stores: any address that fsspec knows, tried again where a network fails.

The one place that touches fsspec. Local paths go through Python's own files. What is written appears whole or not
at all.
"""

import contextlib
import functools
import glob
import os
import posixpath
import random
import sys
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from .errors import DataError

ATTEMPTS = 5
FIRST_WAIT = 0.5  # seconds, doubled after each attempt, up to half as much again at random
LIBRARY_SECONDS = 3.0
NOT_WORTH_REPEATING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)
NETWORK_LIBRARIES = ("aiohttp", "botocore", "aiobotocore", "urllib3", "requests", "httpx", "httpx2", "gcsfs", "adlfs")

Result = TypeVar("Result")


class StorageError(DataError):
    """A file or folder that cannot be read or written; the message names it and the reason."""


def is_remote(address: str) -> bool:
    """Whether an address is fsspec's (``s3://bucket/key``) and not a path of this machine."""
    return "://" in address


def join(folder: str, name: str) -> str:
    """The address of ``name`` in ``folder``; ``name`` itself where it is absolute."""
    if is_remote(name) or os.path.isabs(name) or not folder:
        return name
    return posixpath.join(folder, name)


def retried(action: Callable[[], Result], address: str, doing: str = "read") -> Result:
    """``action()``; for a remote address tried :data:`ATTEMPTS` times, waiting longer each time.

    Raises:
        StorageError: naming the address, after the last attempt, or at once where repeating cannot help.
    """
    attempts = ATTEMPTS if is_remote(address) else 1
    for attempt in range(1, attempts + 1):
        started = time.monotonic()
        try:
            return action()
        except Exception as error:
            if isinstance(error, DataError) or not is_storage_error(error):
                raise
            if attempt == attempts or not is_worth_repeating(error, time.monotonic() - started):
                times = f" (tried {attempt} times)" if attempt > 1 else ""
                raise StorageError(f"cannot {doing} {address}: {reason(error)}{times}") from error
            print(f"cannot {doing} {address}: {reason(error)}; trying again", file=sys.stderr, flush=True)
            time.sleep(FIRST_WAIT * 2 ** (attempt - 1) * random.uniform(1, 1.5))
    raise AssertionError("unreachable")


def is_worth_repeating(error: Exception, seconds: float) -> bool:
    """Whether the next attempt may do better than this one, which took so long."""
    kind = type(error)
    # botocore, where it reaches no server, has tried five times itself by then.
    has_tried = kind.__module__.startswith("botocore.") and "Connect" in kind.__name__ and seconds > LIBRARY_SECONDS
    return not (isinstance(error, NOT_WORTH_REPEATING) or "Credential" in kind.__name__ or has_tried)


def is_storage_error(error: Exception) -> bool:
    """Whether an error is the disk's or the network's; libraries of object stores raise kinds of their own."""
    module = type(error).__module__.split(".")[0]
    return isinstance(error, (OSError, TimeoutError, EOFError)) or module in NETWORK_LIBRARIES


def reason(error: BaseException) -> str:
    """The error in one line, without the path that the message names already."""
    text = getattr(error, "strerror", None) or str(error)
    if isinstance(error, FileNotFoundError):
        text = "No such file or directory"  # some file systems say the path alone
    return " ".join(str(text).split()) or type(error).__name__


def file_system(address: str) -> Any:
    """fsspec's file system of a remote address.

    Raises:
        StorageError: for a protocol that is unknown or whose library is not installed.
    """
    import fsspec

    protocol = address.split("://", 1)[0]
    try:
        return fsspec.filesystem(protocol)
    except (ValueError, ImportError) as error:
        raise StorageError(f"cannot open {address}: {reason(error)}") from error


def open_file(address: str) -> IO[bytes]:
    """A file open for reading, seekable.

    Raises:
        StorageError: if it cannot be opened.
    """
    if is_remote(address):
        return retried(lambda: file_system(address).open(address, "rb"), address)
    return retried(lambda: open(address, "rb"), address)


def read_bytes(address: str) -> bytes:
    """A whole file; a remote one that is not there is looked for in Unicode's other forms, see :func:`as_spelt`."""
    if is_remote(address):
        try:
            return retried(lambda: file_system(address).cat_file(address), address)
        except StorageError as error:
            other = as_spelt(address) if isinstance(error.__cause__, FileNotFoundError) else address
            if other == address:
                raise
            return retried(lambda: file_system(other).cat_file(other), other)
    return retried(lambda: Path(address).read_bytes(), address)


def read_part(address: str, start: int, size: int) -> bytes:
    """``size`` bytes of a file from byte ``start`` on; fewer where it ends before. One request of a store."""
    if is_remote(address):
        return retried(lambda: remote_part(address, start, size), address)

    def read() -> bytes:
        with open(address, "rb") as file:
            file.seek(start)
            return file.read(size)

    return retried(read, address)


def remote_part(address: str, start: int, size: int) -> bytes:
    """As :func:`read_part`; stores refuse, each with an error of its own, a range that begins at the file's end."""
    system = file_system(address)
    left = int(system.info(address)["size"]) - start
    return system.cat_file(address, start=start, end=start + min(size, left)) if left > 0 and size > 0 else b""


@contextlib.contextmanager
def written_whole(address: str) -> Iterator[str]:
    """A local path to write to; when the block ends well, its content is at ``address``, else nothing is.

    Remote content is written to a temporary file first and sent in one piece, so that it can be sent again.
    """
    if is_remote(address):
        with tempfile.TemporaryDirectory(prefix="upload-") as folder:
            path = os.path.join(folder, "content")
            yield path
            place(path, address)
        return
    path = f"{address}.part-{os.getpid()}"
    try:
        retried(lambda: os.makedirs(os.path.dirname(address) or ".", exist_ok=True), address, "write")
        yield path
        place(path, address)
    finally:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(path)


@contextlib.contextmanager
def writing(output: str) -> Iterator[None]:
    """Turn an OSError into a StorageError that says what cannot be written; reading has errors of its own."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot write {output}: {reason(error)}") from error


def place(path: str, address: str) -> None:
    """A finished local file to its address: a rename on the same disk, or an upload."""
    if is_remote(address):
        retried(lambda: file_system(address).put_file(path, address), address, "write")
    else:
        retried(lambda: rename(path, address), address, "write")


def rename(source: str, target: str) -> None:
    """Rename a finished local file, replacing any file of that name, once its content is on the disk.

    Otherwise a machine that loses power could leave an empty file under that name.
    """
    file = os.open(source, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
    os.replace(source, target)


def write_bytes(address: str, content: bytes) -> None:
    """A small file, whole or not at all."""
    with written_whole(address) as path:

        def write() -> None:
            with open(path, "wb") as file:
                file.write(content)

        retried(write, address, "write")


def exists(address: str) -> bool:
    """Whether there is a file or folder."""
    if is_remote(address):
        return retried(lambda: file_system(address).exists(address), address)
    return os.path.exists(address)


def as_spelt(address: str) -> str:
    """The address as its disk or store spells it; as given where nothing is there in any spelling.

    A letter such as ``é`` is one sign or two in Unicode (its forms NFC and NFD), which look the same and are other
    bytes. macOS writes two where most others write one. Where both are there, the exact one is taken.
    """
    if address.isascii():
        return address
    if is_remote(address):
        forms = dict.fromkeys((address, *(unicodedata.normalize(form, address) for form in ("NFC", "NFD"))))
        return next(filter(exists, forms), address)
    if os.path.lexists(address):
        return address
    folder, name = os.path.split(address.rstrip("/"))
    folder = as_spelt(folder)
    with contextlib.suppress(OSError):
        names = names_by_form(folder or ".", os.stat(folder or ".").st_mtime_ns)
        return os.path.join(folder, names.get(unicodedata.normalize("NFC", name), name))
    return address


@functools.lru_cache(maxsize=256)
def names_by_form(folder: str, changed: int) -> dict[str, str]:
    """The names in a local folder that are not ASCII, by their NFC; ``changed``: when, so that news are seen."""
    names = (name for name in sorted(os.listdir(folder), reverse=True) if not name.isascii())
    return {unicodedata.normalize("NFC", name): name for name in names}


def is_folder(address: str) -> bool:
    """Whether there is a folder (in an object store: whether there are keys below it)."""
    if is_remote(address):
        return retried(lambda: file_system(address).isdir(address), address)
    return os.path.isdir(address)


def matching(pattern: str) -> list[str]:
    """The addresses of the files that a glob matches, sorted; without wildcards the file itself, if there is one."""
    if not is_remote(pattern):
        if os.path.isfile(file := as_spelt(pattern)):  # brackets may be part of a name
            return [file]
        return sorted(path for path in glob.glob(pattern, recursive=True) if not os.path.isdir(path))
    protocol = pattern.split("://", 1)[0]
    found = retried(lambda: without_cache(pattern).glob(pattern), pattern)
    return sorted(f"{protocol}://{path}" if "://" not in path else path for path in found)


def files_below(folder: str) -> list[str]:
    """The addresses of all files in a folder and its folders, sorted."""
    if not is_remote(folder):
        return sorted(os.path.join(root, name) for root, _, names in os.walk(folder) for name in names)
    protocol = folder.split("://", 1)[0]
    found = retried(lambda: without_cache(folder).find(folder), folder)
    return sorted(f"{protocol}://{path}" if "://" not in path else path for path in found)


def without_cache(address: str) -> Any:
    """The file system with its listings forgotten: others write to the store meanwhile."""
    system = file_system(address)
    system.invalidate_cache()
    return system


def size(address: str) -> int | None:
    """Bytes of a file; None where there is none."""
    if is_remote(address):
        found = retried(lambda: [without_cache(address).info(address)] if exists(address) else [], address)
        return int(found[0]["size"]) if found else None
    return os.path.getsize(address) if os.path.isfile(address) else None


def version(address: str) -> str:
    """What changes when a file's content is written anew: its size and when, or the store's own mark of it."""
    if is_remote(address):
        info = retried(lambda: without_cache(address).info(address), address)
        marks = (info.get(key) for key in ("size", "ETag", "etag", "LastModified", "mtime", "md5"))
        return ":".join(map(str, marks))
    status = retried(lambda: os.stat(address), address)
    return f"{status.st_size}:{status.st_mtime_ns}"


def move(source: str, target: str) -> None:
    """A file to another address of the same disk or store, over whatever is there."""
    if is_remote(source):
        retried(lambda: file_system(source).cp_file(source, target), target, "write")
        remove(source)
        return
    os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
    retried(lambda: rename(source, target), target, "write")


def remove(address: str) -> None:
    """Delete a file, if it is there."""
    if is_remote(address):
        if exists(address):
            retried(lambda: file_system(address).rm_file(address), address, "remove")
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(address)
