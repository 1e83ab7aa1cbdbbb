"""What an evaluation on long recordings found: of all recordings together, and of each."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from data.errors import DataError

from ...evaluation.error_rates import Prediction, ScoredUtterance, corpus_rates, rate, score
from ...evaluation.intervals import rate_intervals, totals
from ...evaluation.normalizers import build_normalizer
from ..transcripts import join_texts
from .known import KnownRecording
from .measures import Boundaries, Measures, Written, measured

NEAR = 0.5  # seconds that a boundary may be off
NEAR_WORD = 0.1  # likewise of a word


@dataclass(frozen=True)
class RecordingsEvaluation:
    """What was found, the recordings in the order of their names.

    Attributes:
        known: what is said in each.
        written: what was written for each.
        seconds: from the first file to the last transcript, with the time in which the checkpoint was opened.
        cpu_seconds: of all processors together, likewise.
    """

    names: tuple[str, ...]
    known: tuple[KnownRecording, ...]
    written: tuple[Written, ...]
    scored: tuple[ScoredUtterance, ...]
    measures: tuple[Measures, ...]
    seconds: float
    cpu_seconds: float

    @property
    def audio_seconds(self) -> float:
        return sum(one.seconds for one in self.known)


def evaluated(
    known: Sequence[KnownRecording],
    written: Sequence[Written],
    *,
    normalizer: str = "auto",
    seconds: float = 0.0,
    cpu_seconds: float = 0.0,
) -> RecordingsEvaluation:
    """Score what was written.

    Args:
        normalizer: as of ``evaluation.normalizer``.
        seconds, cpu_seconds: see :class:`RecordingsEvaluation`.

    Raises:
        ConfigError: if the normaliser does not fit the language.
        DataError: if two recordings have one name.
    """
    named = dict(sorted(zip(names_of(known), zip(known, written, strict=True), strict=True)))
    predictions = [
        Prediction(
            id=name,
            reference=join_texts([segment.text for segment in one.segments], language_of(one, other)),
            hypothesis=join_texts([segment.text for segment in other.segments], language_of(one, other)),
            language=language_of(one, other),
            seconds=one.seconds,
        )
        for name, (one, other) in named.items()
    ]
    scored = score(predictions, lambda language: build_normalizer(normalizer, language))
    return RecordingsEvaluation(
        names=tuple(named),
        known=tuple(one for one, _ in named.values()),
        written=tuple(other for _, other in named.values()),
        scored=tuple(scored),
        measures=tuple(measured(one, other, words) for (one, other), words in zip(named.values(), scored, strict=True)),
        seconds=seconds,
        cpu_seconds=cpu_seconds,
    )


def language_of(known: KnownRecording, written: Written) -> str | None:
    """The recording's language, or else the one that was heard."""
    return known.language or written.language


def names_of(known: Sequence[KnownRecording]) -> list[str]:
    """A name for each recording: its file's without suffix, or its path where two have the same."""
    stems = [one.path.stem for one in known]
    names = [str(one.path) if stems.count(stem) > 1 else stem for one, stem in zip(known, stems, strict=True)]
    if len(set(names)) < len(names):
        raise DataError("two recordings have one path")
    return names


def figures(evaluation: RecordingsEvaluation) -> dict[str, Any]:
    """What ``evaluation.json`` holds of it; times in seconds, rates as fractions."""
    scored, measures = evaluation.scored, evaluation.measures
    word_interval, character_interval = rate_intervals(totals(scored))
    kinds = {one.normalizer.kind for one in scored}
    rates = asdict(corpus_rates(scored))
    return {
        "recordings": rates.pop("utterances"),
        "normalizer": kinds.pop() if len(kinds) == 1 else "mixed",
        **rates,
        "word_error_rate_interval": word_interval,
        "character_error_rate_interval": character_interval,
        "interval_units": "recordings",
        "deletion_bursts": counted(one.deletions for one in measures),
        "insertion_bursts": counted(one.insertions for one in measures),
        "repetition_bursts": counted(one.repetitions for one in measures),
        "segments": sum(one.segments for one in measures),
        "matched_segments": sum(one.matched for one in measures),
        "boundaries": boundary_figures([one.by_segments for one in measures], NEAR),
        "boundaries_by_words": boundary_figures([one.by_words for one in measures], NEAR),
        "word_times": boundary_figures([one.words for one in measures], NEAR_WORD),
        "where_nobody_speaks": silence_figures(measures),
        "audio_seconds": evaluation.audio_seconds,
        "seconds": evaluation.seconds,
        "cpu_seconds": evaluation.cpu_seconds,
        "real_time_factor": evaluation.seconds / evaluation.audio_seconds,
        "by_recording": [
            {
                "name": name,
                "seconds": known.seconds,
                "words": one.words.tokens,
                "word_error_rate": rate(one.words),
                "deletion_bursts": len(own.deletions),
                "insertion_bursts": len(own.insertions),
                "silent_words": own.silent_words,
            }
            for name, known, one, own in zip(evaluation.names, evaluation.known, scored, measures, strict=True)
        ],
    }


def counted(runs: Iterable[Sequence[int]]) -> dict[str, int]:
    """How many runs there are, and how many words they have together."""
    lengths = [length for own in runs for length in own]
    return {"count": len(lengths), "words": sum(lengths)}


def silence_figures(measures: Sequence[Measures]) -> dict[str, Any]:
    """Words written where nobody speaks; ``per_hour`` is None where somebody always does."""
    words, seconds = sum(one.silent_words for one in measures), sum(one.silent_seconds for one in measures)
    return {"words": words, "seconds": seconds, "words_per_hour": words * 3600 / seconds if seconds else None}


def boundary_figures(found: Sequence[Boundaries | None], near: float) -> dict[str, Any] | None:
    """Of starts and ends; None where no recording has such times.

    Args:
        near: seconds that count as right.
    """
    there = [one for one in found if one is not None]
    if not there:
        return None
    return {
        "starts": error_figures([error for one in there for error in one.starts], near),
        "ends": error_figures([error for one in there for error in one.ends], near),
    }


def error_figures(errors: Sequence[float], near: float) -> dict[str, Any]:
    """How many boundaries were compared, and the middle and the 95th percentile of how far off they are.

    ``median_later`` keeps the sign: above 0 the hypothesis is later.
    """
    if not errors:
        return {"compared": 0, "median": None, "percentile_95": None, "median_later": None, "near_share": None}
    off = np.abs(errors)
    return {
        "compared": len(errors),
        "median": round(float(np.median(off)), 4),
        "percentile_95": round(float(np.quantile(off, 0.95)), 4),
        "median_later": round(float(np.median(errors)), 4),
        "near_share": float((off <= near + 1e-9).mean()),
    }
