"""From counted errors to the suite's figures: rates with intervals, differences, words heard where none were said."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ..evaluation.error_rates import ScoredUtterance, corpus_rates
from ..evaluation.intervals import (
    Counts,
    Interval,
    paired_difference,
    percentiles,
    rate_intervals,
    rates,
    resampled_sums,
    totals,
)
from .conditions import NON_SPEECH, Condition
from .results import Measured

MOST_HEARD = 10


def condition_figures(
    condition: Condition, found: Measured, first: Measured | None, cluster: str | None, intervals: bool = True
) -> dict[str, Any]:
    """One condition's figures; ``first``: the first checkpoint's, None for its own."""
    if condition.kind == NON_SPEECH:
        return about(condition, found) | non_speech_figures(found.scored, first.scored if first else None)
    counted = corpus_rates(found.scored)
    words, characters = rate_intervals(found.scored, cluster) if intervals else (None, None)
    return about(condition, found) | {
        "utterances": counted.utterances,
        "words": counted.words,
        "substitutions": counted.substitutions,
        "deletions": counted.deletions,
        "insertions": counted.insertions,
        "word_error_rate": counted.word_error_rate,
        "word_error_rate_interval": words,
        "character_error_rate": counted.character_error_rate,
        "character_error_rate_interval": characters,
        "raw_word_error_rate": counted.raw_word_error_rate,
        "difference": None if first is None else difference(found.scored, first.scored, cluster),
    }


def about(condition: Condition, found: Measured) -> dict[str, Any]:
    return {
        "kind": condition.kind,
        "ratio": condition.ratio,
        "normalizer": found.normalizer,
        "skipped": found.skipped,
        "seconds": found.seconds,
        "audio_seconds": sum(one.prediction.seconds for one in found.scored),
        "real_time_factor": found.real_time_factor,
    }


def difference(
    ours: Sequence[ScoredUtterance], theirs: Sequence[ScoredUtterance], cluster: str | None
) -> dict[str, Any] | None:
    """Word error rate less the first checkpoint's, over the utterances that both could be measured on."""
    shared = {one.id for one in ours} & {one.id for one in theirs}
    if not shared:
        return None
    mine, other = ([one for one in side if one.id in shared] for side in (ours, theirs))
    return asdict(paired_difference(mine, other, cluster)) | {"utterances": len(shared)}


def type_figures(
    measured: Mapping[str, Measured],
    first: Mapping[str, Measured] | None,
    conditions: Sequence[Condition],
    cluster: str | None,
) -> dict[str, Any]:
    """Of each kind of noise, over all its ratios together: an utterance is drawn with its mixtures at every ratio."""
    found: dict[str, Any] = {}
    for kind in dict.fromkeys(condition.kind for condition in conditions if condition.ratio is not None):
        names = [condition.name for condition in conditions if condition.kind == kind]
        ours = summed([measured[name].scored for name in names], cluster)
        sums = ours.sum(axis=0)
        figures: dict[str, Any] = {
            "ratios": [condition.ratio for condition in conditions if condition.kind == kind],
            "word_error_rate": float(rates(sums[0], sums[1])),
            "word_error_rate_interval": interval_of(ours[:, :2]),
            "character_error_rate": float(rates(sums[2], sums[3])),
            "character_error_rate_interval": interval_of(ours[:, 2:]),
            "difference": None,
        }
        if first is not None:
            figures["difference"] = paired(names, measured, first, cluster)
        found[kind] = figures
    return found


def summed(parts: Sequence[Sequence[ScoredUtterance]], cluster: str | None) -> Counts:
    """Counts of each unit [units, 4] over several conditions, of the utterances that all of them have."""
    shared = set.intersection(*({one.id for one in part} for part in parts))
    counts = [totals([one for one in part if one.id in shared], cluster) for part in parts]
    return np.sum(counts, axis=0)


def interval_of(counts: Counts) -> Interval | None:
    if len(counts) < 2:
        return None
    sums = resampled_sums(counts)
    return percentiles(rates(sums[:, 0], sums[:, 1]))


def paired(
    names: Sequence[str], measured: Mapping[str, Measured], first: Mapping[str, Measured], cluster: str | None
) -> dict[str, Any] | None:
    """The difference over several conditions."""
    sides = [[side[name].scored for name in names] for side in (measured, first)]
    shared = set.intersection(*({one.id for one in part} for side in sides for part in side))
    if not shared:
        return None
    ours, theirs = (
        summed([[one for one in part if one.id in shared] for part in side], cluster)[:, :2] for side in sides
    )
    rows = np.hstack([ours, theirs])
    whole = rows.sum(axis=0)
    value = float(rates(whole[0], whole[1]) - rates(whole[2], whole[3]))
    if len(rows) < 2:
        return {"value": value, "interval": None, "improved": None, "utterances": len(shared)}
    sums = resampled_sums(rows)
    drawn = rates(sums[:, 0], sums[:, 1]) - rates(sums[:, 2], sums[:, 3])
    improved = float((drawn < 0).mean())
    return {"value": value, "interval": percentiles(drawn), "improved": improved, "utterances": len(shared)}


def non_speech_figures(
    scored: Sequence[ScoredUtterance], first: Sequence[ScoredUtterance] | None = None
) -> dict[str, Any]:
    """Words heard where nobody speaks: the share of clips with any (the hallucination rate), and words a minute."""
    counts = invented(scored)
    share, pace, intervals = invention_rates(counts)
    heard = Counter(one.normalized_hypothesis for one in scored if one.normalized_hypothesis)
    figures: dict[str, Any] = {
        "clips": len(scored),
        "words": int(counts[:, 1].sum()),
        "clips_with_words": int(counts[:, 0].sum()),
        "hallucination_rate": share,
        "hallucination_rate_interval": intervals and intervals[0],
        "words_per_minute": pace,
        "words_per_minute_interval": intervals and intervals[1],
        "heard_most": heard.most_common(MOST_HEARD),
        "difference": None,
    }
    if first is not None:
        shared = {one.id for one in scored} & {one.id for one in first}
        mine, other = ([one for one in side if one.id in shared] for side in (scored, first))
        figures["difference"] = invention_difference(mine, other)
    return figures


def invented(scored: Sequence[ScoredUtterance]) -> Counts:
    """Of each clip, int64 [clips, 3]: whether any word was heard, how many, and its milliseconds."""
    rows = [(one.words.insertions > 0, one.words.insertions, round(1000 * one.prediction.seconds)) for one in scored]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def invention_rates(counts: Counts) -> tuple[float, float, tuple[Interval, Interval] | None]:
    """Share of clips with words, words a minute, and the 95 % intervals of both."""
    shares, paces = shares_and_paces(counts.sum(axis=0, keepdims=True), len(counts))
    intervals = None
    if len(counts) > 1:
        drawn = shares_and_paces(resampled_sums(counts), len(counts))
        intervals = percentiles(drawn[0]), percentiles(drawn[1])
    return float(shares[0]), float(paces[0]), intervals


def shares_and_paces(sums: Counts, clips: int) -> tuple[np.ndarray, np.ndarray]:
    return sums[:, 0] / clips, sums[:, 1] * 60_000 / np.maximum(sums[:, 2], 1)


def invention_difference(ours: Sequence[ScoredUtterance], theirs: Sequence[ScoredUtterance]) -> dict[str, Any] | None:
    """Hallucination rate less the first checkpoint's, the same clips drawn for both."""
    if not ours:
        return None
    rows = np.hstack([invented(ours)[:, :1], invented(theirs)[:, :1]])
    value = float((rows[:, 0] - rows[:, 1]).mean())
    if len(rows) < 2:
        return {"value": value, "interval": None, "improved": None, "utterances": len(rows)}
    sums = resampled_sums(rows)
    drawn = (sums[:, 0] - sums[:, 1]) / len(rows)
    improved = float((drawn < 0).mean())
    return {"value": value, "interval": percentiles(drawn), "improved": improved, "utterances": len(rows)}
