"""One given graph, from networkx or a list of edges, checked edge by edge."""

from collections.abc import Iterable
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from ..vector import Array


class Graph(NamedTuple):
    """One directed graph of N named nodes and E edges."""

    names: tuple[str, ...]  # of the nodes
    source: Array  # node from which each edge leads, (E,)
    target: Array  # node to which it leads, (E,)
    relation: Array | None  # kind of each edge, (E,), where edges have kinds
    relations: tuple[str, ...]  # names of the kinds
    weight: Array | None  # length or duration of each edge, (E,), where edges have one
    points: Array | None  # where the nodes lie in the unit square, (N, 2), where they lie anywhere


class Builder:
    """Puts a graph together edge by edge, and says which edge is impossible.

    Args:
        names: of nodes, by whatever edges call them; a name that is missing here is what the edges say.
    """

    def __init__(self, names: dict[Any, str] | None = None) -> None:
        self._names = names or {}
        self._nodes: dict[Any, int] = {}
        self._relations: dict[Any, int] = {}
        self._edges: dict[tuple[int, int, int], str] = {}  # source, target, relation: where it was read
        self._weights: list[float] = []

    def add(self, place: str, source: Any, target: Any, relation: Any = None, weight: Any = None) -> None:
        """Add an edge.

        Args:
            place: where it was read, for messages.
            source: node from which it leads.
            target: node to which it leads.
            relation: kind of edge; all edges have one, or none has.
            weight: at least 0; all edges have one, or none has.

        Raises:
            ValueError: self-loop, the same edge again, not a weight, or only some edges have a kind or a weight.
        """
        if source == target:
            raise ValueError(f"{place}: an edge from {source!r} to itself")
        first = not self._edges
        if not first and ((relation is None) != (not self._relations) or (weight is None) != (not self._weights)):
            raise ValueError(f"{place}: other edges have a relation or a weight that this one lacks, or lack it")
        if weight is not None:
            self._weights.append(_weight(place, weight))
        nodes = [self._nodes.setdefault(node, len(self._nodes)) for node in (source, target)]
        kind = -1 if relation is None else self._relations.setdefault(relation, len(self._relations))
        edge = (nodes[0], nodes[1], kind)
        if edge in self._edges:
            raise ValueError(f"{place}: the same edge as in {self._edges[edge]}, from {source!r} to {target!r}")
        self._edges[edge] = place

    def graph(self, what: str, points: dict[Any, tuple[float, float]] | None = None) -> Graph:
        """The graph of all edges that were added.

        Args:
            what: is being built, for messages.
            points: where nodes lie, in any unit of length; stretched to the unit square.

        Raises:
            ValueError: there are no edges.
        """
        if not self._edges:
            raise ValueError(f"{what}: a graph with an edge needed, but it has none")
        edges = np.array(list(self._edges), np.int64)
        return Graph(
            tuple(self._names.get(node, str(node)) for node in self._nodes),
            edges[:, 0],
            edges[:, 1],
            edges[:, 2] if self._relations else None,
            tuple(map(str, self._relations)),
            np.array(self._weights) if self._weights else None,
            _unit_square(np.array([points[node] for node in self._nodes], float)) if points else None,
        )


def graph_of(edges: Any) -> Graph:
    """A graph from networkx, or from edges (source, target) or (source, relation, target).

    Edges of an undirected networkx graph lead both ways; their attributes "relation" and "weight" are kept. Nodes
    without edges are left out.

    Raises:
        ValueError: neither of both, no edges, a self-loop, an edge twice, or a weight that is negative or not finite.
    """
    build = Builder()
    if hasattr(edges, "is_directed") and hasattr(edges, "edges"):
        for source, target, data in edges.edges(data=True):
            ways = [(source, target)] if edges.is_directed() else [(source, target), (target, source)]
            for way in ways:
                build.add(f"graph: edge {way}", *way, data.get("relation"), data.get("weight"))
        return build.graph("graph")
    if not isinstance(edges, Iterable) or isinstance(edges, str | bytes | dict):
        raise ValueError(f"graph: {type(edges).__name__} given, a networkx graph or a list of edges needed")
    for number, edge in enumerate(edges):
        place = f"graph: edge {number}"
        if not isinstance(edge, tuple | list | np.ndarray) or len(edge) not in (2, 3):
            raise ValueError(f"{place}: {edge!r} given, (source, target) or (source, relation, target) needed")
        source, target = (end.item() if isinstance(end, np.generic) else end for end in (edge[0], edge[-1]))
        try:
            build.add(place, source, target, edge[1] if len(edge) == 3 else None)
        except TypeError:
            raise ValueError(f"{place}: {edge!r} given, but nodes and relations must be hashable") from None
    return build.graph("graph")


def _weight(place: str, weight: Any) -> float:
    try:
        value = float(weight)
    except (TypeError, ValueError):
        value = float("nan")
    if not (isfinite(value) and value >= 0):
        raise ValueError(f"{place}: weight {weight!r}, a finite number of at least 0 needed")
    return value


def _unit_square(points: Array) -> Array:
    """Points shifted and stretched, alike in both directions, so that they just fit into the unit square."""
    low, high = points.min(axis=0), points.max(axis=0)
    middle, extent = (low + high) / 2, max((high - low).max(), 1e-12)
    return np.asarray((points - middle) / extent + 0.5)
