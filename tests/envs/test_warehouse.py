"""memrl/Warehouse-v0 against a second implementation on networkx, and its returns by enumeration."""

import itertools
from collections import deque

import gymnasium as gym
import networkx as nx
import numpy as np
import pytest

from memrl.envs import Warehouse, list_envs, make_env
from memrl.envs.routes.floor import Floor, Ways
from memrl.envs.routes.tours import Tours

RIGHT, UP, LEFT, DOWN = range(4)
STEPS = {RIGHT: (1, 0), UP: (0, 1), LEFT: (-1, 0), DOWN: (0, -1)}
(CARD,) = (card for card in list_envs() if card.id == "memrl/Warehouse-v0")
AISLES, PLACES, ORDERS, DRIVING, COST = 4, 3, 4, 40, 0.01  # the defaults


def plan(aisles, places, barred=()):
    """The floor as a graph; `barred` names gates as (aisle, "front" or "back")."""
    graph = nx.Graph()
    back = places + 1
    for aisle in range(aisles):
        nx.add_path(graph, [(aisle, row) for row in range(back + 1)])
        if aisle:
            graph.add_edges_from([((aisle - 1, row), (aisle, row)) for row in (0, back)])
    for aisle, end in barred:
        graph.remove_edge(*[(aisle, 0), (aisle, 1)] if end == "front" else [(aisle, places), (aisle, back)])
    return graph


def all_barred(aisles, blocked):
    """Every set of barred gates that an episode may have."""
    for chosen in itertools.combinations(range(aisles), blocked):
        for ends in itertools.product(("front", "back"), repeat=blocked):
            yield list(zip(chosen, ends, strict=True))


def gate_array(aisles, barred):
    gates = np.zeros(2 * aisles, bool)
    for aisle, end in barred:
        gates[aisle + (aisles if end == "back" else 0)] = True
    return gates


class Specification:
    """One episode by the rules, one by one."""

    def __init__(self, size, barred, arriving, ordered, kinds, open_orders, driving_steps, step_cost):
        (self.aisles, self.places), self.barred, self.graph = size, barred, plan(*size, barred)
        self.arriving, self.ordered, self.kinds = arriving, ordered, kinds  # [(good, cell)], [good]
        self.open_orders, self.driving_steps, self.step_cost = open_orders, driving_steps, step_cost
        self.shelf = {cell: good for good, cell in arriving}
        self.at, self.collected, self.steps, self.driven = (0, 0), [], 0, 0

    @property
    def open(self):
        known = self.ordered[: len(self.collected) + self.open_orders]
        return [good for good in known if good not in self.collected]

    def see(self):
        shelving = self.steps < len(self.arriving)
        good, cell = self.arriving[self.steps] if shelving else (None, (None, 0))
        phase = 0 if shelving else 1 if self.open else 2
        aisle, row = self.at
        return [
            *one_hot(self.aisles, aisle),
            *one_hot(self.places + 2, row),
            *one_hot(3, phase),
            *one_hot(self.kinds, good),
            *one_hot(self.aisles, cell[0]),
            *one_hot(self.places, cell[1] - 1),
            *(float(kind in self.open and not shelving) for kind in range(self.kinds)),
            *one_hot(self.kinds, self.shelf.get(self.at)),
            float((row == 0 and (aisle, "front") in self.barred) or (row == self.places and self.has_bar(aisle))),
            float((row == 1 and (aisle, "front") in self.barred) or (row == self.places + 1 and self.has_bar(aisle))),
        ]

    def has_bar(self, aisle):
        return (aisle, "back") in self.barred

    def step(self, action):
        self.steps += 1
        if self.steps <= len(self.arriving):
            return 0.0, False
        self.driven += 1
        there = (self.at[0] + STEPS[action][0], self.at[1] + STEPS[action][1])
        self.at = there if self.graph.has_edge(self.at, there) else self.at
        reward, home = -self.step_cost, not self.open and self.at == (0, 0)
        if self.shelf.get(self.at) in self.open:
            self.collected.append(self.shelf.pop(self.at))
            reward += 1 / (len(self.ordered) + 1)
        elif home:
            reward += 1 / (len(self.ordered) + 1)
        return reward, home or self.driven == self.driving_steps


def one_hot(size, at):
    return [float(number == at) for number in range(size)]


def specification(envs, copy):
    """The rules with the hidden things of the episode that has just begun in one copy."""
    aisles, places = envs.floor.aisles, envs.floor.places
    cells = [divmod(int(cell), places + 2) for cell in envs.shelved_at[copy]]
    arriving = list(zip(envs.arriving[copy].tolist(), cells, strict=True))
    at = {cell: good for good, cell in arriving}
    ordered = [at[divmod(int(cell), places + 2)] for cell in envs.order_cells[copy, : envs.orders]]
    gates = np.flatnonzero(envs.barred[copy, : 2 * aisles])
    barred = [(int(gate) % aisles, "back" if gate >= aisles else "front") for gate in gates]
    assert len(set(at.values())) == len(at) == envs.goods
    assert len(set(ordered)) == envs.orders
    assert len({aisle for aisle, _ in barred}) == len(barred) == envs.blocked
    open_orders = envs.tours.options.shape[1]
    size = (aisles, places)
    return Specification(size, barred, arriving, ordered, envs.kinds, open_orders, envs.driving_steps, envs.step_cost)


def shortest_tour(wanted):
    """Brute force: breadth first over all positions and sets of collected goods, by the rules."""
    shelf = {cell: good for good, cell in wanted.arriving}
    start = ((0, 0), frozenset())
    steps, queue = {start: 0}, deque([start])
    while queue:
        at, collected = state = queue.popleft()
        if at == (0, 0) and len(collected) == len(wanted.ordered):
            return steps[state]
        for there in wanted.graph[at]:
            found = shelf.get(there)
            known = wanted.ordered[: len(collected) + wanted.open_orders]
            following = (there, collected | {found} if found in known else collected)
            if following not in steps:
                steps[following] = steps[state] + 1
                queue.append(following)
    raise AssertionError("no tour")


CASES = [
    {},
    {"aisles": 1, "places": 1, "goods": 1, "orders": 1, "blocked": 0, "driving_steps": 5},
    {"aisles": 2, "places": 1, "goods": 2, "orders": 2, "blocked": 1, "step_cost": 0.0},
    {"aisles": 3, "places": 4, "goods": 6, "orders": 5, "blocked": 2, "open_orders": 2, "kinds": 9},
    {"aisles": 5, "places": 2, "goods": 10, "orders": 6, "blocked": 4, "open_orders": 6, "step_cost": 0.5},
]


@pytest.mark.parametrize("keywords", CASES)
@pytest.mark.parametrize("share", [0.0, 0.7, 1.0])
def test_every_step_follows_the_specification(keywords, share):
    """Random actions, the oracle's, and a mixture, through several episodes of each copy."""
    envs = Warehouse(6, **keywords)
    random = np.random.default_rng(0)
    obs, info = envs.reset(seed=4)
    wanted = [specification(envs, copy) for copy in range(6)]
    tours = [shortest_tour(one) for one in wanted]
    assert info["optimal_cost"].tolist() == tours
    ended = 0
    for _ in range(2 * envs.horizon + 10):
        assert obs.tolist() == [one.see() for one in wanted]
        assert info["cost"].tolist() == [one.driven for one in wanted]
        assert info["ratio"].tolist() == [one.driven / tour for one, tour in zip(wanted, tours, strict=True)]
        actions = np.where(random.random(6) < share, envs.oracle(), random.integers(4, size=6))
        obs, rewards, terminated, truncated, info = envs.step(actions)
        assert not truncated.any()
        for copy, one in enumerate(wanted):
            reward, over = one.step(actions[copy])
            assert (rewards[copy], terminated[copy]) == (pytest.approx(reward, abs=1e-12), over)
            if over:
                success = not one.open and one.at == (0, 0)
                final = info["final_info"]
                assert info["final_obs"][copy].tolist() == one.see()
                assert (final["is_success"][copy], final["cost"][copy]) == (success, one.driven)
                assert final["optimal_cost"][copy] == tours[copy]
                if share == 1.0:
                    assert one.driven == tours[copy]
                    assert success
                wanted[copy] = specification(envs, copy)
                tours[copy] = shortest_tour(wanted[copy])
                assert info["optimal_cost"][copy] == tours[copy]
                ended += 1
    assert ended >= 12


def test_a_single_place_by_hand():
    env = Warehouse(1, aisles=1, places=1, goods=1, orders=1, blocked=0)
    # aisle, row (3), phase (3), arriving good, its aisle and place, order, beside, gates
    seen, info = env.reset(seed=0)
    assert seen.tolist() == [[1, 1, 0, 0, 1, 0, 0, 1, 1, 1, 0, 0, 0, 0]]
    assert (info["optimal_cost"].tolist(), info["cost"].tolist(), info["ratio"].tolist()) == ([2], [0], [0.0])
    seen, rewards, *_ = env.step([UP])  # while the good is being shelved, nothing moves
    assert (seen.tolist(), rewards.tolist()) == ([[1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0]], [0.0])
    seen, rewards, terminated, _, info = env.step([UP])  # collected: the shelf is empty
    assert (seen.tolist(), rewards.tolist()) == ([[1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]], [0.49])
    assert (info["ratio"].tolist(), terminated.tolist()) == ([0.5], [False])
    _, rewards, terminated, _, info = env.step([DOWN])
    assert (rewards.tolist(), terminated.tolist()) == ([0.49], [True])
    assert info["final_info"]["is_success"].tolist() == [True]
    assert info["final_info"]["ratio"].tolist() == [1.0]


def test_a_barred_gate_stops_the_robot_from_both_sides_and_is_seen_there_only():
    env = Warehouse(64, aisles=2, places=3, goods=1, orders=1, blocked=1, driving_steps=1000)
    env.reset(seed=0)
    (copy,) = np.flatnonzero(env.barred[:, 0] & (env.order_cells[:, 0] == 8))[:1]  # front of aisle 0; good far off
    step = lambda action: env.step(np.full(64, action))[0][copy]  # noqa: E731
    seen = step(UP)
    assert seen[-2:].tolist() == [1, 0]
    for _ in range(3):
        np.testing.assert_array_equal(step(UP), seen)
    for action in (RIGHT, UP, UP, UP):
        assert step(action)[-2:].tolist() == [0, 0]
    step(UP)  # the good is collected on the way
    assert step(LEFT)[-2:].tolist() == [0, 0]
    assert [step(DOWN)[-2:].tolist() for _ in range(4)] == [[0, 0], [0, 0], [0, 1], [0, 1]]
    assert env.cell[copy] == 1


@pytest.mark.parametrize(("aisles", "places"), [(1, 1), (1, 4), (2, 1), (3, 2), (4, 3)])
def test_every_way_is_as_long_as_networkx_says(aisles, places):
    barred = [gates for blocked in range(aisles) for gates in all_barred(aisles, blocked)]
    floor = Floor(aisles, places)
    ways = Ways(floor, len(barred))
    rows, cells = np.arange(len(barred)), np.arange(floor.num_cells)
    ways.update(rows, np.array([gate_array(aisles, gates) for gates in barred]))
    steps = ways.steps(rows[:, None, None], cells[:, None], cells)
    names = [divmod(int(cell), places + 2) for cell in cells]
    for row, gates in enumerate(barred):
        lengths = dict(nx.all_pairs_shortest_path_length(plan(aisles, places, gates)))
        assert steps[row].tolist() == [[lengths[start][end] for end in names] for start in names]


@pytest.mark.parametrize(("orders", "open_orders"), [(1, 1), (4, 1), (4, 2), (5, 3), (5, 5)])
def test_tours_are_the_shortest_over_all_permutations(orders, open_orders):
    tours, random = Tours(orders, open_orders), np.random.default_rng(orders)
    points = random.random((20, orders + 1, 2))
    steps = np.rint(1000 * np.abs(points[:, :, None] - points[:, None]).sum(axis=3)).astype(np.int64)
    allowed = [
        order
        for order in itertools.permutations(range(orders))
        if all(x < n + open_orders for n, x in enumerate(order))
    ]
    shortest = [
        min(sum(own[a, b] for a, b in itertools.pairwise([orders, *order, orders])) for order in allowed)
        for own in steps
    ]
    assert tours.lengths(steps)[:, 0].tolist() == shortest


def legs():
    """Lengths of all ways of the default warehouse, (barred, cells, cells), and the cells beside shelves."""
    cells = [(aisle, row) for aisle in range(AISLES) for row in range(PLACES + 2)]
    lengths = [dict(nx.all_pairs_shortest_path_length(plan(AISLES, PLACES, gates))) for gates in all_barred(AISLES, 1)]
    shelves = [number for number, (_, row) in enumerate(cells) if 0 < row <= PLACES]
    return np.array([[[own[a][b] for b in cells] for a in cells] for own in lengths]), shelves


def test_the_optimal_return_is_the_mean_over_all_episodes():
    lengths, shelves = legs()
    orders = np.array(list(itertools.permutations(shelves, ORDERS)))
    stops = np.concatenate([np.zeros((len(orders), 1), int), orders, np.zeros((len(orders), 1), int)], axis=1)
    costs = lengths[:, stops[:, :-1], stops[:, 1:]].sum(axis=2)
    assert costs.max() <= DRIVING  # every tour is in time
    assert 1 - COST * costs.mean() == pytest.approx(CARD.optimal_return, abs=5e-5)
    assert costs.mean() == pytest.approx(21.67, abs=5e-3)  # as the docstring says
    assert (CARD.horizon, Warehouse(1).step_cost) == (4 + DRIVING, COST)


class Player:
    """Plays by observations; takes gates that it does not know, or has forgotten, for open."""

    def __init__(self, remembers_gates):
        self.remembers_gates, self.graph, self.places = remembers_gates, plan(AISLES, PLACES), {}

    def act(self, seen):
        sizes = [AISLES, PLACES + 2, 3, 4, AISLES, PLACES, 4, 4, 2]
        aisle, row, phase, good, good_aisle, place, order, _, gates = np.split(seen, np.cumsum(sizes)[:-1])
        at = (aisle.argmax(), row.argmax())
        if phase[0]:
            self.places[good.argmax()] = (good_aisle.argmax(), place.argmax() + 1)
            return UP
        graph = self.graph if self.remembers_gates else self.graph.copy()
        for barred, (_, dy) in zip(gates, (STEPS[UP], STEPS[DOWN]), strict=True):
            if barred and graph.has_edge(at, (at[0], at[1] + dy)):
                graph.remove_edge(at, (at[0], at[1] + dy))
        goal = self.places[order.argmax()] if phase[1] else (0, 0)
        _, there = nx.shortest_path(graph, at, goal)[:2]
        return next(action for action, (dx, dy) in STEPS.items() if there == (at[0] + dx, at[1] + dy))


def returns_of(envs, act):
    """Return of the first episode of every copy."""
    obs, _ = envs.reset(seed=0)
    total, running = np.zeros(envs.num_envs), np.ones(envs.num_envs, bool)
    while running.any():
        obs, rewards, terminated, *_ = envs.step(act(obs, running))
        total += rewards * running
        running &= ~terminated
    return total


def returns_of_players(envs, **keywords):
    players = [Player(**keywords) for _ in range(envs.num_envs)]
    return returns_of(
        envs,
        lambda obs, running: np.array(
            [player.act(own) if on else UP for player, own, on in zip(players, obs, running, strict=True)]
        ),
    )


def test_who_remembers_closes_the_gap_and_gates_must_be_remembered_too():
    envs = Warehouse(200)
    optimal = 1 - COST * envs.reset(seed=0)[1]["optimal_cost"]
    np.testing.assert_allclose(returns_of(envs, lambda *_: envs.oracle()), optimal)
    remembering = returns_of_players(envs, remembers_gates=True)
    assert (remembering <= optimal + 1e-9).all()
    memoryless = CARD.memoryless_return
    assert remembering.mean() - memoryless > 0.95 * (optimal.mean() - memoryless)
    assert remembering.mean() == pytest.approx(0.774, abs=0.02)  # as the docstring says
    assert returns_of_players(envs, remembers_gates=False).mean() < remembering.mean() - 0.2


# The best memoryless player that was found: chances of right, up, left, down, by what it sees. It goes up in the left
# half of the warehouse and down in the right half, and leaves to chance where it turns.
IN_AISLE = [
    {1: (0, 1, 0, 0), 2: (0, 1, 0, 0), 3: (0, 1, 0, 0)},
    {1: (0, 1, 0, 0), 2: (0, 0.97, 0, 0.03), 3: (0, 1, 0, 0)},
    {1: (0, 0.31, 0, 0.69), 2: (0, 0.42, 0, 0.58), 3: (0, 0.49, 0, 0.51)},
    {1: (0, 0, 0, 1), 2: (0, 0, 0, 1), 3: (0, 0, 0, 1)},
]
IN_FRONT = [(0, 1, 0, 0), (0, 0.94, 0.06, 0), (0, 0.5, 0.5, 0), (0, 0, 1, 0)]
IN_BACK = [(1, 0, 0, 0), (0.84, 0, 0, 0.16), (0.43, 0, 0, 0.57), (0, 0, 0, 1)]


def collecting(aisle, row, barred):
    """Chances of the four actions; `barred`: whether a barred gate is seen, of which there is one at most here."""
    if barred:
        sideways = (1, 0, 0, 0) if aisle == 0 or (row == PLACES + 1 and aisle < AISLES - 1) else (0, 0, 1, 0)
        return {0: sideways, 1: (0, 1, 0, 0), PLACES: (0, 0, 0, 1), PLACES + 1: sideways}[row]
    return IN_FRONT[aisle] if row == 0 else IN_BACK[aisle] if row == PLACES + 1 else IN_AISLE[aisle][row]


def homing(aisle, row, barred):
    """Down, along the front, and round a barred gate."""
    if row in (0, PLACES + 1) and (aisle > 0 or barred):
        return (0, 0, 1, 0) if aisle else (1, 0, 0, 0)
    return (0, 1, 0, 0) if row == 1 and barred else (0, 0, 0, 1)


CELLS = [(aisle, row) for aisle in range(AISLES) for row in range(PLACES + 2)]
SHELVES = [number for number, (_, row) in enumerate(CELLS) if 0 < row <= PLACES]
ALL_BARRED = list(all_barred(AISLES, 1))


def sees_bar(cell, gates):
    aisle, row = CELLS[cell]
    return (row in (0, 1) and (aisle, "front") in gates) or (row >= PLACES and (aisle, "back") in gates)


def led_to():
    """The cell to which each action leads. Shape (barred, cells, 4)."""
    result = np.zeros((len(ALL_BARRED), len(CELLS), 4), int)
    for number, gates in enumerate(ALL_BARRED):
        graph = plan(AISLES, PLACES, gates)
        for cell, (aisle, row) in enumerate(CELLS):
            for action, (dx, dy) in STEPS.items():
                there = (aisle + dx, row + dy)
                result[number, cell, action] = CELLS.index(
                    there if graph.has_edge((aisle, row), there) else CELLS[cell]
                )
    return result


LEADS_TO = led_to()


SEES_BAR = np.array([[int(sees_bar(cell, gates)) for cell in range(len(CELLS))] for gates in ALL_BARRED])


def policy_table(rule):
    """Chances of actions by cell and by whether a barred gate is seen. Shape (cells, 2, 4)."""
    table = np.full((len(CELLS), 2, 4), 0.25)
    for cell, barred in {(cell, bar) for seen in SEES_BAR.tolist() for cell, bar in enumerate(seen)}:
        table[cell, barred] = rule(*CELLS[cell], barred)
    return table


def transitions(table):
    """Chances from cell to cell. Shape (..., barred, cells, cells)."""
    chances = table[..., np.arange(len(CELLS)), SEES_BAR, :]
    return np.einsum("...bca,bcax->...bcx", chances, np.eye(len(CELLS))[LEADS_TO])


def episodes(distinct):
    """For each number of goods collected: the cells that may be ordered next, and chances of what is ordered after it.

    distinct: no two goods lie at the same place. Else only successive ones do not, which is close and 100 times faster.
    """
    stage = [(frozenset(), target) for target in range(len(SHELVES))]
    targets, onward = [], []
    for collected in range(1, ORDERS + 1):
        targets.append(np.array([SHELVES[target] for _, target in stage]))
        following, chances = {}, []
        for before, target in stage:
            used = before | {target} if distinct else frozenset({target})
            fresh = [(used, other) for other in range(len(SHELVES)) if other not in used]
            fresh = fresh if collected < ORDERS else ["home"]
            chances.append([(following.setdefault(state, len(following)), 1 / len(fresh)) for state in fresh])
        matrix = np.zeros((len(stage), len(following)))
        for row, entries in enumerate(chances):
            for column, chance in entries:
                matrix[row, column] = chance
        onward.append(matrix)
        stage = list(following)
    return [*targets, np.array([0])], onward


def expected_return(tables, home_table, chain):
    """Exact, from the chances of all situations, step by step. Shape (...) for tables (..., cells, 2, 4)."""
    targets, onward = chain
    moves = [transitions(tables)] * ORDERS + [transitions(home_table)]
    shape = (*tables.shape[:-3], len(ALL_BARRED))
    chances = [np.zeros((*shape, len(target), len(CELLS))) for target in targets]
    chances[0][..., 0] = 1 / (len(ALL_BARRED) * len(SHELVES))
    total = np.zeros(tables.shape[:-3])
    for _ in range(DRIVING):
        total -= COST * sum(stage.sum(axis=(-3, -2, -1)) for stage in chances)
        chances = [stage @ move for stage, move in zip(chances, moves, strict=True)]
        arrived = []
        for stage, target in zip(chances, targets, strict=True):
            arrived.append(stage[..., np.arange(len(target)), target])
            stage[..., np.arange(len(target)), target] = 0.0
        for number, matrix in enumerate(onward):
            for cell in SHELVES:  # where the robot is then
                here = targets[number] == cell
                chances[number + 1][..., cell] += arrived[number][..., here] @ matrix[here]
        total += sum(some.sum(axis=(-2, -1)) for some in arrived) / (ORDERS + 1)
    return total


def test_the_best_memoryless_player_found_earns_what_the_card_says():
    table, home_table = policy_table(collecting), policy_table(homing)
    exact = expected_return(table, home_table, episodes(distinct=True))
    assert exact == pytest.approx(CARD.memoryless_return, abs=2e-3)
    envs, random = Warehouse(4000), np.random.default_rng(0)

    def act(obs, _):
        cell = obs[:, :AISLES].argmax(1) * (PLACES + 2) + obs[:, AISLES : AISLES + PLACES + 2].argmax(1)
        barred = obs[:, -2:].any(axis=1).astype(int)
        home = obs[:, AISLES + PLACES + 4] > 0
        chances = np.where(home[:, None], home_table[cell, barred], table[cell, barred])
        return np.minimum((random.random((len(obs), 1)) > chances.cumsum(axis=1)).sum(axis=1), 3)

    returns = returns_of(envs, act)
    assert returns.mean() == pytest.approx(exact, abs=4 * returns.std() / len(returns) ** 0.5)


def test_no_change_of_the_memoryless_player_makes_it_better():
    """Neither more of any action in any situation, nor a mixture with other policies."""
    table, home_table, chain = policy_table(collecting), policy_table(homing), episodes(distinct=False)
    best = expected_return(table, home_table, chain)
    assert best == pytest.approx(CARD.memoryless_return, abs=2e-3)
    random, changed = np.random.default_rng(0), []
    for cell, barred, action in itertools.product(range(len(CELLS)), range(2), range(4)):
        if table[cell, barred, action] < 1 and (SEES_BAR[:, cell] == barred).any():
            changed.append(table.copy())
            changed[-1][cell, barred] = 0.9 * table[cell, barred] + 0.1 * np.eye(4)[action]
    for share in np.linspace(0.02, 1.0, 20):
        changed.append((1 - share) * table + share * random.dirichlet(np.ones(4) / 2, table.shape[:2]))
    assert expected_return(np.array(changed), home_table, chain).max() < best + 5e-4


def best_forgetful_return():
    """Of one who forgets where goods lie whenever an order comes, but searches for each perfectly.

    It knows the barred gates, the time and where it has looked for this order; by dynamic programming over all that.
    Each place where it has not looked has the same chance.
    """
    lengths, _ = legs()
    bits = np.zeros(len(CELLS), int)
    bits[SHELVES] = 1 << np.arange(len(SHELVES))
    looked = np.arange(1 << len(SHELVES))
    left = len(SHELVES) - sum(looked >> place & 1 for place in range(len(SHELVES)))
    total = 0.0
    for barred in range(len(ALL_BARRED)):
        values = np.zeros((ORDERS + 1, len(CELLS), len(looked)), np.float32)  # the last: on the way home
        ways = []
        for action in range(4):
            there = LEADS_TO[barred, :, action]
            fresh = (bits[there, None] > 0) & (looked & bits[there, None] == 0)
            chance = np.where(fresh, 1 / np.maximum(left, 1), 0).astype(np.float32)
            ways.append((there, there[:, None] * len(looked) + (looked | bits[there, None]), chance))
        for time in range(DRIVING - 1, -1, -1):
            flat, before = values.reshape(ORDERS + 1, -1), values
            values = np.full_like(before, -np.inf)
            home = lengths[barred, :, 0]
            in_time = home <= DRIVING - time
            values[-1] = np.where(in_time, 1 / (ORDERS + 1) - COST * home, -COST * (DRIVING - time))[:, None]
            for there, onward, chance in ways:
                for order in range(ORDERS):
                    found = 1 / (ORDERS + 1) + before[order + 1, there, bits[there]]
                    value = flat[order][onward]
                    value += chance * (found[:, None] - value) - np.float32(COST)
                    np.maximum(values[order], value, out=values[order])
        total += float(values[0, 0, 0])
    return total / len(ALL_BARRED)


def test_who_forgets_the_goods_but_searches_perfectly_is_far_from_optimal():
    forgetful = best_forgetful_return()
    assert forgetful == pytest.approx(0.369, abs=1e-3)  # as the docstring says
    assert CARD.memoryless_return < forgetful < CARD.optimal_return - 0.4


def test_with_one_order_the_best_memoryless_player_is_computed():
    """The best map from cells to moves earns as much as who remembers where it has looked: none can earn more."""
    floor, depot, most = plan(3, 1), (0, 0), 10
    shelves, home = [(aisle, 1) for aisle in range(3)], dict(nx.single_source_shortest_path_length(floor, depot))

    def worth(found, cell):
        """Return of who finds the good in a cell after so many steps, and then drives straight home."""
        return (0.5 if found <= most else 0) + 0.5 * (found + home[cell] <= most) - 0.01 * min(found + home[cell], most)

    def walked(moves):
        total = 0.0
        for shelf in shelves:
            cell, steps = depot, 0
            while cell != shelf and steps <= most:
                cell, steps = moves[cell], steps + 1
            total += worth(steps, shelf) / 3
        return total

    maps = [dict(zip(floor, moves, strict=True)) for moves in itertools.product(*(floor[cell] for cell in floor))]
    best = max(maps, key=walked)

    def searched(cell, left, steps):
        """Best sum of returns over the shelves that are left, of who remembers which these are."""
        if steps == most:
            return -0.01 * most * len(left)
        values = []
        for there in floor[cell]:
            value = searched(there, left - {there}, steps + 1)
            values.append(value + (worth(steps + 1, there) if there in left else 0))
        return max(values)

    assert len(maps) == 1152
    assert walked(best) == pytest.approx(0.94)  # 2, 6 or 10 steps
    assert searched(depot, frozenset(shelves), 0) / 3 == pytest.approx(walked(best))
    actions = {(1, 0): 0, (0, 1): 1, (-1, 0): 2, (0, -1): 3}
    ways = nx.single_source_shortest_path(floor, depot)

    def act(obs, _):
        chosen = []
        for seen in obs:
            cell = (int(seen[:3].argmax()), int(seen[3:6].argmax()))
            there = ways[cell][-2] if seen[6 + 2] and cell != depot else best[cell]  # the third phase: homing
            chosen.append(actions[there[0] - cell[0], there[1] - cell[1]])
        return np.array(chosen)

    envs = Warehouse(600, aisles=3, places=1, goods=1, orders=1, blocked=0)
    assert envs.driving_steps == most
    returns = returns_of(envs, act)
    assert set(returns.round(6)) == {0.98, 0.94, 0.9}
    assert returns.mean() == pytest.approx(0.94, abs=4 * 0.033 / 600**0.5)


def test_everything_is_drawn_with_equal_chances():
    envs = Warehouse(6000, kinds=6)
    envs.reset(seed=0)
    even = 4 * np.sqrt(6000)  # four standard errors, or more
    for cells in (envs.shelved_at[:, 0], envs.order_cells[:, 0], envs.order_cells[:, 3]):
        counts = np.bincount(cells, minlength=20)
        assert (abs(counts[SHELVES] - 500) < even / 3).all()
        assert counts[SHELVES].sum() == 6000
    assert (abs(np.bincount(envs.arriving[:, 2]) - 1000) < even / 2).all()
    assert (abs(envs.barred[:, :8].sum(axis=0) - 750) < even / 2.5).all()
    first_ordered = (envs.order_cells[:, :1] == envs.shelved_at).argmax(axis=1)
    assert (abs(np.bincount(first_ordered) - 1500) < even / 2).all()


def test_a_curriculum_keeps_the_spaces():
    easy, hard = (Warehouse(2, kinds=8, goods=goods, orders=goods, blocked=b) for goods, b in [(1, 0), (8, 3)])
    assert easy.single_observation_space == hard.single_observation_space
    assert easy.horizon < hard.horizon


def test_fifty_aisles_of_fifty_places():
    envs = Warehouse(3, aisles=50, places=50, goods=52, orders=52, blocked=49)
    obs, info = envs.reset(seed=0)
    assert obs.shape == (3, envs.single_observation_space.shape[0])
    for copy in range(3):
        wanted = specification(envs, copy)
        at = dict(wanted.arriving)
        stops = [(0, 0), *(at[good] for good in wanted.ordered), (0, 0)]
        ways = [nx.shortest_path_length(wanted.graph, *pair) for pair in itertools.pairwise(stops)]
        assert info["optimal_cost"][copy] == sum(ways)
    assert max(envs.picture(0).shape) < 1200
    assert len(envs.text(0).splitlines()) == 57


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"aisles": 0}, "aisles"),
        ({"aisles": 51}, "aisles"),
        ({"aisles": 2.0}, "aisles"),
        ({"aisles": True}, "aisles"),
        ({"places": 0}, "places"),
        ({"places": "3"}, "places"),
        ({"goods": 0}, "goods"),
        ({"goods": 13}, "goods"),
        ({"goods": 53, "aisles": 50}, "goods"),
        ({"goods": 5, "kinds": 4}, "kinds"),
        ({"kinds": 53}, "kinds"),
        ({"orders": 0}, "orders"),
        ({"orders": 5}, "orders"),
        ({"blocked": -1}, "blocked"),
        ({"blocked": 4}, "blocked"),
        ({"open_orders": 0}, "open_orders"),
        ({"open_orders": 5}, "open_orders"),
        ({"goods": 40, "orders": 40, "aisles": 20, "open_orders": 20}, "open_orders"),
        ({"driving_steps": 0}, "driving_steps"),
        ({"driving_steps": 10**9}, "driving_steps"),
        ({"step_cost": -0.1}, "step_cost"),
        ({"step_cost": float("nan")}, "step_cost"),
        ({"step_cost": "0.1"}, "step_cost"),
        ({"step_cost": 2}, "step_cost"),
    ],
)
def test_bad_keywords_are_named(keywords, named):
    with pytest.raises(ValueError, match=f"^{named}: "):
        gym.make("memrl/Warehouse-v0", **keywords)


def small(seed=0):
    """Two aisles of two places, the good of which lies at the far end of aisle 1."""
    envs = Warehouse(64, aisles=2, places=2, goods=1, orders=1, blocked=1)
    envs.reset(seed=seed)
    (copy,) = np.flatnonzero(envs.barred[:, 1] & (envs.order_cells[:, 0] == 6))[:1]  # and its front gate is barred
    return envs, copy


def test_text_shows_what_is_hidden():
    envs, copy = small()
    assert envs.text(copy).splitlines()[-3:] == [
        "shelving A in aisle 2, place 2",
        "collected: nothing",
        "step 0 of 11, 0 driven; shortest tour 10",
    ]
    texts = []
    for action in (UP, UP, UP, UP, RIGHT, DOWN):
        envs.step(np.full(64, action))
        texts.append(envs.text(copy))
    assert texts[0] == (
        "  .  .\n\n #. A.\n #. #.\n     =\n  @  .\nordered: A\ncollected: nothing\n"
        "step 1 of 11, 0 driven; shortest tour 10\n"
    )
    assert texts[-1] == (
        "  .  .\n\n #. #@\n #. #.\n     =\n  D  .\nto the depot\ncollected: A\n"
        "step 6 of 11, 5 driven; shortest tour 10\n"
    )


def test_picture_changes_where_something_happens():
    envs, copy = small()
    shelved = envs.picture(copy)
    envs.step(np.full(64, UP))
    pictures = [envs.picture(copy)]
    for action in (RIGHT, LEFT, UP):
        envs.step(np.full(64, action))
        pictures.append(envs.picture(copy))
    head = 84
    left, size = (shelved.shape[1] - 4 * 44) // 2, 44

    def changed(before, after):
        """Plan squares, column and row from the upper left, in which two pictures differ."""
        ys, xs = np.nonzero((before != after).any(axis=2))
        inside = (ys >= head) & (ys < head + 4 * size)
        return set(zip(((xs - left) // size)[inside].tolist(), ((ys - head) // size)[inside].tolist(), strict=True))

    assert changed(shelved, pictures[0]) == {(2, 1)}  # the good, now ordered and out of sight, grows pale
    # From the depot to the foot of aisle 1: the barred gate there is noticed.
    assert changed(pictures[0], pictures[1]) == {(1, 3), (3, 3), (3, 2)}
    assert changed(pictures[1], pictures[2]) == {(1, 3), (3, 3)}  # and stays so
    assert changed(pictures[2], pictures[3]) == {(1, 3), (1, 2)}


def test_made_by_id_with_keywords():
    env = make_env("memrl/Warehouse-v0", aisles=2, places=2, goods=3, orders=2)
    _, info = env.reset(seed=0)
    assert info["optimal_cost"] >= 4
    assert env.unwrapped.copies.horizon == 3 + 3 * 5
