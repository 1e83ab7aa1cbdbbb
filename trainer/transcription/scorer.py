"""A checkpoint that scores clips, before it is opened: small, picklable, and imported without torch."""

import contextlib
import functools
import multiprocessing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data.preparation.scores import Scorer

from .. import library_output

if TYPE_CHECKING:
    from .scoring import OpenScorer

OF_WORKER = contextlib.ExitStack()  # until the process ends


@dataclass(frozen=True)
class CheckpointScorer(Scorer):
    """A checkpoint that scores clips, not opened yet.

    Attributes:
        checkpoint: a folder or a hub name.
        batch_size: clips of similar length that are decoded together.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; with ``auto`` and ``cuda`` each process takes the GPU of its
            number.
    """

    checkpoint: str
    batch_size: int = 8
    device: str = "auto"

    def open(self) -> "OpenScorer":
        """The checkpoint opened in this process, once."""
        return opened(self)


@functools.lru_cache(maxsize=1)
def opened(scorer: CheckpointScorer) -> "OpenScorer":
    """See :meth:`CheckpointScorer.open`.

    A worker sorts what libraries print as the command does for its own process, and does so before it imports them.
    """
    if multiprocessing.parent_process() is not None and library_output.CURRENT is None:
        OF_WORKER.enter_context(library_output.sorted_output())
    from .scoring import OpenScorer

    return OpenScorer(scorer)
