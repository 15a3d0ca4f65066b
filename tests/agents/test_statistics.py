"""Each statistic against a value computed by hand and against a peer implementation."""

import math

import numpy as np
import pytest
from scipy import stats

from memrl.agents.statistics import bootstrap_band, bootstrap_interval, iqm, mean, wilson_interval


def test_iqm_by_hand() -> None:
    # Eight values: two are cut off at either end, the mean of 3, 4, 5, 6 is left.
    assert float(iqm([1000.0, 3.0, 4.0, 1.0, 6.0, 2.0, 5.0, 999.0])) == 4.5


def test_iqm_of_three_values_is_their_mean() -> None:
    assert float(iqm([0.0, 0.0, 3.0])) == 1.0


def test_iqm_takes_an_axis() -> None:
    values = np.array([[0.0, 1.0, 2.0, 9.0], [5.0, 5.0, 5.0, 5.0]])
    assert iqm(values, axis=1).tolist() == [1.5, 5.0]
    assert iqm(values.T, axis=0).tolist() == [1.5, 5.0]


def test_wilson_by_hand() -> None:
    # 8 of 10 at 95 %: z² = 3.8415, so the centre is (0.8 + 0.19207) / 1.38415 = 0.71674 and half the width
    # 1.95996 · sqrt(0.016 + 0.0096036) / 1.38415 = 0.22658.
    assert wilson_interval(8, 10) == pytest.approx((0.49016, 0.94332), abs=1e-5)


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_wilson_agrees_with_scipy(confidence: float) -> None:
    for trials in (1, 7, 200):
        for successes in range(trials + 1):
            reference = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
            ours = wilson_interval(successes, trials, confidence=confidence)
            assert ours == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_wilson_stays_inside_zero_and_one() -> None:
    low, high = wilson_interval(0, 200)
    assert low == 0.0
    assert 0.018 < high < 0.019  # z² / (n + z²) = 3.8415 / 203.8415 = 0.01885
    assert wilson_interval(200, 200)[1] == 1.0


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(successes, trials)


def test_bootstrap_agrees_with_scipy_on_one_stratum() -> None:
    values = np.random.default_rng(3).normal(size=40)
    reference = stats.bootstrap(
        (values,), lambda x, axis: stats.trim_mean(x, 0.25, axis=axis), n_resamples=20000, method="percentile"
    ).confidence_interval
    ours = bootstrap_interval([values], resamples=20000)
    assert ours == pytest.approx((reference.low, reference.high), abs=0.03)  # both carry resampling noise


def test_bootstrap_agrees_with_scipy_on_two_strata() -> None:
    generator = np.random.default_rng(4)
    first, second = generator.normal(size=12), generator.normal(50.0, 1.0, size=30)

    def pooled_mean(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return np.concatenate([a, b], axis=axis).mean(axis=axis)

    reference = stats.bootstrap(
        (first, second), pooled_mean, n_resamples=20000, method="percentile"
    ).confidence_interval
    ours = bootstrap_interval([first, second], statistic=mean, resamples=20000)
    assert ours == pytest.approx((reference.low, reference.high), abs=0.03)
    # Resampling the pool instead would let the share of the far stratum vary, and the interval would be wide.
    assert ours[1] - ours[0] < 1.0
    pool = bootstrap_interval([np.concatenate([first, second])], statistic=mean)
    assert pool[1] - pool[0] > 10.0


def test_bootstrap_mean_interval_has_the_textbook_width() -> None:
    values = np.random.default_rng(5).normal(size=400)
    low, high = bootstrap_interval([values], statistic=mean, resamples=20000)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


def test_bootstrap_does_not_depend_on_or_disturb_global_random_numbers() -> None:
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    first = bootstrap_interval([[1.0, 2.0, 5.0]])
    np.testing.assert_array_equal(before, np.random.get_state()[1])
    np.random.seed(1)
    assert bootstrap_interval([[1.0, 2.0, 5.0]]) == first
    assert bootstrap_interval([[1.0, 2.0, 5.0]], seed=1, resamples=7) != first


def test_bootstrap_of_one_value_admits_that_it_knows_nothing() -> None:
    assert all(math.isnan(end) for end in bootstrap_interval([[0.7]]))


@pytest.mark.parametrize("strata", [[], [[]], [[1.0], []]])
def test_bootstrap_refuses_empty_strata(strata: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="stratum"):
        bootstrap_interval(strata)


def test_band_is_the_interval_at_every_point() -> None:
    # Of two runs, a quarter of the resamples draw one twice, and a quarter the other: both ends are reached.
    low, high = bootstrap_band([[0.0, 5.0, 1.0], [2.0, 1.0, 1.0]])
    assert low.tolist() == [0.0, 1.0, 1.0]
    assert high.tolist() == [2.0, 5.0, 1.0]
    assert all(np.isnan(end).all() for end in bootstrap_band([[1.0, 2.0]]))
    # Point by point it is the one-dimensional interval.
    curves = np.random.default_rng(6).normal(size=(9, 4))
    low, high = bootstrap_band(curves, resamples=20000)
    for point in range(4):
        assert (low[point], high[point]) == pytest.approx(bootstrap_interval([curves[:, point]]), abs=0.06)
