"""The lock of a run: the main process holds it, and all ranks hear of it."""

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Any

from ..config.reading import ConfigError
from ..evaluation.evaluator import gather_objects
from .durable import clean_up
from .lock import PATIENCE, holds_something, only_one


class RunLock:
    """The lock of a run's folder, let go when the context ends. :meth:`take` is for when the run begins to write.

    Args:
        was_empty: the folder held nothing when it was looked at.
    """

    def __init__(self, folder: Path, was_empty: bool) -> None:
        self.folder, self.was_empty, self.held = folder, was_empty, contextlib.ExitStack()

    def take(self, accelerator: Any) -> None:
        """Take the lock, make the folder, and clear away what a killed run left unfinished; all ranks call it.

        Raises:
            ConfigError: on every rank, if another job is at work there.
        """
        refusal = None
        if accelerator.is_main_process:
            try:
                self.held.enter_context(only_one(self.folder, "the run", for_children=False, patience=PATIENCE))
                if self.was_empty and holds_something(self.folder):
                    raise ConfigError(f"output_dir is {str(self.folder)!r}, in which another job has just begun a run")
                clean_up(self.folder)
            except ConfigError as error:
                refusal = str(error)
        refusal = gather_objects(accelerator, refusal)[0]
        if refusal is not None:
            raise ConfigError(refusal)

    def __enter__(self) -> "RunLock":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.held.close()
