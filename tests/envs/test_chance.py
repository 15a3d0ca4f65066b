"""Randomness of the array programs: SplitMix64's published numbers, distributions, independence of copies."""

import numpy as np
import pytest
from scipy import stats

from memrl.envs.chance import Chance, Streams

ROWS = np.arange(4000)


@pytest.fixture
def chance():
    return Streams(list(ROWS)).next_episode(ROWS)


def test_a_stream_is_splitmix64():
    # The five numbers that Vigna's reference code gives for the seed 1234567, as Rosetta Code lists them.
    numbers = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    chance = Chance(np.array([1234567], np.uint64))
    assert [*chance.bits(2)[0].tolist(), *chance.bits(3)[0].tolist()] == numbers


def test_uniform_and_normal_numbers_are_so(chance):
    assert stats.kstest(chance.uniform(5).ravel(), "uniform").pvalue > 1e-3
    assert stats.kstest(chance.uniform(low=-2.0, high=6.0), "uniform", (-2, 8)).pvalue > 1e-3
    assert stats.kstest(chance.normal(5).ravel(), "norm").pvalue > 1e-3


def test_whole_numbers_and_permutations_are_uniform(chance):
    assert stats.chisquare(np.bincount(chance.integers(7, 5).ravel(), minlength=7)).pvalue > 1e-3
    orders = chance.permutation(4)
    assert (np.sort(orders) == np.arange(4)).all()
    number = (orders * 4 ** np.arange(4)).sum(axis=1)
    assert stats.chisquare(np.unique(number, return_counts=True)[1]).pvalue > 1e-3
    assert len(np.unique(number)) == 24
    upper = np.arange(1, 4001)
    assert (chance.integers(upper) < upper).all()


@pytest.mark.parametrize("lag", [1, 2, 3])
def test_seeds_episodes_and_draws_are_not_correlated(lag):
    streams = Streams(list(ROWS))
    first, second = streams.next_episode(ROWS).uniform(10), streams.next_episode(ROWS).uniform(10)
    bound = 4.5 / len(ROWS) ** 0.5
    assert abs(np.corrcoef(first[:-lag, 0], first[lag:, 0])[0, 1]) < bound  # seeds next to each other
    assert abs(np.corrcoef(first[:, lag], second[:, lag])[0, 1]) < bound  # episodes of a copy
    assert abs(np.corrcoef(first[:, 0], first[:, lag])[0, 1]) < bound  # draws of an episode
    early, late = streams.at_step(np.zeros(len(ROWS))).uniform(), streams.at_step(np.full(len(ROWS), lag)).uniform()
    assert abs(np.corrcoef(early, late)[0, 1]) < bound
    assert abs(np.corrcoef(early, second[:, 0])[0, 1]) < bound


def test_a_copy_does_not_see_the_others():
    alone, together = Streams([8]), Streams([7, 8, 9])
    together.next_episode(np.array([0, 2]))
    one = alone.next_episode(np.array([0])).permutation(52)
    np.testing.assert_array_equal(one[0], together.next_episode(np.array([0, 1])).permutation(52)[1])
    np.testing.assert_array_equal(
        alone.at_step(np.array([5])).normal(2)[0], together.at_step(np.array([1, 5, 9])).normal(2)[1]
    )


def test_a_seed_starts_a_stream_again_and_none_goes_on():
    streams, rows = Streams([1, None]), np.arange(2)
    first, second = streams.next_episode(rows).bits(), streams.next_episode(rows).bits()
    assert (first != second).all()
    streams.reseed([1, None])
    third = streams.next_episode(rows).bits()
    assert third[0] == first[0]
    assert third[1] not in (first[1], second[1])


def test_generators_follow_the_stream(chance):
    draws = [generator.random() for generator in chance.generators()]
    assert stats.kstest(draws, "uniform").pvalue > 1e-3
