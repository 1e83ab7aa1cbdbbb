"""Lanes: the training data split once into independent streams, each of which can stop and go on exactly.

A lane reads a window of rows, shuffles it, sorts it into batches of similar length and gives them in random order. Its
position is the place of the window in the stream and the number of batches given of it, a few numbers; on resume the
window is read again and planned again from the same seed. Batches depend on the seed and the number of lanes alone, not
on how many processes or workers share the lanes out.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..augmentation.augmenter import Augmenter
from ..augmentation.change import OtherSpeech
from ..config import DataConfig
from ..errors import DataError
from ..sources.source import Source
from ..utterance import AudioBatch, LaneItem, Skipped, Utterance
from .collation import TimedRow, read_audio, read_batch, row_id, timed_rows
from .drawing import speaker_of, with_drawn
from .labels import LabelEncoder
from .mixture import LanePart, LaneRows, mixing_shares
from .non_speech import NonSpeech
from .windows.assembly import read_windows
from .windows.plan import Window, WindowPlanner


@dataclass(frozen=True)
class Batching:
    """How a run's batches are made, the same on every rank.

    Attributes:
        sources: one, or several that are mixed.
        batch_size, batch_seconds: as :func:`plan_batches` takes them.
        seed: of shuffling and of augmentation.
        hears_second: second recordings go into the batches; otherwise they only decide what leaks into the first.
        keeps_clean: batches also have the recordings as they were before augmentation.
    """

    sources: Sequence[Source]
    config: DataConfig
    labels: LabelEncoder
    batch_size: int
    seed: int = 0
    batch_seconds: float | None = None
    hears_second: bool = True
    keeps_clean: bool = False

    @cached_property
    def shares(self) -> list[float]:
        """Of the rows drawn, by source.

        Raises:
            DataError: if ``data.mixing_temperature`` weighs by sizes that are not known.
        """
        if len(self.sources) == 1:
            return [1.0]
        config = self.config
        counts = config.mixing_temperature is not None and None in (config.mixing_rows or (None,))
        return mixing_shares(config, [source.row_count() if counts else None for source in self.sources])

    @cached_property
    def windows(self) -> WindowPlanner | None:
        """Makes windows of clips; None where each clip is trained on by itself. Raises DataError as that does."""
        return None if self.config.windows is None else WindowPlanner(self.config.windows, self.labels)

    @cached_property
    def non_speech(self) -> NonSpeech | None:
        """Makes clips where nobody speaks; None without them. Raises DataError as that does."""
        return None if self.config.non_speech is None else NonSpeech(self.config.non_speech, self.labels)

    def planned(self, rows: Sequence[TimedRow], *entropy: int) -> Sequence[TimedRow | Window]:
        """What the batches are made of: rows and clips without speech, or windows; ``entropy`` as of
        :meth:`WindowPlanner.plan`."""
        if self.windows is not None:
            return self.windows.plan(rows, *entropy)
        return rows if self.non_speech is None else [*rows, *self.non_speech.plan(rows, *entropy)]

    def read(
        self, chosen: Sequence[Any], augment: Callable[[Utterance, Any], tuple[Utterance, int | None]] | None
    ) -> tuple[AudioBatch | None, list[Skipped], set[int]]:
        """A batch of what was planned; see :func:`read_batch`."""
        if self.windows is None:
            without_speech = None if self.non_speech is None else self.non_speech.read
            return read_batch(chosen, self.labels, self.config.max_seconds, augment, without_speech)
        return read_windows(chosen, self.windows, augment)


def plan_batches(
    seconds: Sequence[float],
    batch_size: int,
    generator: np.random.Generator,
    batch_seconds: float | None = None,
    second_seconds: Sequence[float] | None = None,
) -> list[list[int]]:
    """Rows of a window as batches of similar length, in random order; rows of equal length fall together at random.

    Args:
        batch_size: utterances of a batch, at most.
        batch_seconds: padded seconds of a batch (utterances times the longest), at most; a longer row stands alone.
        second_seconds: of the rows' second recordings, which are padded by themselves and count as well.

    Returns:
        Lists of row numbers that together hold every row once.
    """
    second = np.zeros(len(seconds)) if second_seconds is None else np.asarray(second_seconds)
    shuffled = generator.permutation(len(seconds))
    by_length = shuffled[np.argsort((np.asarray(seconds) + second)[shuffled], kind="stable")].tolist()
    batches: list[list[int]] = []
    longest = [0.0, 0.0]  # in the last batch, of first and of second recordings
    for row in by_length:
        longest = [max(longest[0], seconds[row]), max(longest[1], float(second[row]))]
        room = batch_size if batch_seconds is None else min(batch_size, batch_seconds / max(sum(longest), 1e-9))
        if not batches or len(batches[-1]) + 1 > room:
            batches.append([])
            longest = [seconds[row], float(second[row])]
        batches[-1].append(row)
    return [batches[i] for i in generator.permutation(len(batches))]


def check_usable(source: Source, config: DataConfig, labels: LabelEncoder) -> None:
    """Read on until something can be trained on, usually the first row.

    Raises:
        DataError: where nothing can.
    """
    first = ""
    for row in source.rows():
        usable, skipped = timed_rows([(row, 0)], [source], config)
        batch, broken, _ = read_batch(usable, labels, config.max_seconds)
        if batch is not None:
            return
        for one in skipped + broken:
            first = first or f"; the first: {one.id}: {one.reason}"
    raise DataError(f"{source.name}: {source.config.described}: not one utterance can be trained on{first}")


class Lane:
    """One stream of batches of one epoch.

    Args:
        part: which of the run's lanes this is.
        position: where to continue, as an item of this lane carried it; empty for the start.
        augmenter: changes the utterances.

    Raises:
        DataError: if the position is of other sources.
    """

    def __init__(
        self,
        batching: Batching,
        epoch: int,
        part: LanePart,
        position: dict[str, Any],
        augmenter: Augmenter | None = None,
    ) -> None:
        self.batching, self.epoch, self.lane, self.augmenter = batching, epoch, part.lane, augmenter
        self.seeds = (batching.seed, epoch, part.lane)
        if position and "sources" not in position:
            raise DataError("the place in the data was written by an older version: begin a run from that model")
        self.window: int = position.get("window", 0)
        self.given: int = position.get("given", 0)
        self.used: set[int] = set(position.get("used", ()))
        window_rows = batching.config.shuffle_window
        places = position.get("sources", ())
        self.rows = LaneRows(
            batching.sources, window_rows, (batching.seed, epoch), part, places, weights=batching.shares
        )

    def __iter__(self) -> Iterator[LaneItem]:
        """Items with a batch, and a last one without when the lane has run out."""
        batching, config = self.batching, self.batching.config
        read = 0
        skipped: list[Skipped] = []
        while True:
            places = self.rows.positions  # before the window, which is read again on resume
            window = self.rows.read_window(self.window)
            usable, unusable = timed_rows(window, batching.sources, config)
            usable = with_drawn(usable, (batching.seed, self.epoch, self.mixture_window), config.max_seconds)
            if self.given == 0:
                read, skipped = read + len(window), skipped + unusable
            if not window:
                yield LaneItem(self.lane, None, {}, read, tuple(skipped))
                return
            generator = np.random.default_rng((*self.seeds, self.window))
            planned = batching.planned(usable, *self.seeds, self.window)
            seconds, second = [one.seconds for one in planned], [one.second_seconds for one in planned]
            if self.augmenter is not None:
                seconds = list(map(self.augmenter.longest, seconds))
                second = list(map(self.augmenter.longest_second, second))
            plan = plan_batches(seconds, batching.batch_size, generator, batching.batch_seconds, second)
            augment = self.change_of(usable)
            for given in range(self.given, len(plan)):
                batch, broken, origins = batching.read([planned[i] for i in plan[given]], augment)
                skipped += broken
                self.used |= origins
                if batch is not None:
                    position = {"window": self.window, "given": given + 1, "sources": places, "used": sorted(self.used)}
                    yield LaneItem(self.lane, batch, position, read, tuple(skipped))
                    read, skipped = 0, []
            self.rows.end_window(self.used)
            self.window, self.given, self.used = self.window + 1, 0, set()

    @property
    def mixture_window(self) -> int:
        """The number of the window in a mixture, whose utterances may come again; else 0."""
        return self.window if self.batching.config.is_mixture else 0

    def change_of(self, window: Sequence[TimedRow]) -> Callable[[Utterance, Any], tuple[Utterance, int | None]] | None:
        """What is done to each utterance of a window, with the seed of what is still to be drawn; None for nothing."""
        augment = None if self.augmenter is None else self.augmentation(self.augmenter, window)
        keeps_clean = self.batching.keeps_clean
        hears = self.batching.hears_second or not any(row.source.config.has_second for row in window)
        if hears and not keeps_clean:
            return augment

        def change(utterance: Utterance, timed: TimedRow | Window) -> tuple[Utterance, int | None]:
            changed, seed = (utterance, None) if augment is None else augment(utterance, timed)
            if keeps_clean:
                changed = replace(changed, clean=utterance.audio)
            return changed if hears else replace(changed, second=None, second_noise=None, second_kind=None), seed

        return change

    def augmentation(
        self, augmenter: Augmenter, window: Sequence[TimedRow]
    ) -> Callable[[Utterance, TimedRow | Window], tuple[Utterance, int]]:
        """A function that augments an utterance of a window; others of the window may be laid over it.

        They are not of the same speakers, where those are known.
        """
        number = self.mixture_window

        def augment(utterance: Utterance, item: TimedRow | Window) -> tuple[Utterance, int]:
            speakers = {(one.origin, speaker_of(one.row, one.source)) for one in item.rows}
            own = {row_id(one.row, one.source) for one in item.rows}

            def read(index: int) -> np.ndarray | None:
                other = window[index]
                if row_id(other.row, other.source) in own:
                    return None
                speaker = speaker_of(other.row, other.source)
                if speaker is not None and (other.origin, speaker) in speakers:
                    return None
                return read_audio(other.row, other.source)

            return augmenter(utterance, self.epoch, number, OtherSpeech(len(window), read))

        return augment
