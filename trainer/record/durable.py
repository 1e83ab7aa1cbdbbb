"""Writes files and folders whole or not at all, even if the machine loses power meanwhile.

Knows nothing of what is in them.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.reading import ConfigError

MANIFEST = "manifest.json"
PARTIAL, OLD = ".partial_", ".old_"  # prefixes of unfinished and of replaced folders
NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)  # of file systems that cannot synchronise a folder


@dataclass(frozen=True)
class Damage:
    """A file that is not as a folder's manifest says, and how it differs."""

    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file} {self.reason}"


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def check_place(folder: Path, key: str) -> None:
    """Check that a folder can be made, or written to. Nothing is written.

    Args:
        key: of the config or the command line, for the message.

    Raises:
        ConfigError: if a file is in its way, or the nearest folder that exists may not be written to.
    """
    there = existing(folder)
    if not there.is_dir():
        raise ConfigError(f"{key} is {str(folder)!r}, but {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{key} is {str(folder)!r}, but {there} may not be written to")


def new_partial(final: Path) -> Path:
    """Make an empty folder beside ``final``, for :func:`put_in_place` once it is whole."""
    partial = final.with_name(PARTIAL + final.name)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def put_in_place(partial: Path, final: Path) -> None:
    """Rename a finished folder to ``final``, replacing what is there. When this returns, all of it is on the disk."""
    old = final.with_name(OLD + final.name)
    sync_tree(partial)
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    partial.rename(final)
    sync_folder(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def clean_up(folder: Path) -> None:
    """Remove unfinished entries of ``folder``, and put back replaced ones if a kill came between the two renames."""
    if not folder.is_dir():
        return
    for path in folder.glob(PARTIAL + "*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    for old in folder.glob(OLD + "*"):
        final = folder / old.name.removeprefix(OLD)
        if final.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(final)


def write_text(path: Path, text: str) -> None:
    """Write a file whole: under another name first, synchronised, then renamed."""
    partial = path.with_name(PARTIAL + path.name)
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:  # a failed write does not name its file
        partial.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    sync_folder(path.parent)


def sync_tree(folder: Path) -> None:
    """Flush every file below a folder, and the folders themselves, to the disk."""
    for parent, _, names in os.walk(folder):
        for name in names:
            sync(Path(parent) / name)
        sync_folder(Path(parent))


def sync_folder(folder: Path) -> None:
    try:
        sync(folder)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise


def sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def write_manifest(folder: Path) -> None:
    """Write ``manifest.json``: size and SHA-256 of each file below a folder. What is written later is not checked."""
    files = dict(files_below(folder))
    digests = digests_of(files.values())
    entries = {
        name: {"bytes": path.stat().st_size, "sha256": digest}
        for (name, path), digest in zip(files.items(), digests, strict=True)
    }
    (folder / MANIFEST).write_text(json.dumps({"files": entries}, indent=1) + "\n", encoding="utf-8")


def damage_of(folder: Path) -> Damage | None:
    """The first file that is missing or has another size than in the manifest; None also if there is no manifest."""
    try:
        listed = listed_files(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Damage(MANIFEST, "cannot be read")
    for name, entry in listed.items():
        path = folder / name
        if not path.is_file():
            return Damage(name, "is missing")
        if (size := path.stat().st_size) != entry["bytes"]:
            return Damage(name, f"has {size:,} bytes, but was written with {entry['bytes']:,}")
    return None


def digest_damage(folder: Path, share: int = 0, shares: int = 1) -> Damage | None:
    """The first file with another content than in the manifest; looks at every ``shares``-th file from ``share`` on."""
    listed = sorted(listed_files(folder).items())[share::shares]
    digests = digests_of(folder / name for name, _ in listed)
    for (name, entry), digest in zip(listed, digests, strict=True):
        if digest != entry["sha256"]:
            return Damage(name, "does not hold what was written")
    return None


def listed_files(folder: Path) -> dict[str, dict[str, Any]]:
    """The manifest's files, their bytes and digests by name; empty if there is no manifest, as in older versions."""
    path = folder / MANIFEST
    if not path.exists():
        return {}
    files: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["files"]
    for entry in files.values():
        entry["bytes"] + 0, entry["sha256"] + ""  # raises if it is no manifest
    return files


def files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Each file below a folder with its name relative to it, by name."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for _, path in files_below(folder))


def digests_of(paths: Iterable[Path]) -> list[str]:
    """The SHA-256 of each file, by several threads: reading and hashing let others run."""

    def digest(path: Path) -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(digest, paths))
