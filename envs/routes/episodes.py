"""Episodes of the graph tasks as arrays of labels: what is shown, what is asked, what is right.

A step shows a triple of labels (source, edge, destination), each of which may be blank, in one of four phases.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..chance import Chance
from ..vector import Array
from .graphs import Graphs, distant_pairs, edge_labels, node_labels, random_walks, related, shortest_lengths

DESCRIBING, ASKING, PLANNING, ANSWERING, OVER = range(5)
PHASES = ("description", "query", "planning", "answer", "over")


class Labels(NamedTuple):
    """Names that mean nothing, drawn for each episode: whole numbers below `blank`, which stands for no label."""

    nodes: Array  # (rows, size), no two alike
    edges: Array  # (rows, E)
    blank: int


class Query(NamedTuple):
    """What is asked about each of (rows,) graphs."""

    hops: Array  # edges from the start to the end, (rows,)
    asked: Array  # triples of labels, (rows, Q, 3), blank behind the last
    steps: Array  # how many triples there are, (rows,)
    answers: Array  # how many edges must be named, (rows,)
    path: Array  # the start, then the node to which a right answer leads for each step, -1 behind, (rows, A + 1)
    edges: Array  # label of the edge that leads there, blank where it has none, (rows, A)
    rest: Array | None = None  # shortest path: length of the way from each node to the goal, or -1, (rows, size)
    ends: Array | None = None  # inference: the nodes that are right, bool, (rows, size)


def drawn_labels(chance: Chance, graphs: Graphs, count: int, relations: int | None) -> Labels:
    """Random labels of [0, count).

    Args:
        chance: randomness, a row for each graph.
        graphs: of at most `count` nodes.
        count: how many labels there are.
        relations: how many kinds of edges there are, at most `count`; edges of one kind share a label. None: every edge
            has its own, unlike those of all others that leave the same node.
    """
    nodes = node_labels(chance, graphs.size, count)
    if relations is None:
        return Labels(nodes, edge_labels(chance, graphs, count), count)
    assert graphs.relation is not None
    return Labels(nodes, np.take_along_axis(node_labels(chance, relations, count), graphs.relation, axis=1), count)


def traversal(chance: Chance, graphs: Graphs, labels: Labels, hops: Array, most: int) -> Query:
    """Follow named edges: (start, edge, -), (-, edge, -), ...; every edge on the way must be named.

    Args:
        chance: randomness, a row for each graph.
        graphs: with an edge at least.
        labels: of the graphs.
        hops: how many edges to follow, (rows,), at least 1; fewer where no walk is so long.
        most: at least the largest of `hops`.
    """
    path, edges, hops = random_walks(chance, graphs, hops, most)
    asked = _followed(labels, path[:, 0], edges)
    return Query(hops, asked, hops, hops, path, asked[:, :, 1])


def shortest_path(chance: Chance, graphs: Graphs, labels: Labels, hops: Array, most: int) -> Query:
    """Go from a start to a goal: (start, -, goal); the edges of a shortest path must be named, whichever it is.

    Arguments as for `traversal`; `hops` counts edges of the shortest path, fewer where none has so many.
    """
    each = np.arange(len(hops))
    start, goal, hops = distant_pairs(chance, graphs, hops, most)
    backwards = graphs._replace(source=graphs.target, target=graphs.source)
    rest = shortest_lengths(backwards, goal[:, None], most)[:, 0]
    path, edges = np.full((len(hops), most + 1), -1), np.full((len(hops), most), labels.blank)
    path[:, 0] = at = start
    for step in range(most):
        edge = on_the_way(graphs, rest, at).argmax(axis=1)
        at = graphs.target[each, edge]
        path[:, step + 1] = np.where(step < hops, at, -1)
        edges[:, step] = np.where(step < hops, labels.edges[each, edge], labels.blank)
    asked = np.full((len(hops), 1, 3), labels.blank)
    asked[:, 0, 0], asked[:, 0, 2] = labels.nodes[each, start], labels.nodes[each, goal]
    return Query(hops, asked, np.ones_like(hops), hops, path, edges, rest=rest)


def inference(chance: Chance, graphs: Graphs, labels: Labels, hops: Array, most: int) -> Query:
    """Follow relations: (start, relation, -), (-, relation, -), ...; only the node at the end must be named.

    A relation may lead from a node to several, as from a mother to her sons; then every node at an end is right.
    Arguments as for `traversal`; `graphs` has kinds of edges, and `labels` one for each kind.
    """
    each = np.arange(len(hops))
    path, edges, hops = random_walks(chance, graphs, hops, most)
    assert graphs.relation is not None
    relations = np.where(edges < 0, -1, np.take_along_axis(graphs.relation, edges, axis=1))
    ends = related(graphs, path[:, 0], relations, hops)
    answer, none = np.stack([path[:, 0], path[each, hops]], axis=1), np.full((len(hops), 1), labels.blank)
    return Query(hops, _followed(labels, path[:, 0], edges), hops, np.ones_like(hops), answer, none, ends=ends)


QUERIES: dict[str, Callable[[Chance, Graphs, Labels, Array, int], Query]] = {
    "traversal": traversal,
    "shortest_path": shortest_path,
    "inference": inference,
}


def on_the_way(graphs: Graphs, rest: Array, at: Array) -> Array:
    """Edges that leave the nodes `at` (rows,) towards the goal, given `rest` as `Query` has it. bool, (rows, E)."""
    rows = np.arange(len(at))
    left, ahead = rest[rows, at][:, None], rest[rows[:, None], graphs.target]
    nearer = (ahead >= 0) & (ahead + (1 if graphs.length is None else graphs.length) == left)
    return np.asarray(nearer & (graphs.source == at[:, None]))


class Script(NamedTuple):
    """What (rows,) episodes of at most T steps show; behind the last step they are blank."""

    shown: Array  # triples of labels, (rows, T + 1, 3)
    phases: Array  # DESCRIBING to OVER, (rows, T + 1)
    first_answer: Array  # the step that asks for the first answer, (rows,)


def script(graphs: Graphs, labels: Labels, query: Query, planning: int, steps: int) -> Script:
    """Write out episodes: the edges in the order in which `graphs` has them, the query, planning, answers.

    Args:
        graphs: what is described.
        labels: of the graphs.
        query: what is asked.
        planning: steps with nothing shown before the answer.
        steps: T, at least as many as the longest episode has.
    """
    each, used = np.arange(len(graphs.source)), graphs.source >= 0
    ends = [labels.nodes[each[:, None], end] for end in (graphs.source, graphs.target)]
    shown = np.full((len(each), steps + 1, 3), labels.blank, np.int16)
    triples = np.stack([ends[0], labels.edges, ends[1]], axis=2)
    np.copyto(shown[:, : used.shape[1]], triples, where=used[:, :, None], casting="same_kind")
    edges = used.sum(axis=1)
    for step in range(query.asked.shape[1]):
        shown[each, edges + step] = query.asked[:, step]
    first_answer = edges + query.steps + planning
    changes = np.stack([edges, edges + query.steps, first_answer, first_answer + query.answers], axis=1)
    phases = (np.arange(steps + 1)[:, None] >= changes[:, None]).sum(axis=2, dtype=np.int8)
    return Script(shown, phases, first_answer)


def show_positions(plan: Script, query: Query, labels: Labels, with_edges: bool) -> None:
    """Show in the answer phase, as if all answers were right, the node from which the next edge leads.

    Args:
        plan: written into.
        query: what is asked.
        labels: of the graphs.
        with_edges: whether to show the label of that edge too, as `query` has it.
    """
    for step in range(query.path.shape[1] - 1):
        rows = np.flatnonzero(step < query.answers)
        at = plan.first_answer[rows] + step
        plan.shown[rows, at, 0] = labels.nodes[rows, query.path[rows, step]]
        if with_edges:
            plan.shown[rows, at, 1] = query.asked[rows, step, 1]


def _followed(labels: Labels, start: Array, edges: Array) -> Array:
    """Query triples: the start's label, and the labels of the edges in the columns `edges` (rows, H), -1 for none."""
    asked = np.full((*edges.shape, 3), labels.blank)
    asked[:, :, 1] = np.where(edges < 0, labels.blank, np.take_along_axis(labels.edges, edges, axis=1))
    asked[:, 0, 0] = labels.nodes[np.arange(len(start)), start]
    return asked
