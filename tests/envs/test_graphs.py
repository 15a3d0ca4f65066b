"""Random graphs, labels, walks and distances against networkx and brute force; loaders on real and broken files."""

import csv
import itertools
import math
import os
from collections import Counter
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from memrl.envs.chance import Streams
from memrl.envs.routes import graphs as graph_code
from memrl.envs.routes import loaders
from memrl.envs.routes.given import graph_of
from memrl.envs.routes.graphs import (
    Graphs,
    distances,
    distant_pairs,
    edge_labels,
    lengths_of,
    longest_walks,
    most_edges,
    node_labels,
    planar_graphs,
    random_walks,
    related,
    scale_of,
    shortest_lengths,
    shuffled,
    weights_of,
)
from memrl.envs.routes.loaders import load_graph, load_stations, load_triples
from memrl.envs.routes.sources import GivenGraphs

DATA = Path(os.environ.get("MEMRL_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
needs_data = pytest.mark.skipif(not (DATA / "underground").exists(), reason=f"no data in {DATA}; set MEMRL_DATA")


def chance(rows, first_seed=0):
    return Streams(range(first_seed, first_seed + rows)).next_episode(np.arange(rows))


def edges_of(graphs, row):
    used = graphs.source[row] >= 0
    assert used[: used.sum()].all()  # the edges come first
    return list(zip(graphs.source[row, used].tolist(), graphs.target[row, used].tolist(), strict=True))


def as_networkx(graphs, row):
    graph = nx.MultiDiGraph()
    graph.add_edges_from(edges_of(graphs, row))
    return graph


def from_edges(size, *rows, relations=None):
    """Graphs from lists of edges, one list for each row."""
    width = max(map(len, rows))

    def padded(column, lists):
        return np.array([[edge[column] for edge in edges] + [-1] * (width - len(edges)) for edges in lists])

    relation = None if relations is None else padded(0, [[(kind,) for kind in kinds] for kinds in relations])
    return Graphs(size, padded(0, rows), padded(1, rows), relation)


# -- random planar graphs --------------------------------------------------------------------------------------------


def straight_edges_cross(a, b, c, d):
    """Whether two segments without a common end meet, by the side on which their ends lie."""

    def side(p, q, r):
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


def expected_edges(points, wanted):
    """The graph as its docstring has it, with networkx and plain loops; None in `wanted` for K unknown."""
    count = len(points)
    gap = {(i, j): math.dist(points[i], points[j]) for i in range(count) for j in range(count) if i != j}
    complete = nx.Graph()
    complete.add_weighted_edges_from((i, j, gap[i, j]) for i, j in gap)
    tree = {way for i, j in nx.minimum_spanning_tree(complete).edges for way in ((i, j), (j, i))}
    edges = set(tree)
    for i in range(count):
        for j in sorted((j for j in range(count) if j != i), key=lambda j: gap[i, j])[: wanted[i]]:
            middle = [(p + q) / 2 for p, q in zip(points[i], points[j], strict=True)]
            if all(math.dist(points[k], middle) > gap[i, j] / 2 for k in range(count) if k not in (i, j)):
                edges.add((i, j))
    return edges, tree


@pytest.mark.parametrize("degree", [1, 2, 3, 5])
def test_random_graphs_are_the_nearest_neighbours_without_crossings_and_the_tree(degree):
    graphs = planar_graphs(chance(30), np.full(30, 12), 12, (degree, degree))
    for row in range(30):
        edges = edges_of(graphs, row)
        wanted, tree = expected_edges(graphs.points[row].tolist(), [degree] * 12)
        assert len(edges) == len(set(edges))
        assert set(edges) == wanted
        assert degree > 1 or wanted == tree


@pytest.mark.parametrize(("size", "degree"), [(2, (1, 3)), (3, (1, 2)), (6, (1, 3)), (40, (2, 6)), (9, (1, 20))])
def test_random_graphs_are_planar_and_every_node_can_be_reached(size, degree):
    rows = 40
    graphs = planar_graphs(chance(rows), np.full(rows, size), size, degree)
    for row in range(rows):
        edges, points = edges_of(graphs, row), graphs.points[row]
        assert len(edges) <= most_edges(size, degree[1]) == graphs.source.shape[1]
        assert all(source != target for source, target in edges)
        graph = nx.DiGraph(edges)
        assert set(graph) == set(range(size))
        assert nx.is_strongly_connected(graph)
        assert nx.check_planarity(graph.to_undirected())[0]
        for (a, b), (c, d) in itertools.combinations({tuple(sorted(edge)) for edge in edges}, 2):
            assert len({a, b, c, d}) < 4 or not straight_edges_cross(points[a], points[b], points[c], points[d])
        assert ((points >= 0) & (points < 1)).all()


def test_the_greatest_number_of_edges_is_reached_but_never_passed():
    counts = (planar_graphs(chance(20_000), np.full(20_000, 4), 4, (3, 3)).source >= 0).sum(axis=1)
    assert counts.max() <= most_edges(4, 3) == 12
    assert counts.max() >= 10


def test_k_is_uniform_in_its_range():
    rows = 3000
    graphs = planar_graphs(chance(rows), np.full(rows, 8), 8, (1, 3))
    extra, possible = Counter(), Counter()
    for row in range(rows):
        edges, points = set(edges_of(graphs, row)), graphs.points[row].tolist()
        if row < 150:  # a graph of the range lies between those of its ends
            assert expected_edges(points, [1] * 8)[0] <= edges <= expected_edges(points, [3] * 8)[0]
        for i in range(8):
            near = sorted((j for j in range(8) if j != i), key=lambda j: math.dist(points[i], points[j]))
            for rank in (1, 2):
                middle = [(p + q) / 2 for p, q in zip(points[i], points[near[rank]], strict=True)]
                radius = math.dist(points[i], points[near[rank]]) / 2
                blocked = any(math.dist(points[k], middle) < radius for k in near[:rank])
                if not blocked and (near[rank], i) not in edges:  # hence no edge of the tree
                    possible[rank] += 1
                    extra[rank] += (i, near[rank]) in edges
    # Kept for K of 2 and 3, and for K of 3. The condition does not depend on this node's K.
    for rank, share in ((1, 2 / 3), (2, 1 / 3)):
        assert abs(extra[rank] / possible[rank] - share) < 5 * math.sqrt(share * (1 - share) / possible[rank])
        assert possible[rank] > 300


def test_sizes_differ_from_row_to_row():
    nodes = np.array([3, 6, 2, 5])
    graphs = planar_graphs(chance(4), nodes, 6)
    for row, count in enumerate(nodes):
        assert {node for edge in edges_of(graphs, row) for node in edge} == set(range(count))


def test_a_row_does_not_depend_on_the_others():
    few = planar_graphs(chance(2, first_seed=3), np.array([4, 6]), 6)
    many = planar_graphs(chance(9), np.array([6, 6, 5, 4, 6, 3, 2, 6, 6]), 6)
    for alone, among in zip(few[1:], many[1:], strict=True):
        assert alone is None or (alone == among[3:5]).all()
    few, many = chance(2, first_seed=3), chance(9)
    assert (edge_labels(few, Graphs(2, np.zeros((2, 8), int), np.ones((2, 8), int)), 9) < 9).all()
    again = chance(2, first_seed=3)
    edge_labels(again, Graphs(2, np.full((2, 8), -1), np.full((2, 8), -1)), 9)
    assert (few.uniform() == again.uniform()).all()  # drawing labels again uses up nothing


def test_edges_come_in_random_order():
    rows = 6000
    graphs = planar_graphs(chance(rows), np.full(rows, 3), 3, (1, 1))  # two edges, both ways
    orders = Counter(
        tuple(sorted(edges).index(edge) for edge in edges) for row in range(rows) if (edges := edges_of(graphs, row))
    )
    assert len(orders) == 24
    assert all(abs(count - rows / 24) < 5 * math.sqrt(rows / 24) for count in orders.values())


def test_shuffling_keeps_edges_and_their_relations():
    graphs = from_edges(
        4, [(0, 1), (-1, -1), (1, 2), (2, 3)], [(3, 0), (0, 3), (1, 3), (3, 1)], relations=[[7, -1, 8, 9], [1, 2, 3, 4]]
    )
    mixed = shuffled(chance(2), graphs, 4)
    assert mixed.source.shape == (2, 4)
    for row, wanted in enumerate([{(0, 1, 7), (1, 2, 8), (2, 3, 9)}, {(3, 0, 1), (0, 3, 2), (1, 3, 3), (3, 1, 4)}]):
        used = mixed.source[row] >= 0
        columns = (part[row, used].tolist() for part in (mixed.source, mixed.target, mixed.relation))
        assert set(zip(*columns, strict=True)) == wanted
        assert edges_of(mixed, row)


# -- labels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "labels"), [(2, 3), (2, 10), (10, 10), (40, 1000), (6, 1000)])
def test_node_labels_are_distinct_and_uniform(size, labels):
    rows = 4000
    drawn = node_labels(chance(rows), size, labels)
    assert drawn.shape == (rows, size)
    assert all(len(set(row)) == size for row in drawn.tolist())
    assert (drawn.min(), drawn.max()) == (0, labels - 1)
    if labels <= 10:
        pairs = Counter(map(tuple, drawn[:, :2].tolist()))
        expected = rows / (labels * (labels - 1))
        assert all(
            abs(pairs[a, b] - expected) < 6 * math.sqrt(expected) for a, b in itertools.permutations(range(labels), 2)
        )


def test_edge_labels_are_distinct_at_each_node_and_uniform():
    rows = 6000
    graphs = from_edges(4, *[[(0, 1), (1, 2), (0, 2), (1, 0), (0, 3)]] * rows)
    drawn = edge_labels(chance(rows), graphs, 4)
    triples = Counter(map(tuple, drawn[:, [0, 2, 4]].tolist()))  # of node 0
    assert set(triples) == set(itertools.permutations(range(4), 3))
    assert all(abs(count - rows / 24) < 5 * math.sqrt(rows / 24) for count in triples.values())
    assert (drawn[:, 1] != drawn[:, 3]).all()
    assert abs((drawn[:, 0] == drawn[:, 1]).mean() - 1 / 4) < 0.03  # other nodes have labels of their own


def test_as_many_edges_as_labels_and_no_more():
    star = from_edges(11, [(0, node) for node in range(1, 11)])
    assert sorted(edge_labels(chance(1), star, 10)[0].tolist()) == list(range(10))
    with pytest.raises(ValueError, match="labels: 9 given, but 10 edges leave one node"):
        edge_labels(chance(1), star, 9)


# -- distances and walks ---------------------------------------------------------------------------------------------


def test_distances_are_those_of_networkx():
    graphs = planar_graphs(chance(20), np.arange(20) % 9 + 2, 10)
    starts = np.arange(20)[:, None] % (np.arange(20) % 9 + 2)[:, None] * [[1, 0]]
    found, near = distances(graphs, starts, 10), distances(graphs, starts, 2)
    for row, column in itertools.product(range(20), range(2)):
        lengths = nx.single_source_shortest_path_length(as_networkx(graphs, row), starts[row, column])
        assert {node: length for node, length in enumerate(found[row, column]) if length >= 0} == lengths
        close = {node: length for node, length in lengths.items() if length <= 2}
        assert {node: length for node, length in enumerate(near[row, column]) if length >= 0} == close


@pytest.mark.parametrize("greatest", [9e-12, 0.9, 9.0, 9e4, 9e200])
def test_shortest_lengths_are_by_weight_then_by_edges(greatest):
    """Weights of one digit make ties, which networkx breaks too if it counts edges as well as weights."""
    graphs = planar_graphs(chance(12), np.arange(12) % 7 + 6, 12, (2, 5))
    digits = np.random.default_rng(0).integers(0, 10, graphs.source.shape)
    weights, scale = digits * (greatest / 9), scale_of(greatest)
    starts = np.tile([0, 3], (12, 1))
    found = shortest_lengths(graphs._replace(length=lengths_of(weights, scale)), starts, 3)
    for row, column in itertools.product(range(12), range(2)):
        graph = nx.MultiDiGraph()
        for (source, target), weight in zip(edges_of(graphs, row), digits[row].tolist(), strict=False):
            graph.add_edge(source, target, weight=1000 * weight + 1)
        lengths = nx.single_source_dijkstra_path_length(graph, starts[row, column])
        assert {node for node, length in enumerate(found[row, column]) if length < 0} == set(range(12)) - set(lengths)
        for node, length in lengths.items():
            assert graph_code.edges_of(found[row, column, node]) == length % 1000
            weight = weights_of(found[row, column, node], scale)
            assert weight == pytest.approx(length // 1000 * greatest / 9, rel=1e-7, abs=1e-7 * greatest)


def brute_longest(edges, node, most):
    return (
        max((1 + brute_longest(edges, target, most - 1) for source, target in edges if source == node), default=0)
        if most
        else 0
    )


ODD_GRAPHS = [
    [(0, 1), (1, 2), (2, 3), (0, 3)],  # no way back
    [(0, 1), (1, 0), (2, 0)],  # a circle, and a way into it
    [(0, 1), (2, 3), (3, 4)],  # two parts
    [(4, 0), (0, 1), (1, 2), (2, 0), (3, 2), (2, 3), (1, 4)],
]


@pytest.mark.parametrize("most", [1, 2, 3, 6])
def test_longest_walks_by_brute_force(most):
    longest = longest_walks(from_edges(5, *ODD_GRAPHS), most)
    for row, edges in enumerate(ODD_GRAPHS):
        assert longest[row].tolist() == [brute_longest(edges, node, most) for node in range(5)]


def test_walks_follow_edges_and_are_as_long_as_they_can_be():
    rows = [*ODD_GRAPHS * 50]
    graphs, hops = from_edges(5, *rows), np.arange(200) // 4 % 5 + 1
    nodes, edges, walked = random_walks(chance(200), graphs, hops, 6)
    for row, listed in enumerate(rows):
        longest = max(brute_longest(listed, node, 6) for node in range(5))
        assert walked[row] == min(hops[row], longest)
        count = walked[row]
        way = list(zip(nodes[row, :count].tolist(), nodes[row, 1 : count + 1].tolist(), strict=True))
        assert way == [listed[edge] for edge in edges[row, :count]]
        assert (nodes[row, count + 1 :] == -1).all()
        assert (edges[row, count:] == -1).all()


def test_a_walk_starts_anywhere_and_takes_any_edge():
    rows = 6000
    listed = [(0, 1), (0, 2), (1, 0), (2, 1), (0, 1)]
    nodes, edges, _ = random_walks(chance(rows), from_edges(3, *[listed] * rows), np.full(rows, 2), 2)
    assert all(abs((nodes[:, 0] == node).mean() - 1 / 3) < 0.03 for node in range(3))
    second = edges[nodes[:, 1] == 0, 1]
    assert all(abs((second == edge).mean() - 1 / 3) < 0.05 for edge in (0, 1, 4))


def test_goals_are_as_far_as_asked_and_all_are_equally_likely():
    rows = 8000
    listed = [(0, 1), (1, 0), (1, 2), (2, 1), (1, 3), (3, 1), (3, 4), (4, 3)]
    start, goal, hops = distant_pairs(chance(rows), from_edges(5, *[listed] * rows), np.full(rows, 2), 3)
    lengths = dict(nx.all_pairs_shortest_path_length(nx.DiGraph(listed)))
    far = {a: [b for b in range(5) if lengths[a][b] == 2] for a in range(5)}
    assert far == {0: [2, 3], 1: [4], 2: [0, 3], 3: [0, 2], 4: [1]}
    assert (hops == 2).all()
    pairs = Counter(zip(start.tolist(), goal.tolist(), strict=True))
    for a, b in itertools.product(range(5), range(5)):
        share = 1 / 5 / len(far[a]) if b in far[a] else 0.0
        assert abs(pairs[a, b] / rows - share) < 0.03


def test_the_only_two_nodes_far_enough_apart_are_found():
    line = nx.relabel_nodes(
        nx.path_graph(40), dict(zip(range(40), np.random.default_rng(0).permutation(40).tolist(), strict=True))
    )
    ways = [way for a, b in line.edges for way in ((a, b), (b, a))]
    start, goal, hops = distant_pairs(chance(30), from_edges(40, *[ways] * 30), np.full(30, 39), 39)
    assert (hops == 39).all()
    ends = {node for node in line if line.degree(node) == 1}
    assert {frozenset(pair) for pair in zip(start.tolist(), goal.tolist(), strict=True)} == {frozenset(ends)}
    assert set(start.tolist()) == ends


def test_goals_come_as_near_as_they_must():
    graphs = from_edges(5, *ODD_GRAPHS)
    start, goal, hops = distant_pairs(chance(4), graphs, np.full(4, 4), 4)
    for row, edges in enumerate(ODD_GRAPHS):
        lengths = dict(nx.all_pairs_shortest_path_length(nx.DiGraph(edges)))
        assert hops[row] == min(4, max(max(each.values()) for each in lengths.values()))
        assert lengths[start[row]][goal[row]] == hops[row]


def test_relations_lead_to_everyone_they_may():
    random = np.random.default_rng(0)
    rows, relations = [], []
    for _ in range(60):
        triples = {(int(a), int(k), int(b)) for a, k, b in random.integers(0, [5, 3, 5], (9, 3)) if a != b}
        rows.append([(a, b) for a, _, b in triples])
        relations.append([k for _, k, _ in triples])
    start, asked, hops = random.integers(5, size=60), random.integers(3, size=(60, 4)), random.integers(1, 5, 60)
    reached = related(from_edges(5, *rows, relations=relations), start, asked, hops)
    for row in range(60):
        there = {int(start[row])}
        for kind in asked[row, : hops[row]]:
            there = {b for (a, b), k in zip(rows[row], relations[row], strict=True) if a in there and k == kind}
        assert set(np.flatnonzero(reached[row]).tolist()) == there


def test_a_thousand_nodes():
    graphs = planar_graphs(chance(2), np.array([1000, 700]), 1000, (1, 4))
    for row, count in enumerate((1000, 700)):
        graph = nx.DiGraph(edges_of(graphs, row))
        assert len(graph) == count
        assert nx.is_strongly_connected(graph)
        assert nx.check_planarity(graph.to_undirected())[0]


# -- given graphs ----------------------------------------------------------------------------------------------------


def test_edges_of_a_given_graph():
    graph = graph_of([("a", "b"), ("b", "c"), ("b", "a")])
    assert graph.names == ("a", "b", "c")
    assert list(zip(graph.source.tolist(), graph.target.tolist(), strict=True)) == [(0, 1), (1, 2), (1, 0)]
    assert (graph.relation, graph.weight, graph.points) == (None, None, None)
    graph = graph_of([("ann", "mother", "bob"), ("ann", "aunt", "bob"), ("bob", "son", "ann")])
    assert graph.relations == ("mother", "aunt", "son")
    assert graph.relation.tolist() == [0, 1, 2]


def test_networkx_graphs_lead_both_ways_unless_directed():
    roads = nx.Graph()
    roads.add_edge("x", "y", weight=2.5, relation="road")
    graph = graph_of(roads)
    assert sorted(zip(graph.source.tolist(), graph.target.tolist(), strict=True)) == [(0, 1), (1, 0)]
    assert graph.weight.tolist() == [2.5, 2.5]
    assert graph.relations == ("road",)
    assert len(graph_of(nx.DiGraph([(1, 2), (2, 3)])).source) == 2
    assert len(graph_of(nx.grid_2d_graph(3, 3)).source) == 24


def weighted(weight):
    graph = nx.Graph()
    graph.add_edge("x", "y", weight=1)
    graph.add_edge("y", "z", weight=weight)
    return graph


IMPOSSIBLE = [
    ([], "a graph with an edge needed"),
    (nx.Graph(), "a graph with an edge needed"),
    (nx.path_graph(1), "a graph with an edge needed"),
    ([(0, 1), (2, 2)], "edge 1: an edge from 2 to itself"),
    (nx.Graph([("a", "a")]), "from 'a' to itself"),
    ([(0, 1), (1, 2), (0, 1)], "edge 2: the same edge as in graph: edge 0, from 0 to 1"),
    (nx.MultiGraph([(0, 1), (0, 1)]), "the same edge"),
    ([(0, "up", 1), (0, "up", 1)], "the same edge"),
    (weighted(-1), r"edge \('y', 'z'\): weight -1, a finite number"),
    (weighted(float("nan")), "weight nan"),
    (weighted(float("inf")), "weight inf"),
    (weighted("far"), "weight 'far'"),
    (weighted(None), "other edges have"),
    ([(0, 1), (1, "up", 2)], "edge 1: other edges have"),
    ([(0, "up", 1), (1, 2)], "edge 1: other edges have"),
    ([(0, 1, 2, 3)], r"edge 0: \(0, 1, 2, 3\) given"),
    (["ab"], "edge 0: 'ab' given"),
    ([([1], [2])], "must be hashable"),
    (7, "int given, a networkx graph or a list"),
    ({0: 1}, "dict given"),
    (b"graph", "bytes given"),
]


@pytest.mark.parametrize(("graph", "message"), IMPOSSIBLE)
def test_impossible_graphs_are_refused(graph, message):
    with pytest.raises(ValueError, match=message):
        load_graph(graph)


def test_parts_of_a_given_graph_hold_together_and_have_all_their_edges():
    random = np.random.default_rng(1)
    triples = list({(int(a), int(k), int(b)) for a, k, b in random.integers(0, [60, 3, 60], (150, 3)) if a != b})
    graph = graph_of(triples)
    source = GivenGraphs(graph, 12)
    nodes = np.arange(30) % 9 + 4
    graphs, members = source.draw(chance(30), nodes)
    assert graphs.source.shape == (30, source.width)
    for row, count in enumerate(nodes):
        part = [graph.names[node] for node in members[row, :count]]
        assert len(set(part)) == count
        assert (members[row, count:] == -1).all()
        inside = {(str(a), str(k), str(b)) for a, k, b in triples if {str(a), str(b)} <= set(part)}
        used = graphs.source[row] >= 0
        got = [
            (part[a], graph.relations[k], part[b])
            for a, k, b in zip(
                graphs.source[row, used], graphs.relation[row, used], graphs.target[row, used], strict=True
            )
        ]
        assert len(got) == len(inside)
        assert set(got) == inside
        assert nx.is_connected(nx.Graph([(a, b) for a, _, b in got]))
    assert (members[:, 0] != members[0, 0]).any()


def test_parts_come_from_large_enough_pieces_only():
    pieces = [
        (f"{piece}{i}", f"{piece}{i + 1}") for piece, size in (("a", 3), ("b", 8), ("c", 6)) for i in range(size - 1)
    ]
    graph = graph_of(pieces)
    _, members = GivenGraphs(graph, 6).draw(chance(300), np.full(300, 6))
    assert {graph.names[node][0] for node in members.ravel()} == {"b", "c"}
    with pytest.raises(ValueError, match="nodes: 9 given, but the largest part of the graph that holds together has 8"):
        GivenGraphs(graph, 9)


def test_the_whole_graph_in_random_order():
    graph = graph_of([(0, 1), (1, 2), (2, 0)])
    graphs, members = GivenGraphs(graph, None).draw(chance(50), np.full(50, 2))
    assert (members == [0, 1, 2]).all()
    assert all(sorted(edges_of(graphs, row)) == [(0, 1), (1, 2), (2, 0)] for row in range(50))
    assert len({tuple(edges_of(graphs, row)) for row in range(50)}) == 6


def test_longest_routes_of_a_given_graph():
    line = GivenGraphs(graph_of([(0, 1), (1, 2), (2, 3)]), None)
    assert line.longest_route(shortest=False, most=9) == line.longest_route(shortest=True, most=9) == 3
    ring = GivenGraphs(graph_of(nx.cycle_graph(8)), None)
    assert ring.longest_route(shortest=False, most=9) == 9
    assert ring.longest_route(shortest=True, most=9) == 4


# -- loaders ---------------------------------------------------------------------------------------------------------


def table(name):
    with (DATA / "underground" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@needs_data
def test_the_whole_underground():
    graph = load_stations(DATA / "underground")
    assert (len(graph.names), len(graph.source), len(graph.relations)) == (302, 812, 13)  # 406 connections both ways
    names = {row["id"]: row["name"] for row in table("stations.csv")}
    lines = {row["line"]: row["name"] for row in table("lines.csv")}
    wanted = set()
    for row in table("connections.csv"):
        ends = names[row["station1"]], names[row["station2"]]
        wanted |= {(a, lines[row["line"]], b, float(row["time"])) for a, b in (ends, ends[::-1])}
    columns = zip(graph.source, graph.relation, graph.target, graph.weight.tolist(), strict=True)
    assert {(graph.names[a], graph.relations[k], graph.names[b], weight) for a, k, b, weight in columns} == wanted
    assert nx.is_strongly_connected(nx.DiGraph(zip(graph.source, graph.target, strict=True)))
    at = dict(zip(graph.names, graph.points, strict=True))
    assert (graph.points >= 0).all()
    assert (graph.points <= 1 + 1e-9).all()
    assert at["Heathrow Terminal 4"][0] < at["Oxford Circus"][0] < at["Upminster"][0]  # west to east
    assert at["Morden"][1] < at["Oxford Circus"][1] < at["Cockfosters"][1]  # south to north


@needs_data
def test_zone_one_of_the_underground():
    inside = {row["id"] for row in table("stations.csv") if row["zone"] == "1"}
    connections = [row for row in table("connections.csv") if {row["station1"], row["station2"]} <= inside]
    assert (len(inside), len(connections)) == (60, 115)
    graph = load_stations(DATA / "underground", zones={1})
    # One station of zone 1 has all its connections into zone 2.
    assert (len(graph.names), len(graph.source)) == (59, 230)
    undirected = nx.Graph(zip(graph.source, graph.target, strict=True))
    assert (undirected.number_of_edges(), nx.is_connected(undirected)) == (79, True)
    columns = zip(graph.source, graph.relation, graph.target, strict=True)
    edges = {(graph.names[a], graph.relations[k], graph.names[b]) for a, k, b in columns}
    assert ("Oxford Circus", "Central Line", "Bond Street") in edges
    assert ("Oxford Circus", "Central Line", "Tottenham Court Road") in edges
    assert len(load_stations(DATA / "underground", zones={1, 1.5}).names) == 63


@needs_data
def test_family_relations():
    graph = load_triples(DATA / "family" / "facts.txt")
    lines = (DATA / "family" / "facts.txt").read_text(encoding="utf-8").splitlines()
    wanted = {tuple(line.split("\t")) for line in lines}
    columns = zip(graph.source, graph.relation, graph.target, strict=True)
    assert {(graph.names[a], graph.relations[k], graph.names[b]) for a, k, b in columns} == wanted
    assert len(graph.source) == len(lines) == 17_615
    relations = (DATA / "family" / "relations.txt").read_text(encoding="utf-8").split()
    assert sorted(graph.relations) == sorted(relations)


@needs_data
def test_graphs_by_name(monkeypatch):
    monkeypatch.setenv("MEMRL_DATA", str(DATA))
    assert len(load_graph("underground").names) == 302
    assert len(load_graph("underground-zone-1").names) == 59
    assert len(load_graph("family").relations) == 12
    assert load_graph(DATA / "underground").names == load_graph(str(DATA / "underground")).names
    assert load_graph(DATA / "family" / "facts.txt").relations == load_graph("family").relations


def test_names_and_paths_that_lead_nowhere(monkeypatch, tmp_path):
    monkeypatch.delenv("MEMRL_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"'underground' is looked up .* MEMRL_DATA .* had from https"):
        load_graph("underground")
    with pytest.raises(FileNotFoundError, match="'undergruond' is no file or folder, nor 'underground'"):
        load_graph("undergruond")
    monkeypatch.setenv("MEMRL_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"facts.txt: no such file; it is to be had from https"):
        load_graph("family")
    with pytest.raises(FileNotFoundError, match=r"stations.csv: no such file; it is to be had from https"):
        load_stations(tmp_path)


STATIONS = "id,name,zone\n1,Alpha,1\n2,Beta,1\n3,Gamma,2\n"


def stations_folder(tmp_path, stations=STATIONS, connections="station1,station2\n1,2\n2,3\n"):
    for name, text in (("stations.csv", stations), ("connections.csv", connections)):
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_only_what_is_needed_must_be_in_the_files(tmp_path):
    graph = load_stations(stations_folder(tmp_path, stations="\ufeff" + STATIONS + "\n"))
    assert graph.names == ("Alpha", "Beta", "Gamma")
    assert sorted(zip(graph.source.tolist(), graph.target.tolist(), strict=True)) == [(0, 1), (1, 0), (1, 2), (2, 1)]
    assert (graph.relation, graph.weight, graph.points) == (None, None, None)
    assert load_stations(tmp_path, zones={1}).names == ("Alpha", "Beta")
    with pytest.raises(ValueError, match="a graph with an edge needed"):
        load_stations(tmp_path, zones={9})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stations": "id,title\n"}, r"stations.csv, line 1: no column 'name', only id, title"),
        ({"stations": "id,name,zone\n1,Alpha\n"}, r"stations.csv, line 2: 2 columns, but 3 in the first line"),
        ({"stations": STATIONS + "1,Delta,1\n"}, r"stations.csv, line 5: station '1' is there already"),
        ({"stations": 'id,name\n1,"Alpha\n'}, r"stations.csv, line 2: unexpected end"),
        ({"stations": b"id,name\n1,\xff\n"}, r"stations.csv: not a text in UTF-8 .* at byte 10"),
        ({"stations": "id,name,latitude,longitude\n1,A,north,2\n"}, r"line 2: latitude 'north', a number needed"),
        ({"stations": "id,name,latitude,longitude\n1,A,51,nan\n"}, r"line 2: longitude 'nan', a number needed"),
        (
            {"connections": "station1,station2\n1,2\n\n1,7\n"},
            r"connections.csv, line 4: station '7' is not in stations",
        ),
        ({"connections": "station1,station2\n1,2\n2,2\n"}, r"connections.csv, line 3: an edge from '2' to itself"),
        ({"connections": "station1,station2\n1,2\n2,1\n"}, r"line 3: the same edge as in .*connections.csv, line 2"),
        ({"connections": "station1,station2,time\n1,2,-3\n"}, r"line 2: weight '-3'"),
        ({"connections": "station1,station2,time\n1,2,NaN\n"}, r"line 2: weight 'NaN'"),
        ({"connections": "station1,station2\n"}, "a graph with an edge needed"),
        ({"connections": ""}, "a graph with an edge needed"),
    ],
)
def test_broken_stations_are_named_by_their_line(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        load_stations(stations_folder(tmp_path, **changes))


def test_a_zone_that_is_no_number_matters_only_if_asked_for(tmp_path):
    folder = stations_folder(tmp_path, stations="id,name,zone\n1,A,?\n2,B,1\n3,C,1\n")
    assert len(load_stations(folder).names) == 3
    with pytest.raises(ValueError, match=r"line 2: zone '\?', a number needed"):
        load_stations(folder, zones={1})
    with pytest.raises(ValueError, match=r"line 2: zone None, a number needed"):
        load_stations(stations_folder(tmp_path, stations="id,name\n1,A\n2,B\n3,C\n"), zones={1})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tson\tb\na son b\n", r"facts.txt, line 2: 'a son b' given, head, relation and tail"),
        ("a\tson\tb\n\na\t\tb\n", "line 3: "),
        ("a\tson\ta\n", "line 1: an edge from 'a' to itself"),
        ("a\tson\tb\na\tson\tb\n", r"line 2: the same edge as in .*line 1"),
        ("", "a graph with an edge needed"),
    ],
)
def test_broken_triples_are_named_by_their_line(tmp_path, text, message):
    path = tmp_path / "facts.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_triples(path)


def test_sources_are_named():
    assert loaders.STATIONS_FROM.startswith("https://")
    assert loaders.TRIPLES_FROM.startswith("https://")
