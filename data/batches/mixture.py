"""Windows of rows for a lane: of one source until it ends, or of several by their weights, without end.

In a mixture each source repeats on its own. A *pass* gives every row of the lane's part once; the next pass follows.
The position is a few numbers for each source.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..config import DataConfig
from ..errors import DataError
from ..sources.parquet_rows import ParquetRows
from ..sources.source import Source


def mixing_rows(config: DataConfig, counted: Sequence[int | None]) -> tuple[int, ...] | None:
    """The rows by which ``data.mixing_temperature`` weighs the sources; None without it.

    Args:
        counted: rows of each source; None where only reading them all would tell.

    Raises:
        DataError: for a source whose size is neither given nor counted, or that has none.
    """
    if config.mixing_temperature is None:
        return None
    given = config.mixing_rows or (None,) * len(counted)
    rows = tuple(before or now for before, now in zip(given, counted, strict=True))
    for name, source, size in zip(config.train_names, config.training_sources, rows, strict=True):
        if not size:
            example = ", ".join("null" if other else "20000" for other in rows)
            why = "has no rows" if size == 0 else "does not say how many rows it has"
            raise DataError(
                f"{name}: {source.described} {why}, and data.mixing_temperature weighs by them: give a number, as in "
                f"data.mixing_rows=[{example}], or take the temperature out and give each source a weight"
            )
    return tuple(filter(None, rows))


def mixing_shares(config: DataConfig, counted: Sequence[int | None]) -> list[float]:
    """Each source's share of the rows drawn: by its weight, times ``rows ** (1 / temperature)`` where there is one.

    The temperature is that of https://arxiv.org/abs/1907.05019.

    Args:
        counted: as :func:`mixing_rows` takes them.

    Raises:
        DataError: see :func:`mixing_rows`.
    """
    weights = [source.weight or 1.0 for source in config.training_sources]
    rows = mixing_rows(config, counted)
    if rows is not None and config.mixing_temperature is not None:
        exponent = 1 / config.mixing_temperature
        weights = [weight * (size / max(rows)) ** exponent for weight, size in zip(weights, rows, strict=True)]
    return [weight / sum(weights) for weight in weights]


def mixture_lines(config: DataConfig, counted: Sequence[int | None]) -> list[str]:
    """A line for each source of a mixture: its share of the utterances drawn, and why. Raises: as above."""
    rows = mixing_rows(config, counted)
    lines = []
    for number, share in enumerate(mixing_shares(config, counted)):
        source = config.training_sources[number]
        causes = [] if source.weight is None else [f"weight {source.weight:g}"]
        if rows is not None:
            causes.append(f"{rows[number]:,} rows to the power 1/{config.mixing_temperature:g}")
        cause = f" ({' x '.join(causes)})" if causes else ""
        lines.append(f"{config.train_names[number]}: {source.described}: {share:.1%} of the utterances{cause}")
    return lines


class Drawn(NamedTuple):
    """A row, and the index of its source among the lane's sources."""

    row: dict[str, Any]
    origin: int


class LanePart(NamedTuple):
    """Lane number ``lane``, from 0, of ``lanes`` that share the data."""

    lane: int
    lanes: int


class SourceRows:
    """One source's rows in one lane.

    Args:
        seeds: of the run and its epoch; with the pass they decide the order of shards.
        position: as :attr:`position` was; empty for the beginning.
    """

    def __init__(
        self, source: Source, origin: int, seeds: tuple[int, int], part: LanePart, position: dict[str, Any]
    ) -> None:
        self.source, self.origin, self.seeds, self.part = source, origin, seeds, part
        limit = source.config.max_utterances
        self.share = None if limit is None else limit // part.lanes + (part.lane < limit % part.lanes)
        self.passed: int = position.get("pass", 0)
        self.used: int = position.get("used", 0)
        self.fruitful_pass: int = position.get("fruitful", 0)
        self.barren: bool = position.get("barren", False)
        self.open(position.get("stream"))

    def open(self, stream_state: dict[str, Any] | None = None) -> None:
        seed = int(np.random.default_rng((*self.seeds, self.passed, self.origin, 2)).integers(2**31))
        self.stream = self.source.lane(self.part.lane, self.part.lanes, seed)
        self.stream_state = stream_state  # after the rows taken so far; None at the beginning of a pass
        if stream_state:
            self.stream.load_state_dict(stream_state)
        elif isinstance(self.stream, ParquetRows):  # others have no state before their first row
            self.stream_state = self.stream.state_dict()
        self.rows: Iterator[dict[str, Any]] = self.source.read(self.stream)

    @property
    def position(self) -> dict[str, Any]:
        """Where the rows taken so far end; fit for JSON."""
        position: dict[str, Any] = {"pass": self.passed, "used": self.used, "stream": self.stream_state}
        if self.fruitful_pass:
            position["fruitful"] = self.fruitful_pass
        if self.barren:
            position["barren"] = True
        return position

    def take(self, count: int) -> list[dict[str, Any]]:
        """The next rows of this pass, at most ``count``."""
        rows = list(itertools.islice(self.rows, count if self.share is None else min(count, self.share - self.used)))
        if rows:
            self.used += len(rows)
            self.stream_state = self.stream.state_dict()
        return rows

    def take_round(self, count: int) -> list[dict[str, Any]]:
        """The next ``count`` rows, pass after pass; fewer only where a whole pass has none."""
        taken = self.take(count)
        while len(taken) < count and not self.barren:
            if self.used == 0:
                self.barren = True
                break
            self.passed, self.used = self.passed + 1, 0
            self.open()
            taken += self.take(count - len(taken))
        return taken

    def note_use(self, used: bool) -> None:
        """Record whether any row since the last call could be trained on; two passes without one end the source."""
        if used:
            self.fruitful_pass = self.passed
        elif self.passed - self.fruitful_pass >= 2:
            self.barren = True


class LaneRows:
    """A lane's windows.

    Args:
        positions: as :attr:`positions` were, one a source; empty for the beginning.
        weights: of the sources in a mixture; all alike where none are given.

    Raises:
        DataError: if the positions are of other sources.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        size: int,
        seeds: tuple[int, int],
        part: LanePart,
        positions: Sequence[dict[str, Any]],
        *,
        weights: Sequence[float] = (),
    ) -> None:
        if positions and len(positions) != len(sources):
            raise DataError(
                f"data.train has {len(sources)} sources, and had {len(positions)} when the checkpoint was written: go "
                "on with those, or begin a run from that model"
            )
        self.size, self.seeds, self.lane = size, seeds, part.lane
        self.weights = weights or [1.0] * len(sources)
        self.parts = [
            SourceRows(source, origin, seeds, part, positions[origin] if positions else {})
            for origin, source in enumerate(sources)
        ]

    @property
    def positions(self) -> list[dict[str, Any]]:
        return [part.position for part in self.parts]

    def read_window(self, window: int) -> list[Drawn]:
        """Rows of the window with this number; none when the lane has run out.

        A mixture runs out only where no source has anything for this lane.
        """
        if len(self.parts) == 1:
            return [Drawn(row, 0) for row in self.parts[0].take(self.size)]
        drawn: list[Drawn] = []
        while not drawn and (open_parts := [part for part in self.parts if not part.barren]):
            point = np.random.default_rng((*self.seeds, self.lane, window, 1)).random()
            for part, count in zip(open_parts, self.shares(open_parts, point), strict=True):
                drawn += [Drawn(row, part.origin) for row in part.take_round(count)]
        return drawn

    def shares(self, parts: Sequence[SourceRows], point: float) -> list[int]:
        """How many rows of a window each part gives: by weight, rounded so that the mean over ``point`` is exact."""
        weights = np.array([self.weights[part.origin] for part in parts])
        ends = np.floor(np.cumsum(weights) / weights.sum() * self.size + point)
        ends[-1] = self.size  # not one less or more by rounding
        return np.diff(ends, prepend=0).astype(int).tolist()

    def end_window(self, used: set[int]) -> None:
        """``used``: the origins of what could be trained on in the window."""
        if len(self.parts) > 1:
            for part in self.parts:
                part.note_use(part.origin in used)
