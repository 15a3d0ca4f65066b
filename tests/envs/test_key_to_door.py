"""memrl/KeyToDoor-v0 against its rules, what its apples are worth at best, and what a player without memory gets."""

import itertools

import gymnasium as gym
import numpy as np
import pytest

from memrl.envs import KeyToDoor, list_envs

NORTH, SOUTH, WEST, EAST = range(4)
MOVES = [(-1, 0), (1, 0), (0, -1), (0, 1)]  # row, column
CELLS = list(itertools.product(range(5), repeat=2))
DOOR_COLUMNS = {2: [0, 4], 3: [0, 2, 4], 4: [0, 1, 3, 4], 5: [0, 1, 2, 3, 4]}
(CARD,) = [card for card in list_envs() if card.id == "memrl/KeyToDoor-v0"]


class Specification:
    """One game with rooms, phase by phase; whoever plays tells where apples appear."""

    def __init__(self, start, key, color, doors, apple, worth, distractor):
        self.at, self.key, self.color, self.doors, self.apple, self.worth = start, key, color, doors, apple, worth
        self.phases = ["key"] * 15 + ["apples"] * distractor + ["doors"] * 15
        self.has_key, self.time = False, 0

    def see(self):
        colors = len(self.doors)
        agent, place, kind, doors = np.zeros((5, 5)), np.zeros((5, 5)), np.zeros(colors + 1), np.zeros((colors, colors))
        agent[self.at] = 1
        phase = self.phases[self.time] if self.time < len(self.phases) else "doors"
        if phase == "key" and not self.has_key:
            place[self.key] = kind[self.color] = 1
        if phase == "apples":
            place[self.apple] = kind[-1] = 1
        if phase == "doors":
            for door, color in enumerate(self.doors):
                doors[door, color] = 1
        return np.concatenate([part.ravel() for part in (agent, place, kind, doors)]).tolist()

    def step(self, action):
        """Reward, end, success, and whether an apple was picked."""
        phase = self.phases[self.time]
        self.time += 1
        row, column = self.at[0] + MOVES[action][0], self.at[1] + MOVES[action][1]
        self.at = min(max(row, 0), 4), min(max(column, 0), 4)
        reward, opened, picked = 0.0, False, False
        if phase == "key":
            self.has_key = self.has_key or self.at == self.key
        elif phase == "apples":
            picked = self.at == self.apple
            reward = self.worth * picked
        elif self.at[0] == 0 and self.at[1] in DOOR_COLUMNS[len(self.doors)]:
            opened = True
            reward = float(self.has_key and self.doors[DOOR_COLUMNS[len(self.doors)].index(self.at[1])] == self.color)
        over = opened or self.time == len(self.phases)
        if not over and self.phases[self.time] != phase:
            self.at = (4, 2)
        return reward, over, opened and reward == 1, picked


def specification_of(env):
    copies = env.unwrapped.copies
    start, key, apple = (divmod(int(cells[0]), 5) for cells in (copies.cell, copies.key_cell, copies.apple_cell))
    doors = copies.door_colors[0].tolist()
    return Specification(start, key, int(copies.key_color[0]), doors, apple, copies.worth[0], copies.distractor)


@pytest.mark.parametrize(
    "keywords", [{}, {"distractor": 0, "colors": 2}, {"distractor": 7, "colors": 4}, {"distractor": 20, "colors": 5}]
)
def test_every_step_follows_the_specification(keywords):
    env = gym.make("memrl/KeyToDoor-v0", apple_reward=0.5, **keywords)
    random = np.random.default_rng(0)
    successes, apples = [], 0
    for seed in range(60):
        seen, _ = env.reset(seed=seed)
        game = specification_of(env)
        assert game.worth in (0.05, 0.5)
        assert seen.tolist() == game.see()
        care, over = random.choice([0.2, 0.7, 1.0]), False
        while not over:
            action = env.unwrapped.oracle() if random.random() < care else random.integers(4)
            seen, reward, terminated, truncated, info = env.step(action)
            expected, over, success, picked = game.step(action)
            if picked:
                before, cell = game.at, divmod(int(env.unwrapped.copies.apple_cell[0]), 5)
                assert cell != before or game.time == 15 + env.unwrapped.copies.distractor
                game.apple = cell
            assert (seen.tolist(), terminated, truncated) == (game.see(), over, False)
            assert reward == pytest.approx(expected)
            apples += picked
        assert info == {"is_success": success}
        successes.append(success)
    assert set(successes) == {True, False}
    assert apples > 60 or env.unwrapped.copies.distractor < 10


def test_an_unopened_door_ends_with_the_last_step():
    env = gym.make("memrl/KeyToDoor-v0", distractor=3)
    env.reset(seed=0)
    outcomes = [env.step(SOUTH) for _ in range(33)]
    assert [over for _, _, over, _, _ in outcomes] == [False] * 32 + [True]
    assert outcomes[-1][-1] == {"is_success": False}


def test_the_right_door_without_the_key_brings_nothing():
    env = gym.make("memrl/KeyToDoor-v0", distractor=0)
    rewards = []
    for seed in range(30):
        env.reset(seed=seed)
        for _ in range(15):
            env.step(SOUTH)
        over = False
        while not over:
            _, reward, over, _, _ = env.step(env.unwrapped.oracle())
            rewards.append(reward)
    assert rewards
    assert not any(rewards)


def test_whatever_is_random_is_equally_likely():
    copies = KeyToDoor(6000)
    copies.reset(seed=0)
    for drawn, among in [
        (copies.cell, range(20, 25)),
        (copies.key_cell, range(10)),
        (copies.key_color, range(3)),
        (copies.door_colors @ [9, 3, 1], [5, 7, 11, 15, 19, 21]),
        (copies.worth, [0.1 * 0.1, 0.1]),
        (copies.apple_cell, sorted(set(range(25)) - {22})),
    ]:
        values, counts = np.unique(drawn, return_counts=True)
        np.testing.assert_allclose(values, list(among))
        mean = 6000 / len(counts)
        assert abs(counts - mean).max() < 4.5 * np.sqrt(mean)


def test_the_next_apple_is_equally_likely_in_every_other_cell():
    copies = KeyToDoor(2000, distractor=60)
    copies.reset(seed=0)
    counts = np.zeros((25, 25))
    for _ in range(15 + 60 - 1):
        before, active = copies.apple_cell, copies.steps >= 15
        copies.step(copies.oracle())
        picked = active & (copies.cell == before) & (copies.steps < 75)
        np.add.at(counts, (before[picked], copies.apple_cell[picked]), 1)
    assert (counts.diagonal() == 0).all()
    wanted = counts.sum(axis=1, keepdims=True) * (1 - np.eye(25)) / 24
    assert (abs(counts - wanted) <= 5 * np.sqrt(wanted)).all()


def distance(a, b):
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


def best_number_of_apples(steps):
    """Expected, by dynamic programming: with one apple at a time nothing is better than the shortest way to it."""
    number = {cell: [0.0] for cell in CELLS}
    for left in range(1, steps + 1):
        for cell in CELLS:
            ways = [(there, left - distance(cell, there)) for there in CELLS if there != cell]
            number[cell].append(np.mean([1 + number[there][rest] if rest >= 0 else 0 for there, rest in ways]))
    return number[4, 2][steps]


def test_the_optimal_return():
    """All doors are in reach in time, so that the key and its door cost no apple and never fail."""
    assert best_number_of_apples(60) == pytest.approx(17.792, abs=5e-4)
    assert CARD.optimal_return == pytest.approx(1 + best_number_of_apples(60) * (0.1 + 0.01) / 2, abs=5e-5)


@pytest.mark.parametrize("keywords", [{}, {"distractor": 0}, {"distractor": 3, "colors": 5}])
def test_the_oracle_always_opens_the_right_door(keywords):
    copies = KeyToDoor(100, **keywords)
    copies.reset(seed=0)
    opened = np.zeros(100, bool)
    for _ in range(copies.doors_open + 6):
        _, _, _, _, infos = copies.step(copies.oracle())
        if "final_info" in infos:
            opened |= infos["final_info"]["is_success"]
    assert opened.all()


def test_what_is_seen_after_the_first_phase_tells_nothing_about_the_key():
    games = [KeyToDoor(50, distractor=10) for _ in range(2)]
    for game in games:
        game.reset(seed=0)
    games[1].key_color = (games[1].key_color + 1) % 3
    random = np.random.default_rng(0)
    differed = False
    for step in range(15 + 10 + 15):
        oracle = games[0].oracle() if step < 15 else random.integers(4, size=50)
        (seen, *_), (other, *_) = (game.step(oracle) for game in games)
        if step < 14:
            differed |= (seen != other).any()
        else:
            np.testing.assert_array_equal(seen, other)
    assert differed


def test_no_choice_of_door_without_memory_is_better_than_a_third():
    """All maps from the order of doors, which is all that phase 3 shows, to a door. Random ones mix these."""
    orders = list(itertools.permutations(range(3)))
    shares = {
        np.mean([order[door] == color for color in range(3) for order, door in zip(orders, doors, strict=True)])
        for doors in itertools.product(range(3), repeat=len(orders))
    }
    assert max(shares) == min(shares) == pytest.approx(1 / 3)
    assert CARD.memoryless_return == pytest.approx(CARD.optimal_return - 2 / 3, abs=5e-5)


def memoryless_actions(seen):
    """To what lies there; else, at the doors, to the first one; else south."""
    agent, item = seen[:, :25].argmax(axis=1), seen[:, 25:50].argmax(axis=1)
    item_in_view, doors_in_view = seen[:, 25:50].any(axis=1), seen[:, 54:].any(axis=1)
    goal = np.where(item_in_view, item, np.where(doors_in_view, 0, agent))
    down, right = goal // 5 - agent // 5, goal % 5 - agent % 5
    sideways = np.where(right > 0, EAST, WEST)
    return np.where(right != 0, sideways, np.where(down < 0, NORTH, SOUTH))


def test_the_best_memoryless_policy_played():
    copies = KeyToDoor(2000)
    seen, _ = copies.reset(seed=0)
    returns, running = np.zeros(2000), np.ones(2000, bool)
    for _ in range(copies.horizon):
        seen, rewards, terminated, _, _ = copies.step(memoryless_actions(seen))
        returns += rewards * running
        running &= ~terminated
    assert not running.any()
    assert abs(returns.mean() - CARD.memoryless_return) < 4 * returns.std() / 2000**0.5


def test_text_shows_the_room_and_the_hidden_key():
    env = gym.make("memrl/KeyToDoor-v0", distractor=1, render_mode="ansi")
    for seed in range(10_000):
        env.reset(seed=seed)
        game = specification_of(env)
        if (game.at, game.key, game.color, game.doors) == ((4, 0), (1, 0), 1, [2, 0, 1]):
            break
    assert env.render() == ".....\nk....\n.....\n.....\nA....\ngreen key, step 0 of 31\n"
    for _ in range(16):
        env.step(env.unwrapped.oracle())
    assert env.render() == "b.r.g\n.....\n.....\n.....\n..A..\ngreen key taken, step 16 of 31\n"


def test_picture_marks_key_apple_and_doors():
    env = gym.make("memrl/KeyToDoor-v0", distractor=1, render_mode="rgb_array")
    env.reset(seed=0)
    copies = env.unwrapped.copies
    key = [(200, 60, 60), (70, 160, 80), (60, 100, 200)][copies.key_color[0]]

    def colors_of(cell):
        top, left = 20 + cell // 5 * 56, 20 + cell % 5 * 56
        return {tuple(pixel) for pixel in env.render()[top : top + 54, left : left + 54].reshape(-1, 3).tolist()}

    assert key in colors_of(copies.key_cell[0])
    for _ in range(15):
        env.step(env.unwrapped.oracle())
    assert (225, 90, 40) in colors_of(copies.apple_cell[0])
    env.step(NORTH)
    right_door = [0, 2, 4][copies.door_colors[0].tolist().index(copies.key_color[0])]
    assert key in colors_of(right_door)


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"distractor": -1}, "distractor"),
        ({"distractor": 1.5}, "distractor"),
        ({"colors": 1}, "colors"),
        ({"colors": 6}, "colors"),
        ({"apple_reward": -0.1}, "apple_reward"),
        ({"apple_reward": float("nan")}, "apple_reward"),
        ({"apple_reward": float("inf")}, "apple_reward"),
        ({"apple_reward": "much"}, "apple_reward"),
        ({"apple_reward": True}, "apple_reward"),
    ],
)
def test_bad_keywords_are_named(keywords, named):
    with pytest.raises(ValueError, match=f"^{named}: "):
        KeyToDoor(2, **keywords)
