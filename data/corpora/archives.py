"""Unpacks archives, each once, into a folder that no member may leave."""

import hashlib
import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path

from .. import storage
from ..audio.decoding import one_line
from ..errors import DataError
from .census import NO_TRANSCRIPTS
from .places import split_of_folder

MAX_EXPANSION = 200  # times the archive's size that its content may have, beyond FREE_BYTES: speech does not shrink so
FREE_BYTES = 2**30
SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz", ".zip")
OTHERS = (".7z", ".rar", ".tar.zst", ".tzst", ".tar.lz4", ".tar.z")  # which Python does not unpack
OF_A_SYSTEM = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")  # what file managers add to archives

DAMAGES = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, UnicodeError
)  # fmt: skip


def is_archive(address: str) -> bool:
    """Whether an address ends as an archive's does."""
    return address.lower().endswith(SUFFIXES)


def check_kind(address: str) -> None:
    """Raises: DataError: if an address is that of an archive that cannot be unpacked here."""
    if address.lower().endswith(OTHERS):
        raise DataError(f"{address} is an archive of a kind that is not unpacked here: unpack it and name the folder")


def unpacked(archive: str, cache: str | None) -> str:
    """The folder that holds an archive's content, unpacked below ``cache`` if it was not yet.

    Raises:
        DataError: if the archive is damaged, a member's path or link leads out of it or is no plain file, or the
            content is beyond reason.
    """
    cache = cache or os.path.join(os.path.expanduser("~"), ".cache", "dual-attention-whisper")
    if storage.is_remote(cache):
        raise DataError(f"--cache is {cache}; archives are unpacked on this machine: name a folder of it")
    with storage.open_file(archive) as content:
        size = content.seek(0, 2)
    changed = "" if storage.is_remote(archive) else f":{os.stat(archive).st_mtime_ns}"
    name = hashlib.blake2b(f"{archive}:{size}{changed}".encode(), digest_size=8).hexdigest()
    folder = Path(cache) / f"{os.path.basename(archive)}-{name}"
    if not folder.is_dir():
        unfinished = folder.with_name(f"{folder.name}.part-{os.getpid()}")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            unpack(archive, unfinished)
            unfinished.rename(folder)
        except DAMAGES as error:
            if not folder.is_dir():  # another process has unpacked it meanwhile
                raise DataError(f"{archive} cannot be unpacked: {one_line(error)}") from None
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return str(corpus_in(folder))


def corpus_in(folder: Path) -> Path:
    """The folder in a folder, and so on, as long as there is nothing else but a licence or readme beside it.

    A folder that names a split is a part of the corpus.
    """
    while True:
        inside = [path for path in sorted(folder.iterdir()) if not path.name.lower().startswith((".", *NO_TRANSCRIPTS))]
        if len(inside) != 1 or not inside[0].is_dir() or split_of_folder(inside[0].name.lower()):
            return folder
        folder = inside[0]


def is_of_a_system(member: str) -> bool:
    """Whether a file manager put a member into an archive for itself: macOS, a ``._name`` for each ``name``."""
    parts = member.rstrip("/").split("/")
    return parts[-1].startswith("._") or any(part in OF_A_SYSTEM for part in parts)


def unpack(archive: str, folder: Path) -> None:
    """Unpack into an empty folder.

    Raises:
        DataError: for a member that would land elsewhere, is no plain file, or makes the content too large.
    """
    with storage.open_file(archive) as content:
        limit = max(FREE_BYTES, content.seek(0, 2) * MAX_EXPANSION)
        content.seek(0)
        if archive.lower().endswith(".zip"):
            with zipfile.ZipFile(content) as packed:
                for member in packed.namelist():
                    target = (folder / member).resolve()
                    if "\\" in member or not target.is_relative_to(folder.resolve()):
                        raise DataError(f"{archive}: member {member!r} would land outside of it: refused")
                check_size(archive, sum(member.file_size for member in packed.infolist()), limit)
                packed.extractall(folder, [name for name in packed.namelist() if not is_of_a_system(name)])
            return
        with tarfile.open(fileobj=content) as tar:
            size = 0
            for entry in tar:
                size += entry.size
                check_size(archive, size, limit)  # before it is written
                if is_of_a_system(entry.name):
                    continue
                try:
                    tar.extract(entry, folder, filter="data")
                except tarfile.FilterError as error:
                    raise DataError(f"{archive}: refused: {one_line(error)}") from None
            check_end(tar)


def check_end(tar: tarfile.TarFile) -> None:
    """See that the members ended where the archive does: Python stops in silence at one whose header is damaged.

    Raises:
        TarError, or what unpacking raises: if they did not.
    """
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    block = tar.fileobj.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE or block.strip(b"\0"):
        raise tarfile.ReadError(f"no member and no end at byte {tar.offset}: it is damaged or was cut off")
    while tar.fileobj.read(2**20):  # to the checksum of compressed ones
        pass


def check_size(archive: str, size: int, limit: int) -> None:
    """Raises: DataError: if an archive's content is larger than the limit, both in bytes."""
    if size > limit:
        raise DataError(
            f"{archive} would unpack to {size / 2**30:,.1f} GiB or more, beyond {MAX_EXPANSION} times its own size: "
            "refused; unpack it yourself if it is right"
        )
