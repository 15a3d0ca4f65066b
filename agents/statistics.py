"""Honest summaries of few runs: interquartile mean, bootstrap and Wilson intervals.

Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice", recommends the
interquartile mean with stratified bootstrap intervals for comparisons over a handful of seeds.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Statistic(Protocol):
    """A summary along the last axis, as `numpy.mean` is one."""

    def __call__(self, values: NDArray[np.float64], /, *, axis: int) -> NDArray[np.float64]: ...  # noqa: D102


def mean(values: NDArray[np.float64], /, *, axis: int) -> NDArray[np.float64]:
    """Arithmetic mean along `axis`."""
    return np.asarray(np.mean(values, axis=axis))


def iqm(values: ArrayLike, /, *, axis: int = -1) -> NDArray[np.float64]:
    """Interquartile mean: the mean of what is left when a quarter of the values is cut off at either end.

    Of three values or fewer nothing is cut off, and it equals the mean.

    >>> float(iqm([0.0, 1.0, 2.0, 100.0]))
    1.5
    """
    from scipy import (
        stats,
    )  # here, because it costs half as much to import as torch, and trainings never need it

    return np.asarray(stats.trim_mean(np.asarray(values, dtype=np.float64), 0.25, axis=axis))


def bootstrap_interval(
    strata: Sequence[ArrayLike],
    *,
    statistic: Statistic = iqm,
    confidence: float = 0.95,
    resamples: int = 5000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a statistic, by resampling with replacement inside each stratum.

    A stratum holds the values that are exchangeable: the seeds of one task, or the episodes of one policy.
    The statistic is taken over all strata together. The generator is the function's own, so that neither the
    caller's random numbers nor the order of calls changes the result.

    Args:
        strata: one list of values per stratum, each with at least one value.
        statistic: summary along the last axis.
        confidence: in (0, 1).
        resamples: how many data sets are drawn, at least 1.
        seed: of the resampling.

    Returns:
        Lower and upper end; both NaN where no stratum has two values, because the spread is then unknown.

    Raises:
        ValueError: no stratum, or an empty one.

    >>> bootstrap_interval([[1.0, 1.0, 1.0]])
    (1.0, 1.0)
    """
    samples = [np.asarray(stratum, dtype=np.float64) for stratum in strata]
    if not samples or any(sample.ndim != 1 or not len(sample) for sample in samples):
        raise ValueError("strata: every stratum needs at least one value")
    if max(len(sample) for sample in samples) < 2:
        return float("nan"), float("nan")
    generator = np.random.default_rng(seed)
    drawn = [sample[generator.integers(len(sample), size=(resamples, len(sample)))] for sample in samples]
    values = statistic(np.concatenate(drawn, axis=1), axis=-1)
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def bootstrap_band(
    curves: ArrayLike, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile interval of the interquartile mean at every point of a set of curves.

    Whole curves are resampled, the same ones at every point.

    Args:
        curves: one row per run. Shape (runs, points).
        confidence: in (0, 1).
        resamples: how many sets of curves are drawn.
        seed: of the resampling.

    Returns:
        Lower and upper end, each of shape (points,); NaN for a single run, whose spread is unknown.
    """
    values = np.asarray(curves, dtype=np.float64)
    if len(values) < 2:
        unknown = np.full(values.shape[1], np.nan)
        return unknown, unknown
    drawn = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.quantile(iqm(values[drawn], axis=1), [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return low, high


def wilson_interval(successes: int, trials: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a success probability; unlike the textbook one it is sound near 0 and 1.

    Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference":
    (p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n).

    Args:
        successes: 0 to `trials`.
        trials: at least 1.
        confidence: in (0, 1).

    Raises:
        ValueError: the counts do not fit together.

    >>> low, high = wilson_interval(200, 200)
    >>> round(low, 3), high
    (0.981, 1.0)
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"successes: {successes} of {trials} given, 0 to trials of at least 1 trial needed")
    rate, z = successes / trials, NormalDist().inv_cdf((1 + confidence) / 2)
    centre = rate + z**2 / (2 * trials)
    half = z * math.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    low, high = (centre - half) / (1 + z**2 / trials), (centre + half) / (1 + z**2 / trials)
    return max(low, 0.0), min(high, 1.0)
