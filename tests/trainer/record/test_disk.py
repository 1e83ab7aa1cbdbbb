"""What is asked of a disk before something is written."""

import shutil
import tempfile
from pathlib import Path

import pytest

from trainer.record.disk import check_space, disk_of


def test_a_disk_that_does_not_say_what_it_has_may_be_written_to() -> None:
    check_space(Path("/proc"), 1_000_000, "a checkpoint")  # which says that it has 0 bytes in all


def test_a_full_disk_is_described_where_no_temporary_file_fits_either(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (small_disk / "filler").write_bytes(b"\0" * shutil.disk_usage(small_disk).free)
    monkeypatch.setattr(tempfile, "tempdir", None)  # not looked for yet
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(small_disk)])
    assert disk_of(small_disk / "run") == f"the disk of {small_disk / 'run'} has 0.0 kB free"
