"""Road networks as arrays: crossings, the roads that leave them, and shortest times for many rows of road times."""

from collections.abc import Hashable
from typing import Any

import networkx as nx
import numpy as np

from ..vector import Array, whole_number

RIGHT, UP, LEFT, DOWN = range(4)
_COMPASS = {(1, 0): RIGHT, (0, 1): UP, (-1, 0): LEFT, (0, -1): DOWN}

MOST_CROSSINGS, MOST_AT_ONE, SHORTEST, LONGEST = 1_000, 50, 1e-6, 1e6
_AT_ONCE = 1 << 22  # numbers held in memory at a time while ways are searched


class Roads:
    """A connected network of C crossings, joined by R roads that can be driven both ways.

    Crossings and roads are numbered; road r is lane r from its first to its second end and lane R + r from its second
    to its first. At each crossing up to A roads are to choose from: on a grid, right, up, left and down; on other
    networks, the roads to its neighbours in the order of the graph's nodes.

    Args:
        network: (columns, rows) of a grid whose roads have length 1; or a number of crossings at random points of the
            plane, not too near to each other, joined where no third one lies in the circle over the road (a Gabriel
            graph: connected, and no two roads cross), with a mean length of 1; or a networkx.Graph, whose edges may
            have a "weight" (length, by default 1) and whose nodes may have a "pos" (x, y) to be drawn at.
        seed: of the random points.

    Raises:
        ValueError: `network` is none of these, has fewer than 2 or more than 1,000 crossings or more than 50 roads at
            one crossing, is not connected, has a loop, two roads between the same crossings, a length that is not a
            number from 1e-6 to 1e6, or a "pos" that is not (x, y); or `seed` is not a whole number of at least 0.
    """

    def __init__(self, network: Any, seed: int = 0) -> None:
        seed = whole_number("network_seed", seed, least=0)
        self.grid = isinstance(network, tuple | list)
        if self.grid:
            graph = _grid(network)
        elif isinstance(network, int | np.integer) and not isinstance(network, bool):
            graph = _gabriel(whole_number("network", network, least=2, most=MOST_CROSSINGS), seed)
        elif isinstance(network, nx.Graph):
            graph = network
        else:
            raise ValueError(f"network: {network!r} given, (columns, rows), a whole number or a networkx.Graph needed")
        self.names: list[Hashable] = list(graph.nodes)
        self._numbers = {name: number for number, name in enumerate(self.names)}
        self.ends, self.lengths = self._checked(graph)  # crossings, (R, 2), and (R,)
        self.positions = self._placed([position for _, position in graph.nodes(data="pos")])  # (C, 2), if known
        self._tables()

    def __len__(self) -> int:
        return len(self.names)

    def number(self, name: Any) -> int:
        """Which crossing has a name.

        Raises:
            ValueError: none has.
        """
        name = tuple(name) if isinstance(name, list) else name
        if name not in self._numbers:
            raise ValueError(f"places: {name!r} given, which is no crossing of the network")
        return self._numbers[name]

    def shortest_times(self, goals: Array, times: Array) -> Array:
        """Shortest times from all crossings to some, by Bellman & Ford, for k rows. Shape (k, goals, C).

        Args:
            goals: crossings.
            times: to drive each lane, and to wait, all positive. Shape (k, 2 R + 1).
        """
        some = max(1, _AT_ONCE // (self.leads_to.size * len(goals)))
        parts = [self._shortest_times(goals, times[first : first + some]) for first in range(0, len(times), some)]
        return np.concatenate(parts)

    def _shortest_times(self, goals: Array, times: Array) -> Array:
        # Rows last, so that the inner loops of NumPy are long.
        nearest = np.full((len(self), len(goals), len(times)), np.inf)
        nearest[goals, np.arange(len(goals))] = 0.0
        onward = self.leads_to.T
        step = times.T[self.lanes.T][:, :, None]
        while True:
            nearer = (step + nearest[onward]).min(axis=0)
            np.minimum(nearer, nearest, out=nearer)
            if (nearer == nearest).all():
                return nearest.transpose(2, 1, 0)
            nearest = nearer

    def _checked(self, graph: Any) -> tuple[Array, Array]:
        count = len(graph)
        if not 2 <= count <= MOST_CROSSINGS:
            raise ValueError(f"network: {count:,} crossings given, 2 to {MOST_CROSSINGS:,} allowed")
        if graph.is_directed():
            raise ValueError(
                f"network: a {type(graph).__name__} given, but roads lead both ways; networkx.Graph needed"
            )
        ends, lengths, seen = [], [], set()
        for one, other, length in graph.edges(data="weight", default=1.0):
            if one == other:
                raise ValueError(f"network: the road from {one!r} leads to {other!r} again; no loops allowed")
            if frozenset((one, other)) in seen:
                raise ValueError(f"network: two roads between {one!r} and {other!r} given, one allowed")
            number = isinstance(length, int | float | np.number) and not isinstance(length, bool)
            if not number or not SHORTEST <= length <= LONGEST:  # which also refuses what is not finite
                raise ValueError(
                    f"network: weight {length!r} given between {one!r} and {other!r}, "
                    f"a number from {SHORTEST:g} to {LONGEST:g} needed"
                )
            seen.add(frozenset((one, other)))
            ends.append((self._numbers[one], self._numbers[other]))
            lengths.append(float(length))
        if not nx.is_connected(graph):
            reached = nx.node_connected_component(graph, self.names[0])
            cut_off = next(name for name in self.names if name not in reached)
            raise ValueError(f"network: no way leads from {self.names[0]!r} to {cut_off!r}; all must be connected")
        busiest, most = max(graph.degree, key=lambda pair: pair[1])
        if most > MOST_AT_ONE:
            raise ValueError(f"network: {most} roads given at crossing {busiest!r}, at most {MOST_AT_ONE} allowed")
        return np.array(ends), np.array(lengths)

    def _placed(self, positions: list[Any]) -> Array | None:
        if any(position is None for position in positions):
            return None
        try:
            placed = np.array(positions, np.float64)
        except (TypeError, ValueError):
            placed = np.empty(0)
        if placed.shape != (len(self), 2) or not np.isfinite(placed).all():
            raise ValueError("network: a crossing's pos is not (x, y), two finite numbers")
        return placed

    def _tables(self) -> None:
        """What each action leads to at each crossing, (C, A); one that leads along no road stays where it is."""
        leaving: list[list[tuple[int, int]]] = [[] for _ in self.names]  # (crossing, lane) at each crossing
        for road, (one, other) in enumerate(self.ends):
            leaving[one].append((other, road))
            leaving[other].append((one, road + len(self.ends)))  # the same road, the other way
        self.max_roads = 4 if self.grid else max(map(len, leaving))
        self.no_lane = 2 * len(self.ends)
        self.leads_to = np.repeat(np.arange(len(self))[:, None], self.max_roads, axis=1)
        self.lanes = np.full(self.leads_to.shape, self.no_lane)
        for crossing, roads in enumerate(leaving):
            for action, (other, lane) in enumerate(sorted(roads)):
                if self.grid:
                    action = self._compass(crossing, other)
                self.leads_to[crossing, action], self.lanes[crossing, action] = other, lane
        # The action that leads back after each, -1 after one that leads nowhere.
        self.back = np.full(self.leads_to.shape, -1)
        action_of = {int(lane): action for (_, action), lane in np.ndenumerate(self.lanes)}
        for place, lane in np.ndenumerate(self.lanes):
            if lane != self.no_lane:
                self.back[place] = action_of[(int(lane) + len(self.ends)) % self.no_lane]

    def _compass(self, crossing: int, other: int) -> int:
        assert self.positions is not None  # a grid has them
        x, y = self.positions[other] - self.positions[crossing]
        return _COMPASS[int(x), int(y)]


def _grid(size: Any) -> Any:
    if len(size) != 2:
        raise ValueError(f"network: {size!r} given, (columns, rows) needed")
    columns, rows = (whole_number("network", number, least=1, most=MOST_CROSSINGS) for number in size)
    if columns * rows > MOST_CROSSINGS:
        raise ValueError(f"network: {columns * rows:,} crossings given, 2 to {MOST_CROSSINGS:,} allowed")
    graph = nx.grid_2d_graph(columns, rows)
    nx.set_node_attributes(graph, {name: name for name in graph}, "pos")
    return graph


def _gabriel(count: int, seed: int) -> Any:
    points = _spread_points(count, np.random.default_rng(seed))
    squares = ((points[:, None] - points) ** 2).sum(axis=2)
    np.fill_diagonal(squares, np.inf)  # no point lies in a circle over itself
    pairs = [
        (one, one + 1 + int(gap))
        for one in range(count)
        for gap in np.flatnonzero((squares[one] + squares[one + 1 :] >= squares[one, one + 1 :, None]).all(axis=1))
    ]
    mean = np.mean([squares[pair] ** 0.5 for pair in pairs])
    graph = nx.Graph()
    graph.add_nodes_from((number, {"pos": tuple(point)}) for number, point in enumerate(points))
    graph.add_weighted_edges_from((*pair, squares[pair] ** 0.5 / mean) for pair in pairs)
    return graph


def _spread_points(count: int, random: np.random.Generator) -> Array:
    """Random points (count, 2) of the unit square: each is the one of ten that is farthest from all before."""
    points = random.random((count, 2))
    for number in range(1, count):
        candidates = random.random((10, 2))
        gaps = ((candidates[:, None] - points[:number]) ** 2).sum(axis=2).min(axis=1)
        points[number] = candidates[gaps.argmax()]
    return points
