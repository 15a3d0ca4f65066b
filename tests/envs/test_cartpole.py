"""The CartPole tasks against Gymnasium's dynamics, POPGym's environments, linear control theory and a search."""

import os
from itertools import count

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from popgym.envs.noisy_position_only_cartpole import NoisyPositionOnlyCartPole
from popgym.envs.position_only_cartpole import PositionOnlyCartPole
from popgym.envs.velocity_only_cartpole import VelocityOnlyCartPole
from scipy import linalg, stats

import memrl.envs
from memrl.envs import cartpole, list_envs

LEFT, RIGHT = 0, 1
STEPS, DEVIATIONS = {"easy": 200, "medium": 400, "hard": 600}, {"easy": 0.1, "medium": 0.2, "hard": 0.3}
CARDS = {card.id: card for card in list_envs()}
FAMILIES = ["PositionOnlyCartPole", "NoisyPositionOnlyCartPole", "VelocityOnlyCartPole"]


def make(name, copies, **keywords):
    return getattr(memrl.envs, name)(copies, **keywords)


def first_episodes(envs, policy, seed=0):
    """Returns of the first episode of every copy; `policy` maps observations and the step to actions."""
    obs, _ = envs.reset(seed=seed)
    returns, running = np.zeros(envs.num_envs), np.ones(envs.num_envs, bool)
    for step in count():
        obs, rewards, terminated, truncated, _ = envs.step(policy(obs, step))
        returns += rewards * running
        running &= ~(terminated | truncated)
        if not running.any():
            return returns


def standard_error(returns):
    return returns.std() / len(returns) ** 0.5 + 1e-9


# Dynamics


@pytest.mark.parametrize("name", FAMILIES)
def test_each_step_is_gymnasiums(name):
    random, copies = np.random.default_rng(0), 500
    envs, reference = make(name, copies), CartPoleEnv()
    envs.reset(seed=0)
    ended = 0
    for spread in (0.05, 0.5, 1.0):
        states = random.uniform(-1, 1, (4, copies)) * np.array([[2.5], [3.0], [0.22], [3.0]]) * spread
        actions = random.integers(2, size=copies)
        envs.state = states.copy()
        _, outcome, _ = envs.advance(actions)
        for copy in range(copies):
            reference.reset()
            reference.state = states[:, copy]
            _, _, terminated, _, _ = reference.step(int(actions[copy]))
            np.testing.assert_allclose(envs.state[:, copy], reference.state, rtol=0, atol=1e-12)
            assert outcome.terminated[copy] == terminated
            ended += terminated
    assert 40 < ended < 400


class Scripted:
    """In the place of a NumPy generator: gives a start and noise that were drawn elsewhere."""

    def __init__(self, start):
        self.start, self.noise = start, None

    def uniform(self, low, high, size):
        assert (low, high, size) == (-0.05, 0.05, (4,))
        return self.start

    def normal(self, mean, deviation):
        return mean + deviation * self.noise


ORIGINALS = {
    "PositionOnlyCartPole": lambda level: PositionOnlyCartPole(max_episode_length=STEPS[level]),
    "NoisyPositionOnlyCartPole": lambda level: NoisyPositionOnlyCartPole(noise_sigma=DEVIATIONS[level]),
    "VelocityOnlyCartPole": lambda level: VelocityOnlyCartPole(max_episode_length=STEPS[level]),
}


@pytest.mark.parametrize("level", STEPS)
@pytest.mark.parametrize("name", FAMILIES)
def test_whole_episodes_are_popgyms(name, level):
    random, copies = np.random.default_rng(1), int(os.environ.get("MEMRL_EPISODES", "60"))
    envs = make(name, copies, difficulty=level)
    noisy, velocities = name.startswith("Noisy"), name.startswith("Velocity")
    obs, _ = envs.reset(seed=2)
    originals = [ORIGINALS[name](level) for _ in range(copies)]
    wildness = np.where(np.arange(copies) % 2, 0.0, random.random(copies))  # half of them stand to the end
    for copy, original in enumerate(originals):
        original.np_random = script = Scripted(envs.state[:, copy].copy())
        script.noise = envs._chance_now().normal(2)[copy]
        shown, _ = original.reset()
        if velocities:  # POPGym leaks the positions here
            np.testing.assert_allclose(shown, script.start[[0, 2]].astype(np.float32), rtol=0, atol=0)
            shown = script.start[[1, 3]].astype(np.float32)
        np.testing.assert_allclose(obs[copy], shown, rtol=0, atol=1e-7)
    running, lengths = set(range(copies)), []
    while running:
        actions = np.where(random.random(copies) < wildness, random.integers(2, size=copies), envs.oracle())
        steps = envs.steps + 1
        if noisy:
            noise = envs._streams.at_step(steps).normal(2)
        obs, outcome, done = envs.advance(actions)
        for copy in sorted(running):
            if noisy:
                originals[copy].np_random.noise = noise[copy]
            shown, reward, terminated, truncated, _ = originals[copy].step(int(actions[copy]))
            np.testing.assert_allclose(obs[copy], shown, rtol=1e-6, atol=1e-6)
            assert outcome.rewards[copy] == reward
            assert (outcome.terminated[copy], outcome.truncated[copy]) == (terminated, truncated)
            assert outcome.success[copy] == (not terminated)
            if done[copy]:
                running.remove(copy)
                lengths.append(envs.steps[copy])
    assert lengths.count(envs.horizon) >= copies // 2
    assert min(lengths) < 100


def test_spaces_are_popgyms_except_for_velocities():
    for name in FAMILIES[:2]:
        assert make(name, 1).single_observation_space == ORIGINALS[name]("easy").observation_space
    assert np.isinf(VelocityOnlyCartPole().observation_space.high).all()
    assert make("VelocityOnlyCartPole", 1).single_observation_space.high.tolist() == [11, 5]


def test_no_velocity_exceeds_its_bound():
    # Whatever is at most `acceleration` faster in each step and has been k steps at it, has gone at least
    # k (v - (k + 3)/2 · 0.02 · acceleration) · 0.02, of which there is no more than `way` before the episode ends.
    def fastest(way, acceleration):
        steps = np.arange(1, 600)
        by_way = way / (0.02 * steps) + 0.02 * acceleration * (steps + 3) / 2
        best = by_way.argmin()
        return max(by_way[best], 0.05 + 0.02 * acceleration * (steps[best] + 1))

    # The largest accelerations of cart and pole follow from the bound on the pole's velocity.
    sine, pole = np.sin(np.radians(12)), 5.0
    push = (10 + 0.05 * pole**2 * sine) / 1.1
    pole_acceleration = (9.8 * sine + push) / (0.5 * (4 / 3 - 0.1 / 1.1))
    assert fastest(2 * np.radians(12), pole_acceleration) < 5
    assert fastest(4.8, push + 0.05 * pole_acceleration / 1.1) < 11
    # And hostile players come near it, but not past it.
    envs, random = make("VelocityOnlyCartPole", 2000), np.random.default_rng(0)
    period, phase = random.integers(2, 120, 2000), random.integers(0, 120, 2000)
    top = np.zeros(2)

    def policy(obs, step):
        top[:] = np.maximum(top, abs(obs).max(axis=0))
        balanced = envs.oracle()
        return np.where(step % period < phase % period, random.integers(2), balanced)

    first_episodes(envs, policy)
    assert (top < [11, 5]).all()
    assert (top > [1.5, 1.5]).all()


def test_noise_is_normal_clipped_and_new_for_everybody():
    envs = make("NoisyPositionOnlyCartPole", 4000, difficulty="hard")
    obs, _ = envs.reset(seed=0)
    noises = [obs - envs.state[[0, 2]].T]
    for _ in range(3):
        obs, outcome, _ = envs.advance(envs.oracle())
        assert not outcome.terminated.any()
        noises.append(obs - envs.state[[0, 2]].T)
    noises = np.stack(noises)  # (4, 4000, 2)
    assert stats.kstest(noises[..., 0].ravel() / 0.3, "norm").pvalue > 1e-3
    high = envs.single_observation_space.high[1]
    assert (abs(obs[:, 1]) <= high).all()
    assert 0.1 < (abs(obs[:, 1]) == high).mean() < 0.22  # 2 (1 - Φ(0.419 / 0.3)) = 0.162
    series = np.concatenate([noises[..., 0], noises[:, :, 1]])
    correlation = np.corrcoef(series)
    np.testing.assert_allclose(correlation, np.eye(8), atol=4 / 4000**0.5)
    assert abs(np.corrcoef(noises[0, :-1, 0], noises[0, 1:, 0])[0, 1]) < 4 / 4000**0.5


# What is optimal


def linear_model():
    """Matrices of the dynamics at the upright, by differences."""
    h = 1e-6
    ends = [cartpole.moved(sign * h * np.eye(4), np.zeros(4)) for sign in (1, -1)]
    pushed = [cartpole.moved(np.zeros((4, 1)), np.array([sign * h])) for sign in (1, -1)]
    return (ends[0] - ends[1]) / (2 * h), (pushed[0] - pushed[1]) / (2 * h)


def test_the_oracles_gains_solve_the_riccati_equation():
    a, b = linear_model()
    cost = linalg.solve_discrete_are(a, b, np.eye(4), np.eye(1))
    gains = np.linalg.solve(1 + b.T @ cost @ b, b.T @ cost @ a)[0]
    np.testing.assert_allclose(cartpole._GAINS, gains, rtol=1e-5)


@pytest.mark.parametrize("level", STEPS)
@pytest.mark.parametrize("name", FAMILIES)
def test_the_oracle_never_lets_the_pole_fall(name, level):
    envs = make(name, 500, difficulty=level)
    np.testing.assert_allclose(first_episodes(envs, lambda obs, step: envs.oracle()), 1)


def force(actions):
    return np.where(actions == RIGHT, 10.0, -10.0)


def balance(state):
    return np.where(cartpole._GAINS @ state < 0, RIGHT, LEFT)


def test_remembering_the_last_positions_is_enough():
    envs, last = make("PositionOnlyCartPole", 500), {}

    def policy(obs, step):
        x, angle = obs.T.astype(float)
        if step == 0:
            last.update(x=x, angle=angle)
        state = np.array([x, (x - last["x"]) / 0.02, angle, (angle - last["angle"]) / 0.02])
        last.update(x=x, angle=angle)
        return balance(state)

    np.testing.assert_allclose(first_episodes(envs, policy), 1)


def test_summing_velocities_is_enough():
    envs, known = make("VelocityOnlyCartPole", 500), {}
    a, b = linear_model()

    def policy(obs, step):
        x_velocity, velocity = obs.T.astype(float)
        if step == 0:
            known.update(x=0 * velocity, angle=0 * velocity)
        else:
            if step == 1:  # by how much the pole got faster tells where it was
                gain = velocity - known["velocity"] - b[3, 0] * force(known["action"])
                known["angle"] = gain / a[3, 2]
            known["x"] = known["x"] + 0.02 * known["x_velocity"]
            known["angle"] = known["angle"] + 0.02 * known["velocity"]
        action = balance(np.array([known["x"], x_velocity, known["angle"], velocity]))
        known.update(velocity=velocity, x_velocity=x_velocity, action=action)
        return action

    np.testing.assert_allclose(first_episodes(envs, policy), 1)


@pytest.mark.parametrize(("level", "earned"), [("easy", 0.99), ("medium", 0.61), ("hard", 0.37)])
def test_what_a_kalman_filter_earns_through_noise(level, earned):
    """The bound of 1 is nearly reached in the easy task, and far off in the others."""
    envs = make("NoisyPositionOnlyCartPole", 2000, difficulty=level)
    a, _ = linear_model()
    seen = np.eye(4)[[0, 2]]
    estimate = {"mean": np.zeros((4, 2000)), "covariance": 0.05**2 / 3 * np.eye(4)}

    def policy(obs, step):
        mean, covariance = estimate["mean"], estimate["covariance"]
        surprise = obs.T - seen @ mean
        trust = covariance @ seen.T @ np.linalg.inv(seen @ covariance @ seen.T + envs.deviation**2 * np.eye(2))
        mean, covariance = mean + trust @ surprise, covariance - trust @ seen @ covariance
        action = balance(mean)
        estimate.update(mean=cartpole.moved(mean, force(action)), covariance=a @ covariance @ a.T + 1e-7 * np.eye(4))
        return action

    assert first_episodes(envs, policy).mean() == pytest.approx(earned, abs=0.015)


# What is possible without memory


def log_odds(*weights):
    """Push right with probability σ(weights · observation)."""
    random, weights = np.random.default_rng(0), np.array(weights)

    def policy(obs, step):
        return (random.random(len(obs)) < 1 / (1 + np.exp(-obs @ weights))).astype(int)

    return policy


def threshold(*weights):
    return lambda obs, step: (obs @ np.array(weights) > 0).astype(int)


def squashed_cubic(obs, step):
    """The best found for velocities in the hard task."""
    v, w = obs.T.astype(float) / 0.5
    terms = [v, w, v**3, v * v * w, v * w * w, w**3, np.tanh(v), np.tanh(3 * w)]
    return (np.array([0.209, 2.68, 0.122, 1.16, -1.413, -0.835, 0.479, 0.296]) @ np.array(terms) > 0).astype(int)


@pytest.mark.parametrize(
    ("name", "level", "policy", "earned"),
    [
        ("PositionOnlyCartPole", "easy", log_odds(-1.45, 22.6), None),
        ("PositionOnlyCartPole", "medium", log_odds(-0.94, 23.8), 0.127),
        ("PositionOnlyCartPole", "hard", log_odds(-0.94, 23.8), 0.085),
        ("NoisyPositionOnlyCartPole", "easy", log_odds(-7.34, 279.6), None),
        ("NoisyPositionOnlyCartPole", "medium", log_odds(-13.0, 160.0), 0.2),
        ("NoisyPositionOnlyCartPole", "hard", log_odds(-22.4, 164.0), 0.17),
        ("VelocityOnlyCartPole", "easy", threshold(0.3, 1), 1.0),
        ("VelocityOnlyCartPole", "medium", threshold(0.1, 1), 0.998),
        ("VelocityOnlyCartPole", "hard", squashed_cubic, None),
    ],
)
def test_the_best_memoryless_policies_found_earn_what_is_said(name, level, policy, earned):
    returns = first_episodes(make(name, 3000, difficulty=level), policy)
    earned = CARDS[f"memrl/{name}-v0"].memoryless_return if earned is None else earned
    assert returns.mean() == pytest.approx(earned, abs=4 * standard_error(returns) + 0.001)


@pytest.mark.parametrize(
    ("name", "scale"),
    [("PositionOnlyCartPole", [3, 30]), ("NoisyPositionOnlyCartPole", [10, 100]), ("VelocityOnlyCartPole", [20, 100])],
)
def test_no_log_linear_policy_found_is_better(name, scale):
    """150 policies, from next to random to next to a threshold; the best of a first look gets a second one."""
    random, policies, each = np.random.default_rng(3), 150, 20
    weights = random.normal(size=(policies, 2)) * np.array(scale) * np.exp(random.normal(size=(policies, 1)))
    by_row = np.repeat(weights, each, axis=0)
    short = make(name, policies * each)

    def policy(obs, step):
        odds = np.clip((obs * by_row).sum(axis=1), -30, 30)
        return (random.random(len(obs)) < 1 / (1 + np.exp(-odds))).astype(int)

    means = first_episodes(short, policy).reshape(policies, each).mean(axis=1)
    best = first_episodes(make(name, 1500), log_odds(*weights[means.argmax()]), seed=9)
    known = CARDS[f"memrl/{name}-v0"].memoryless_return
    assert best.mean() < known + 3 * standard_error(best)
    assert best.mean() > 0.6 * known  # the search is not idle


# The rest


def test_text_by_hand():
    envs = make("VelocityOnlyCartPole", 1, render_mode="ansi")
    envs.reset(seed=0)
    envs.state = np.array([[0.5], [-1.25], [0.125], [2.0]])
    assert envs.render()[0] == (
        "cart position +0.500 m     hidden\n"
        "cart velocity -1.250 m/s   seen as -1.250\n"
        "pole angle    +0.125 rad   hidden\n"
        "pole velocity +2.000 rad/s seen as +2.000\n"
        "step          0 of 600\n"
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_picture_moves_with_the_pole(name):
    env = gym.make(f"memrl/{name}-v0", render_mode="rgb_array")
    env.reset(seed=0)
    copies = env.unwrapped.copies

    def pole(angle):
        copies.state = np.array([[0.0], [0.0], [angle], [0.0]])
        blue = (env.render()[:180] == [50, 95, 190]).all(axis=2)
        return np.argwhere(blue)[:, 1].mean()

    assert pole(0.2) > pole(0.0) + 5 > pole(-0.2) + 10
    assert abs(pole(0.0) - 300) < 2


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("level", ["Easy", 0, None, True])
def test_unknown_difficulties_are_named(name, level):
    with pytest.raises(ValueError, match=r"^difficulty: "):
        make(name, 1, difficulty=level)
