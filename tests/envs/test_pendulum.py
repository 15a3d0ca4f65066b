"""The Pendulum tasks against Gymnasium's dynamics, POPGym's environments, value iteration and a search."""

import os

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control import PendulumEnv
from popgym.envs.noisy_position_only_pendulum import NoisyPositionOnlyPendulum
from popgym.envs.position_only_pendulum import PositionOnlyPendulum
from scipy import linalg, stats

import memrl.envs
from memrl.envs import list_envs, pendulum

STEPS, DEVIATIONS = {"easy": 200, "medium": 150, "hard": 100}, {"easy": 0.1, "medium": 0.2, "hard": 0.3}
CARDS = {card.id: card for card in list_envs()}
FAMILIES = ["PositionOnlyPendulum", "NoisyPositionOnlyPendulum", "VelocityOnlyPendulum"]


def make(name, copies, **keywords):
    return getattr(memrl.envs, name)(copies, **keywords)


def first_episodes(envs, policy, seed=0):
    """Returns of the first episode of every copy; `policy` maps observations to torques (n,)."""
    obs, _ = envs.reset(seed=seed)
    returns = np.zeros(envs.num_envs)
    for _ in range(envs.horizon):
        obs, rewards, _, truncated, _ = envs.step(np.asarray(policy(obs), np.float32).reshape(-1, 1))
        returns += rewards
    assert truncated.all()
    return returns


def standard_error(returns):
    return returns.std() / len(returns) ** 0.5


# Dynamics


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_each_step_is_gymnasiums(dtype):
    random, copies = np.random.default_rng(0), 1000
    envs, reference = make("PositionOnlyPendulum", copies), PendulumEnv()
    envs.reset(seed=0)
    states = random.uniform(-1, 1, (2, copies)) * np.array([[30.0], [8.0]])  # several times around, and to top speed
    torques = random.uniform(-3, 3, (copies, 1)).astype(dtype)  # stronger ones are cut off
    envs.state = states.copy()
    obs, outcome, _ = envs.advance(torques)
    reference.reset()
    clipped = 0
    for copy in range(copies):
        reference.state = states[:, copy]
        shown, reward, *_ = reference.step(torques[copy])
        np.testing.assert_allclose(envs.state[:, copy], reference.state, rtol=0, atol=1e-12)
        np.testing.assert_allclose(obs[copy], shown[:2], rtol=0, atol=1e-7)
        assert outcome.rewards[copy] == pytest.approx((reward + 8.1368022) / 8.1368022 / 200, abs=1e-12)
        clipped += abs(reference.state[1]) == 8
    assert clipped > 20


class Scripted:
    """In the place of a NumPy generator: gives a start and noise that were drawn elsewhere."""

    def __init__(self, start):
        self.start, self.noise = start, None

    def uniform(self, low, high):
        np.testing.assert_array_equal([low, high], [[-np.pi, -1], [np.pi, 1]])
        return self.start

    def normal(self, mean, deviation):
        return mean + deviation * self.noise


ORIGINALS = {
    "PositionOnlyPendulum": lambda level: PositionOnlyPendulum(max_episode_length=STEPS[level]),
    "NoisyPositionOnlyPendulum": lambda level: NoisyPositionOnlyPendulum(noise_sigma=DEVIATIONS[level]),
}


@pytest.mark.parametrize("level", STEPS)
@pytest.mark.parametrize("name", ORIGINALS)
def test_whole_episodes_are_popgyms(name, level):
    random, copies = np.random.default_rng(1), int(os.environ.get("MEMRL_EPISODES", "80"))
    envs = make(name, copies, difficulty=level)
    noisy = name.startswith("Noisy")
    obs, _ = envs.reset(seed=2)
    originals = [ORIGINALS[name](level) for _ in range(copies)]
    noise = envs._streams.at_step(envs.steps).normal(2)
    for copy, original in enumerate(originals):
        original.np_random = Scripted(envs.state[:, copy].copy())
        original.np_random.noise = noise[copy]
        np.testing.assert_allclose(obs[copy], original.reset()[0], rtol=0, atol=1e-6)
    wild = random.random(copies) < 0.5
    for step in range(1, envs.horizon + 1):
        torques = np.where(wild[:, None], random.uniform(-2, 2, (copies, 1)), envs.oracle()).astype(np.float32)
        if noisy:
            noise = envs._streams.at_step(envs.steps + 1).normal(2)
        obs, outcome, _ = envs.advance(torques)
        for copy, original in enumerate(originals):
            original.np_random.noise = noise[copy]
            shown, reward, terminated, truncated, _ = original.step(torques[copy])
            np.testing.assert_allclose(obs[copy], shown, rtol=0, atol=1e-6)
            assert outcome.rewards[copy] == pytest.approx(reward, abs=1e-9)
            assert (outcome.terminated[copy], outcome.truncated[copy]) == (terminated, truncated)
            assert truncated == (step == envs.horizon)


def test_spaces_are_popgyms():
    for name in ORIGINALS:
        envs, original = make(name, 1), ORIGINALS[name]("easy")
        assert (envs.single_observation_space, envs.single_action_space) == (
            original.observation_space,
            original.action_space,
        )


def test_velocity_only_shows_the_velocity():
    envs = make("VelocityOnlyPendulum", 100)
    obs, _ = envs.reset(seed=0)
    for _ in range(100):
        np.testing.assert_array_equal(obs, envs.state[1].astype(np.float32)[:, None])
        obs, *_ = envs.step(envs.oracle())


def test_starts_are_uniform():
    envs = make("PositionOnlyPendulum", 4000)
    envs.reset(seed=0)
    assert stats.kstest(envs.state[0], "uniform", (-np.pi, 2 * np.pi)).pvalue > 1e-3
    assert stats.kstest(envs.state[1], "uniform", (-1, 2)).pvalue > 1e-3


def test_noise_is_normal_and_clipped():
    envs = make("NoisyPositionOnlyPendulum", 4000, difficulty="hard")
    obs, _ = envs.reset(seed=0)
    first = obs - np.stack([np.cos(envs.state[0]), np.sin(envs.state[0])], axis=1)
    inside = abs(np.cos(envs.state[0])) < 0.1  # clipped at more than three deviations
    assert stats.kstest(first[inside, 0] / 0.3, "norm").pvalue > 1e-3
    assert abs(obs).max() == 1
    obs, *_ = envs.step(envs.oracle())
    second = obs - np.stack([np.cos(envs.state[0]), np.sin(envs.state[0])], axis=1)
    assert abs(np.corrcoef(first[inside, 0], second[inside, 0])[0, 1]) < 4 / inside.sum() ** 0.5


@pytest.mark.parametrize(
    ("angle", "velocity", "standing"),
    [(0.1, 0.5, True), (2 * np.pi - 0.1, -0.5, True), (0.1, 1.5, False), (0.3, 0, False)],
)
def test_success_is_standing_at_the_end(angle, velocity, standing):
    envs = make("PositionOnlyPendulum", 1)
    envs.reset(seed=0)
    envs.steps[:] = envs.horizon - 1
    # Against gravity, so that the state stays nearly as it is.
    envs.state = np.array([[angle - 0.05 * velocity], [velocity]])
    _, outcome, _ = envs.advance(np.array([[-5 * np.sin(angle)]]))
    assert bool(outcome.success[0]) == standing


# What is optimal


def test_the_oracles_gains_solve_the_riccati_equation():
    a, b = np.array([[1 + 15 * 0.05**2, 0.05], [15 * 0.05, 1]]), np.array([[3 * 0.05**2], [3 * 0.05]])
    cost = linalg.solve_discrete_are(a, b, np.diag([1, 0.1]), np.array([[0.001]]))
    gains = np.linalg.solve(0.001 + b.T @ cost @ b, b.T @ cost @ a)[0]
    np.testing.assert_allclose(pendulum._GAINS, gains, rtol=1e-6)


def optimal_return(angles, velocities, steps=200):
    """Expected return of the best policy, by value iteration on a grid with linear interpolation."""
    angle, velocity = np.linspace(-np.pi, np.pi, angles, endpoint=False), np.linspace(-8, 8, velocities)
    theta, omega, torque = np.meshgrid(angle, velocity, np.linspace(-2, 2, 9), indexing="ij")
    next_omega = np.clip(omega + (15 * np.sin(theta) + 3 * torque) * 0.05, -8, 8)
    cost = theta**2 + 0.1 * omega**2 + 0.001 * torque**2
    column, across = np.divmod((theta + next_omega * 0.05 + np.pi) % (2 * np.pi) / (2 * np.pi) * angles, 1)
    row = np.minimum((next_omega + 8) / 16 * (velocities - 1), velocities - 1.000001)
    row, along = np.divmod(row, 1)
    column, row = column.astype(int) % angles, row.astype(int)
    values = np.zeros((angles, velocities))  # least costs of the steps to go
    near, far = column * velocities + row, (column + 1) % angles * velocities + row
    for _ in range(steps):
        flat = values.ravel()
        left = (1 - along) * flat[near] + along * flat[near + 1]
        right = (1 - along) * flat[far] + along * flat[far + 1]
        values = (cost + (1 - across) * left + across * right).min(axis=-1)
    start = np.linspace(-1, 1, 41)
    mean = np.mean([np.interp(start, velocity, own).mean() for own in values])
    return (8.1368022 - mean / steps) / 8.1368022


def test_the_bound_is_just_above_the_optimum_and_the_oracle_just_below():
    coarse, fine = optimal_return(61, 51), optimal_return(121, 101)
    assert coarse < fine  # interpolation costs something, half as much with half the distance:
    optimum = fine + (fine - coarse)
    bound = CARDS["memrl/PositionOnlyPendulum-v0"].optimal_return
    assert optimum < bound < optimum + 0.003
    envs = make("PositionOnlyPendulum", 2000)
    oracle = first_episodes(envs, lambda obs: envs.oracle())
    assert oracle.mean() == pytest.approx(0.908, abs=0.003)
    assert oracle.mean() > optimum - 0.01
    assert {CARDS[f"memrl/{name}-v0"].optimal_return for name in FAMILIES} == {bound}


@pytest.mark.parametrize("level", STEPS)
def test_the_oracle_gets_every_pendulum_to_stand(level):
    envs = make("VelocityOnlyPendulum", 300, difficulty=level)
    envs.reset(seed=0)
    for _ in range(envs.horizon):
        _, outcome, _ = envs.advance(envs.oracle())
    assert outcome.success.mean() > 0.97


def test_remembering_the_last_angle_earns_what_the_oracle_earns():
    envs, last = make("PositionOnlyPendulum", 1000), {}
    twin = make("PositionOnlyPendulum", 1000)  # where the oracle looks at what memory tells

    def policy(obs):
        angle = np.arctan2(obs[:, 1], obs[:, 0]).astype(float)
        turned = (angle - last.get("angle", angle) + np.pi) % (2 * np.pi) - np.pi
        last["angle"] = angle
        twin.state = np.array([angle, turned / 0.05])
        return twin.oracle()

    assert first_episodes(envs, policy).mean() == pytest.approx(0.908, abs=0.004)


def test_remembering_velocities_earns_what_the_oracle_earns():
    """Two velocities tell the sine of the angle; the two angles that have it are followed until one proves wrong."""
    envs, twin, known = make("VelocityOnlyPendulum", 1000), make("VelocityOnlyPendulum", 1000), {}
    torque = np.zeros(1000)

    def policy(obs):
        velocity = obs[:, 0].astype(float)
        if "velocity" not in known:
            twin.state = np.array([np.full(1000, np.pi), velocity])
        elif "angles" not in known:
            sine = np.clip(((velocity - known["velocity"]) / 0.05 - 3 * torque) / 15, -1, 1)
            known["angles"] = np.array([np.arcsin(sine), np.pi - np.arcsin(sine)]) + 0.05 * velocity
            known["errors"] = np.zeros((2, 1000))
        else:
            for angles, errors in zip(known["angles"], known["errors"], strict=True):
                errors += abs(pendulum.moved(np.array([angles, known["velocity"]]), torque)[1] - velocity)
                angles += 0.05 * velocity
        if "angles" in known:
            likelier = np.where(known["errors"][0] <= known["errors"][1], *known["angles"])
            twin.state = np.array([likelier, velocity])
        known["velocity"] = velocity
        torque[:] = twin.oracle()[:, 0]
        return torque

    assert first_episodes(envs, policy).mean() == pytest.approx(0.907, abs=0.005)


# What is possible without memory


def sines(*weights):
    """Torques that are a sum of sines of the angle and its multiples."""

    def policy(obs):
        angle = np.arctan2(obs[:, 1], obs[:, 0])
        return sum(weight * np.sin((order + 1) * angle) for order, weight in enumerate(weights))

    return policy


_SPEEDS = [
    *(0, 0.03, 0.06, 0.1, 0.15, 0.2, 0.25, 0.3, 0.37, 0.45, 0.55, 0.65, 0.8, 1),
    *(1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 7, 8),
]
# Found by the cross-entropy method, experiments/environments/memoryless.py.
_TORQUES = [
    *(2.41, 4.714, -0.417, -4.485, -0.46, -0.37, -0.853, -1.363, 0.498, 0.461, -0.094, 0.269, -0.251, 1.637),
    *(2.81, -1.375, -3.113, -4.612, -1.897, -0.689, 0.603, 0.383, 0.395, 2.213, 3.664, 1.442, 0.221, 1.362),
    *(1.121, 0.185, 1.002, 4.164, 0.312, 0.85, 1.617, 2.641, -0.086, -1.069, 0.03, -1.779, -4.209),
]


def with_the_swing(obs):
    """Torques that are piecewise linear in the velocity, with knots that lie closer around zero."""
    even = np.linspace(-1, 1, 41)
    return np.interp(obs[:, 0], 8 * even * abs(even), _TORQUES)


BEST = {
    "PositionOnlyPendulum": sines(-12.05, -0.64, -0.67, -1.73, -1.48, 0.31),
    "NoisyPositionOnlyPendulum": sines(-10.42, 0.46),
    "VelocityOnlyPendulum": with_the_swing,
}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_best_memoryless_policies_found_earn_what_the_card_says(name):
    returns = first_episodes(make(name, 4000), BEST[name])
    known = CARDS[f"memrl/{name}-v0"].memoryless_return
    assert returns.mean() == pytest.approx(known, abs=4 * standard_error(returns))


@pytest.mark.parametrize("name", FAMILIES)
def test_no_piecewise_linear_torque_found_is_better(name):
    """90 tables: anything, pushing one way or the other with the angle or speed, and changes to the best one known."""
    random, policies, each = np.random.default_rng(0), 90, 40
    by_speed = name.startswith("Velocity")
    places = np.array(_SPEEDS) if by_speed else np.linspace(0, np.pi, 16)
    knots = np.concatenate([-places[:0:-1], places])
    seen = knots[:, None] if by_speed else np.stack([np.cos(knots), np.sin(knots)], axis=1)
    centres = np.stack([0 * knots, np.sin(knots * np.pi / knots[-1]), np.clip(BEST[name](seen), -2, 2)])
    spread = np.array([1.0, 0.5, 0.2])[np.arange(policies) % 3, None]
    tables = centres[np.arange(policies) % 3] * random.normal(1, spread) + random.normal(
        0, spread, (policies, len(knots))
    )

    def play(which):
        def policy(obs):
            value = obs[:, 0] if by_speed else np.arctan2(obs[:, 1], obs[:, 0])
            left = np.clip(np.searchsorted(knots, value, side="right") - 1, 0, len(knots) - 2)
            share = (value - knots[left]) / (knots[left + 1] - knots[left])
            return tables[which, left] * (1 - share) + tables[which, left + 1] * share

        return policy

    rows = np.repeat(np.arange(policies), each)
    means = first_episodes(make(name, policies * each), play(rows)).reshape(policies, each).mean(axis=1)
    best = first_episodes(make(name, 2000), play(np.full(2000, means.argmax())), seed=9)
    known = CARDS[f"memrl/{name}-v0"].memoryless_return
    assert best.mean() < known + 3 * standard_error(best)
    assert best.mean() > 0.8 * known  # the search is not idle


def test_torques_by_angle_alone_keep_areas():
    """Why no such policy brakes swings: the map of a step has determinant 1 wherever the speed limit is not reached."""
    policy = BEST["PositionOnlyPendulum"]

    def step(angle, velocity):
        torque = np.clip(policy(np.stack([np.cos(angle), np.sin(angle)], axis=1)), -2, 2)
        return pendulum.moved(np.array([angle, velocity]), torque)

    random, h = np.random.default_rng(0), 1e-6
    angle, velocity = random.uniform(-3, 3, 500), random.uniform(-6, 6, 500)
    by_angle = (step(angle + h, velocity) - step(angle - h, velocity)) / (2 * h)
    by_velocity = (step(angle, velocity + h) - step(angle, velocity - h)) / (2 * h)
    determinant = by_angle[0] * by_velocity[1] - by_angle[1] * by_velocity[0]
    np.testing.assert_allclose(determinant, 1, atol=1e-4)


# The rest


def test_text_by_hand():
    envs = make("PositionOnlyPendulum", 1, render_mode="ansi")
    envs.reset(seed=0)
    envs.state = np.array([[2 * np.pi + 0.5], [-1.25]])
    envs.torques[0] = 2.0
    assert envs.render()[0] == (
        "angle    +0.500 rad from the upright\n"
        "velocity -1.250 rad/s\n"
        "torque   +2.000 N m\n"
        "hidden   velocity\n"
        "seen     +0.878  +0.479\n"
        "step     0 of 200\n"
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_picture_shows_the_rod(name):
    env = gym.make(f"memrl/{name}-v0", render_mode="rgb_array")
    env.reset(seed=0)

    def rod(angle):
        env.unwrapped.copies.state = np.array([[angle], [0.0]])
        rows, columns = np.nonzero((env.render()[:360] == [50, 95, 190]).all(axis=2))
        return columns.mean(), rows.mean()

    assert rod(np.pi / 2)[0] > 220 > 140 > rod(-np.pi / 2)[0]  # clockwise is to the right
    assert rod(np.pi)[1] > 220 > 140 > rod(0.0)[1]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("level", ["Easy", 0, None, True])
def test_unknown_difficulties_are_named(name, level):
    with pytest.raises(ValueError, match=r"^difficulty: "):
        make(name, 1, difficulty=level)
