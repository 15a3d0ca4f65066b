"""memrl/MysteryPath-v0 against the rules of Memory Gym's MysteryPath-Grid; its paths; play with and without memory."""

import itertools

import gymnasium as gym
import networkx as nx
import numpy as np
import pytest

from memrl.envs import MysteryPath, list_envs
from memrl.envs.mystery_path import _cheapest_turns

STAY, LEFT, RIGHT, FORWARD = range(4)
HEADINGS = [(0, -1), (-1, 0), (0, 1), (1, 0)]  # x, y; a left turn leads to the next one
(CARD,) = [card for card in list_envs() if card.id == "memrl/MysteryPath-v0"]


class Specification:
    """The rules one by one: a set of tiles, and what happens beside it."""

    def __init__(self, path, size, limit):
        self.path, self.start, self.goal = set(path), path[0], path[-1]
        self.size, self.limit = size, limit
        self.at, self.heading, self.fallen, self.time = self.start, 0, False, 0

    def see(self):
        seen = np.zeros(self.size**2 + 5)
        seen[self.at[1] * self.size + self.at[0]] = seen[self.size**2 + self.heading] = 1
        seen[-1] = self.fallen
        return seen.tolist()

    def step(self, action):
        self.time += 1
        if self.fallen:
            self.at, self.fallen = self.start, False
        else:
            if action == LEFT:
                self.heading = (self.heading + 1) % 4
            if action == RIGHT:
                self.heading = (self.heading + 3) % 4
            if action == FORWARD:
                x, y = self.at[0] + HEADINGS[self.heading][0], self.at[1] + HEADINGS[self.heading][1]
                self.at = (x, y) if 0 <= x < self.size and 0 <= y < self.size else self.at
            self.fallen = self.at not in self.path
        reached = self.at == self.goal
        return float(reached), reached or self.time == self.limit


def paths_of(copies):
    """The tiles (x, y) of each copy's path in order, found by following the ways on."""
    size = copies.grid_size
    for way, start, goal in zip(copies.way, copies.start, copies.goal, strict=True):
        path = [(int(start % size), int(start // size))]
        while path[-1] != (goal % size, goal // size):
            x, y = path[-1]
            dx, dy = HEADINGS[way[y * size + x]]
            path.append((x + dx, y + dy))
        assert len(path) == len(set(path)) == (way >= 0).sum()
        yield path


@pytest.mark.parametrize(("size", "limit"), [(7, 128), (2, 10), (3, 1), (12, 200)])
def test_every_step_follows_the_specification(size, limit):
    env = gym.make("memrl/MysteryPath-v0", grid_size=size, time_limit=limit)
    random = np.random.default_rng(0)
    falls = successes = 0
    for seed in range(60):
        seen, _ = env.reset(seed=seed)
        game = Specification(next(paths_of(env.unwrapped.copies)), size, limit)
        assert seen.tolist() == game.see()
        care, over = random.choice([0.0, 0.5, 0.9, 1.0]), False
        while not over:
            action = env.unwrapped.oracle() if random.random() < care else random.integers(4)
            seen, reward, terminated, truncated, info = env.step(action)
            expected, over = game.step(action)
            assert (seen.tolist(), reward, terminated, truncated) == (game.see(), expected, over, False)
            falls += game.fallen
        assert info == {"is_success": reward == 1}
        successes += reward
    assert limit == 1 or (falls > 5 and successes > 10)


def test_a_fall_by_hand():
    env = gym.make("memrl/MysteryPath-v0")
    for seed in range(200):
        seen, _ = env.reset(seed=seed)
        start = seen[:49].argmax()
        if 7 < start < 41 and start % 7 == 0 and env.unwrapped.copies.way[0, start - 7] < 0:
            break  # on the left border, with no path to the north
    seen, reward, over, _, _ = env.step(FORWARD)
    assert (seen[:49].argmax(), seen[49:].tolist(), reward, over) == (start - 7, [1, 0, 0, 0, 1], 0, False)
    seen, _, _, _, _ = env.step(RIGHT)  # taken back instead
    assert (seen[:49].argmax(), seen[49:].tolist()) == (start, [1, 0, 0, 0, 0])
    seen, _, _, _, _ = env.step(RIGHT)
    assert (seen[:49].argmax(), seen[49:].tolist()) == (start, [0, 0, 0, 1, 0])


@pytest.mark.parametrize("size", [2, 3, 7, 10])
def test_paths_lead_from_border_to_border_and_never_back(size):
    copies = MysteryPath(400, grid_size=size)
    copies.reset(seed=0)
    for path in paths_of(copies):
        ways = {(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(path)}
        assert ways <= set(HEADINGS)
        (x, y), (goal_x, goal_y) = path[0], path[-1]
        offered = [((1, 0), x, goal_x), ((-1, 0), goal_x, x), ((0, 1), y, goal_y), ((0, -1), goal_y, y)]
        across = [way for way, first, last in offered if (first, last) == (0, size - 1)]
        assert any((-dx, -dy) not in ways for dx, dy in across)


def test_starts_and_goals_are_equally_likely():
    copies = MysteryPath(8000)
    copies.reset(seed=0)
    corners = np.isin(np.arange(49), [0, 6, 42, 48])
    border = (np.arange(49) % 7 % 6 == 0) | (np.arange(49) // 7 % 6 == 0)
    for tiles in (copies.start, copies.goal):
        wanted = 8000 * np.where(corners, 2, 1) * border / 28
        counts = np.bincount(tiles, minlength=49)
        assert (abs(counts - wanted) < 4.5 * np.sqrt(wanted) + 1e-9).all()


def test_paths_are_as_long_as_those_of_memory_gym():
    """Of 3,000 that its generator made: mean 10.06, deviation 1.66, 68.5% as short as possible, 25.4% with 2 more."""
    copies = MysteryPath(4000)
    copies.reset(seed=1)
    paths = list(paths_of(copies))
    lengths = np.array([len(path) for path in paths])
    detours = lengths - 1 - [abs(path[0][0] - path[-1][0]) + abs(path[0][1] - path[-1][1]) for path in paths]
    assert lengths.mean() == pytest.approx(10.06, abs=0.12)
    assert lengths.std() == pytest.approx(1.66, abs=0.1)
    assert (detours == 0).mean() == pytest.approx(0.685, abs=0.035)
    assert (detours == 2).mean() == pytest.approx(0.254, abs=0.035)


@pytest.mark.parametrize(("ranks", "lines"), [(2, 2), (7, 7), (5, 9)])
def test_no_path_is_cheaper(ranks, lines):
    random = np.random.default_rng(0)
    costs = np.exp(3 * random.random((ranks, lines, 20)))
    enter, leave = random.integers(lines, size=(2, 20))
    turns = _cheapest_turns(costs, enter, leave)
    for copy in range(20):
        graph = nx.DiGraph()
        for rank, line in itertools.product(range(ranks), range(lines)):
            for there in [(rank + 1, line), (rank, line - 1), (rank, line + 1)]:
                if there[0] < ranks and 0 <= there[1] < lines:
                    graph.add_edge((rank, line), there, weight=costs[*there, copy])
        first, last = (0, enter[copy]), (ranks - 1, leave[copy])
        cheapest = nx.dijkstra_path(graph, first, last)
        ours = []
        for rank, (a, b) in enumerate(itertools.pairwise(turns[:, copy].tolist())):
            ours += [(rank, line) for line in (range(a, b + 1) if a <= b else range(a, b - 1, -1))]
        assert ours == cheapest


def test_the_oracle_always_reaches_the_goal():
    copies = MysteryPath(300)
    copies.reset(seed=0)
    reached = np.zeros(300, bool)
    for _ in range(70):
        _, rewards, _, _, _ = copies.step(copies.oracle())
        reached |= rewards == 1
    assert reached.all()


class Explorer:
    """Remembers the path so far and every fall; tries the way across first, then what needs the fewest turns."""

    def __init__(self, size):
        self.size, self.path, self.beside = size, [], set()

    def act(self, seen):
        tile, heading = (
            divmod(int(seen[: self.size**2].argmax()), self.size)[::-1],
            int(seen[self.size**2 : -1].argmax()),
        )
        if seen[-1]:
            self.beside.add(tile)
            return STAY
        if tile not in self.path:
            self.path.append(tile)
        if tile == self.path[-1]:
            ways = [way for way in range(4) if self._may_lead_on(self._next(tile, way))]
            way = min(
                ways, key=lambda way: (not self._leads_across(way), min((way - heading) % 4, (heading - way) % 4))
            )
        else:
            there = self.path[self.path.index(tile) + 1]
            way = next(way for way in range(4) if self._next(tile, way) == there)
        return [FORWARD, LEFT, LEFT, RIGHT][(way - heading) % 4]

    def _next(self, tile, way):
        return tile[0] + HEADINGS[way][0], tile[1] + HEADINGS[way][1]

    def _may_lead_on(self, tile):
        return min(tile) >= 0 and max(tile) < self.size and tile not in self.beside and tile not in self.path

    def _leads_across(self, way):
        before = self._next(self.path[0], (way + 2) % 4)
        return min(before) < 0 or max(before) == self.size


def test_a_player_who_remembers_nearly_always_reaches_the_goal():
    env = gym.make("memrl/MysteryPath-v0")
    returns = []
    for seed in range(300):
        seen, _ = env.reset(seed=seed)
        player, over = Explorer(7), False
        while not over:
            seen, reward, over, _, _ = env.step(player.act(seen))
        returns.append(reward)
    assert 0.99 < np.mean(returns) <= CARD.optimal_return


def border_policy(along=0.2, inward=0.3):
    """Probabilities of actions (heading, tile, action): forward inside, turns at the borders.

    Facing the border it turns to a side on which the grid goes on; facing along it, it turns off with chance `along`;
    facing inward, to either side with chance `inward`.
    """
    policy = np.zeros((4, 49, 4))
    for heading, tile in itertools.product(range(4), range(49)):
        x, y = tile % 7, tile // 7
        ahead, left, right = (
            0 <= x + dx < 7 and 0 <= y + dy < 7
            for dx, dy in (HEADINGS[heading], HEADINGS[(heading + 1) % 4], HEADINGS[(heading + 3) % 4])
        )
        turn = 0.0 if ahead and 0 < x < 6 and 0 < y < 6 else inward if ahead and left and right else along
        turn = turn if ahead else 1.0
        policy[heading, tile, [LEFT, RIGHT]] = turn * np.array([left, right]) / (left + right)
        policy[heading, tile, FORWARD] = 1 - turn
    return policy


def chances_of_success(policy, paths):
    """Exact chance to reach the goal in 128 steps for each path, from the probabilities of all changes of state."""
    policy = policy.tolist()
    return np.array([chance_of_success(policy, path) for path in paths])


def chance_of_success(policy, path):
    standing, goal = 4 * (len(path) - 1), 4 * len(path)  # states: (tile, heading) on the path, 4 after a fall, the goal
    number = {tile: place for place, tile in enumerate(path)}
    change = np.zeros((goal + 1, goal + 1))
    for place, heading in itertools.product(range(len(path) - 1), range(4)):
        x, y = path[place]
        stay, left, right, forward = policy[heading][y * 7 + x]
        own = change[4 * place + heading]
        own[4 * place + heading] += stay
        own[4 * place + (heading + 1) % 4] += left
        own[4 * place + (heading + 3) % 4] += right
        there = x + HEADINGS[heading][0], y + HEADINGS[heading][1]
        if min(there) < 0 or max(there) > 6:
            there = x, y
        next_place = number.get(there)
        if next_place is None:
            own[standing + heading] += forward
        else:
            own[goal if next_place == len(path) - 1 else 4 * next_place + heading] += forward
    change[standing : standing + 4, :4] = np.eye(4)  # back to the start
    change[goal, goal] = 1
    return np.linalg.matrix_power(change, 128)[0, goal]


def sampled_paths(count, seed=0):
    copies = MysteryPath(count)
    copies.reset(seed=seed)
    return list(paths_of(copies))


def test_the_best_known_memoryless_return():
    chances = chances_of_success(border_policy(), sampled_paths(4000))
    error = 4 * chances.std() / len(chances) ** 0.5
    assert error < 0.02
    assert abs(chances.mean() - CARD.memoryless_return) < error


def test_no_memoryless_policy_tried_is_better():
    """Neither others of the family nor random ones near and far, all on the same paths."""
    paths, random = sampled_paths(150), np.random.default_rng(0)
    best = chances_of_success(border_policy(), paths).mean()
    for along, inward in itertools.product([0.1, 0.3, 1.0], [0.15, 0.5, 1.0]):
        assert chances_of_success(border_policy(along, inward), paths).mean() < best + 0.005
    for share in np.linspace(0.01, 1, 12):
        mixed = (1 - share) * border_policy() + share * random.dirichlet(np.full(4, 0.4), (4, 49))
        assert chances_of_success(mixed, paths).mean() < best


def test_the_memoryless_policy_played():
    copies = MysteryPath(3000)
    seen, _ = copies.reset(seed=0)
    expected = chances_of_success(border_policy(), list(paths_of(copies))).mean()
    random, chances = np.random.default_rng(0), border_policy().cumsum(axis=2)
    returns, running = np.zeros(3000), np.ones(3000, bool)
    for _ in range(128):
        own = chances[seen[:, 49:53].argmax(axis=1), seen[:, :49].argmax(axis=1)]
        actions = (random.random((3000, 1)) > own).sum(axis=1).clip(max=3)
        seen, rewards, terminated, _, _ = copies.step(actions)
        returns += rewards * running
        running &= ~terminated
    assert abs(returns.mean() - expected) < 4 * returns.std() / 3000**0.5


def test_text_shows_the_path():
    env = gym.make("memrl/MysteryPath-v0", grid_size=3, render_mode="ansi")
    for seed in range(1000):
        env.reset(seed=seed)
        if next(paths_of(env.unwrapped.copies)) == [(0, 0), (1, 0), (1, 1), (1, 2), (2, 2)]:
            break
    assert env.render() == "^*.\n.*.\n.*G\nstep 0 of 128\n"
    for action in [LEFT, LEFT, FORWARD]:
        env.step(action)
    assert env.render() == "S*.\nv*.\n.*G\nstep 3 of 128: fallen\n"


def test_picture_marks_start_goal_and_fall():
    env = gym.make("memrl/MysteryPath-v0", render_mode="rgb_array")
    yellow, green, red = (240, 200, 70), (80, 170, 90), (205, 85, 75)
    for seed in range(10):
        env.reset(seed=seed)
        picture, copies = env.render(), env.unwrapped.copies

        def color(picture, tile):
            return tuple(picture[20 + tile // 7 * 56 + 1, 20 + tile % 7 * 56 + 1].tolist())

        assert (color(picture, copies.start[0]), color(picture, copies.goal[0])) == (yellow, green)
        env.step(FORWARD)
        if copies.fallen[0]:
            assert color(env.render(), copies.tile[0]) == red
            break
    else:
        pytest.fail("no fall")


@pytest.mark.parametrize(
    ("keywords", "named"),
    [({"grid_size": 1}, "grid_size"), ({"grid_size": 10**5}, "grid_size"), ({"time_limit": 0}, "time_limit")],
)
def test_bad_keywords_are_named(keywords, named):
    with pytest.raises(ValueError, match=f"^{named}: "):
        MysteryPath(2, **keywords)
