"""What is asked of a disk before something is written."""

from pathlib import Path

from trainer.record.disk import check_space


def test_a_disk_that_does_not_say_what_it_has_may_be_written_to() -> None:
    check_space(Path("/proc"), 1_000_000, "a checkpoint")  # which says that it has 0 bytes in all
