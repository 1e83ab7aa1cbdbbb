"""Files in the folder for temporary ones, for as long as a recording is decoded."""

import tempfile
from typing import IO, Any

from ... import storage


def temporary_file(content: Any = b"") -> IO[bytes]:
    """A file without a name, open at its beginning, which goes when it is closed.

    Args:
        content: bytes, or what gives its bytes, such as an array.

    Raises:
        StorageError: naming the folder, if it cannot be made or written, as on a full disk.
    """
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        try:
            file.write(content)
            file.seek(0)
        except BaseException:
            file.close()
            raise
    except OSError as error:
        reason, folder = storage.reason(error), tempfile.gettempdir()
        raise storage.StorageError(f"cannot write to {folder}: {reason}; TMPDIR names another folder") from error
    return file
