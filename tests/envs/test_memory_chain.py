"""memrl/MemoryChain-v0 against bsuite's rules, by hand and by brute force over policies; and its scoring rule."""

import itertools

import gymnasium as gym
import numpy as np
import pytest

from memrl.envs import MEMORY_LEN, MEMORY_SIZE, MemoryChain, memory_chain_score


class Specification:
    """One chain as bsuite plays it: an observation is made before time goes on."""

    def __init__(self, length, context, query):
        self.length, self.context, self.query, self.time = length, context, query, 0

    def see(self):
        seen = [1 - self.time / self.length, 0] + [0] * len(self.context)
        if self.time == self.length - 1:
            seen[1] = self.query
        if self.time == 0:
            seen[2:] = [1 if bit else -1 for bit in self.context]
        return np.array(seen, np.float32).tolist()

    def step(self, action):
        seen, over = self.see(), self.time == self.length
        self.time += 1
        return seen, float(over) * (1 if action == self.context[self.query] else -1), over


def hidden(env):
    copies = env.unwrapped.copies
    return [int(bit > 0) for bit in copies.context[0]], int(copies.query[0])


@pytest.mark.parametrize(("length", "bits"), [(1, 1), (1, 3), (2, 1), (2, 5), (7, 1), (4, 4)])
def test_every_step_follows_the_specification(length, bits):
    env = gym.make("memrl/MemoryChain-v0", length=length, bits=bits)
    random = np.random.default_rng(0)
    for seed in range(30):
        seen, _ = env.reset(seed=seed)
        chain = Specification(length, *hidden(env))
        assert seen.tolist() == chain.see()
        terminated, steps = False, 0
        while not terminated:
            action = random.integers(2)
            seen, reward, terminated, truncated, info = env.step(action)
            assert (seen.tolist(), reward, terminated, truncated) == (*chain.step(action), False)
            steps += 1
        assert steps == length + 1
        assert info == {"is_success": reward == 1}


def test_two_bits_by_hand():
    env = gym.make("memrl/MemoryChain-v0", length=2, bits=2)
    seed = next(seed for seed in range(100) if env.reset(seed=seed) and hidden(env) == ([0, 1], 1))
    assert env.reset(seed=seed)[0].tolist() == [1, 0, -1, 1]
    assert env.step(0)[0].tolist() == [1, 0, -1, 1]  # the first step shows the beginning again
    seen, reward, terminated, _, _ = env.step(0)
    assert (seen.tolist(), reward, terminated) == ([0.5, 1, 0, 0], 0, False)
    seen, reward, terminated, _, info = env.step(1)
    assert (seen.tolist(), reward, terminated, info) == ([0, 0, 0, 0], 1, True, {"is_success": True})


def test_bits_and_queries_are_equally_likely():
    copies = MemoryChain(4000, length=3, bits=4)
    copies.reset(seed=0)
    assert abs(copies.context.mean(axis=0)).max() < 4 / 4000**0.5
    counts = np.bincount(copies.query, minlength=4)
    assert abs(counts - 1000).max() < 4 * np.sqrt(750)


def best_memoryless(length, bits):
    """Best expected return over all maps from observation to action. Random maps mix these, and are no better.

    An observation decides an action that counts once at most, so the return is linear in its probabilities.
    """
    chains = [(list(context), query) for context in itertools.product((0, 1), repeat=bits) for query in range(bits)]
    episodes = []
    for context, query in chains:
        chain = Specification(length, context, query)
        seen = [tuple(chain.see())] + [tuple(chain.step(0)[0]) for _ in range(length)]
        episodes.append((seen, context, query))
    every = sorted({observation for seen, _, _ in episodes for observation in seen})
    best = -np.inf
    for actions in itertools.product((0, 1), repeat=len(every)):
        policy = dict(zip(every, actions, strict=True))
        total = 0.0
        for seen, context, query in episodes:
            chain = Specification(length, context, query)
            total += sum(chain.step(policy[observation])[1] for observation in seen)
        best = max(best, total / len(episodes))
    return best


@pytest.mark.parametrize(("length", "bits"), [(2, 1), (3, 1), (10, 1), (2, 2), (2, 3)])
def test_no_map_from_observation_to_action_is_better_than_guessing(length, bits):
    assert best_memoryless(length, bits) == 0


@pytest.mark.parametrize("bits", [1, 2])
def test_a_chain_of_length_1_needs_no_memory(bits):
    assert best_memoryless(1, bits) == 1


@pytest.mark.parametrize("keywords", [{"length": 1}, {"length": 100}, {"length": 2, "bits": 40}])
def test_the_oracle_is_always_right(keywords):
    copies = MemoryChain(20, **keywords)
    copies.reset(seed=0)
    for _ in range(copies.horizon):
        _, rewards, terminated, _, infos = copies.step(copies.oracle())
    assert (rewards == 1).all()
    assert terminated.all()
    assert infos["final_info"]["is_success"].all()


def test_settings_are_those_of_bsuite():
    assert len(MEMORY_LEN) == 23
    assert (MEMORY_LEN[:10], MEMORY_LEN[-1]) == (tuple(range(1, 11)), 100)
    assert len(MEMORY_SIZE) == 17
    assert MEMORY_SIZE[-3:] == (25, 30, 40)


def bsuite_score(rows):
    """As bsuite computes it from rows (setting, episode, how many were perfect so far) of its log files."""
    ratios = []
    for setting in {row[0] for row in rows}:
        own = [row for row in rows if row[0] == setting]
        last = min(max(row[1] for row in own), 10_000)
        ratios.append(np.mean([(row[1] - row[2]) / 0.5 for row in own if row[1] == last]) / last)
    return np.mean(np.array(ratios) < 0.75)


@pytest.mark.parametrize("episodes", [40, 12_000])
def test_the_score_is_that_of_bsuite(episodes):
    random = np.random.default_rng(1)
    successes = {setting: random.random((2, episodes)) < random.uniform(0.5, 0.75) for setting in range(1, 30)}
    rows = [
        (setting, episode, run[:episode].sum())
        for setting, runs in successes.items()
        for run in runs
        for episode in (episodes // 2, min(episodes, 10_000), episodes)
    ]
    score = memory_chain_score(successes)
    assert score == bsuite_score(rows)
    assert 0 < score < 1


def test_the_threshold_by_hand():
    assert memory_chain_score({5: [True] * 63 + [False] * 37}) == 1
    assert memory_chain_score({5: [True] * 625 + [False] * 375}) == 0  # three quarters exactly: not learned
    assert memory_chain_score({5: [True] * 100, 6: [False] * 100, 7: [True] * 70 + [False] * 30}) == pytest.approx(
        2 / 3
    )
    assert memory_chain_score({5: [False] * 10_000 + [True] * 100_000}) == 0  # later episodes do not count


@pytest.mark.parametrize("successes", [{}, {3: []}, {3: [0.5, 1.0]}, {3: [[[True]]]}, {3: True}])
def test_the_score_refuses_what_it_cannot_count(successes):
    with pytest.raises(ValueError, match=r"^successes"):
        memory_chain_score(successes)


def test_text_marks_the_bit_asked_for():
    env = gym.make("memrl/MemoryChain-v0", length=2, bits=2, render_mode="ansi")
    seed = next(seed for seed in range(100) if env.reset(seed=seed) and hidden(env) == ([0, 1], 1))
    env.reset(seed=seed)
    assert env.render() == "- [+]\nstep 0 of 3\n"


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"length": 0}, "length"),
        ({"length": 2.0}, "length"),
        ({"length": 10**12}, "length"),
        ({"bits": 0}, "bits"),
        ({"bits": True}, "bits"),
        ({"bits": 10**6}, "bits"),
    ],
)
def test_bad_keywords_are_named(keywords, named):
    with pytest.raises(ValueError, match=f"^{named}: "):
        MemoryChain(2, **keywords)
