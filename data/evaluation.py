"""The utterances of an evaluation, shared out over ranks, in batches of similar length; each comes once."""

import itertools
from collections.abc import Iterator

from .audio import seconds_of
from .errors import DataError
from .lanes import collate, read_utterance, row_id
from .sources import Source
from .utterance import AudioBatch, Skipped

WINDOW = 1024  # rows read ahead and sorted by length


def evaluation_batches(
    source: Source, batch_size: int, rank: int = 0, world_size: int = 1, max_seconds: float = 30.0
) -> Iterator[AudioBatch | Skipped]:
    """Batches of this rank's share (every ``world_size``-th row), longest first, and the rows that cannot be used."""
    rows = itertools.islice(source.rows(), rank, None, world_size)
    while window := list(itertools.islice(rows, WINDOW)):
        timed = []
        for row in window:
            try:
                seconds = seconds_of(row[source.columns.audio], source.audio_root, source.config.audio_root is not None)
                if seconds > max_seconds:
                    reason = f"{seconds:.2f} s long; up to {max_seconds:g} s are evaluated"
                    yield Skipped(row_id(row, source), reason, broken=False)
                    continue
                timed.append((seconds, row))
            except DataError as error:
                yield Skipped(row_id(row, source), str(error))
        timed.sort(key=lambda pair: -pair[0])
        for start in range(0, len(timed), batch_size):
            utterances = []
            for _, row in timed[start : start + batch_size]:
                try:
                    utterances.append(read_utterance(row, source))
                except DataError as error:
                    yield Skipped(row_id(row, source), str(error))
            if utterances:
                yield collate(utterances)
