"""Where the graphs of episodes come from: random ones, or a given one, whole or a random part at a time."""

from itertools import chain
from typing import Protocol

import numpy as np

from ..chance import Chance
from ..vector import Array
from .given import Graph
from .graphs import (
    Graphs,
    edges_of,
    lengths_of,
    longest_walks,
    most_edges,
    planar_graphs,
    scale_of,
    shortest_lengths,
    shuffled,
)


class Source(Protocol):
    """Draws graphs, a row for each episode."""

    size: int  # nodes of the largest graph
    width: int  # edges of the largest graph, or more
    degree: int  # edges that leave a node, at most
    kinds: int  # of edges; 0 where edges have no kinds
    names: tuple[str, ...]  # of given nodes; empty where nodes have no names
    greatest: float  # weight of an edge, at most

    def draw(self, chance: Chance, nodes: Array) -> tuple[Graphs, Array]:
        """Graphs of `size` nodes with their edges in random order, and which given nodes theirs are.

        Args:
            chance: randomness, a row for each graph.
            nodes: how many each graph has, (rows,), at least 2.

        Returns:
            Graphs with `width` columns of edges, and numbers of given nodes (rows, size), -1 for none.
        """

    def longest_route(self, shortest: bool, most: int) -> int:
        """Edges that a route may have: the longest shortest path, or the longest walk, as far as that is known.

        Args:
            shortest: which of both.
            most: how far to look.
        """


class RandomGraphs:
    """Random planar graphs, a `Source`.

    Args:
        size: nodes of the largest.
        degree: see `planar_graphs`.
        weighted: whether edges weigh what they measure in the unit square.
    """

    def __init__(self, size: int, degree: tuple[int, int], weighted: bool = False) -> None:
        self.size, self.width, self.kinds = size, most_edges(size, degree[1]), 0
        self.names: tuple[str, ...] = ()
        self._degree = degree
        # No point has more than 6 neighbours in a minimum spanning tree, and the nearest of the K is one of them.
        self.degree = min(size - 1, degree[1] + 5)
        self._weighted, self.greatest = weighted, 2**0.5

    def draw(self, chance: Chance, nodes: Array) -> tuple[Graphs, Array]:
        """As `Source` has it."""
        graphs = planar_graphs(chance, nodes, self.size, self._degree)
        if self._weighted:
            assert graphs.points is not None
            each = np.arange(len(nodes))[:, None]
            way = graphs.points[each, graphs.source] - graphs.points[each, graphs.target]
            apart = np.hypot(way[..., 0], way[..., 1])
            graphs = graphs._replace(length=lengths_of(apart, scale_of(self.greatest)))
        return graphs, np.full((len(nodes), self.size), -1)

    def longest_route(self, shortest: bool, most: int) -> int:
        """As `Source` has it."""
        return self.size - 1 if shortest else most


class GivenGraphs:
    """A given graph, a `Source`: every time the whole of it, or a random part that holds together.

    Args:
        graph: given.
        most: nodes of the largest part; None: the whole graph every time.
        weighted: whether the weights of edges matter.

    Raises:
        ValueError: no part of the graph that holds together has so many nodes, or edges have no weights.
    """

    def __init__(self, graph: Graph, most: int | None, weighted: bool = False) -> None:
        self.graph, self.names = graph, graph.names
        count = len(graph.names)
        degrees = np.bincount(graph.source, minlength=count)
        self.size, self.width = count if most is None else most, len(graph.source)
        self.degree, self._whole = int(degrees.max()), most is None
        self.kinds = 0 if graph.relation is None else len(graph.relations)
        self.greatest = 0.0
        self._length: Array | None = None
        if weighted:
            if graph.weight is None:
                raise ValueError("weighted: True given, but the edges of the graph have no weights")
            self.greatest = float(graph.weight.max())
            self._length = lengths_of(graph.weight, scale_of(self.greatest))
        if self._whole:
            return
        parallel = np.unique(graph.source * count + graph.target, return_counts=True)[1].max()
        self.degree = int(min(self.degree, (self.size - 1) * parallel))
        self.width = int(min(np.sort(degrees)[-self.size :].sum(), self.size * (self.size - 1) * parallel))
        self._first, self._leaving = _grouped(graph.source, count)
        ends = np.concatenate([graph.source, graph.target]), np.concatenate([graph.target, graph.source])
        self._first_near, order = _grouped(ends[0], count)
        self._near = ends[1][order]
        self._starts = _in_large_components(graph, self.size)
        self._column = np.full(count, -1)  # scratch: where nodes of the graph are in the part

    def draw(self, chance: Chance, nodes: Array) -> tuple[Graphs, Array]:
        """As `Source` has it; the whole graph whatever `nodes` says, if it is to be the whole."""
        edges, members, graphs = self._all(len(nodes)) if self._whole else self._parts(chance, nodes)
        if self._length is not None:
            graphs = graphs._replace(length=self._length[edges])
        if self.graph.relation is not None:
            graphs = graphs._replace(relation=np.where(edges < 0, -1, self.graph.relation[edges]))
        if self.graph.points is not None:
            graphs = graphs._replace(points=self.graph.points[members])
        return shuffled(chance, graphs, self.width), members

    def longest_route(self, shortest: bool, most: int) -> int:
        """As `Source` has it; parts differ, so there only their size counts."""
        if not self._whole:
            return self.size - 1 if shortest else most
        edges, members, graphs = self._all(1)
        if not shortest:
            return int(longest_walks(graphs, most).max())
        length = None if self._length is None else self._length[edges]
        return int(edges_of(shortest_lengths(graphs._replace(length=length), members, most)).max())

    def _all(self, rows: int) -> tuple[Array, Array, Graphs]:
        """Which edges and nodes of the given graph they are, and the graphs: here all of them."""
        edges = np.broadcast_to(np.arange(self.width), (rows, self.width))
        members = np.broadcast_to(np.arange(self.size), (rows, self.size))
        return edges, members, Graphs(self.size, self.graph.source[edges], self.graph.target[edges])

    def _parts(self, chance: Chance, nodes: Array) -> tuple[Array, Array, Graphs]:
        """The same for random parts."""
        edges, members = np.full((len(nodes), self.width), -1), np.full((len(nodes), self.size), -1)
        source, target = edges.copy(), edges.copy()
        for row, (random, count) in enumerate(zip(chance.generators(), nodes.tolist(), strict=True)):
            part = self._part(random, count)
            self._column[part] = np.arange(count)
            leaving = np.concatenate([self._leaving[self._first[node] : self._first[node + 1]] for node in part])
            inside = leaving[self._column[self.graph.target[leaving]] >= 0]
            members[row, :count], edges[row, : len(inside)] = part, inside
            source[row, : len(inside)] = self._column[self.graph.source[inside]]
            target[row, : len(inside)] = self._column[self.graph.target[inside]]
            self._column[part] = -1
        return edges, members, Graphs(self.size, source, target)

    def _part(self, random: np.random.Generator, count: int) -> list[int]:
        """Nodes that hold together: from a random one on, random neighbours of those that are in already."""
        node = int(self._starts[random.integers(len(self._starts))])
        part, inside, around = [node], {node}, list[int]()
        while len(part) < count:
            around.extend(self._near[self._first_near[node] : self._first_near[node + 1]].tolist())
            while node in inside:
                place = int(random.random() * len(around))
                node, around[place] = around[place], around[-1]
                around.pop()
            part.append(node)
            inside.add(node)
        return part


def check_source(source: Source, mode: str, digits: int, hops: int) -> None:
    """Refuse graphs that labels of so many digits do not suffice for, and routes that no graph has.

    Raises:
        ValueError: too few digits or too many hops, by the name of the keyword.
    """
    labels = 10**digits
    apart = f"digits: {digits} given, which tell {labels} labels apart, but"
    if source.size > labels:
        hint = "; nodes=... takes parts of it" if source.names else ""
        raise ValueError(f"{apart} there are {source.size} nodes{hint}")
    shared = mode == "inference" and source.kinds > 0  # labels belong to kinds of edges, not to edges
    if shared and source.kinds > labels:
        raise ValueError(f"{apart} there are {source.kinds} relations")
    if not shared and source.degree > labels:
        raise ValueError(f"{apart} {source.degree} edges leave one node")
    longest = source.longest_route(mode == "shortest_path", hops)
    if hops > longest:
        raise ValueError(f"hops: {hops} given, but the longest route is {longest} for mode {mode!r}")


def _grouped(keys: Array, count: int) -> tuple[Array, Array]:
    """Where the numbers of each key begin, (count + 1,), in the numbers of all keys, (len(keys),)."""
    first = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(keys, minlength=count), out=first[1:])
    return first, np.argsort(keys, kind="stable")


def _in_large_components(graph: Graph, least: int) -> Array:
    """Nodes that hold together with others so that they are at least so many."""
    import networkx as nx  # loads when a part of a given graph is first asked for

    joined = nx.Graph(zip(graph.source.tolist(), graph.target.tolist(), strict=True))
    components = list(nx.connected_components(joined))
    large = sorted(chain.from_iterable(component for component in components if len(component) >= least))
    if not large:
        most = max(map(len, components))
        raise ValueError(f"nodes: {least} given, but the largest part of the graph that holds together has {most}")
    return np.array(large)
