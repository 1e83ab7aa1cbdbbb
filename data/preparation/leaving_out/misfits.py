"""Scored clips that limits leave out, and the worst of all for a report. Nothing is decoded: the shards hold scores."""

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..scores import GIVEN, LABEL, PSEUDO_NO_SPEECH, ScoreLimits
from ..settings import PrepareSettings
from ..shards import Shard
from .duplicates import RowsOut, details, rows_of

MOST_WORST = 50
DOUBTFUL_EVIDENCE = 1.0  # below it a transcript is most often of something else: docs/cleaning.md measures it
DOUBTFUL_EDGE = -0.3  # likewise for a transcript of a part
EVIDENCE_BIN = 0.5  # nats a token, in the distribution
LONGEST_HYPOTHESIS = 100  # letters of it in a reason

Row = Mapping[str, Any]  # a row of a shard without its audio


@dataclass(frozen=True)
class JudgedClip:
    """A clip with its scores: which row it is, and the kind of fault it was left out for, or nothing."""

    place: str
    row: Row
    left_out: str

    @property
    def is_pseudo(self) -> bool:
        """Whether its text is the model's."""
        return is_pseudo(self.row)


@dataclass
class ScoreReport:
    """What came of scoring a corpus.

    Attributes:
        checkpoint: what scored.
        limits: what was left out.
        given, pseudo: clips with a transcript of the corpus's and with the model's, that were scored.
        unscored: clips of a language that the checkpoint does not know.
        doubtful: clips with a transcript whose evidence is below :data:`DOUBTFUL_EVIDENCE`.
        partial: others, whose evidence at an edge is below :data:`DOUBTFUL_EDGE`.
        evidence: such clips by the number of their bin of :data:`EVIDENCE_BIN`.
        left_out: clips by kind of fault.
        worst: the clips whose transcript fits least, worst first; ``unsure``: likewise of the pseudo-labels.
    """

    checkpoint: str
    limits: ScoreLimits
    given: int = 0
    pseudo: int = 0
    unscored: int = 0
    doubtful: int = 0
    partial: int = 0
    evidence: Counter[int] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    worst: list[JudgedClip] = field(default_factory=list)
    unsure: list[JudgedClip] = field(default_factory=list)

    def add(self, row: Row, fault: str) -> None:
        """Count a clip."""
        if fault:
            self.left_out[fault] += 1
        if row["hypothesis"] is None:
            self.unscored += 1
        elif is_pseudo(row):
            self.pseudo += 1
        else:
            self.given += 1
            if row["evidence"] is not None:
                is_doubtful = row["evidence"] < DOUBTFUL_EVIDENCE
                self.doubtful += is_doubtful
                self.partial += not is_doubtful and row["edge_evidence"] < DOUBTFUL_EDGE
                self.evidence[int(row["evidence"] // EVIDENCE_BIN)] += 1


def judge(settings: PrepareSettings, shards: Sequence[Shard], gone: RowsOut) -> ScoreReport:
    """Find the clips that the limits leave out, add them to ``gone``, and report on all.

    Args:
        gone: rows that are left out already; they are not judged.
    """
    assert settings.score is not None
    report = ScoreReport(settings.score.checkpoint, settings.limits)
    worst, unsure = Least(), Least()
    for shard in shards:
        repeated = {row.row for row in gone.get(shard.file, [])}
        faults: dict[int, tuple[str, str]] = {}
        for number, row in enumerate(scored_rows(settings, shard)):
            if number in repeated:
                continue
            fault = fault_of(row, settings.limits)
            if fault is not None:
                faults[number] = fault
            report.add(row, "" if fault is None else fault[0])
            clip = JudgedClip(f"{shard.file}: row {number}", row, "" if fault is None else fault[0])
            if clip.is_pseudo:
                unsure.offer(row["mean_log_probability"], clip)
            else:
                worst.offer(margin(row), clip)
        if faults:
            rows = [*gone.get(shard.file, []), *details(settings, shard, faults)]
            gone[shard.file] = sorted(rows, key=lambda row: row.row)
    report.worst, report.unsure = worst.clips(), unsure.clips()
    return report


class Least:
    """The clips with the least figures, the least first; those that come first of equal ones."""

    def __init__(self) -> None:
        self.heap: list[tuple[float, int, JudgedClip]] = []  # its first is the first to go
        self.offered = 0

    def offer(self, figure: float | None, clip: JudgedClip) -> None:
        """Keep the clip if it is among the least; one without a figure is not."""
        self.offered += 1
        if figure is not None:
            keep = heapq.heappush if len(self.heap) < MOST_WORST else heapq.heappushpop
            keep(self.heap, (-figure, -self.offered, clip))

    def clips(self) -> list[JudgedClip]:
        """What was kept."""
        return [clip for _, _, clip in sorted(self.heap, reverse=True)]


def scored_rows(settings: PrepareSettings, shard: Shard) -> Iterator[Row]:
    """The rows of a shard as its job wrote it, without audio."""
    assert settings.score is not None
    columns = ["id", "text", "language", "speaker", "duration", *settings.score.columns]
    for batch in rows_of(settings, shard, columns, 1024):
        yield from batch.to_pylist()


def margin(row: Row) -> float | None:
    """How far a clip with a transcript is from being doubtful, in nats; below 0 it is. None without evidence."""
    if row["evidence"] is None:
        return None
    return float(min(row["evidence"] - DOUBTFUL_EVIDENCE, row["edge_evidence"] - DOUBTFUL_EDGE))


def is_pseudo(row: Row) -> bool:
    """Whether a row's text is the model's."""
    return row.get(LABEL) not in (None, GIVEN)


def fault_of(row: Row, limits: ScoreLimits) -> tuple[str, str] | None:
    """Why a scored clip is left out: kind and reason; None if it is kept."""
    if row["hypothesis"] is None:
        return None
    hypothesis = row["hypothesis"][:LONGEST_HYPOTHESIS]
    for kind, column, option, limit, is_least in bounds(is_pseudo(row), limits):
        value = row[column]
        if limit is not None and value is not None and (value < limit if is_least else value > limit):
            beyond = "below" if is_least else "above"
            figure = f"{column.replace('_', ' ')} {value:.2f} is {beyond} {option} {limit:g}"
            return kind, f"{figure}; the model hears {hypothesis!r}"
    return None


def bounds(pseudo: bool, limits: ScoreLimits) -> Iterator[tuple[str, str, str, float | None, bool]]:
    """Kind of fault, column, option, limit, and whether it is the least that is kept."""
    no_speech = limits.max_no_speech
    if pseudo:
        no_speech = PSEUDO_NO_SPEECH if no_speech is None else no_speech
        least, most = limits.min_log_probability, limits.max_compression_ratio
        yield "unsure pseudo-label", "mean_log_probability", "--min-log-probability", least, True
        yield "repeating pseudo-label", "compression_ratio", "--max-compression-ratio", most, False
    else:
        yield "transcript of something else", "evidence", "--min-evidence", limits.min_evidence, True
        yield "transcript of a part", "edge_evidence", "--min-edge-evidence", limits.min_edge_evidence, True
        yield "word error rate", "word_error_rate", "--max-word-error-rate", limits.max_word_error_rate, False
    yield "no speech", "no_speech_probability", "--max-no-speech", no_speech, False
