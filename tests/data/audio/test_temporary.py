"""A full disk is told with the folder that is full."""

import errno
import os
import tempfile
from typing import Any

import numpy as np
import pytest

from data.audio.decoders.temporary import temporary_file
from data.storage import StorageError


def test_what_is_written_can_be_read_until_it_is_closed() -> None:
    with temporary_file(np.arange(3, dtype=np.int16)) as file:
        assert os.pread(file.fileno(), 10, 0) == b"\0\0\1\0\2\0" and file.read() == b"\0\0\1\0\2\0"


def test_a_full_disk_is_told_with_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(StorageError, match=r"cannot write to .*: No space left on device; TMPDIR names another folder"):
        temporary_file(b"x")
