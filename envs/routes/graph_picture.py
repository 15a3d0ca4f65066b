"""One episode of GraphRoute for people: a text, or a map with the route that is asked for."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..pictures import AGENT, CUE, FLOOR, GOAL, INK, WRONG, Canvas, Color
from ..vector import Array
from .episodes import ANSWERING, ASKING, DESCRIBING, PHASES

_PAPER, _GREY, _PALE = (250, 250, 247), (135, 135, 140), (205, 205, 205)
_HEAD = 104  # pixels above the map


class View(NamedTuple):
    """What there is to be seen of one episode, with what is hidden."""

    mode: str
    digits: int  # of a label
    phase: int
    step: int
    steps: int  # of the episode
    edges: Array  # source, target and label of each, in the order of their description, (E, 3)
    weights: Array | None  # of edges, (E,), where they matter
    node_labels: Array
    names: tuple[str, ...]  # of nodes; empty where they have none
    points: Array  # where nodes lie in the unit square, (N, 2); NaN where they lie nowhere
    asked: Array  # triples of labels of the query, (Q, 3)
    path: Array  # nodes: start and right answers, (A + 1,)
    path_edges: Array  # labels of the edges of the path, (A,), each as `label` has it, or no label
    ends: Array  # nodes that are right as the last answer; one, but for "inference"
    at: int  # node from which the route goes on
    given: Array  # labels answered, (A, 3), -1 for not yet
    by_edge: bool  # whether an answer is a whole edge, or its destination only
    right: Array  # which of them were right, (A,)

    def label(self, number: int) -> str:
        """A label with all its digits."""
        return f"{number:0{self.digits}d}"

    def node(self, number: int) -> str:
        """A node's label, with its name if it has one."""
        label = self.label(self.node_labels[number])
        return f"{label} {self.names[number]}" if self.names else label

    def answer(self, source: int, edge: int, target: str) -> str:
        """An answer, of labels and what stands for the destination."""
        if not self.by_edge:
            return target
        way = "" if self.mode == "inference" else self.label(edge)
        return f"{self.label(source)} {way}>{target}"

    def given_answers(self) -> list[str]:
        """Answers so far."""
        return [self.answer(source, edge, self.label(target)) for source, edge, target in self.given if target >= 0]

    def right_answers(self, targets: list[str]) -> list[str]:
        """Right answers, of what stands for their destinations."""
        sources = self.node_labels[self.path[:-1]]
        return [self.answer(*each) for each in zip(sources, self.path_edges, targets, strict=True)]

    def headline(self) -> str:
        """Mode, phase and step."""
        return f"{self.mode}: {PHASES[self.phase]}, step {self.step} of {self.steps}"

    def query(self) -> str:
        """What is asked."""
        start = self.node(self.path[0])
        if self.mode == "shortest_path":
            return f"from {start} to {self.node(self.path[-1])}"
        kind = "relations" if self.mode == "inference" else "edges"
        return f"from {start} along {kind} {' '.join(map(self.label, self.asked[:, 1].tolist()))}"


def view_text(view: View) -> str:
    """The graph node by node, the query, one right answer and the answers that were given (x: wrong)."""
    weighing = "" if view.weights is None else ", with its weight"
    lines = [view.headline(), f"edges as edge>destination{weighing}:"]
    for node in np.unique(view.edges[:, 0]):
        ways = []
        for edge in np.flatnonzero(view.edges[:, 0] == node):
            _, target, label = view.edges[edge]
            weight = "" if view.weights is None else f" ({view.weights[edge]:.3g})"
            ways.append(f"{view.label(label)}>{view.label(view.node_labels[target])}{weight}")
        lines.append(f"  {view.node(node)}: {' '.join(ways)}")
    given = [answer + "x" * (not right) for answer, right in zip(view.given_answers(), view.right, strict=False)]
    given += ["?"] * (len(view.right) - len(given))
    targets = [view.node(node) for node in view.path[1:-1]] + [" or ".join(map(view.node, view.ends))]
    lines.append(f"query: {view.query()}")
    lines.append(f"right: {', '.join(view.right_answers(targets))}")
    lines.append(f"given: {', '.join(given)}")
    return "\n".join(lines) + "\n"


def view_picture(view: View) -> NDArray[np.uint8]:
    """A map: edges described so far dark, the route that is asked for green, where it has arrived blue."""
    nodes = np.unique(view.edges[:, :2])
    many = len(nodes) > 15
    width, radius, size = (1160, 10, 10) if many else (560, 15, 13)
    places = _apart(_places(view, nodes) * (width - 110) + 45, 3.2 * radius)
    places += (45, 40 + _HEAD) - places.min(axis=0)
    height = int(places[:, 1].max()) + 60
    width = max(width, int(places[:, 0].max()) + 60)
    canvas = Canvas(width, height, _PAPER)
    canvas.text(16, 12, view.headline(), size=17)
    canvas.text(16, 36, f"query: {view.query()}", INK if view.phase >= ASKING else _GREY, size=15)
    _answers(canvas, view, width)
    canvas.text(16, height - 20, "yellow: start, or new edge; green: route and its end; blue: here", _GREY, size=12)

    at = dict(zip(nodes.tolist(), places, strict=True))
    for (source, target), (color, labels) in _ways(view).items():
        words = "/".join(labels) if len(nodes) <= 120 else ""
        _arrow(canvas, at[source], at[target], radius, color, words, size)
    for node, (x, y) in at.items():
        color = GOAL if node in view.ends else CUE if node == view.path[0] else FLOOR
        if node == view.at and view.phase == ANSWERING:
            canvas.disc(x, y, radius + 4, AGENT)
        canvas.disc(x, y, radius, color, outline=INK)
        if len(nodes) <= 120:
            canvas.text(x, y, view.label(int(view.node_labels[node])), size=size, anchor="mm")
        if view.names and len(nodes) <= 120:
            canvas.text(x + radius + 3, y + 3, view.names[node], AGENT, size=size)
    return canvas.pixels()


def _ways(view: View) -> dict[tuple[int, int], tuple[Color, list[str]]]:
    """Color and labels of the edges from one node to another, what matters most last."""
    route = (
        set() if view.mode == "inference" else set(zip(view.path[:-1].tolist(), view.path[1:].tolist(), strict=True))
    )
    told = view.step + 1 if view.phase == DESCRIBING else len(view.edges)
    ways: dict[tuple[int, int], tuple[Color, list[str]]] = {}
    for number, (source, target, label) in enumerate(view.edges.tolist()):
        way = source, target
        before, labels = ways.get(way, (_PALE, []))
        color = GOAL if way in route else INK if number < told else before
        if number == view.step and view.phase == DESCRIBING:
            color = CUE
        ways[way] = color, [*labels, view.label(label)]
    order = [_PALE, INK, GOAL, CUE]
    return dict(sorted(ways.items(), key=lambda item: order.index(item[1][0])))


def _answers(canvas: Canvas, view: View, right_edge: int) -> None:
    """The right answers, and below each the one that was given, in green or red; as many as there is room for."""
    canvas.text(16, 60, "right:", size=15)
    canvas.text(16, 80, "given:", size=15)
    rights = view.right_answers([view.label(view.node_labels[node]) for node in view.path[1:]])
    step = 14 + 9 * len(rights[0])
    room = (right_edge - 80) // step
    for number, answer in enumerate(rights[:room]):
        canvas.text(80 + step * number, 60, answer, size=15)
    for number, (answer, right) in enumerate(zip(view.given_answers()[:room], view.right, strict=False)):
        canvas.text(80 + step * number, 80, answer, GOAL if right else WRONG, size=15)


def _arrow(canvas: Canvas, start: Array, end: Array, gap: float, color: Color, words: str, size: float) -> None:
    """An arrow beside the straight line, so that the one back does not cover it, and its label."""
    length = max(float(np.hypot(*(end - start))), 1e-9)
    along = (end - start) / length
    aside = np.array([-along[1], along[0]])
    gap = min(gap, 0.4 * length)
    tail, tip = start + gap * along + 3.5 * aside, end - gap * along + 3.5 * aside
    width = 1 if color in (_PALE, INK) else 3
    for corner in (tail, tip - 8 * along + 4 * aside, tip - 8 * along - 4 * aside):
        canvas.line([tuple(tip), tuple(corner)], color, width)
    x, y = tail + 0.36 * (tip - tail) + 0.8 * size * aside
    canvas.text(x, y, words, INK, size=size, anchor="mm")


def _places(view: View, nodes: Array) -> Array:
    """Points of nodes in the unit square, y downwards; where they lie nowhere, such that neighbours are near."""
    points = view.points[nodes]
    if not np.isnan(points).any():
        low, high = points.min(axis=0), points.max(axis=0)
        points = (points - (low + high) / 2) / max((high - low).max(), 1e-9) + 0.5
        return np.stack([points[:, 0], 1 - points[:, 1]], axis=1)
    if len(nodes) > 200:
        angle = 2 * np.pi * np.arange(len(nodes)) / len(nodes)
        return 0.5 + 0.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    import networkx as nx

    graph = nx.Graph([(int(source), int(target)) for source, target, _ in view.edges])
    layout = nx.spring_layout(graph, seed=0, iterations=100)
    points = np.array([layout[node] for node in nodes.tolist()])
    low, high = points.min(axis=0), points.max(axis=0)
    return np.asarray((points - low) / np.maximum(high - low, 1e-9))


def _apart(places: Array, least: float) -> Array:
    """Points in pixels moved until hardly two are nearer to each other than `least`."""
    places = places.astype(float)
    if len(places) > 200:
        return places
    for _ in range(60):
        between = places[:, None] - places
        far = np.hypot(between[..., 0], between[..., 1]) + 1e-9
        push = np.where(far < least, (least - far) / 2, 0.0)
        np.fill_diagonal(push, 0.0)
        places += (between / far[..., None] * push[..., None]).sum(axis=1)
    return places
