"""Bootstrap intervals: they hold the truth as often as they say, speakers widen them, pairs narrow them."""

import time
from dataclasses import replace

import numpy as np
import pytest

from data.errors import DataError
from trainer.evaluation.error_rates import Prediction, ScoredUtterance, score
from trainer.evaluation.intervals import Interval, paired_difference, rate_intervals, resampled_sums, totals
from trainer.evaluation.normalizers import build_normalizer


def corpus(wrong: np.ndarray, words: int = 10) -> list[ScoredUtterance]:
    """Utterances of ten words, so many of them wrong in each; four speakers take turns."""
    return score(
        [
            Prediction(
                f"u{n:05d}", "a " * words, "b " * errors + "a " * (words - errors), columns={"speaker": str(n % 4)}
            )
            for n, errors in enumerate(wrong.tolist())
        ],
        lambda language: build_normalizer("none", language),
    )


def intervals(scored: list[ScoredUtterance], cluster: str | None = None) -> list[Interval | None]:
    """Of the word and the character error rate."""
    return rate_intervals(totals(scored, cluster))


def test_an_interval_is_that_of_the_normal_distribution_where_that_holds() -> None:
    """Of 400 utterances with mean 2 errors the rate's standard error is known."""
    errors = np.random.default_rng(1).binomial(10, 0.2, size=400)
    interval, characters = intervals(corpus(errors))
    assert interval is not None and characters is not None
    half = 1.96 * errors.std() / 10 / np.sqrt(400)
    assert interval == pytest.approx((errors.mean() / 10 - half, errors.mean() / 10 + half), abs=0.15 * half)


def test_ninety_five_of_a_hundred_intervals_hold_the_truth() -> None:
    """On the sums themselves: 300 corpora of 60 utterances."""
    generator = np.random.default_rng(2)
    held = 0
    for _ in range(300):
        errors = generator.binomial(10, 0.3, size=60)
        sums = resampled_sums(np.stack([errors, np.full(60, 10)], axis=1), 400)
        low, high = np.quantile(sums[:, 0] / sums[:, 1], [0.025, 0.975])
        held += low <= 0.3 <= high
    assert 0.90 <= held / 300 <= 0.98


def test_speakers_who_differ_widen_it() -> None:
    by_speaker = np.array([0, 1, 4, 8] * 50)
    scored = corpus(by_speaker)
    utterances, speakers = intervals(scored)[0], intervals(scored, "speaker")[0]
    assert utterances is not None and speakers is not None
    assert speakers[1] - speakers[0] > 3 * (utterances[1] - utterances[0])
    assert speakers[0] < 0.325 < speakers[1]


def test_an_utterance_without_a_speaker_is_drawn_alone() -> None:
    scored = corpus(np.array([0, 1, 4, 8, 2, 3]))
    unknown = [
        replace(one, prediction=replace(one.prediction, columns={"speaker": ""})) if n % 4 == 0 else one
        for n, one in enumerate(scored)
    ]
    assert sorted(totals(unknown, "speaker")[:, :2].tolist()) == [[0, 10], [2, 10], [4, 10], [4, 20], [8, 10]]


def test_the_same_seed_gives_the_same_interval() -> None:
    scored = corpus(np.random.default_rng(3).binomial(10, 0.2, size=50))
    assert intervals(scored) == intervals(list(scored))


def test_one_unit_has_no_interval() -> None:
    assert intervals(corpus(np.array([3]))) == [None, None]
    assert intervals(corpus(np.array([3, 0, 0, 0, 1]))[::4], "speaker") == [None, None]
    assert paired_difference(corpus(np.array([3])), corpus(np.array([1]))).interval is None


def test_no_errors_and_no_words() -> None:
    assert intervals(corpus(np.zeros(5, int)))[0] == (0, 0)
    assert intervals(corpus(np.zeros(5, int), words=0))[0] == (0, 0)


def test_a_paired_difference_is_surer_than_two_intervals() -> None:
    hard = np.random.default_rng(4).binomial(8, 0.4, size=100)
    theirs, ours = corpus(hard + 1), corpus(hard)
    difference = paired_difference(ours, theirs)
    assert difference.value == pytest.approx(-0.1)
    assert difference.interval == pytest.approx((-0.1, -0.1))
    assert difference.improved == 1
    low, high = intervals(ours)[0] or (0, 0)
    assert high - low > 0.04
    back = paired_difference(theirs, ours)
    assert (back.value, back.improved) == (pytest.approx(0.1), 0)


def test_a_difference_of_nothing() -> None:
    one = corpus(np.random.default_rng(5).binomial(8, 0.4, size=40))
    assert paired_difference(one, one).interval == (0, 0)


def test_differences_are_of_the_same_utterances() -> None:
    errors = np.array([1, 2, 3])
    with pytest.raises(DataError, match=r"different utterances.*'u00002'"):
        paired_difference(corpus(errors), corpus(errors)[:2])
    with pytest.raises(DataError, match="differ in what was said in 'u00000'"):
        paired_difference(corpus(errors), corpus(errors, words=4))


def test_a_large_corpus_takes_seconds() -> None:
    rows = np.random.default_rng(6).integers(0, 9, size=(5_000, 4))
    start = time.perf_counter()
    assert resampled_sums(rows).shape == (10_000, 4)
    assert time.perf_counter() - start < 10
