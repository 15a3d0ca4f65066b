"""memrl/TMaze-v0 against its specification, by hand, by a second implementation and by brute force."""

import copy
import itertools
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded

import memrl.envs
from memrl.envs import TMaze

RIGHT, UP, LEFT, DOWN = range(4)
REPOSITORY = Path(__file__).parents[2]


class Specification:
    """The maze as its specification has it: a set of cells, and the rules one by one."""

    def __init__(self, length, active, goal):
        self.sign_distance = 1 if active else 0
        self.junction = self.sign_distance + length
        self.cells = {(x, 0) for x in range(self.junction + 1)} | {(self.junction, 1), (self.junction, -1)}
        self.last = length + 3 if active else length + 1
        self.penalty, self.goal = -1 / length, goal
        self.at, self.time, self.visited = (self.sign_distance, 0), 0, False

    def see(self):
        x, y = self.at
        if x == 0:
            shown = 0 if self.visited else self.goal
            self.visited = True
            return [0, shown]
        return [1, y] if x == self.junction else [0, 0]

    def step(self, action):
        dx, dy = [(1, 0), (0, 1), (-1, 0), (0, -1)][action]
        there = (self.at[0] + dx, self.at[1] + dy)
        self.at = there if there in self.cells else self.at
        self.time += 1
        if self.time == self.last:
            return self.see(), float(self.at[1] == self.goal), True
        return self.see(), self.penalty * (self.at[0] < self.time - self.sign_distance), False


def seeds_of_both_sides(env):
    """One seed with the goal above, one with the goal below."""
    found = {}
    for seed in range(100):
        env.reset(seed=seed)
        found.setdefault(env._side, seed)
    return [found[1], found[-1]]


def play(env, seed, actions):
    seen, _ = env.reset(seed=seed)
    trace = [seen.tolist()]
    rewards = []
    for action in actions:
        seen, reward, terminated, truncated, info = env.step(action)
        trace.append(seen.tolist())
        rewards.append(reward)
    return trace, rewards, terminated, truncated, info


def test_straight_to_the_goal_by_hand():
    env = TMaze(length=3)
    above, below = seeds_of_both_sides(env)
    trace, rewards, terminated, truncated, info = play(env, above, [RIGHT, RIGHT, RIGHT, UP])
    assert trace == [[0, 1], [0, 0], [0, 0], [1, 0], [1, 1]]
    assert rewards == [0, 0, 0, 1]
    assert (terminated, truncated, info) == (True, False, {"is_success": True})
    trace, rewards, terminated, truncated, info = play(env, below, [RIGHT, RIGHT, RIGHT, UP])
    assert trace == [[0, -1], [0, 0], [0, 0], [1, 0], [1, 1]]
    assert rewards == [0, 0, 0, 0]
    assert (terminated, truncated, info) == (True, False, {"is_success": False})


def test_lateness_is_punished_by_hand():
    env = TMaze(length=3)
    # A bump into the wall, then always one cell behind; the goal is out of reach, the sign is not shown
    # again.
    trace, rewards, terminated, _, _ = play(env, seeds_of_both_sides(env)[0], [UP, RIGHT, RIGHT, RIGHT])
    assert trace == [[0, 1], [0, 0], [0, 0], [0, 0], [1, 0]]
    assert rewards == pytest.approx([-1 / 3, -1 / 3, -1 / 3, 0])
    assert terminated


def test_active_by_hand():
    env = TMaze(length=2, active=True)
    above, below = seeds_of_both_sides(env)
    trace, rewards, terminated, _, info = play(env, below, [LEFT, RIGHT, RIGHT, RIGHT, DOWN])
    assert trace == [[0, 0], [0, -1], [0, 0], [0, 0], [1, 0], [1, -1]]
    assert (rewards, terminated, info) == ([0, 0, 0, 0, 1], True, {"is_success": True})
    # Whoever does not look has two steps to spare: at the junction after 2 of 5.
    trace, rewards, _, _, _ = play(env, above, [RIGHT, RIGHT, UP, DOWN, UP])
    assert trace == [[0, 0], [0, 0], [1, 0], [1, 1], [1, 0], [1, 1]]
    assert rewards == [0, 0, 0, 0, 1]


@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize("length", [1, 2, 5])
def test_every_step_follows_the_specification(length, active):
    env = TMaze(length=length, active=active)
    random = np.random.default_rng(length)
    for seed in range(100):
        seen, _ = env.reset(seed=seed)
        wanted = Specification(length, active, env._side)
        assert seen.tolist() == wanted.see()
        terminated = False
        while not terminated:
            action = random.choice(4, p=[0.6, 0.15, 0.1, 0.15])
            seen, reward, terminated, truncated, _ = env.step(action)
            assert (seen.tolist(), reward, terminated) == wanted.step(action)
            assert not truncated
        assert wanted.time == env.horizon


@pytest.mark.parametrize(("active", "worst"), [(False, -1.0), (True, -1.5)])
def test_best_and_worst_return_over_all_action_sequences(active, worst):
    env = TMaze(length=2, active=active)
    returns = [
        sum(play(env, seed, actions)[1])
        for seed in seeds_of_both_sides(env)
        for actions in itertools.product(range(4), repeat=env.horizon)
    ]
    assert max(returns) == 1.0
    assert min(returns) == pytest.approx(worst)


@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize("length", [1, 2, 10, 60])
def test_remembering_the_sign_gives_one_every_time(length, active):
    env = TMaze(length=length, active=active)
    for seed in range(20):
        seen, _ = env.reset(seed=seed)
        side, total, terminated = seen[1], 0.0, False
        action = LEFT if active else RIGHT
        while not terminated:
            seen, reward, terminated, _, info = env.step(action)
            total += reward
            side = seen[1] if seen[0] == 0 and seen[1] else side
            action = RIGHT if seen[0] == 0 else (UP if side == 1 else DOWN)
        assert total == 1.0
        assert info["is_success"]


OBSERVATIONS = [(0, 1), (0, -1), (0, 0), (1, 0), (1, 1), (1, -1)]


@pytest.mark.parametrize(("length", "active"), [(1, False), (2, False), (3, False), (1, True), (2, True)])
def test_no_map_from_observation_to_action_is_better_than_one_half(length, active):
    env = TMaze(length=length, active=active)
    seeds = seeds_of_both_sides(env)
    best = -np.inf
    for actions in itertools.product(range(4), repeat=len(OBSERVATIONS)):
        policy = dict(zip(OBSERVATIONS, actions, strict=True))
        total = 0.0
        for seed in seeds:
            seen, _ = env.reset(seed=seed)
            terminated = False
            while not terminated:
                seen, reward, terminated, _, _ = env.step(policy[tuple(seen.tolist())])
                total += reward
        best = max(best, total / 2)
    assert best == 0.5


def expected_return(length, active, policy):
    """Exact expected return of a random memoryless policy, from the probabilities of all states."""
    total = 0.0
    for goal in (1, -1):
        maze = Specification(length, active, goal)
        seen = tuple(maze.see())
        states = {(maze.at, maze.visited, seen): 1.0}
        for time in range(maze.last):
            following = {}
            for (at, visited, seen), probability in states.items():
                for action, chance in enumerate(policy[seen]):
                    maze.at, maze.visited, maze.time = at, visited, time
                    shown, reward, _ = maze.step(action)
                    total += 0.5 * probability * chance * reward
                    state = (maze.at, maze.visited, tuple(shown))
                    following[state] = following.get(state, 0.0) + probability * chance
            states = following
    return total


@pytest.mark.parametrize(("length", "active"), [(2, False), (1, True), (2, True)])
def test_random_memoryless_policies_are_not_better_either(length, active):
    random = np.random.default_rng(0)
    best = dict.fromkeys(OBSERVATIONS, np.eye(4)[RIGHT])
    best[1, 0] = best[1, 1] = np.array([0, 1, 0, 0.0])  # up and stay there
    assert expected_return(length, active, best) == 0.5
    for share in np.linspace(0.02, 1, 60):  # from next to a best one to anywhere
        policy = {seen: (1 - share) * best[seen] + share * random.dirichlet(np.ones(4) / 2) for seen in OBSERVATIONS}
        assert expected_return(length, active, policy) < 0.5 + 1e-12
    # In the active maze a policy may look at the sign and let the way it saw decide: that does not help
    # either.
    looking = best | {(0, 0): np.array([0.5, 0, 0.5, 0]), (0, -1): np.array([0, 1, 0, 0.0])}
    assert expected_return(length, active, looking) < 0.5 + 1e-12


def test_both_sides_are_equally_likely():
    env = TMaze()
    env.reset(seed=0)
    above = 0
    for _ in range(2000):
        env.reset()
        above += env._side == 1
    assert abs(above - 1000) < 4 * np.sqrt(500)


def test_pickled_and_copied_mid_episode_goes_on_the_same():
    env = TMaze(length=4, active=True)
    env.reset(seed=3)
    env.step(LEFT)
    twin = copy.deepcopy(env)
    for action in [RIGHT, RIGHT, UP, RIGHT, RIGHT, UP]:
        for mine, others in zip(env.step(action), twin.step(action), strict=True):
            np.testing.assert_equal(mine, others)
    assert [env.reset()[0].tolist() for _ in range(5)] == [twin.reset()[0].tolist() for _ in range(5)]
    assert [env._side for _ in range(5) if env.reset()] == [twin._side for _ in range(5) if twin.reset()]


def test_text_shows_agent_sign_and_goal():
    env = TMaze(length=4, active=True, render_mode="ansi")
    env.reset(seed=seeds_of_both_sides(env)[0])
    env.step(RIGHT)
    assert env.render() == "     G\no.A..+\n     .\nstep 1 of 7\n"
    env.reset(seed=seeds_of_both_sides(env)[1])
    for action in [RIGHT, RIGHT, RIGHT, RIGHT, UP]:
        env.step(action)
    assert env.render() == "     A\no....+\n     G\nstep 5 of 7\n"


def test_picture_marks_goal_and_agent():
    env = TMaze(length=10, render_mode="rgb_array")
    for seed, goal_row in zip(seeds_of_both_sides(env), (1, 3), strict=True):
        env.reset(seed=seed)
        before = env.render()
        height, width, _ = before.shape
        cell = height // 5
        assert width == 13 * cell  # eleven cells of corridor and a wall at each end
        middle = cell // 2
        arms = [before[row * cell + middle, 11 * cell + middle].astype(int) for row in (1, 3)]
        goal = arms[0] if goal_row == 1 else arms[1]
        other = arms[1] if goal_row == 1 else arms[0]
        assert goal[1] == max(goal)  # green
        assert other[0] == max(other)  # red
        env.step(RIGHT)
        moved = np.argwhere((env.render() != before).any(axis=2))
        assert set(moved[:, 1] // cell) == {1, 2}  # from the first corridor cell to the second
        assert set(moved[:, 0] // cell) == {2}


def test_picture_of_a_long_maze_stays_small():
    env = TMaze(length=100, render_mode="rgb_array")
    env.reset(seed=0)
    assert max(env.render().shape) < 1000


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"length": 0}, "length"),
        ({"length": -3}, "length"),
        ({"length": 2.5}, "length"),
        ({"length": "10"}, "length"),
        ({"length": True}, "length"),
        ({"active": 1}, "active"),
        ({"active": "yes"}, "active"),
        ({"render_mode": "human"}, "render_mode"),
    ],
)
def test_bad_keywords_are_named(keywords, named):
    with pytest.raises(ValueError, match=f"^{named}: "):
        TMaze(**keywords)


def test_steps_out_of_order_and_unknown_actions_are_refused():
    env = TMaze(length=1)
    with pytest.raises(ResetNeeded):
        env.step(RIGHT)
    env.reset(seed=0)
    for action in (4, -1):
        with pytest.raises(ValueError, match=f"action: {action} "):
            env.step(action)
    env.step(RIGHT)
    env.step(np.int64(UP))
    with pytest.raises(ResetNeeded):
        env.step(RIGHT)


def test_made_by_id_in_a_fresh_process():
    program = (
        "import gymnasium as gym\n"
        "env = gym.make('memrl.envs:memrl/TMaze-v0', length=7, active=True)\n"
        "print(type(env), env.horizon, env.spec.entry_point)\n"
        "try:\n    import envs\nexcept ImportError as problem:\n    print(problem)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    made, refused = done.stdout.splitlines()
    assert made == "<class 'memrl.envs.tmaze.TMaze'> 10 memrl.envs:TMaze"
    assert "memrl.envs" in refused
    assert gym.spec("memrl/TMaze-v0").entry_point == "memrl.envs:TMaze"
    assert memrl.envs.TMaze is TMaze
