"""Writing to the disk from several ranks: if it fails on one of them, it fails on all in the same way."""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..config.reading import ConfigError
from ..engine.accelerator import gather_objects
from ..engine.stopping import not_cut_off
from ..errors import SaveError
from .disk import explain_full_disk
from .durable import PARTIAL, clean_up
from .lock import PATIENCE, holds_something, only_one


def save_together(
    accelerator: Any, final: Path, action: Callable[[], None], *, main_alone: bool = False, waits: bool = False
) -> None:
    """Call ``action``, which writes a folder or file whose name will be ``final``; all ranks must call it.

    Args:
        main_alone: only the main process writes.
        waits: ranks wait for each other within ``action``, as in DeepSpeed's own saving. A rank that fails there raises
            at once, since it could not tell the others; the launcher ends them.

    Raises:
        SaveError: on every rank, if the disk is full on any; what is unfinished is then removed.
    """
    partial, failure = final.with_name(PARTIAL + final.name), None
    try:
        if accelerator.is_main_process or not main_alone:
            with explain_full_disk(partial.parent), not_cut_off():
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


class RunLock(contextlib.ExitStack):
    """The lock of a run's folder: taken with :meth:`take` before the run writes, released when the context ends.

    Args:
        was_empty: the folder held nothing when the run's checks looked at it.
    """

    def __init__(self, folder: Path, was_empty: bool) -> None:
        super().__init__()
        self.folder, self.was_empty = folder, was_empty

    def take(self, accelerator: Any) -> None:
        """Take the lock, make the folder, and remove what a killed run left unfinished; all ranks call it.

        Raises ConfigError on every rank if another job is at work there.
        """
        refusal = None
        if accelerator.is_main_process:
            try:
                self.enter_context(only_one(self.folder, "the run", for_children=False, patience=PATIENCE))
                if self.was_empty and holds_something(self.folder):
                    raise ConfigError(f"output_dir is {str(self.folder)!r}, in which another job has just begun a run")
                clean_up(self.folder)
            except ConfigError as error:
                refusal = str(error)
        refusal = gather_objects(accelerator, refusal)[0]
        if refusal is not None:
            raise ConfigError(refusal)
