"""A checkpoint that scores clips, before it is opened: small, picklable, and imported without torch."""

import argparse
import contextlib
import functools
import multiprocessing
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data.preparation.scores import Scorer
from data.preparation.settings import PrepareSettings

from ... import library_output
from ...config.reading import ConfigError
from ...engine.free_memory import machine_room

if TYPE_CHECKING:
    from .opened import OpenScorer

WORKING_MEMORY = 2**30  # bytes that a process takes beside the weights
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
    from .opened import OpenScorer

    return OpenScorer(scorer.checkpoint, scorer.batch_size, scorer.device)


def prepare_scoring(
    settings: PrepareSettings, options: argparse.Namespace
) -> tuple[PrepareSettings, int, CheckpointScorer]:
    """Open the checkpoint once, to see that it can score: settings with its weights, how many processes, who scores.

    Args:
        options: ``launch/prepare.py``'s: ``workers``, ``cluster``, ``score_device`` and ``score_batch``.

    Raises:
        CheckpointError, ConfigError: if the checkpoint cannot be opened or does not know the language, or the
            processes asked for do not fit into memory.
    """
    assert settings.score is not None
    name = settings.score.checkpoint
    if os.path.isdir(name):
        name = os.path.abspath(name)
    scorer = CheckpointScorer(name, options.score_batch, options.score_device)
    model = scorer.open()
    model.check_language(settings.corpus.language)
    score = settings.score.model_copy(update={"weights": model.weights()})
    needed, gpus = model.size + WORKING_MEMORY, model.gpus
    if options.workers != 0:
        opened.cache_clear()  # the workers open it
        model.close()
        del model
    workers = scoring_workers(options.workers, needed, gpus, machine_room() if options.cluster is None else None)
    return settings.model_copy(update={"score": score}), workers, scorer


def scoring_workers(asked: int | None, needed: int, gpus: int, room: int | None) -> int:
    """How many processes score: as asked for, or one a GPU, or as many as there are processors and memory for.

    Args:
        needed: bytes that each takes.
        gpus: how many there are to score on; 0 for a CPU.
        room: bytes that are free; None where it is not known.

    Raises:
        ConfigError: if more are asked for than fit.
    """
    if gpus:
        return gpus if asked is None else asked
    fitting = 1024 if room is None else max(1, room // needed)
    if asked is None:
        return min(os.cpu_count() or 1, fitting)
    if asked > fitting:
        assert room is not None
        raise ConfigError(
            f"--workers is {asked}: with --score each takes {needed / 2**30:.1f} GiB, and {room / 2**30:.1f} GiB are "
            f"free; --workers {fitting} is right"
        )
    return asked
