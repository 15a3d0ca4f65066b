"""memrl/Traffic-v0 against a second implementation on networkx, and its returns by enumeration and brute force."""

import itertools
import math

import gymnasium as gym
import networkx as nx
import numpy as np
import pytest

from memrl.envs import Traffic, list_envs, make_env

RIGHT, UP, LEFT, DOWN = range(4)
(CARD,) = (card for card in list_envs() if card.id == "memrl/Traffic-v0")
P, SLOWDOWN, TRIPS = 0.3, 8.0, 10  # the defaults


def grid_actions(graph):
    """Neighbours by action at each crossing of a grid."""
    steps = ((1, 0), (0, 1), (-1, 0), (0, -1))
    return {(x, y): [(x + dx, y + dy) if (x + dx, y + dy) in graph else None for dx, dy in steps] for x, y in graph}


def graph_actions(graph):
    order = {name: number for number, name in enumerate(graph)}
    most = max(degree for _, degree in graph.degree)
    return {name: (sorted(graph[name], key=order.get) + [None] * most)[:most] for name in graph}


class Specification:
    """One episode by the rules, one by one; all ways by networkx."""

    def __init__(self, graph, actions, stops, delay, *, places, p, slowdown, levels=2, max_steps=10**9):
        self.names, self.actions, self.places, self.stops = list(graph), actions, places, stops
        self.slowdown, self.max_steps, self.trips = slowdown, max_steps, len(stops) - 1
        self.delay = delay  # (from, to): 0 to 1
        self.length = {(a, b): w for u, v, w in graph.edges(data="weight", default=1) for a, b in ((u, v), (v, u))}
        self.free = dict(nx.all_pairs_dijkstra_path_length(graph, weight=lambda a, b, _: self.length[a, b]))
        factors = [1 + (slowdown - 1) * j / (levels - 1) for j in range(1, levels)]
        self.mean = 1 - p + p * sum(factors) / len(factors)
        real = nx.DiGraph()
        real.add_weighted_edges_from((a, b, self.time(a, b)) for a, b in self.length)
        self.real = real
        self.best = [nx.dijkstra_path_length(real, *pair) for pair in itertools.pairwise(stops)]
        self.scale = self.mean * sum(self.free[a][b] for a, b in itertools.pairwise(stops))
        self.at, self.trip, self.parked, self.last, self.steps = stops[0], 0, False, None, 0
        self.costs = [0.0] * self.trips

    def time(self, a, b):
        return self.length[a, b] * (1 + (self.slowdown - 1) * self.delay[a, b])

    @property
    def goal(self):
        return self.stops[self.trip + 1]

    def see(self):
        at = [float(name == self.at) for name in self.names]
        goal = [float(name == self.goal) for name in self.places]
        came = [float(self.last is not None and name == self.last[0]) for name in self.actions[self.at]]
        return [*at, *goal, *came, self.delay[self.last] if self.last else 0.0, self.trip / self.trips]

    def step(self, action):
        """Reward, whether it is over, and whether that is a success."""
        self.steps += 1
        reward, made = 0.0, False
        if self.parked:
            self.trip, self.parked, self.last = self.trip + 1, False, None
        else:
            there = self.actions[self.at][action]
            if there is None:
                took, self.last = min(self.length.values()), None
            else:
                took, self.last = self.time(self.at, there), (self.at, there)
                reward += self.mean * (self.free[self.at][self.goal] - self.free[there][self.goal])
                self.at = there
            reward -= took
            self.costs[self.trip] += took
            self.parked = self.at == self.goal
            made = self.parked and self.trip == self.trips - 1
        given_up = self.steps == self.max_steps and not made
        if given_up:
            left = self.free[self.at][self.goal]
            left += sum(self.free[a][b] for a, b in itertools.pairwise(self.stops[self.trip + 1 :]))
            reward -= self.slowdown * left
            self.costs[self.trip] += self.slowdown * left
        half = self.trips // 2
        good = made and sum(self.costs[half:]) <= 1.1 * sum(self.best[half:])
        return reward / self.scale, made or given_up, good

    def oracle_is_content(self, action):
        """Whether an action is on a best route; any is while the car stands."""
        if self.parked:
            return True
        there = self.actions[self.at][action]
        rest = nx.dijkstra_path_length(self.real, there, self.goal)
        return math.isclose(self.time(self.at, there) + rest, nx.dijkstra_path_length(self.real, self.at, self.goal))


def specification(envs, copy, graph, actions, **keywords):
    """The running episode of a copy, as it has just begun."""
    roads, delay = envs.roads, {}
    for road, (one, other) in enumerate(roads.ends):
        one, other = roads.names[one], roads.names[other]
        delay[one, other] = float(envs.delays[copy, road])
        delay[other, one] = float(envs.delays[copy, road + len(roads.ends)])
    places = [roads.names[place] for place in envs.places]
    stops = [places[stop] for stop in envs.stops[copy]]
    return Specification(graph, actions, stops, delay, places=places, max_steps=envs.horizon, **keywords)


def town():
    """Crossings with names, roads with lengths and a dead end."""
    graph = nx.Graph()
    roads = [("home", "a", 1.5), ("home", "b", 2), ("a", "b", 0.5), ("a", "work", 3), ("b", "work", 2.5)]
    graph.add_weighted_edges_from([*roads, ("a", "farm", 1)])
    return graph


GRID = nx.grid_2d_graph
CASES = {
    "default": (GRID(3, 3), {}),
    "longer": (GRID(4, 2), {"network": [4, 2], "places": 3, "trips": 4}),
    "both directions": (GRID(2, 3), {"network": (2, 3), "directed": True, "trips": 3, "congestion": 0.5}),
    "town": (town(), {"network": town(), "places": ["home", "work", "farm"], "levels": 4, "slowdown": 3}),
    "out of steps": (GRID(3, 3), {"max_steps": 13, "trips": 5}),
    "one trip": (GRID(3, 1), {"network": (3, 1), "trips": 1}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])  # of random actions
def test_every_step_follows_the_specification(case, share):
    graph, keywords = CASES[case]
    grid = not isinstance(keywords.get("network", ()), nx.Graph)
    actions = grid_actions(graph) if grid else graph_actions(graph)
    rules = {"p": keywords.get("congestion", P), "slowdown": keywords.get("slowdown", SLOWDOWN)}
    rules["levels"] = keywords.get("levels", 2)
    copies, random = 3, np.random.default_rng(1)
    envs = Traffic(copies, **keywords)
    obs, infos = envs.reset(seed=5)
    wanted = [specification(envs, copy, graph, actions, **rules) for copy in range(copies)]
    ended = 0
    for _ in range(250):
        best = envs.oracle()
        chosen = np.where(random.random(copies) < share, random.integers(envs.single_action_space.n, size=copies), best)
        assert all(own.oracle_is_content(action) for own, action in zip(wanted, best, strict=True))
        obs, rewards, terminated, truncated, infos = envs.step(chosen)
        assert not truncated.any()
        for copy, own in enumerate(wanted):
            reward, over, success = own.step(chosen[copy])
            assert rewards[copy] == pytest.approx(reward, abs=1e-12)
            assert terminated[copy] == over
            seen, info = (infos["final_obs"], infos["final_info"]) if over else (obs, infos)
            np.testing.assert_allclose(seen[copy], own.see(), atol=1e-6)
            assert info["cost"][copy] == pytest.approx(sum(own.costs))
            assert info["optimal_cost"][copy] == pytest.approx(sum(own.best))
            assert info["ratio"][copy] == pytest.approx(sum(own.costs) / sum(own.best))
            if over:
                ended += 1
                assert info["is_success"][copy] == success
                wanted[copy] = specification(envs, copy, graph, actions, **rules)
                np.testing.assert_allclose(obs[copy], wanted[copy].see(), atol=1e-6)
    assert ended > 3


def test_two_crossings_by_hand():
    env = make_env("memrl/Traffic-v0", network=(2, 1), trips=2, congestion=1, slowdown=3, max_steps=9)
    obs, info = env.reset(seed=0)
    assert obs.tolist() == [1, 0, 0, 1, 0, 0, 0, 0, 0, 0]  # at the first, to the second
    assert info == {"cost": 0, "optimal_cost": 6, "ratio": 0}
    obs, reward, *_ = env.step(UP)  # waits, as long as the road takes when free
    assert obs.tolist() == [1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert reward == pytest.approx(-1 / 6)
    obs, reward, _, _, info = env.step(RIGHT)
    assert obs.tolist() == [0, 1, 0, 1, 0, 0, 1, 0, 1, 0]  # left leads back, and that road is congested
    assert reward == pytest.approx(0)  # as long as it takes on average
    assert info == {"cost": 4, "optimal_cost": 6, "ratio": 4 / 6}
    obs, reward, *_ = env.step(LEFT)  # the car stands
    assert (obs.tolist(), reward) == ([0, 1, 1, 0, 0, 0, 0, 0, 0, 0.5], 0)
    obs, reward, terminated, _, info = env.step(LEFT)
    assert obs.tolist() == [1, 0, 1, 0, 1, 0, 0, 0, 1, 0.5]
    assert (reward, terminated) == (pytest.approx(0), True)
    assert info == {"cost": 7, "optimal_cost": 6, "ratio": 7 / 6, "is_success": True}  # the second half was perfect


def test_what_is_left_is_charged_when_the_steps_run_out_by_hand():
    env = make_env("memrl/Traffic-v0", network=(3, 1), trips=3, congestion=0, slowdown=3, max_steps=2)
    env.reset(seed=0)
    env.step(RIGHT)
    _, reward, terminated, _, info = env.step(RIGHT)  # one trip is made, two are left: two roads each
    assert (reward, terminated) == (pytest.approx(-3 * 4 / 6), True)
    assert info == {"cost": 14, "optimal_cost": 6, "ratio": 14 / 6, "is_success": False}


def test_the_oracle_is_as_good_as_the_best_route_of_every_pattern():
    """Exact: all 4,096 patterns, each with networkx."""
    graph, mean = GRID(3, 3), 1 + P * (SLOWDOWN - 1)
    expected = 0.0
    for pattern in itertools.product((False, True), repeat=graph.number_of_edges()):
        for edge, congested in zip(graph.edges, pattern, strict=True):
            graph.edges[edge]["time"] = SLOWDOWN if congested else 1.0
        congested = sum(pattern)
        best = nx.dijkstra_path_length(graph, (0, 0), (2, 2), weight="time")
        expected += P**congested * (1 - P) ** (len(pattern) - congested) * best
    assert 1 - expected / (4 * mean) == pytest.approx(CARD.optimal_return, abs=1e-4)
    envs = Traffic(64)
    envs.reset(seed=1)
    optimal, total = envs.optimal_cost.copy(), np.zeros(64)
    done = np.zeros(64, bool)
    while not done.all():
        _, rewards, terminated, _, infos = envs.step(envs.oracle())
        total += rewards * ~done
        if terminated.any():
            now = terminated & ~done
            assert infos["final_info"]["is_success"][now].all()
            np.testing.assert_allclose(infos["final_info"]["ratio"][now], 1)
        done |= terminated
    np.testing.assert_allclose(total, 1 - optimal / (4 * mean * TRIPS), atol=1e-9)


def expected_time_with_memory_of_the_trip(graph, start, goal, p, slowdown):
    """Least expected time of one trip for a player who remembers all of it, and may stop where the charge is due.

    By going through all that can be known of the roads (congested, free, not driven), those that know most first; the
    ways between two discoveries are shortest paths.
    """
    free = nx.single_source_dijkstra_path_length(graph, goal)
    roads = list(graph.edges(data="weight", default=1))
    value = {}
    for knowledge in sorted(itertools.product((0, 1, None), repeat=len(roads)), key=lambda known: known.count(None)):
        costs = {name: 0.0 if name == goal else slowdown * free[name] for name in graph}
        for (u, v, length), known in zip(roads, knowledge, strict=True):
            if known is not None:
                continue
            road = roads.index((u, v, length))
            for a, b in ((u, v), (v, u)):
                if a != goal:
                    outcomes = ((p, 1, slowdown), (1 - p, 0, 1))
                    cost = sum(
                        chance * (factor * length + value[(*knowledge[:road], found, *knowledge[road + 1 :]), b])
                        for chance, found, factor in outcomes
                    )
                    costs[a] = min(costs[a], cost)
        for _ in graph:
            for (u, v, length), known in zip(roads, knowledge, strict=True):
                if known is not None:
                    time = length * (slowdown if known else 1)
                    for a, b in ((u, v), (v, u)):
                        costs[a] = min(costs[a], time + costs[b]) if a != goal else 0.0
        value |= {(knowledge, name): cost for name, cost in costs.items()}
    return value[(None,) * len(roads), start]


@pytest.mark.parametrize(
    ("graph", "start", "goal"),
    [
        (GRID(2, 2), (0, 0), (1, 1)),
        (GRID(2, 3), (0, 0), (1, 2)),
        (GRID(2, 3), (0, 1), (1, 2)),
        (town(), "home", "work"),
    ],
)
@pytest.mark.parametrize(("p", "slowdown"), [(P, SLOWDOWN), (0.5, 3.0), (0.05, 50.0)])
def test_nothing_that_is_seen_within_a_trip_makes_that_trip_shorter(graph, start, goal, p, slowdown):
    shortest = nx.dijkstra_path_length(graph, start, goal) * (1 + p * (slowdown - 1))
    assert expected_time_with_memory_of_the_trip(graph, start, goal, p, slowdown) == pytest.approx(shortest)


def test_what_is_seen_when_a_trip_begins_does_not_depend_on_the_pattern():
    envs = Traffic(32, trips=4)
    random = np.random.default_rng(0)
    obs, _ = envs.reset(seed=0)
    seen = {0: {tuple(own) for own in obs.tolist()}, 1: set(), 2: set(), 3: set()}
    for _ in range(300):
        parked = envs.parked.copy()
        actions = np.where(random.random(32) < 0.3, random.integers(4, size=32), envs.oracle())
        obs, *_ = envs.step(actions)
        for copy in np.flatnonzero(parked & (envs.steps > 0)):
            seen[int(envs.trip[copy])].add(tuple(obs[copy].tolist()))
    assert [len(views) for views in seen.values()] == [1, 1, 1, 1]


def triangle():
    graph = nx.Graph()
    graph.add_weighted_edges_from([("A", "B", 1.5), ("A", "C", 1), ("C", "B", 1)])
    return graph


def triangle_episode(pattern, trips, max_steps):
    graph, delay = triangle(), {}
    for (a, b), congested in zip(graph.edges, pattern, strict=True):
        delay[a, b] = delay[b, a] = float(congested)
    stops = ["A", "B", "A", "B"][: trips + 1]
    places, actions = ["A", "B"], graph_actions(graph)
    return Specification(graph, actions, stops, delay, places=places, p=0.4, slowdown=4, max_steps=max_steps)


PATTERNS = {pattern: 0.4 ** sum(pattern) * 0.6 ** (3 - sum(pattern)) for pattern in itertools.product((0, 1), repeat=3)}


def expected_returns(trips, max_steps):
    """A function from a map {observation: probability of action 1} to its exact expected return; and all observations.

    The episodes of the triangle are unrolled once for every pattern: a tree of what is seen, and what each of the two
    actions brings.
    """
    views = {}

    def unroll(pattern, history):
        episode = triangle_episode(pattern, trips, max_steps)
        over, reward = False, 0.0
        for action in history:
            reward, over, _ = episode.step(action)
        if over:
            return reward, None, None
        children = [unroll(pattern, [*history, action]) for action in ([0] if episode.parked else [0, 1])]
        view = None if episode.parked else views.setdefault(tuple(episode.see()), len(views))
        return reward, view, children

    trees = {pattern: unroll(pattern, []) for pattern in PATTERNS}

    def value(tree, policy):
        reward, view, children = tree
        if children is None:
            return reward
        if view is None:
            return reward + value(children[0], policy)
        second = policy[view]
        shares = zip((1 - second, second), children, strict=True)
        return reward + sum(share * value(child, policy) for share, child in shares if share > 0)

    def expected(policy):
        return sum(chance * value(trees[pattern], policy) for pattern, chance in PATTERNS.items())

    return expected, len(views)


@pytest.mark.parametrize(("trips", "max_steps"), [(2, 6), (2, 3), (2, 2), (1, 4)])
def test_no_memoryless_map_is_better_than_the_shortest_way(trips, max_steps):
    """All maps from observation to action on a triangle, and random ones; also where the steps are few."""
    expected, views = expected_returns(trips, max_steps)
    assert views <= 10
    returns = [expected(policy) for policy in itertools.product((0, 1), repeat=views)]
    assert max(returns) <= 1e-12
    if max_steps >= 2 * trips - 1:  # enough for the shortest way
        assert max(returns) == pytest.approx(CARD.memoryless_return, abs=1e-12)
    random = np.random.default_rng(0)
    for _ in range(100):
        assert expected(random.beta(0.5, 0.5, size=views)) <= 1e-12


def test_memory_helps_on_the_same_triangle():
    """So that the test before is not about a network on which there is nothing to gain."""
    gain = 0.0
    for pattern, chance in PATTERNS.items():
        episode = triangle_episode(pattern, 2, 6)
        gain += chance * (1 - sum(episode.best) / episode.scale)
    assert gain > 0.1


def returns_of(envs, choose, episodes):
    """Returns and successes of the first episodes of every copy; `choose` gets observations and where one begins."""
    obs, _ = envs.reset(seed=0)
    rounds, fresh = -(-episodes // envs.num_envs), np.ones(envs.num_envs, bool)
    returns, successes = [[0.0] for _ in fresh], [[] for _ in fresh]
    while any(len(own) <= rounds for own in returns):
        obs, rewards, fresh, _, infos = envs.step(choose(obs, fresh))
        for copy in range(envs.num_envs):
            returns[copy][-1] += rewards[copy]
            if fresh[copy]:
                returns[copy].append(0.0)
                successes[copy].append(infos["final_info"]["is_success"][copy])
    return np.array([own[:rounds] for own in returns]).ravel(), np.array([own[:rounds] for own in successes]).ravel()


def shortest_way(obs, fresh):
    """Right or up to the upper right corner, left or down back."""
    x, back_home = obs[:, :9].argmax(axis=1) // 3, obs[:, 9] > 0
    return np.where(back_home, np.where(x > 0, LEFT, DOWN), np.where(x < 2, RIGHT, UP))


def test_the_shortest_way_earns_what_the_card_says_of_memoryless_players():
    returns, successes = returns_of(Traffic(256), shortest_way, 4096)
    assert abs(returns.mean() - CARD.memoryless_return) < 4 * returns.std() / len(returns) ** 0.5
    assert successes.mean() < 0.2


class Rememberer:
    """Shortest paths with the roads as driven, and as on average elsewhere; it has nothing but observations."""

    def __init__(self):
        self.graph = GRID(3, 3)
        self.actions = grid_actions(self.graph)
        self.begin()

    def begin(self):
        nx.set_edge_attributes(self.graph, 1 + P * (SLOWDOWN - 1), "time")

    def choose(self, obs):
        at = divmod(int(obs[:9].argmax()), 3)
        goal = (0, 0) if obs[9] else (2, 2)
        if obs[11:15].any():
            self.graph.edges[at, self.actions[at][int(obs[11:15].argmax())]]["time"] = 1 + (SLOWDOWN - 1) * obs[15]
        if at == goal:
            return RIGHT  # the car stands
        path = nx.dijkstra_path(self.graph, at, goal, weight="time")
        return self.actions[at].index(path[1])


def test_remembering_closes_most_of_the_gap_between_memoryless_and_all_knowing():
    players = [Rememberer() for _ in range(64)]

    def choose(obs, fresh):
        for player in itertools.compress(players, fresh):
            player.begin()
        return np.array([player.choose(own) for player, own in zip(players, obs, strict=True)])

    returns, successes = returns_of(Traffic(64), choose, 1024)
    best, _ = returns_of(envs := Traffic(64), lambda obs, fresh: envs.oracle(), 1024)  # in the same episodes
    assert (returns <= best + 1e-9).all()
    closed = (returns.mean() - CARD.memoryless_return) / (best.mean() - CARD.memoryless_return)
    assert closed == pytest.approx(0.86, abs=0.02)
    assert successes.mean() > 0.9


def test_random_actions_earn_little_and_never_more_than_the_oracle():
    envs = Traffic(64)
    random = np.random.default_rng(0)
    returns, successes = returns_of(envs, lambda obs, fresh: random.integers(4, size=64), 64)
    assert -5 < returns.mean() < -2
    assert not successes.any()


def test_roads_are_congested_with_the_given_probability_and_level_and_independently():
    envs = Traffic(20_000, network=(2, 2), levels=3, congestion=0.4)
    envs.reset(seed=0)
    assert (envs.delays[:, :4] == envs.delays[:, 4:8]).all()  # both directions alike
    assert (envs.delays[:, 8] == 0).all()
    for level, share in ((0, 0.6), (0.5, 0.2), (1, 0.2)):
        np.testing.assert_allclose((envs.delays[:, :4] == level).mean(axis=0), share, atol=4 * 0.5 / 20_000**0.5)
    correlations = np.corrcoef(envs.delays[:, :4].T) - np.eye(4)
    assert abs(correlations).max() < 0.04
    envs = Traffic(20_000, network=(2, 2), directed=True)
    envs.reset(seed=0)
    assert abs(np.corrcoef(envs.delays[:, :8].T) - np.eye(8)).max() < 0.04


def test_trips_lead_from_place_to_place_with_equal_chances():
    envs = Traffic(5000, places=[(0, 0), (2, 2), (0, 2)], trips=3)
    envs.reset(seed=0)
    assert (envs.stops[:, 0] == 0).all()
    assert (envs.stops[:, 1:] != envs.stops[:, :-1]).all()
    for one, other in itertools.permutations(range(3), 2):
        there = (envs.stops[:, 1] == one).nonzero()[0]
        if len(there):
            assert abs((envs.stops[there, 2] == other).mean() - 0.5) < 4 * 0.5 / len(there) ** 0.5
    envs = Traffic(2, network=(4, 3), places=3)
    assert [envs.roads.names[place] for place in envs.places] == [(0, 0), (3, 2), (0, 2)]  # the last: before (3, 0)


def test_default_steps_are_enough_for_the_best_route_in_the_worst_pattern():
    for keywords in ({}, {"network": 12, "trips": 3}, {"network": town(), "places": ["farm", "work"]}):
        envs = Traffic(200, congestion=0.6, **keywords)
        _, successes = returns_of(envs, lambda obs, fresh, envs=envs: envs.oracle(), 400)
        assert successes.all()
    assert Traffic(1).horizon == CARD.horizon


@pytest.mark.parametrize("count", [2, 3, 30, 200])
def test_random_networks_are_connected_planar_and_drawn_by_their_seed(count):
    roads = Traffic(1, network=count, network_seed=3).roads
    graph = nx.Graph(roads.ends.tolist())
    assert len(graph) == count
    assert nx.is_connected(graph)
    assert nx.check_planarity(graph)[0]
    assert roads.lengths.mean() == pytest.approx(1)
    ways = [roads.positions[ends] for ends in roads.ends]
    for (a, b), (c, d) in itertools.combinations(ways[:60], 2):
        assert not crosses(a, b, c, d)
    again, other = (Traffic(1, network=count, network_seed=seed).roads for seed in (3, 4))
    np.testing.assert_array_equal(again.positions, roads.positions)
    assert not np.array_equal(other.positions, roads.positions)


def crosses(a, b, c, d):
    def side(p, q, r):
        return np.sign((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]))

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


def test_shortest_times_are_those_of_networkx():
    envs = Traffic(40, network=60, places=3, directed=True, levels=5)
    envs.reset(seed=0)
    roads = envs.roads
    for copy in (0, 17, 39):
        graph = nx.DiGraph()
        for lane, (one, other) in enumerate(np.concatenate([roads.ends, roads.ends[:, ::-1]])):
            graph.add_edge(int(one), int(other), weight=envs.times[copy, lane])
        for place, times in zip(envs.places, envs.ways[copy], strict=True):
            wanted = nx.single_source_dijkstra_path_length(graph.reverse(), int(place))
            np.testing.assert_allclose(times, [wanted[crossing] for crossing in range(60)])


def test_a_thousand_crossings_work():
    envs = Traffic(2, network=1000, trips=1)
    obs, _ = envs.reset(seed=0)
    assert obs in envs.observation_space
    while True:
        _, _, terminated, _, infos = envs.step(envs.oracle())
        if terminated.any():
            break
    assert infos["final_info"]["ratio"][terminated] == pytest.approx(1)


def weighted(weight):
    graph = nx.path_graph(3)
    graph.edges[1, 2]["weight"] = weight
    return graph


def with_edge(graph, *edge):
    graph.add_edge(*edge)
    return graph


def with_position(position):
    graph = nx.path_graph(2)
    nx.set_node_attributes(graph, {0: (0, 0), 1: position}, "pos")
    return graph


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"network": nx.Graph()}, "network: 0 crossings given, 2 to 1,000 allowed"),
        ({"network": nx.empty_graph(1)}, "network: 1 crossings given, 2 to 1,000 allowed"),
        ({"network": nx.empty_graph(100_000)}, "network: 100,000 crossings given, 2 to 1,000 allowed"),
        ({"network": (1, 1)}, "network: 1 crossings given"),
        ({"network": (400, 250)}, "network: 100,000 crossings given, 2 to 1,000 allowed"),
        ({"network": 100_000}, "network: 100000 given, at most 1000 allowed"),
        ({"network": 1}, "network: 1 given, a whole number of at least 2"),
        ({"network": nx.Graph([(0, 1), (2, 3)])}, "network: no way leads from 0 to 2"),
        ({"network": nx.empty_graph(2)}, "network: no way leads from 0 to 1"),
        ({"network": with_edge(nx.path_graph(3), 1, 1)}, "network: the road from 1 leads to 1 again"),
        ({"network": with_edge(nx.MultiGraph([(0, 1)]), 1, 0)}, "network: two roads between"),
        ({"network": nx.DiGraph([(0, 1), (1, 0)])}, "network: a DiGraph given"),
        ({"network": nx.star_graph(51)}, "network: 51 roads given at crossing 0, at most 50"),
        *(
            (
                {"network": weighted(weight)},
                "network: weight .* given between 1 and 2, a number from 1e-06 to 1e\\+06 needed",
            )
            for weight in (0, -1, 1e-300, 1e300, math.nan, math.inf, -math.inf, "1", None, True)
        ),
        ({"network": with_position(1)}, "network: a crossing's pos"),
        ({"network": with_position((1, math.nan))}, "network: a crossing's pos"),
        ({"network": (3, 3, 3)}, "network: .* needed"),
        ({"network": (0, 3)}, "network: 0 given"),
        ({"network": (3, 2.5)}, "network: 2.5 given"),
        ({"network": "grid"}, "network: 'grid' given"),
        ({"network": None}, "network: None given"),
        ({"network": True}, "network: True given"),
        ({"network_seed": -1}, "network_seed: -1 given"),
        ({"places": 1}, "places: 1 given"),
        ({"places": 10}, "places: 10 given, at most 9 allowed"),
        ({"places": [(0, 0), (0, 0)]}, "places: .* no two alike"),
        ({"places": [(0, 0)]}, "places: .* at least 2 crossings"),
        ({"places": [(0, 0), (9, 9)]}, r"places: \(9, 9\) given, which is no crossing"),
        ({"trips": 0}, "trips: 0 given"),
        ({"trips": 10**6}, "trips: 1000000 given, at most 10000"),
        ({"congestion": -0.1}, "congestion: -0.1 given, a number from 0 to 1"),
        ({"congestion": math.nan}, "congestion: nan given"),
        ({"congestion": "0.5"}, "congestion: '0.5' given"),
        ({"slowdown": 1}, "slowdown: 1 given"),
        ({"slowdown": math.inf}, "slowdown: inf given, a number from 1 to 1000"),
        ({"levels": 1}, "levels: 1 given"),
        ({"directed": 1}, "directed: 1 given"),
        ({"max_steps": 0}, "max_steps: 0 given"),
    ],
)
def test_hostile_networks_and_bad_keywords_are_named(keywords, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Traffic(1, **keywords)


def test_made_by_id_with_a_graph():
    env = gym.make("memrl/Traffic-v0", network=town(), places=["home", "work"])
    obs, _ = env.reset(seed=0)
    assert obs.shape == (5 + 2 + 4 + 2,)
    assert env.action_space.n == 4  # the roads of the crossing that has most


def test_the_map_shows_what_is_hidden_and_what_was_driven():
    env = make_env("memrl/Traffic-v0", network=(2, 2), render_mode="rgb_array", trips=2)
    env.reset(seed=0)
    copies = env.unwrapped.copies
    copies.delays[0, :] = copies.delays[0, 8] = 0
    copies.delays[0, 0] = copies.delays[0, 4] = 1  # the first road: from (0, 0) to (1, 0), by the order of networkx
    before = env.render().astype(int)
    first, last = copies.roads.ends[0], copies.roads.ends[-1]
    assert [copies.roads.names[crossing] for crossing in first] == [(0, 0), (1, 0)]
    points = {0: (50, 530), 1: (50, 50), 2: (530, 530), 3: (530, 50)}

    def color(picture, ends, share):
        (x, y), (u, v) = (points[end] for end in ends)
        return picture[round(y + share * (v - y)), round(x + share * (u - x))]

    assert color(before, first, 0.3).argmax() == 0  # red
    assert color(before, last, 0.3).argmax() == 1  # green
    env.step(RIGHT)
    after = env.render().astype(int)
    x, y = 190, 530
    width = [(picture[y - 20 : y + 20, x] != picture[y - 20, x]).any(axis=1).sum() for picture in (before, after)]
    assert width[1] > 2 * width[0]  # driven: wider, with an outline
    assert after[540, x].sum() < 120 or after[521, x].sum() < 120
    text = copies.text()
    assert "trip 1 of 2: from (0, 0) to (1, 1), at (1, 0)" in text
    assert text.count(", driven") == 1


@pytest.mark.parametrize("network", [nx.complete_graph(7), town(), 40, (12, 2), 300])
@pytest.mark.parametrize("directed", [False, True])
def test_every_network_can_be_drawn(network, directed):
    env = make_env("memrl/Traffic-v0", network=network, directed=directed, render_mode="rgb_array")
    env.reset(seed=0)
    env.step(0)
    picture = env.render()
    assert picture.shape[2] == 3
    assert max(picture.shape) < 1300
