"""From counted errors to the suite's figures: rates with intervals, differences, words heard where none were said."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from ..evaluation.error_rates import Edits, ScoredUtterance, corpus_rates
from ..evaluation.intervals import Counts, check_same_texts, difference_of, rate_intervals, rates, totals
from .conditions import NON_SPEECH, ONE_VOICE, Condition
from .results import Measured

MOST_HEARD = 10

Parts = Sequence[Sequence[ScoredUtterance]]  # the utterances of each condition, sorted by id


def condition_figures(
    condition: Condition, found: Measured, first: Measured | None, cluster: str | None
) -> dict[str, Any]:
    """One condition's figures.

    Args:
        first: what the first checkpoint gave under the condition; None for its own figures.
        cluster: the column whose values are drawn for intervals; None for utterances.
    """
    about: dict[str, Any] = {
        "kind": condition.kind,
        "ratio": condition.ratio,
        "second_ratio": condition.second_ratio,
        "normalizer": found.normalizer,
        "skipped": found.skipped,
        "seconds": found.seconds,
        "audio_seconds": sum(one.prediction.seconds for one in found.scored),
        "real_time_factor": found.real_time_factor,
    }
    base = None if first is None else [first.scored]
    if condition.kind == NON_SPEECH:
        return about | non_speech_figures([found.scored], base)
    if condition.kind in ONE_VOICE:
        about["other_voice"] = other_voice_figures(found, first, cluster)
    return about | asdict(corpus_rates(found.scored)) | rate_figures([found.scored], base, cluster)


def type_figures(
    measured: Mapping[str, Measured],
    first: Mapping[str, Measured] | None,
    conditions: Sequence[Condition],
    cluster: str | None,
) -> dict[str, Any]:
    """Figures of each kind of noise over all its ratios; an utterance is drawn with its mixtures at every ratio."""
    found = {}
    for kind in dict.fromkeys(condition.kind for condition in conditions if condition.ratio is not None):
        of_kind = [condition for condition in conditions if condition.kind == kind]
        ours, theirs = ([side[one.name].scored for one in of_kind] if side else None for side in (measured, first))
        assert ours is not None
        found[kind] = {"ratios": [one.ratio for one in of_kind]} | rate_figures(ours, theirs, cluster)
    return found


def rate_figures(ours: Parts, first: Parts | None, cluster: str | None) -> dict[str, Any]:
    """Error rates over one or several conditions, with intervals and the difference from the first checkpoint."""
    counts = summed(ours, cluster)
    words, characters = rate_intervals(counts)
    whole = counts.sum(axis=0)
    return {
        "word_error_rate": float(rates(whole[0], whole[1])),
        "word_error_rate_interval": words,
        "character_error_rate": float(rates(whole[2], whole[3])),
        "character_error_rate_interval": characters,
        "difference": difference(ours, first, lambda side: summed(side, cluster)[:, :2]),
    }


def other_voice_figures(found: Measured, first: Measured | None, cluster: str | None) -> dict[str, Any]:
    """Words of the one other voice in transcripts: how many, of how many that it said, and for a word of the speaker.

    Args:
        first: as :func:`condition_figures` takes it.
    """
    counts = words_of_other(found, found.scored, cluster)
    words = int(counts[:, 0].sum())
    said = sum(len(one.normalizer(found.others.get(one.id, "")).split()) for one in found.scored)
    (interval,) = rate_intervals(counts)
    change = None
    if first is not None:
        mine, theirs = shared_by([found.scored, first.scored])
        pair = [words_of_other(found, mine, cluster), words_of_other(first, theirs, cluster)]
        change = asdict(difference_of(np.hstack(pair))) if mine else None
    rate = float(rates(*counts.sum(axis=0)[:, None])[0])
    return {"words": words, "said": said, "rate": rate, "rate_interval": interval, "difference": change}


def words_of_other(found: Measured, scored: Sequence[ScoredUtterance], cluster: str | None) -> Counts:
    """Of each unit, int64 [units, 2]: words of the other voice in transcripts, and the words of the references."""
    counted = [replace(one, words=Edits(one.words.tokens, insertions=found.words_of_other(one))) for one in scored]
    return totals(counted, cluster)[:, :2]


def shared_by(parts: Parts) -> Parts:
    """Of each part the utterances that all parts have."""
    shared = set.intersection(*({one.id for one in part} for part in parts))
    return [[one for one in part if one.id in shared] for part in parts]


def summed(parts: Parts, cluster: str | None) -> Counts:
    """Counts of each unit [units, 4] over several conditions, of the utterances that all of them have."""
    return np.sum([totals(part, cluster) for part in shared_by(parts)], axis=0)


def difference(ours: Parts, theirs: Parts | None, counts: Callable[[Parts], Counts]) -> dict[str, Any] | None:
    """Our rate less the first checkpoint's, over the utterances that both could be measured on.

    Args:
        theirs: the first checkpoint's; None for its own figures, which have no difference.
        counts: gives the errors and tokens of each unit, int64 [units, 2].
    """
    if theirs is None:
        return None
    parts = shared_by([*ours, *theirs])
    if not parts[0]:
        return None
    sides = parts[: len(ours)], parts[len(ours) :]
    for mine, other in zip(*sides, strict=True):
        check_same_texts(mine, other)
    return asdict(difference_of(np.hstack([counts(side) for side in sides]))) | {"utterances": len(parts[0])}


def non_speech_figures(ours: Parts, first: Parts | None) -> dict[str, Any]:
    """Words heard where nobody speaks: the share of clips with any (the hallucination rate), and words a minute."""
    (scored,) = ours
    counts = invented(ours)
    share, pace = rate_intervals(counts)
    clips_with_words, clips, words, milliseconds = counts.sum(axis=0)
    heard = Counter(one.normalized_hypothesis for one in scored if one.normalized_hypothesis)
    return {
        "clips": len(scored),
        "words": int(words // 60_000),
        "clips_with_words": int(clips_with_words),
        "hallucination_rate": float(rates(clips_with_words, clips)),
        "hallucination_rate_interval": share,
        "words_per_minute": float(rates(words, milliseconds)),
        "words_per_minute_interval": pace,
        "heard_most": heard.most_common(MOST_HEARD),
        "difference": difference(ours, first, lambda side: invented(side)[:, :2]),
    }


def invented(parts: Parts) -> Counts:
    """Of each clip, int64 [clips, 4]: whether any word was heard, 1, words times 60,000, and its milliseconds."""
    edits = [(one.words.insertions, round(1000 * one.prediction.seconds)) for part in parts for one in part]
    rows = [(words > 0, 1, 60_000 * words, milliseconds) for words, milliseconds in edits]
    return np.array(rows, dtype=np.int64).reshape(-1, 4)
