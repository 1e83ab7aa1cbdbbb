"""Paired tests against plain computations: loops, enumeration, scipy, and cases worked out by hand."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from trainer.evaluation.intervals import Counts, percentiles, resampled_sums
from trainer.evaluation.significance import (
    LEVEL,
    Reals,
    bootstrap_p,
    draws_for,
    exchanged_sums,
    holm,
    matched_pairs_p,
    randomisation_interval,
    randomisation_p,
    sums_by_unit,
)


def p_of(differences: Counts, draws: int = 10_000) -> Reals:
    return randomisation_p(differences, exchanged_sums(differences, draws))


def test_sums_keep_the_utterances_of_a_unit_together() -> None:
    counts = np.array([[1, 10], [2, 20], [4, 40], [8, 80]])
    assert sums_by_unit(counts, np.array([0, 1, 0, 2])).tolist() == [[5, 50], [2, 20], [8, 80]]


def test_the_bootstrap_draws_units_for_all_columns_alike() -> None:
    counts = np.array([[1, 100], [2, 200], [5, 500], [0, 0]])
    samples = resampled_sums(counts, 4000, seed=3)
    assert samples.shape == (4000, 2)
    assert (samples[:, 1] == 100 * samples[:, 0]).all()  # the same draw in both columns
    assert set(samples[:, 0].tolist()) <= {sum(drawn) for drawn in itertools.product((1, 2, 5, 0), repeat=4)}
    assert samples[:, 0].mean() == pytest.approx(8, abs=0.15)
    assert (resampled_sums(counts, 50, seed=3) == resampled_sums(counts, 50, seed=3)).all()
    assert (resampled_sums(counts, 50, seed=3) != resampled_sums(counts, 50, seed=4)).any()


def test_the_bootstrap_agrees_with_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    counts = np.stack([generator.poisson(2, 40), generator.integers(3, 15, 40)], axis=1)
    loop = np.random.default_rng(1)
    rates = []
    for _ in range(4000):
        drawn = loop.integers(0, 40, 40)
        rates.append(counts[drawn, 0].sum() / counts[drawn, 1].sum())
    samples = resampled_sums(counts, 4000, seed=2)
    ours = percentiles(samples[:, 0] / samples[:, 1])
    assert ours == pytest.approx(tuple(np.quantile(rates, [0.025, 0.975])), abs=0.006)
    # In portions that do not fit evenly, too
    monkeypatch.setattr("trainer.evaluation.intervals.CHUNK_CELLS", 40 * 7)
    assert resampled_sums(counts, 100, seed=2).shape == (100, 2)
    assert resampled_sums(counts, 4000, seed=2)[:, 0].mean() == pytest.approx(counts[:, 0].sum(), rel=0.02)


def test_the_bootstraps_p_counts_what_lies_beyond_zero() -> None:
    assert bootstrap_p(np.array([1.0] * 97 + [-1.0] * 2)) == pytest.approx(2 * 3 / 100)
    assert bootstrap_p(np.array([-1.0] * 99)) == pytest.approx(2 * 1 / 100)
    assert bootstrap_p(np.zeros(99)) == 1.0


def test_few_units_are_exchanged_in_every_way() -> None:
    differences = np.array([[3, 0, 1], [1, 0, -1], [2, 0, 1], [-1, 0, 0], [4, 0, 1]])
    expected = []
    for column in differences.T:
        totals = [
            abs(sum(s * d for s, d in zip(signs, column, strict=True)))
            for signs in itertools.product((1, -1), repeat=5)
        ]
        expected.append(sum(total >= abs(column.sum()) for total in totals) / 32)
    assert p_of(differences).tolist() == pytest.approx(expected)
    assert p_of(np.ones((5, 1), np.int64))[0] == 2 / 32  # nothing smaller is possible with 5 units


def test_drawn_exchanges_agree_with_scipy() -> None:
    generator = np.random.default_rng(5)
    differences = generator.integers(-2, 4, (60, 1))
    theirs = scipy.stats.permutation_test(
        (differences[:, 0],),
        np.sum,
        permutation_type="samples",
        n_resamples=9999,
        random_state=np.random.default_rng(0),
    )
    ours = float(p_of(differences)[0])
    assert 0 < ours < 0.5
    assert ours == pytest.approx(float(theirs.pvalue), abs=0.015)
    assert p_of(np.zeros((60, 1), np.int64))[0] == 1.0
    assert p_of(np.ones((60, 1), np.int64))[0] == pytest.approx(1 / 10_001)


def test_matched_pairs_is_gillick_and_coxs_normal_test() -> None:
    generator = np.random.default_rng(7)
    differences = np.append(generator.integers(-2, 3, 39), 3)
    z = differences.mean() / (differences.std(ddof=1) / math.sqrt(40))
    assert 0.5 < abs(z) < 3
    assert matched_pairs_p(differences) == pytest.approx(2 * scipy.stats.norm.sf(abs(z)))
    assert matched_pairs_p(-differences) == matched_pairs_p(differences)
    # Near the t-test, which it is for many segments.
    few = np.array([1, 0, -1, 0, 1, 1, 0, 2, 0, -1, 1, 0] * 8)
    assert matched_pairs_p(few) == pytest.approx(float(scipy.stats.ttest_1samp(few, 0).pvalue), abs=0.002)
    assert matched_pairs_p(np.zeros(9, np.int64)) == 1.0
    assert matched_pairs_p(np.ones(9, np.int64)) == 0.0
    assert matched_pairs_p(np.array([3])) is None


def test_holm_steps_down_and_never_falls() -> None:
    # Worked by hand: 4 x 0.01, 3 x 0.02, 2 x 0.03 = 0.06, 0.04 at least as large as that.
    assert holm([0.03, 0.01, 0.04, 0.02]) == [(pytest.approx(0.06), 3), (0.04, 4), (pytest.approx(0.06), 3), (0.06, 3)]
    assert [p for p, _ in holm([0.6, 0.5])] == [1.0, 1.0]
    assert holm([0.04]) == [(0.04, 1)]
    assert holm([]) == []
    assert holm([0.001, 0.9, 0.001]) == [(0.003, 3), (0.9, 1), (0.003, 2)]


def test_however_many_pairs_a_difference_can_be_found() -> None:
    for pairs in (1, 45, 1000):
        assert holm([1 / (1 + draws_for(pairs))] * pairs)[0][0] < 0.01


def test_under_the_null_five_per_cent_are_called_different() -> None:
    generator = np.random.default_rng(11)
    differences = generator.integers(0, 4, (40, 300)) - generator.integers(0, 4, (40, 300))
    shares = (p_of(differences, draws=500) < 0.05).mean()
    assert 0.01 < shares < 0.1


@pytest.mark.parametrize("units", [3, 5, 6, 8, 12, 14, 40])
def test_an_interval_leaves_out_0_exactly_where_the_test_finds_a_difference(units: int) -> None:
    """Whatever the data and however many pairs the correction is for."""
    generator = np.random.default_rng(units)
    differed = 0
    for _ in range(40):
        words = generator.integers(0, 9, units) + (np.arange(units) == 0)
        rates = 0.3 + 0.4 * generator.random(generator.integers(1, 6))
        errors = np.stack([generator.binomial(words, rate) - generator.binomial(words, 0.3) for rate in rates], axis=1)
        exchanged = exchanged_sums(np.column_stack([errors, words]), 600)
        p_values = [float(p) for p in randomisation_p(errors, exchanged[:, :-1])]
        for pair, (adjusted, divisor) in enumerate(holm(p_values)):
            total, spoken = float(errors[:, pair].sum()), float(words.sum())
            interval = randomisation_interval(total, spoken, exchanged[:, pair], exchanged[:, -1], divisor)
            assert interval is not None
            assert interval[0] <= total / spoken <= interval[1]
            assert (interval[0] <= 0 <= interval[1]) == (adjusted >= LEVEL)
            differed += adjusted < LEVEL
    assert differed > 0 or units < 8


def test_an_interval_is_that_of_every_difference_tried_in_turn() -> None:
    """r errors for each word are taken off the first system's, and the test asked again."""
    generator = np.random.default_rng(3)
    words = generator.integers(1, 9, 10)
    errors = generator.binomial(words, 0.6) - generator.binomial(words, 0.3)
    exchanged = exchanged_sums(np.column_stack([errors, words]))
    found = randomisation_interval(float(errors.sum()), float(words.sum()), exchanged[:, 0], exchanged[:, 1])
    assert found is not None
    signs = np.array(list(itertools.product((1, -1), repeat=10)))
    for r in np.linspace(-0.4, 1.2, 321):
        rest = errors - r * words
        p = (np.abs(signs @ rest) >= abs(rest.sum()) - 1e-9).mean()
        assert (p >= LEVEL) == (found[0] - 1e-9 <= r <= found[1] + 1e-9), r


@pytest.mark.parametrize("units", [7, 30])
def test_an_interval_holds_the_true_difference_in_95_of_100(units: int) -> None:
    """Where a percentile bootstrap of 7 units does in 87."""
    generator = np.random.default_rng(units)
    held = 0
    for number in range(400):
        words = generator.integers(3, 12, units)
        errors = generator.binomial(words, 0.4) - generator.binomial(words, 0.3)
        exchanged = exchanged_sums(np.column_stack([errors, words]), 499, seed=number)
        found = randomisation_interval(float(errors.sum()), float(words.sum()), exchanged[:, 0], exchanged[:, 1])
        assert found is not None
        held += found[0] <= 0.1 <= found[1]
    assert 0.92 <= held / 400 <= 0.99


def test_too_few_units_bound_nothing() -> None:
    errors, words = np.array([9, 8, 9, 9, 8]), np.array([10, 10, 10, 10, 10])
    exchanged = exchanged_sums(np.column_stack([errors, words]))
    found = randomisation_interval(43.0, 50.0, exchanged[:, 0], exchanged[:, 1])
    assert found == (-math.inf, math.inf)
    assert randomisation_interval(0.0, 0.0, exchanged[:, 0] * 0, exchanged[:, 1] * 0) is None
