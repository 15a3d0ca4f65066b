"""Random graphs in the plane, labels, walks and distances: pure array code over many graphs at once."""

from typing import NamedTuple

import numpy as np

from ..chance import Chance
from ..vector import Array

_AT_ONCE = 1 << 22  # distances between nodes held in memory at a time
_STARTS = 16  # tried at a time
_EDGE_BITS = 11  # of a route's length count its edges, 1,000 at most; those above, its weight


class Graphs(NamedTuple):
    """Directed graphs, one in each row, with nodes 0, 1, ... below `size`, which is the same for all rows.

    A row's edges come first, in any order; behind them `source`, `target` and `relation` are -1.

    Lengths are whole numbers, so that routes can be equally long: the weights of the edges, then, as lower digits, how
    many edges there are. So of routes with the same weight those with fewest edges are shortest, and none goes in
    circles where edges weigh nothing.
    """

    size: int
    source: Array  # node from which each edge leads, (rows, E)
    target: Array  # node to which it leads, (rows, E)
    relation: Array | None = None  # kind of each edge, (rows, E), where edges have kinds
    points: Array | None = None  # where the nodes lie in the unit square, (rows, size, 2), where they lie anywhere
    length: Array | None = None  # of each edge by `lengths_of`, (rows, E), where weights matter


def planar_graphs(chance: Chance, nodes: Array, size: int, degree: tuple[int, int] = (1, 3)) -> Graphs:
    """Random planar graphs in which every node can be reached from every other.

    As in the DNC paper (Graves et al. 2016), nodes are random points of the unit square, and edges lead from each node
    to its K nearest neighbours, with K drawn for each node. Two things are added. Those of the K edges are left out
    that have a node in the circle over them: Gabriel graphs are planar, so no two edges cross. And the edges of the
    minimum spanning tree, which is part of the Gabriel graph, lead both ways, so that the graph holds together.

    Args:
        chance: randomness, a row for each graph.
        nodes: how many each graph has, (rows,), at least 2.
        size: at least the largest of `nodes`; the same `size` gives a row the same graph, whatever the others are.
        degree: least and greatest K, at least 1.

    Returns:
        Graphs with their edges in random order, in `most_edges(size, degree)` columns.
    """
    low, high = degree
    points = chance.uniform(size, 2)
    x, y = points[..., 0].copy(), points[..., 1].copy()
    wanted = low + chance.integers(high - low + 1, size)
    exists = np.arange(size) < nodes[:, None]
    parent = _spanning_trees(x, y, exists)
    near, gaps = _nearest(x, y, exists, min(high, size - 1))
    rows, node = np.arange(len(nodes))[:, None, None], np.arange(size)
    # b is in the circle over the edge from i to a where |ib|² + |ba|² < |ia|²; such a b is nearer to i than a.
    xs, ys = x[rows, near], y[rows, near]
    between = (xs[:, :, :, None] - xs[:, :, None]) ** 2 + (ys[:, :, :, None] - ys[:, :, None]) ** 2
    empty = ~(gaps[:, :, None] + between < gaps[:, :, :, None]).any(axis=3)
    in_tree = (near == parent[:, :, None]) | (parent[rows, near] == node[:, None])
    kept = empty & ~in_tree & (np.arange(near.shape[2]) < wanted[:, :, None]) & np.isfinite(gaps)

    count = len(nodes)
    child, from_near = np.broadcast_to(node, (count, size)), np.broadcast_to(node[:, None], near.shape)
    used = np.concatenate([parent >= 0, parent >= 0, kept.reshape(count, -1)], axis=1)
    source = np.concatenate([child, parent, from_near.reshape(count, -1)], axis=1)
    target = np.concatenate([parent, child, near.reshape(count, -1)], axis=1)
    graphs = Graphs(size, np.where(used, source, -1), np.where(used, target, -1), None, points)
    return shuffled(chance, graphs, most_edges(size, high))


def most_edges(size: int, degree: int) -> int:
    """How many edges a graph of `planar_graphs` has at most: the nearest of the K neighbours is one in the tree.

    >>> most_edges(6, 3)
    22
    """
    return min(2 * (size - 1) + size * (min(degree, size - 1) - 1), size * (size - 1))


def shuffled(chance: Chance, graphs: Graphs, width: int) -> Graphs:
    """The same graphs with their edges in random order, the first of `width` columns; edges may lie anywhere before."""
    keys = np.where(graphs.source >= 0, chance.uniform(graphs.source.shape[1]), 2.0)
    order = (np.arange(len(keys))[:, None], np.argsort(keys, axis=1)[:, :width])
    relation, length = (None if part is None else part[order] for part in (graphs.relation, graphs.length))
    return graphs._replace(source=graphs.source[order], target=graphs.target[order], relation=relation, length=length)


def node_labels(chance: Chance, size: int, labels: int) -> Array:
    """A label of [0, labels) for each node, no two alike. Shape (rows, size)."""
    if labels < 4 * size:
        return chance.permutation(labels)[:, :size]
    return _distinct(chance, np.zeros((len(chance), size), np.int64), labels)


def edge_labels(chance: Chance, graphs: Graphs, labels: int) -> Array:
    """A label of [0, labels) for each edge, no two alike among those that leave the same node. Shape (rows, E).

    Raises:
        ValueError: more edges leave a node than there are labels.
    """
    if (degree := out_degree(graphs)) > labels:
        raise ValueError(f"labels: {labels} given, but {degree} edges leave one node")
    return _distinct(chance, graphs.source, labels)


def out_degree(graphs: Graphs) -> int:
    """How many edges leave the node that most edges leave."""
    places = graphs.source + graphs.size * np.arange(len(graphs.source))[:, None]
    return int(np.bincount(places[graphs.source >= 0]).max(initial=0))


def distances(graphs: Graphs, starts: Array, most: int) -> Array:
    """Edges on the shortest paths from nodes, by breadth-first search; -1 where it finds none of at most `most`.

    Args:
        graphs: (rows).
        starts: nodes, (rows, S).
        most: how far to look.

    Returns:
        Whole numbers, (rows, S, size).
    """
    rows, columns = np.ogrid[: len(starts), : starts.shape[1]]
    found = np.full((*starts.shape, graphs.size), -1, np.int16 if most < 1 << 15 else np.int64)
    found[rows, columns, starts] = 0
    used = (graphs.source >= 0)[:, None]
    for length in range(1, most + 1):
        leaving = np.take_along_axis(found, graphs.source[:, None], axis=2) == length - 1
        row, column, edge = np.nonzero(leaving & used)
        target = graphs.target[row, edge]
        new = found[row, column, target] < 0
        if not new.any():
            break
        found[row[new], column[new], target[new]] = length
    return found


def scale_of(greatest: float) -> float:
    """What a unit of weight makes in lengths, if that is the greatest weight: a power of ten, for nine digits.

    So sums of decimal weights that are equal stay equal, as 0.1 + 0.2 and 0.3.
    """
    return float(10.0 ** (8 - np.floor(np.log10(greatest)))) if greatest > 0 else 1.0


def lengths_of(weights: Array, scale: float) -> Array:
    """Lengths of edges.

    >>> lengths_of(np.array([0.1, 0.2]), scale_of(0.3)).sum() - lengths_of(np.array(0.3), scale_of(0.3))  # an edge more
    np.int64(1)
    """
    return np.asarray((np.rint(weights * scale).astype(np.int64) << _EDGE_BITS) + 1)


def weights_of(lengths: Array, scale: float) -> Array:
    """Weights of routes of these lengths."""
    return np.asarray((lengths >> _EDGE_BITS) / scale)


def edges_of(lengths: Array) -> Array:
    """How many edges routes of these lengths have, -1 where there is no route."""
    return np.where(lengths < 0, -1, lengths & ((1 << _EDGE_BITS) - 1))


def shortest_lengths(graphs: Graphs, starts: Array, most: int) -> Array:
    """Lengths of the shortest routes from nodes, in edges where edges have no weights.

    Args:
        graphs: (rows).
        starts: nodes, (rows, S).
        most: how many edges to look far; with weights, to the end.

    Returns:
        Whole numbers, -1 where no route is found, (rows, S, size).
    """
    if graphs.length is None:
        return distances(graphs, starts, most)
    rows, columns = np.ogrid[: len(starts), : starts.shape[1]]
    far = np.iinfo(np.int64).max // 2
    found = np.full((*starts.shape, graphs.size), far)
    found[rows, columns, starts] = 0
    row, edge = np.nonzero(graphs.source >= 0)
    source, target, length = (part[row, edge] for part in (graphs.source, graphs.target, graphs.length))
    for _ in range(graphs.size - 1):  # Bellman & Ford
        before = found.copy()
        for column in range(starts.shape[1]):
            np.minimum.at(found[:, column], (row, target), before[row, column, source] + length)
        if (found == before).all():
            break
    return np.where(found >= far, -1, found)


def longest_walks(graphs: Graphs, most: int) -> Array:
    """Edges of the longest walk from each node, `most` where it is longer; nodes may come twice. Shape (rows, size)."""
    rows, used = np.arange(len(graphs.source))[:, None], graphs.source >= 0
    longest = np.zeros((len(rows), graphs.size), np.int64)
    row, edge = np.nonzero(used)
    longest[row, graphs.source[row, edge]] = 1
    if longest[row, graphs.target[row, edge]].all():  # no dead end anywhere, as in `planar_graphs`
        return longest * most
    for length in range(2, most + 1):
        row, edge = np.nonzero(used & (longest[rows, graphs.target] == length - 1))
        if not len(row):
            break
        longest[row, graphs.source[row, edge]] = length
    return longest


def random_walks(chance: Chance, graphs: Graphs, hops: Array, most: int) -> tuple[Array, Array, Array]:
    """Walks along random edges; a walk may pass a node twice.

    Args:
        chance: randomness, a row for each graph.
        graphs: with an edge at least.
        hops: how many edges each walk is to have, (rows,), at least 1; fewer where the graph has no walk so long.
        most: at least the largest of `hops`.

    Returns:
        nodes: in the order in which they are reached, the start first, -1 behind the last, (rows, most + 1).
        edges: the columns of `graphs` that lead there, -1 behind the last, (rows, most).
        hops: edges of each walk, (rows,).
    """
    each = np.arange(len(hops))
    left = longest_walks(graphs, most)
    hops = np.minimum(hops, left.max(axis=1))
    at = np.where(left >= hops[:, None], chance.uniform(graphs.size), -1.0).argmax(axis=1)
    nodes, edges = np.full((len(hops), most + 1), -1), np.full((len(hops), most), -1)
    nodes[:, 0] = at
    for step in range(most):
        rest = hops - step - 1  # still to be walked from the next node
        on = (graphs.source == at[:, None]) & (left[each[:, None], graphs.target] >= rest[:, None])
        edge = np.where(on, chance.uniform(on.shape[1]), -1.0).argmax(axis=1)
        walking = rest >= 0
        at = np.where(walking, graphs.target[each, edge], at)
        nodes[:, step + 1], edges[:, step] = np.where(walking, at, -1), np.where(walking, edge, -1)
    return nodes, edges, hops


def distant_pairs(chance: Chance, graphs: Graphs, hops: Array, most: int) -> tuple[Array, Array, Array]:
    """A random start and a random goal at a given distance from it.

    Args:
        chance: randomness, a row for each graph.
        graphs: with an edge at least.
        hops: edges of a shortest route, (rows,), at least 1; less where no two nodes of the graph are so far apart.
        most: at least the largest of `hops`.

    Returns:
        start, goal and distance, (rows,) each.
    """
    each, size = np.arange(len(hops)), graphs.size
    starts = np.argsort(chance.uniform(size), axis=1)
    start, reached = starts[:, 0].copy(), np.zeros(len(hops), np.int64)
    lengths = np.full((len(hops), size), -1)  # from the start
    rows = each
    for first in range(0, size, _STARTS):  # mostly one of the first will do
        length = None if graphs.length is None else graphs.length[rows]
        some = Graphs(size, graphs.source[rows], graphs.target[rows], length=length)
        found = edges_of(shortest_lengths(some, starts[rows, first : first + _STARTS], most))
        reach = np.minimum(found.max(axis=2), hops[rows, None])  # the nodes on a shortest route are all nearer ones
        best = reach.argmax(axis=1)
        reach = reach[each[: len(rows)], best]
        better = reach > reached[rows]
        better_rows = rows[better]
        start[better_rows] = starts[better_rows, first + best[better]]
        lengths[better_rows] = found[better, best[better]]
        reached[better_rows] = reach[better]
        rows = rows[reached[rows] < hops[rows]]
        if not len(rows):
            break
    there = lengths == reached[:, None]
    return start, np.where(there, chance.uniform(size), -1.0).argmax(axis=1), reached


def related(graphs: Graphs, start: Array, relations: Array, hops: Array) -> Array:
    """Nodes to which a sequence of relations leads, whichever of several edges of the same kind is taken.

    Args:
        graphs: with kinds of edges.
        start: nodes, (rows,).
        relations: kinds in the order in which they are followed, (rows, H).
        hops: how many of them count, (rows,), at most H.

    Returns:
        bool, (rows, size).
    """
    assert graphs.relation is not None
    rows = np.arange(len(start))
    reached = np.zeros((len(start), graphs.size), bool)
    reached[rows, start] = True
    for step in range(relations.shape[1]):
        going = step < hops
        follows = (graphs.relation == relations[:, step, None]) & (graphs.source >= 0) & going[:, None]
        row, edge = np.nonzero(follows & reached[rows[:, None], graphs.source])
        reached[going] = False
        reached[row, graphs.target[row, edge]] = True
    return reached


def _spanning_trees(x: Array, y: Array, exists: Array) -> Array:
    """Parent of each node in the minimum spanning tree of a row's points, -1 for the root, by Prim 1957."""
    rows, size = np.arange(len(x)), x.shape[1]
    outside = exists.copy()
    outside[:, 0] = False
    parent = np.where(outside, 0, -1)
    gaps = np.where(outside, (x - x[:, :1]) ** 2 + (y - y[:, :1]) ** 2, np.inf)  # from the tree
    for _ in range(size - 1):
        new = gaps.argmin(axis=1)
        outside[rows, new] = False
        there = (x - x[rows, new, None]) ** 2 + (y - y[rows, new, None]) ** 2
        nearer = outside & (there < gaps)
        np.copyto(parent, new[:, None], where=nearer)
        np.copyto(gaps, there, where=nearer)
        gaps[rows, new] = np.inf
    return parent


def _nearest(x: Array, y: Array, exists: Array, count: int) -> tuple[Array, Array]:
    """The nearest other nodes of each, and the squares of their distances, inf beyond the last. (rows, size, count)."""
    rows, size = x.shape
    near, gaps = np.empty((rows, size, count), np.int64), np.empty((rows, size, count))
    some = max(1, _AT_ONCE // size**2)
    itself = np.arange(size)
    for first in range(0, rows, some):
        part = slice(first, first + some)
        squares = (x[part, :, None] - x[part, None]) ** 2 + (y[part, :, None] - y[part, None]) ** 2
        squares[:, itself, itself] = np.inf
        np.copyto(squares, np.inf, where=~(exists[part, :, None] & exists[part, None]))
        near[part] = np.argsort(squares, axis=2)[:, :, :count]
        gaps[part] = np.take_along_axis(squares, near[part], axis=2)
    return near, gaps


def _distinct(chance: Chance, groups: Array, labels: int) -> Array:
    """A label of [0, labels) for each member of a group, no two alike in a group; group -1 does not matter."""
    own = Chance(chance.bits())  # how often numbers are drawn again for one row must not change what others draw
    rows, width = np.arange(len(groups))[:, None], groups.shape[1]
    drawn = own.integers(labels, width)
    while True:
        keys = np.where(groups >= 0, groups * labels + drawn, -1 - np.arange(width))
        order = np.argsort(keys, axis=1, kind="stable")
        keys = keys[rows, order]
        again = np.zeros(drawn.shape, bool)
        again[rows, order[:, 1:]] = keys[:, 1:] == keys[:, :-1]
        if not again.any():
            return drawn
        drawn = np.where(again, own.integers(labels, width), drawn)
