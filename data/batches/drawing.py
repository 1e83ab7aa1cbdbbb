"""Which other row is a row's second recording: another utterance of its speaker, or one of somebody else.

In training it is drawn from the lane's window, anew in each epoch; in evaluation from the utterance's id alone.
"""

from collections.abc import Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from ..augmentation.augmenter import number_of
from ..errors import DataError
from ..sources.source import Source
from .collation import TimedRow, row_id
from .second_recordings import Drawn, Row, header_seconds, second_seconds

SECOND_STREAM = 100  # as data.augmentation.change.Change.stream, which are all below it
TRIES = 4  # rows drawn for one; the first that can be read is taken
KEPT_ROWS = 5  # of each speaker, that evaluation draws from and keeps in memory as they are encoded
OTHER_SPEAKERS = 64  # whose rows are kept where the others of a row are wanted

RowT = TypeVar("RowT")


def speaker_of(row: Row, source: Source) -> str | None:
    """Who speaks, as text; None where that is not known."""
    value = row[source.columns.speaker] if source.columns.speaker else None
    return None if value is None or value != value or value == "" else str(value)


class BySpeaker(Generic[RowT]):
    """Rows of one source, those of a speaker next to each other.

    Args:
        rows: each after its speaker.
    """

    def __init__(self, rows: Iterable[tuple[str, RowT]]) -> None:
        ordered = sorted(rows, key=lambda pair: pair[0])
        self.rows = [row for _, row in ordered]
        self.bounds: dict[str, tuple[int, int]] = {}
        for place, (speaker, _) in enumerate(ordered):
            self.bounds[speaker] = self.bounds.get(speaker, (place, place))[0], place + 1

    def drawn(self, speaker: str, same: bool, generator: np.random.Generator) -> list[RowT]:
        """Rows of the speaker, or of the others, at random: one more than is tried, as one may be the row itself."""
        begin, end = self.bounds.get(speaker, (0, 0))
        own = end - begin
        numbers = generator.permutation(own if same else len(self.rows) - own)[: TRIES + 1].tolist()
        return [self.rows[begin + number if same else number + own * (number >= begin)] for number in numbers]


def with_drawn(rows: Sequence[TimedRow], entropy: tuple[int, int, int], limit: float) -> list[TimedRow]:
    """The rows of a window, with what is drawn for those whose second recording is another row's.

    Args:
        entropy: the seed, the epoch, and in a mixture the number of the window, as the augmenter takes them.
        limit: the most seconds of a second recording.
    """
    groups = {
        origin: BySpeaker(
            (speaker, row)
            for row in rows
            if row.origin == origin and (speaker := speaker_of(row.row, row.source)) is not None
        )
        for origin in sorted({row.origin for row in rows if row.source.config.draws_second})
    }
    return [with_draw(row, groups[row.origin], entropy, limit) if row.origin in groups else row for row in rows]


def with_draw(timed: TimedRow, group: BySpeaker[TimedRow], entropy: tuple[int, int, int], limit: float) -> TimedRow:
    """See :func:`with_drawn`.

    Args:
        group: the window's rows of the same source.
    """
    row, source = timed.row, timed.source
    speaker, name = speaker_of(row, source), row_id(row, source)
    if speaker is None:
        return timed
    generator = generator_of(name, *entropy)
    found = group.drawn(speaker, source.config.second == "speaker", generator)
    found = [one for one in found if one.row is not row and row_id(one.row, source) != name][:TRIES]
    drawn = Drawn([one.row for one in found], found[0].seconds if found else 0.0, generator.random())
    return timed._replace(second_seconds=second_seconds(row, source, timed.seconds, limit, drawn), drawn=drawn)


def generator_of(name: str, *entropy: int) -> np.random.Generator:
    """Random numbers for an utterance, of nothing but its id and what else is given."""
    return np.random.default_rng(np.random.SeedSequence((*entropy, number_of(name)), spawn_key=(SECOND_STREAM,)))


class NamedRow(NamedTuple):
    """A row and its id."""

    name: str
    row: Row


class EvaluationDraws:
    """What is drawn for the rows of an evaluation: the same each time, whatever else is evaluated.

    Reads the source once. Of each speaker it keeps the few rows with the lowest hashes of their ids.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.same = source, source.config.second == "speaker"
        kept: dict[str, list[NamedRow]] = {}
        for row in source.rows():
            speaker = speaker_of(row, source)
            if speaker is None or (not self.same and speaker not in kept and len(kept) == OTHER_SPEAKERS):
                continue
            own = [*kept.get(speaker, ()), NamedRow(row_id(row, source), row)]
            kept[speaker] = sorted(own, key=lambda one: number_of(one.name))[:KEPT_ROWS]
        self.rows = BySpeaker((speaker, row) for speaker, rows in kept.items() for row in rows)

    def drawn(self, row: Row) -> Drawn | None:
        """What is drawn for a row; None where its speaker is not known. No audio is decoded for it."""
        speaker, name = speaker_of(row, self.source), row_id(row, self.source)
        if speaker is None:
            return None
        generator = generator_of(name)
        found = [one.row for one in self.rows.drawn(speaker, self.same, generator) if one.name != name][:TRIES]
        return Drawn(found, self.seconds(found), generator.random())

    def seconds(self, found: Sequence[Row]) -> float:
        """The length of the first row whose header can be read."""
        for row in found:
            try:
                return header_seconds(row[self.source.columns.audio], self.source)
            except DataError:
                continue
        return 0.0
