"""Archives unpacked once into a folder; none of their members may land outside it."""

import hashlib
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

from .. import storage
from ..audio import one_line
from ..errors import DataError

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")


def is_archive(address: str) -> bool:
    return address.lower().endswith(SUFFIXES)


def unpacked(archive: str, cache: str | None) -> str:
    """The folder that holds an archive's content, unpacked below ``cache`` if it was not yet.

    Raises:
        DataError: if the archive is damaged, or a member's path or link leads out of it, or is no plain file.
    """
    cache = cache or os.path.join(os.path.expanduser("~"), ".cache", "dual-attention-whisper")
    if storage.is_remote(cache):
        raise DataError(f"--cache is {cache}; archives are unpacked on this machine: name a folder of it")
    with storage.open_file(archive) as content:
        size = content.seek(0, 2)
    name = hashlib.blake2b(f"{archive}:{size}".encode(), digest_size=8).hexdigest()
    folder = Path(cache) / f"{os.path.basename(archive)}-{name}"
    if not folder.is_dir():
        unfinished = folder.with_name(f"{folder.name}.part-{os.getpid()}")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            unpack(archive, unfinished)
            unfinished.rename(folder)
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise DataError(f"{archive} cannot be unpacked: {one_line(error)}") from None
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    inside = list(folder.iterdir())
    return str(inside[0] if len(inside) == 1 and inside[0].is_dir() else folder)


def unpack(archive: str, folder: Path) -> None:
    with storage.open_file(archive) as content:
        if archive.lower().endswith(".zip"):
            with zipfile.ZipFile(content) as packed:
                for member in packed.namelist():
                    target = (folder / member).resolve()
                    if "\\" in member or not target.is_relative_to(folder.resolve()):
                        raise DataError(f"{archive}: member {member!r} would land outside of it: refused")
                packed.extractall(folder)
            return
        with tarfile.open(fileobj=content) as packed:
            try:
                packed.extractall(folder, filter="data")
            except tarfile.FilterError as error:
                raise DataError(f"{archive}: refused: {one_line(error)}") from None
