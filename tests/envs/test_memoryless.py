"""The best memoryless returns of small games, over all memoryless policies, where those of whole games are only found.

Models of the rules, made apart from the environments and checked against them, give exact returns and their gradients.
"""

import itertools
from collections import defaultdict

import numpy as np
import torch

import memrl.envs
from memrl.envs import MysteryPath, battleship


def documented(name):
    return " ".join(getattr(memrl.envs, name).__doc__.split())


def ascended(returns_of, shape, *, rate, updates, starts=24):
    """Returns where gradient ascent on stochastic policies ends, from random ones, and the best of these policies."""
    random = torch.Generator().manual_seed(0)
    odds = torch.randn(starts, *shape, generator=random, dtype=torch.double).requires_grad_()
    optimizer = torch.optim.Adam([odds], lr=rate)
    for _ in range(updates):
        optimizer.zero_grad()
        (-returns_of(odds.softmax(-1)).sum()).backward()
        optimizer.step()
    with torch.no_grad():
        policies = odds.softmax(-1)
        returns = returns_of(policies)
    return returns.numpy(), policies[returns.argmax()].numpy()


# Battleship: one ship of 2 squares on a board of 3 x 3.

SIDE, SHIP = 3, 2
PLACES = torch.tensor(
    [
        [SIDE * row + column, SIDE * (row + down) + column + 1 - down]
        for row, column, down in itertools.product(range(SIDE), range(SIDE), (0, 1))
        if row + down < SIDE and column + 1 - down < SIDE
    ]
)


def shooting_returns(policies):
    """Exact returns (n,) of chances of squares after a miss and after a hit, (n, 2, squares).

    The chances of all situations, shot by shot: which squares of the ship are hit, and what was seen last.
    """
    squares = SIDE**2
    on_ship = policies[:, :, PLACES]  # (n, seen, places, squares of the ship)
    situations, total = {(frozenset(), 0): policies.new_ones(len(policies), len(PLACES))}, 0.0
    for _ in range(squares):
        following = defaultdict(float)
        for (hit, seen), chance in situations.items():
            missed = chance
            for square in set(range(SHIP)) - hit:
                struck = chance * on_ship[:, seen, :, square]
                missed, total = missed - struck, total + struck / SHIP
                if len(hit) + 1 < SHIP:
                    following[hit | {square}, 1] += struck
            following[hit, 0] += missed
            total = total - missed / (squares - SHIP)
        situations = following
    return total.mean(dim=1)


def alike(odds):
    """Policies that shoot alike after a hit and after a miss, (n, 1, squares) to (n, 2, squares)."""
    return odds.expand(-1, 2, -1)


def test_battleship_on_nine_squares(monkeypatch):
    """Chance is better than any map, and squares kept for after a hit are better than shots that are always alike."""
    one = torch.eye(SIDE**2, dtype=torch.double)
    maps = torch.stack([torch.stack(pair) for pair in itertools.product(one, repeat=2)])
    best_map = shooting_returns(maps).max().item()
    settings = {"rate": 0.3, "updates": 120}
    ends, policy = ascended(shooting_returns, (2, SIDE**2), **settings)
    ends_alike, _ = ascended(lambda odds: shooting_returns(alike(odds)), (1, SIDE**2), **settings, starts=3)
    assert ends_alike.max() - ends_alike.min() < 1e-3  # one top
    assert (ends > ends.max() - 1e-3).sum() >= 6  # no start ends higher than several others
    assert f"{best_map:.2f} by the best map" in documented("Battleship")
    assert f"{ends_alike.max():.3f} by shots that are always alike" in documented("Battleship")
    assert f"{ends.max():.3f} by the best of all" in documented("Battleship")
    assert policy[1].max() > 0.99  # after a hit it shoots at the middle, and never after a miss
    assert policy[1].argmax() == 4
    assert policy[0, 4] < 0.01

    monkeypatch.setattr(battleship, "SHIPS", (SHIP,))
    monkeypatch.setattr(battleship, "_SIZES", {"easy": SIDE})
    envs, random = memrl.envs.Battleship(20_000), np.random.default_rng(0)
    obs, _ = envs.reset(seed=0)
    returns, running = np.zeros(20_000), np.ones(20_000, bool)
    for _ in range(SIDE**2):
        square = (random.random((20_000, 1)) > policy.cumsum(axis=1)[obs]).sum(axis=1).clip(max=SIDE**2 - 1)
        obs, rewards, terminated, truncated, _ = envs.step(np.stack(np.divmod(square, SIDE), axis=1))
        returns += rewards * running
        running &= ~(terminated | truncated)
    assert not running.any()
    assert abs(returns.mean() - ends.max()) < 4 * returns.std() / 20_000**0.5


# Mystery Path: 2 x 2 tiles and 8 steps. All paths are equally likely: from each tile to either neighbour, and either
# way to the tile across.

STEPS = 8
STAY, LEFT, RIGHT, FORWARD = range(4)
HEADINGS = [(0, -1), (-1, 0), (0, 1), (1, 0)]  # a left turn leads to the next one
PATHS = [
    ((x, y), *rest)
    for x, y in itertools.product((0, 1), repeat=2)
    for one, other in [((1 - x, y), (x, 1 - y)), ((x, 1 - y), (1 - x, y))]
    for rest in [(one,), (one, (1 - x, 1 - y))]
]


def inside(tile):
    return min(tile) >= 0 and max(tile) < 2


def seen_at(tile, heading):
    return 4 * heading + 2 * tile[1] + tile[0]


def moved(tile, heading, action):
    if action == FORWARD:
        there = (tile[0] + HEADINGS[heading][0], tile[1] + HEADINGS[heading][1])
        return there if inside(there) else tile, heading
    return tile, (heading + {STAY: 0, LEFT: 1, RIGHT: 3}[action]) % 4


def walking_chain():
    """How states lead to each other: (path, state, next state, number of the chance) and the certain changes.

    States by place on the path and heading; then the goal; then four after a fall.
    """
    uncertain, certain = [], torch.zeros(len(PATHS), 13, 13, dtype=torch.double)
    for number, path in enumerate(PATHS):
        goal = 4 * (len(path) - 1)
        certain[number, goal, goal] = 1
        for heading in range(4):
            certain[number, goal + 1 + heading, heading] = 1
            for place, action in itertools.product(range(len(path) - 1), range(4)):
                tile, turned = moved(path[place], heading, action)
                onward = goal + 1 + turned if tile not in path else min(4 * path.index(tile) + turned, goal)
                chance = 4 * seen_at(path[place], heading) + action
                uncertain.append((number, 4 * place + heading, onward, chance))
    return torch.tensor(uncertain).T, certain


(PATH, BEFORE, AFTER, CHANCE), CERTAIN = walking_chain()


def walking_returns(policies):
    """Exact returns (n,) of chances of actions at each tile and heading, (n, 16, 4)."""
    flat = CERTAIN.reshape(1, -1).expand(len(policies), -1)
    entries = (PATH * 13 + BEFORE) * 13 + AFTER
    change = flat.index_add(1, entries, policies.flatten(1)[:, CHANCE]).reshape(-1, *CERTAIN.shape)
    state = torch.zeros(len(policies), len(PATHS), 1, 13, dtype=torch.double)
    state[..., 0] = 1
    for _ in range(STEPS):
        state = state @ change
    goals = torch.tensor([4 * (len(path) - 1) for path in PATHS])
    return state[:, torch.arange(len(PATHS)), 0, goals].mean(dim=1)


def best_walking_map():
    """The most paths on which a map reaches the goal, by all maps: one decides when it is first asked."""
    most = 0

    def asked(path, chosen):
        """Whether the goal is reached; an observation that has no action yet."""
        tile, heading, fallen = path[0], 0, False
        for _ in range(STEPS):
            if fallen:
                tile, fallen = path[0], False
                continue
            if seen_at(tile, heading) not in chosen:
                return False, seen_at(tile, heading)
            tile, heading = moved(tile, heading, chosen[seen_at(tile, heading)])
            fallen = tile not in path
            if tile == path[-1]:
                return True, None
        return False, None

    def decide(chosen, paths, reached):
        nonlocal most
        outcomes = [(path, *asked(path, chosen)) for path in paths]
        reached += sum(success for _, success, _ in outcomes)
        undecided = [(path, seen) for path, _, seen in outcomes if seen is not None]
        if reached + len(undecided) <= most:  # it cannot become better than the best so far
            return
        if not undecided:
            most = reached
            return
        for action in (FORWARD, LEFT, RIGHT, STAY):
            decide(chosen | {undecided[0][1]: action}, [path for path, _ in undecided], reached)

    decide({}, PATHS, 0)
    return most


def border_policy(along):
    """The card's kind: it turns where it faces the border, and along the border with a chance."""
    policy = np.zeros((16, 4))
    for heading, x, y in itertools.product(range(4), range(2), range(2)):
        ahead, left, right = (moved((x, y), (heading + turn) % 4, FORWARD)[0] != (x, y) for turn in (0, 1, 3))
        turn = along if ahead else 1.0
        row = policy[seen_at((x, y), heading)]
        row[[LEFT, RIGHT]] = turn * np.array([left, right]) / (left + right)
        row[FORWARD] = 1 - turn
    return policy


def test_mystery_path_on_four_tiles():
    """Chance is better than any map; turns at the borders are not the best of it."""
    best_map = best_walking_map() / len(PATHS)
    ends, policy = ascended(walking_returns, (16, 4), rate=0.5, updates=80)
    borders = walking_returns(torch.tensor(np.array([border_policy(along) for along in np.linspace(0, 1, 101)]))).max()
    assert (ends > ends.max() - 1e-3).sum() >= 6  # no start ends higher than several others
    assert f"{best_map:.3f} by the best map" in documented("MysteryPath")
    assert f"{borders:.3f} by turns at the borders" in documented("MysteryPath")
    assert f"{ends.max():.3f} by the best of all" in documented("MysteryPath")

    copies, random = MysteryPath(20_000, grid_size=2, time_limit=STEPS), np.random.default_rng(0)
    obs, _ = copies.reset(seed=0)
    starts, goals = (np.bincount(tiles, minlength=4) / 20_000 for tiles in (copies.start, copies.goal))
    np.testing.assert_allclose([starts, goals], 0.25, atol=0.015)
    returns, running = np.zeros(20_000), np.ones(20_000, bool)
    for _ in range(STEPS):
        seen = 4 * obs[:, 4:8].argmax(axis=1) + obs[:, :4].argmax(axis=1)
        actions = (random.random((20_000, 1)) > policy.cumsum(axis=1)[seen]).sum(axis=1).clip(max=FORWARD)
        obs, rewards, terminated, _, _ = copies.step(actions)
        returns += rewards * running
        running &= ~terminated
    assert not running.any()
    assert abs(returns.mean() - ends.max()) < 4 * returns.std() / 20_000**0.5
