"""GraphRoute: a graph is described edge by edge, then a route through it must be named, edge by edge."""

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ..cards import EnvCard, register_env
from ..chance import Chance
from ..vector import Array, ArrayEnv, Outcome, one_of, whole_number
from .codes import Codes
from .episodes import ANSWERING, ASKING, DESCRIBING, OVER, QUERIES, drawn_labels, on_the_way, script, show_positions
from .graph_picture import View, view_picture, view_text
from .graphs import Graphs, edge_labels, scale_of, weights_of
from .loaders import load_graph
from .ranges import Range, drawn_between, whole_range
from .sources import GivenGraphs, RandomGraphs, Source, check_source


@register_env(
    EnvCard(
        id="memrl/GraphRoute-v0",
        horizon=29,
        remember="a graph of 6 nodes and about 11 named edges, then 3 edges to follow",
        steps_to_remember=28,
        optimal_return=1.0,
        memoryless_return=1 / (1000 * 999 * 1000),  # a source, another node as the destination, an edge
    )
)
class GraphRoute(ArrayEnv):
    """Hear a graph described edge by edge, then name the edges of a route through it.

    The graph tasks of Graves et al. 2016, "Hybrid computing using a neural network with dynamic external memory" (the
    DNC), as reinforcement learning. Nodes and edges have labels, numbers of `digits` digits, that are drawn for each
    episode: only the procedure can be learned. Random graphs are drawn as in the paper, with each node connected to
    its nearest neighbours in the plane, except that no edges cross and every node can be reached (`planar_graphs`).

    **What is seen**: zeros and ones. Four for the phase, then three labels, (source, edge, destination), of `digits`
    digits each, ten for a digit; a label that is not given is all zeros, and so is everything after the last answer.
    With `weighted` one number more: the weight of the edge that is described, over the greatest weight.

    1. Description: one edge of the graph at a time, in random order.
    2. Query: "traversal" gives (start, edge, -), then (-, edge, -) for each further edge to follow; "inference" does
       the same with relations, labels that all edges of a kind share, as "mother" in a family; "shortest_path" gives
       (start, -, goal).
    3. Planning: nothing, for `planning` steps.
    4. Answer: nothing; with `show_position` the node from which the next edge leads and, in a traversal, its label.

    **What must be remembered, and for how long**: the edges, from their description to the end, and the query.

    **Actions**: the digits of a triple (source, edge, destination), first digits first, whatever the size of the graph.
    In the answer phase it names the next edge: "traversal" and "shortest_path" ask for each edge of the route,
    "inference" once for (start, -, end), an edge that was never described and has no label: those digits do not count.
    Elsewhere nothing counts. With `answer="nodes"` an action is the destination alone.

    **Rewards**: 1/answers for each right answer, which has all of its digits right. In "shortest_path" every edge is
    right that is on a shortest way to the goal, in "inference" every end to which the relations may lead. After a
    wrong answer the route goes on as if it had been right, so each answer counts by itself. With `sparse`, 1 at the end
    if all answers are right. A right last answer, with `sparse` if all are right, earns `goal_bonus` besides.

    **Ending**: terminated after the last answer, never truncated; `info["is_success"]`: every answer was right.
    `info["optimal_cost"]` is the number of answers: the edges of the route (in "shortest_path" of a shortest one), 1 in
    "inference". `info["cost"]` counts 1 for each answer so far and 1 more if it was wrong, and `info["ratio"]` is
    cost / optimal_cost: 1 at the end of a faultless episode, 2 if nothing was right. With `weighted` an edge counts as
    much as it weighs.

    **Optimal return**: 1 + `goal_bonus`. **Best memoryless return**: in the answer phase nothing is seen, and labels
    may be any: with L = 10^digits of them, two nodes that differ and an edge are guessed with a chance of
    1/(L (L - 1) L), 1.001e-9 by default. With `answer="nodes"` it is 1/L. `show_position` gives away the source, and in
    a traversal the edge, which leaves 1/(L - 1) for the destination. Where several answers may be right, in
    "shortest_path" and in "inference" on graphs in which a relation leads to several, it is as many times larger. In
    "inference" only two labels are guessed, and where routes of several relations lead back to their start, naming one
    label twice is better: 1/L times the share of such routes.

    The oracle is a player who forgets nothing; where several answers are right, it gives one of them.

    Args:
        mode: "traversal", "shortest_path" or "inference".
        answer: "edges", or "nodes" for their destinations only.
        nodes: of the graph, at least 2, or (least, most), drawn for each episode. None: 6, or all of a given graph; a
            number takes a random part of a given graph that holds together.
        hops: edges of the route, at least 1, or (least, most), drawn for each episode. Less where the graph has no
            route so long.
        degree: K, the number of nearest neighbours in random graphs, at least 1, or (least, most), drawn for each node.
        digits: of labels, 1 to 3 (as in the paper); at most 10^digits nodes can be told apart.
        planning: steps between query and answer, at least 0 (the paper: 10).
        show_position: see above; may be set between episodes. None: only in "shortest_path", where the paper shows it
            too, and where after a wrong answer nobody could know from where the route goes on.
        sparse: reward at the end only.
        goal_bonus: at least 0.
        graph: None for random ones, or what `memrl.envs.routes.loaders.load_graph` takes: "underground",
            "underground-zone-1", "family", a path, a networkx graph, a list of edges. Labels are random for these too.
        weighted: in "shortest_path", whether a route is as long as its edges weigh together, and of several the one
            with fewest edges; otherwise, as in networkx, weights do not matter. Edges of random graphs weigh what they
            measure.
        level: 0 to 1, how far the ranges of `nodes` and `hops` are open at first; see the attribute.
        render_mode: "ansi" (text), "rgb_array" (picture) or None.

    Attributes:
        level: 0 to 1, which may be set between episodes: how far the ranges of `nodes` and `hops` are open, 0 for their
            least numbers only, 1 (at first) for all.

    Raises:
        ValueError: a keyword is not as above, labels do not suffice, weights are asked for but there are none, or the
            graph is impossible; says where.
        FileNotFoundError: there is no such file; says where to get it.
    """

    settable: ClassVar[tuple[str, ...]] = ("level", "show_position")

    def __init__(
        self,
        num_envs: int,
        mode: str = "traversal",
        answer: str = "edges",
        nodes: Range | None = None,
        hops: Range = 3,
        degree: Range = (1, 3),
        digits: int = 3,
        planning: int = 1,
        show_position: bool | None = None,
        sparse: bool = False,
        goal_bonus: float = 0.0,
        graph: Any = None,
        weighted: bool = False,
        level: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        self.mode = one_of("mode", mode, tuple(QUERIES))
        self.answer = one_of("answer", answer, ("edges", "nodes"))
        self.digits = whole_number("digits", digits, least=1, most=3)
        self._codes = Codes(self.digits)
        self.num_labels = self._codes.labels
        self.planning = whole_number("planning", planning, least=0, most=10_000)
        self._hops, self._degree = whole_range("hops", hops, 1, 1000), whole_range("degree", degree, 1, 100)
        self._nodes = whole_range("nodes", 6 if nodes is None else nodes, 2, 1_000_000)
        for name, value in (("sparse", sparse), ("weighted", weighted)):
            if not isinstance(value, bool | np.bool_):
                raise ValueError(f"{name}: {value!r} given, True or False needed")
        if weighted and mode != "shortest_path":
            raise ValueError(f"weighted: True given, but only in 'shortest_path' weights matter, and not in {mode!r}")
        if isinstance(goal_bonus, bool) or not isinstance(goal_bonus, int | float) or not 0 <= goal_bonus < np.inf:
            raise ValueError(f"goal_bonus: {goal_bonus!r} given, a finite number of at least 0 needed")
        self.sparse, self.weighted = bool(sparse), bool(weighted)
        self.goal_bonus = float(goal_bonus)
        self.level = level
        self.show_position = show_position
        self._source: Source = (
            RandomGraphs(self._nodes[1], self._degree, self.weighted)
            if graph is None
            else GivenGraphs(load_graph(graph), None if nodes is None else self._nodes[1], self.weighted)
        )
        check_source(self._source, self.mode, self.digits, self._hops[1])
        # Kinds of edges that share a label; None: each edge has its own.
        self._kinds = (self._source.kinds or self._source.degree) if mode == "inference" else None

        queries = 1 if mode == "shortest_path" else self._hops[1]
        self.most_answers = 1 if mode == "inference" else self._hops[1]
        horizon = self._source.width + queries + self.planning + self.most_answers
        numbers = self.digits * (3 if answer == "edges" else 1)
        action_space = spaces.Discrete(10) if numbers == 1 else spaces.MultiDiscrete([10] * numbers)
        space = spaces.Box(0.0, 1.0, (self._codes.width + self.weighted,), np.float32)
        super().__init__(num_envs, space, action_space, horizon, render_mode)

        n, size = self.num_envs, self._source.size
        self.source, self.target, self.edge_label = (np.full((n, self._source.width), -1) for _ in range(3))
        self.node_label = np.zeros((n, size), np.int64)
        self.node_of = np.full((n, self.num_labels), -1)  # which node has a label
        self.points = np.full((n, size, 2), np.nan)
        self.members = np.full((n, size), -1)  # nodes of the given graph
        self.shown = np.full((n, horizon + 1, 3), self.num_labels, np.int16)
        self.phases = np.full((n, horizon + 1), OVER, np.int8)
        # Labels of the triple that an answer has, and which of its digits count.
        self._columns = np.array([0, 1, 2] if answer == "edges" else [2])
        self._counts = np.repeat((self._columns != 1) | (mode != "inference"), self.digits)
        self.first_answer, self.answers = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self.at, self.next, self.next_edge = (np.zeros(n, np.int64) for _ in range(3))  # nodes, and a label
        self.path = np.full((n, self.most_answers + 1), -1)
        self.path_edges = np.full((n, self.most_answers), self.num_labels)  # labels
        self.given = np.full((n, self.most_answers, 3), -1)  # labels answered; nodes in the last column
        self.right = np.zeros((n, self.most_answers), bool)  # which of them were right
        self.num_right = np.zeros(n, np.int64)
        self.rest = np.zeros((n, size), np.int64)  # length of the way to the goal, in "shortest_path"
        self.length = np.ones((n, self._source.width), np.int64)  # of each edge, where weights matter
        self.spent = np.zeros(n, np.int64)  # length of the route so far, twice where answers were wrong
        self.ends = np.zeros((n, size), bool)  # right answers, in "inference"
        self.shows_position = np.zeros(n, bool)  # in the running episode

    @property
    def level(self) -> float:
        """How far the ranges of `nodes` and `hops` are open, from 0 to 1, in episodes that begin from now on."""
        return self._level

    @level.setter
    def level(self, level: float) -> None:
        if isinstance(level, bool) or not isinstance(level, int | float | np.number) or not 0 <= level <= 1:
            raise ValueError(f"level: {level!r} given, a number from 0 to 1 needed")
        self._level = float(level)

    @property
    def show_position(self) -> bool:
        """Whether the answer phase shows where the route has arrived, in episodes that begin from now on."""
        return self._show_position

    @show_position.setter
    def show_position(self, shown: bool | None) -> None:
        if shown is not None and not isinstance(shown, bool | np.bool_):
            raise ValueError(f"show_position: {shown!r} given, True, False or None needed")
        if shown and self.mode == "inference":
            raise ValueError("show_position: True given, but 'inference' asks for the end of the route only")
        self._show_position = self.mode == "shortest_path" if shown is None else bool(shown)

    def _begin(self, rows: Array, chance: Chance) -> None:
        nodes, hops = (drawn_between(chance, bounds, self._level) for bounds in (self._nodes, self._hops))
        graphs, members = self._source.draw(chance, nodes)
        if self._kinds and not self._source.kinds:
            graphs = graphs._replace(relation=edge_labels(chance, graphs, self._kinds))
        labels = drawn_labels(chance, graphs, self.num_labels, self._kinds)
        query = QUERIES[self.mode](chance, graphs, labels, hops, self._hops[1])
        plan = script(graphs, labels, query, self.planning, self.horizon)
        if self._show_position:
            show_positions(plan, query, labels, with_edges=self.mode == "traversal")

        self.source[rows], self.target[rows], self.edge_label[rows] = graphs.source, graphs.target, labels.edges
        self.node_label[rows], self.members[rows] = labels.nodes, members
        self.node_of[rows] = -1
        self.node_of[rows[:, None], labels.nodes] = np.arange(graphs.size)
        if graphs.points is not None:
            self.points[rows] = graphs.points
        self.shown[rows], self.phases[rows], self.first_answer[rows] = plan
        self.answers[rows], self.path[rows], self.path_edges[rows] = query.answers, query.path, query.edges
        self.at[rows], self.next[rows], self.next_edge[rows] = query.path[:, 0], query.path[:, 1], query.edges[:, 0]
        self.num_right[rows], self.spent[rows] = 0, 0
        if graphs.length is not None:
            self.length[rows] = graphs.length
        self.given[rows], self.right[rows] = -1, False
        self.shows_position[rows] = self._show_position
        if query.rest is not None:
            self.rest[rows] = query.rest
        if query.ends is not None:
            self.ends[rows] = query.ends

    def _step(self, actions: Array) -> Outcome:
        turn = self.steps - 1 - self.first_answer
        rows = np.flatnonzero(turn >= 0)  # of the copies that were to answer
        turn, labels = turn[rows], self._codes.labels_of(actions.reshape(self.num_envs, -1))[rows]
        node = self.node_of[rows, labels[:, -1]]
        right = self._leads_on(rows, labels, node)
        if self.answer == "edges":
            right &= labels[:, 0] == self.node_label[rows, self.at[rows]]
        self.given[rows[:, None], turn[:, None], self._columns] = labels
        self.right[rows, turn] = right
        self.num_right[rows] += right
        on = np.where(right, node, self.next[rows])
        self.spent[rows] += (2 - right) * (self.rest[rows, self.at[rows]] - self.rest[rows, on])
        self._go_on(rows, turn + 1, on)

        over, faultless = self.steps == self.first_answer + self.answers, self.num_right == self.answers
        rewards = np.zeros(self.num_envs)
        if self.sparse:
            rewards += (1.0 + self.goal_bonus) * (over & faultless)
        else:
            rewards[rows] = right / self.answers[rows] + self.goal_bonus * (right & over[rows])
        return Outcome(rewards, over, faultless)

    def _leads_on(self, rows: Array, labels: Array, node: Array) -> Array:
        """Whether answers name an edge and a node, or a node alone, that are right now.

        Args:
            rows: copies, (k,).
            labels: of a source, an edge and a destination, or of a destination alone, (k, 3 or 1).
            node: the destination, -1 where there is none with that label, (k,).

        Returns:
            bool, (k,).
        """
        if self.mode == "inference":  # an inferred edge has no label of its own
            return (node >= 0) & self.ends[rows, node]
        by_edge = self.answer == "edges"
        if self.mode == "traversal":
            right = node == self.next[rows]
            return np.asarray(right & (labels[:, 1] == self.next_edge[rows]) if by_edge else right)
        named = self.target[rows] == node[:, None]
        if by_edge:
            named &= self.edge_label[rows] == labels[:, 1, None]
        return np.asarray((named & on_the_way(self._graphs(rows), self.rest[rows], self.at[rows])).any(axis=1))

    def _go_on(self, rows: Array, turn: Array, at: Array) -> None:
        """Put the routes of the copies `rows` to nodes `at` (k,), before answer number `turn` (k,)."""
        self.at[rows] = at
        if self.mode == "shortest_path":
            edge = on_the_way(self._graphs(rows), self.rest[rows], at).argmax(axis=1)
            self.next[rows], self.next_edge[rows] = self.target[rows, edge], self.edge_label[rows, edge]
            seeing = self.shows_position[rows] & (turn < self.answers[rows])
            rows, at = rows[seeing], at[seeing]
            self.shown[rows, self.steps[rows], 0] = self.node_label[rows, at]
        else:
            self.next[rows] = self.path[rows, np.minimum(turn + 1, self.most_answers)]
            self.next_edge[rows] = self.path_edges[rows, np.minimum(turn, self.most_answers - 1)]

    def _graphs(self, rows: Array) -> Graphs:
        length = self.length[rows] if self.weighted else None
        return Graphs(self._source.size, self.source[rows], self.target[rows], length=length)

    def _observe(self) -> Array:
        now = self._all, self.steps
        seen = self._codes.observe(self.phases[now], self.shown[now])
        if not self.weighted:
            return seen
        length = self.length[self._all, np.minimum(self.steps, self._source.width - 1)]
        weight = np.where(self.phases[now] == DESCRIBING, self._weights(length), 0.0)
        return np.column_stack([seen, weight / max(self._source.greatest, 1e-300)]).astype(np.float32)

    def _weights(self, lengths: Array) -> Array:
        """Weights of routes of these lengths."""
        return weights_of(lengths, scale_of(self._source.greatest))

    def report(self) -> dict[str, Array]:
        """Optimal cost, cost so far and their ratio, as the class's docstring defines them."""
        answered = np.clip(self.steps - self.first_answer, 0, self.answers)
        cost, optimal = 2 * answered - self.num_right, self.answers
        if self.weighted:
            cost, optimal = self._weights(self.spent), self._weights(self.rest[self._all, self.path[:, 0]])
        # A route that weighs nothing costs nothing, right or wrong.
        ratio = np.divide(cost, optimal, out=np.ones(self.num_envs), where=optimal > 0)
        return {"optimal_cost": optimal, "cost": cost, "ratio": ratio}

    def action_masks(self) -> NDArray[np.bool_]:
        """Choices that count, (n, 10 for each digit); where nothing counts, a 0 is all that is left.

        Agents that take masks (`MemoryPPO`, sb3-contrib's MaskablePPO) then learn from the answers alone.
        """
        masks = np.repeat(self._answering()[:, None] & self._counts, 10, axis=1)
        masks[:, ::10] = True
        return masks

    def oracle(self) -> Array:
        """The digits of a right answer; zeros where nothing counts."""
        labels = np.stack([self.node_label[self._all, self.at], self.next_edge, np.zeros_like(self.at)], axis=1)
        labels[:, 2] = self.node_label[self._all, np.maximum(self.next, 0)]  # no next node: the episode is over
        digits = self._codes.digits_of(labels[:, self._columns]) * (self._answering()[:, None] & self._counts)
        return np.asarray(digits.reshape(self.num_envs, *(self.single_action_space.shape or ())))

    def _answering(self) -> Array:
        """Which copies are asked for an answer now. bool, (n,)."""
        return np.asarray(self.phases[self._all, self.steps] == ANSWERING)

    def text(self, copy: int = 0) -> str:
        """The graph from node to node, the query, the right answer and the answers that were given."""
        return view_text(self._view(copy))

    def picture(self, copy: int = 0) -> NDArray[np.uint8]:
        """A map of the graph with the route that is asked for."""
        return view_picture(self._view(copy))

    def _view(self, copy: int) -> View:
        used, step = self.source[copy] >= 0, int(self.steps[copy])
        count = int(self.answers[copy])
        names, phases = self._source.names, self.phases[copy]
        path = self.path[copy, : count + 1]
        return View(
            mode=self.mode,
            digits=self.digits,
            phase=int(phases[step]),
            step=step,
            steps=int(self.first_answer[copy]) + count,
            edges=np.stack([self.source[copy], self.target[copy], self.edge_label[copy]], axis=1)[used],
            weights=self._weights(self.length[copy, used]) if self.weighted else None,
            node_labels=self.node_label[copy],
            names=tuple(names[node] if node >= 0 else "" for node in self.members[copy]) if names else (),
            points=self.points[copy],
            asked=self.shown[copy, phases == ASKING],
            path=path,
            path_edges=self.path_edges[copy, :count],
            ends=np.flatnonzero(self.ends[copy]) if self.mode == "inference" else path[-1:],
            at=int(self.at[copy]),
            given=self.given[copy, :count],
            right=self.right[copy, :count],
            by_edge=self.answer == "edges",
        )
