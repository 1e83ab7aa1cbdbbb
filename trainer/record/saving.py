"""Writing to the disk from several ranks: where it fails on one of them, it fails on all in the same way."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import SaveError
from ..evaluation.evaluator import gather_objects
from .disk import full_disk_told
from .durable import PARTIAL


def save_together(
    accelerator: Any, final: Path, action: Callable[[], None], *, main_alone: bool = False, waits: bool = False
) -> None:
    """Call ``action``, which writes a folder or file whose name will be ``final``; all ranks must call it.

    Args:
        main_alone: only the main process writes.
        waits: ranks wait for each other within ``action``, as in DeepSpeed's own saving. There a rank that fails leaves
            at once: the others could not hear of it, and the launcher ends them.

    Raises:
        SaveError: on every rank, where the disk is full on any; what is unfinished is removed then.
    """
    partial, failure = final.with_name(PARTIAL + final.name), None
    try:
        if accelerator.is_main_process or not main_alone:
            with full_disk_told(partial.parent):
                action()
    except SaveError as error:
        shutil.rmtree(partial, ignore_errors=True)  # at once: its own bytes may be what fills the disk
        if waits and accelerator.num_processes > 1:
            raise
        failure = str(error)
    failures = [told for told in gather_objects(accelerator, failure) if told is not None]
    if failures:
        shutil.rmtree(partial, ignore_errors=True)
        raise SaveError(failures[0])
