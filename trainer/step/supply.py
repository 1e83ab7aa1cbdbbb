"""The batches of the next step: read while a step is taken, and used once the ranks agree that they have some."""

from dataclasses import replace
from typing import Any

from data.batches.loader import BatchGroup, TrainingBatches
from data.errors import DataError
from data.utterance import Skipped

from ..engine.stopping import StopRequest
from ..record.journal import Journal
from .agreement import Report, Targets, Verdict, agree

NOTHING = BatchGroup([], True)


class Supply:
    """This rank's batches, one group a step.

    Args:
        microbatches: of a step, on each rank.
        journal: gets rows that could not be used, if there are no others.
    """

    def __init__(
        self, accelerator: Any, batches: TrainingBatches, microbatches: int, stop: StopRequest, journal: Journal
    ) -> None:
        self.accelerator, self.batches, self.microbatches = accelerator, batches, microbatches
        self.stop, self.journal = stop, journal
        self.upcoming = NOTHING
        self.failure: Exception | None = None  # why this rank has no more data
        self.has_failed = False  # the ranks agree that one of them has no more data

    def read(self) -> BatchGroup:
        """Read this rank's microbatches of the next step into ``upcoming``.

        There are none if a stop is asked for first, or if they cannot be read: ``failure`` then says why.
        """
        try:
            self.upcoming = self.stop.unless_asked(NOTHING, self.batches.next_group, self.microbatches)
        except (DataError, OSError, RuntimeError) as error:  # a worker that died is a RuntimeError
            self.failure, self.upcoming = error, NOTHING
        return self.upcoming

    def report(self) -> Report:
        """What the other ranks must know of what was read."""
        return Report(
            stop=self.stop.asked,
            failed=self.failure is not None,
            has_data=not self.upcoming.exhausted,
            next_tokens=self.upcoming.target_tokens,
            next_noisy=self.upcoming.noisy_tokens,
            next_noisy_frames=self.upcoming.noisy_frames,
        )

    def find(self, verdict: Verdict | None = None) -> tuple[BatchGroup, Targets] | None:
        """The next group with targets on any rank, and the targets of all; all ranks call it.

        Groups without targets are passed over, and their rows counted with the group that is found. Where all ranks
        have run out, the next epoch begins.

        Args:
            verdict: what was agreed of ``upcoming``; without it the next group is read first.

        Returns:
            None if a stop was asked for, or a rank failed to read its data (:meth:`raise_failure`).

        Raises:
            DataError: if a whole epoch has no target.
        """
        rows, skipped, epochs = 0, list[Skipped](), 0
        while True:
            if verdict is None:
                self.read()
                verdict = agree(self.accelerator, self.report())
            if verdict.stop or verdict.failed:
                self.has_failed = not verdict.stop
                return None
            group = self.upcoming
            rows, skipped = rows + group.rows, skipped + group.skipped
            if verdict.next_tokens:
                return replace(group, rows=rows, skipped=skipped), verdict.next_targets
            if not verdict.has_data:
                epochs += 1
                if epochs > 1:
                    self.journal.quarantine(skipped)
                    described = ", ".join(source.config.described for source in self.batches.batching.sources)
                    first = f"; the first is {skipped[0].id}: {skipped[0].reason}" if skipped else ""
                    raise DataError(f"{described}: not one utterance can be trained on{first}")
                self.batches.next_epoch()
            verdict = None

    def raise_failure(self) -> None:
        """Raise why there are no more data, on every rank; nothing where a stop was asked for."""
        if self.has_failed:
            raise self.failure or DataError("another rank could not read its data; its message says why")
