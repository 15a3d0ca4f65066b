"""The graph tasks of the DNC paper: traversal, shortest path and relations, as sequences with answers to learn from."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from memrl.core import MemoryCore
from memrl.heads import IGNORED, Batch, Head, QuestionAnswering
from memrl.recipe import Recipe
from memrl.tasks.generated import EVALUATED, check_range, opening
from memrl.tasks.graph_answers import right_steps
from memrl.tasks.registry import register_task
from memrl.tasks.task import Published, Task

if TYPE_CHECKING:
    from memrl.envs.routes.graph_route import GraphRoute

TRIPLE = 3  # labels of an answer: source, edge, destination
PASSED = 0.9  # share of right routes that leads to the next lesson


@dataclass(frozen=True)
class GraphTask(Task):
    """Hear a graph edge by edge and a query, plan, then name the edges of a route, each by the digits of its labels.

    The episodes are those of the environment `memrl/GraphRoute-v0`, with what its oracle answers as targets. Labels
    are drawn for each sequence. A curriculum opens the ranges of nodes and hops lesson by lesson (Graves et al. 2016:
    "essential"); before that, a traversal has one lesson of long routes whose positions are shown. An answer is right
    if all of its digits are, a route if all of its answers are.
    """

    min_nodes: int = field(default=4, metadata={"least": 2})  # of the smallest random graphs
    max_nodes: int = field(default=12, metadata={"least": 2})  # of the largest random graphs
    min_hops: int = 1  # edges of the shortest routes
    max_hops: int = 4  # edges of the longest routes
    max_degree: int = 3  # K, neighbours that a node is connected to, at most
    digits: int = 3  # of labels, 1 to 3
    planning: int = field(default=10, metadata={"least": 0})  # steps between query and answer
    show_position: bool = False  # in a traversal, where the route has got to and the next edge; a shortest path has it
    curriculum: int = 9  # lessons, in which the ranges open; 1 for none
    level: float = 1.0  # how far the ranges are open, 0 to 1; lessons set it
    test_graph: str = ""  # "" for random graphs, "underground-zone-1", "family", or a path: graph to test on
    test_nodes: int = field(default=0, metadata={"least": 0})  # of random parts of test_graph; 0 for the whole of it
    test_hops: int = field(default=0, metadata={"least": 0})  # edges of the routes to test on; 0 for max_hops

    metric: ClassVar[str] = "routes"
    mode: ClassVar[str]
    core_options: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "dnc": {"hidden_size": 128, "num_slots": 64, "slot_size": 32, "num_reads": 4},
        "ntm": {"hidden_size": 128, "num_slots": 64, "slot_size": 32, "num_reads": 4},
        "lstm": {"hidden_size": 256, "num_layers": 2},
    }

    def __post_init__(self) -> None:
        check_range(self, "min_nodes", "max_nodes")
        check_range(self, "min_hops", "max_hops")
        if self.curriculum < 1:
            raise ValueError(f"curriculum: {self.curriculum} given, at least 1 lesson needed")
        if self.show_position and self.mode == "inference":
            raise ValueError("show_position: True given, but relations ask for the end of the route only")
        if not 1 <= self.digits <= 3:
            raise ValueError(f"digits: {self.digits} given, 1 to 3 allowed")
        if self.level > 1:
            raise ValueError(f"level: {self.level} given, 0 to 1 allowed")

    @property
    def input_size(self) -> int:
        """Four phases, and ten for each digit of a triple."""
        return 4 + 10 * TRIPLE * self.digits

    @property
    def lessons(self) -> int:
        """As many as the option `curriculum` says."""
        return self.curriculum

    def lesson(self, number: int) -> "GraphTask":
        """The ranges, open so far; first, in a traversal, long routes on which edges are only to be looked up."""
        if number >= self.curriculum - 1:
            return self
        if number == 0 and self.mode == "traversal":
            return replace(self, level=0.0, min_hops=self.max_hops, show_position=True)
        return replace(self, level=number / (self.curriculum - 1))

    def passed(self, scores: Mapping[str, float]) -> bool:
        """Nine of ten routes are right."""
        return scores["routes"] >= PASSED

    def head(self, core: MemoryCore[Any]) -> Head:
        """The digits of a triple at every step that asks for one."""
        return QuestionAnswering(core, 10, parts=TRIPLE * self.digits)

    def train(self, batch_size: int, seed: int) -> Iterator[Batch]:
        """Random graphs."""
        envs = self._envs(batch_size, "")
        envs.reset(seed=10_000 * seed)
        while True:
            yield episodes(envs)
            envs.reset()

    def evaluation(self, split: str, batch_size: int) -> Iterable[Batch]:
        """128 sequences; those of "test" are about `test_graph`."""
        envs = self._envs(EVALUATED, self.test_graph if split == "test" else "", split == "test")
        envs.reset(seed=2**40 + 1000 * (split == "test"))
        whole = episodes(envs)
        order = whole.lengths.argsort(stable=True)
        for start in range(0, EVALUATED, batch_size):
            rows = order[start : start + batch_size]
            steps = int(whole.lengths[rows].max())
            inputs, reset, targets = (part[:steps, rows] for part in (whole.inputs, whole.reset, whole.targets))
            yield Batch(inputs, reset, targets, whole.lengths[rows])

    def scores(self, head: Head, batches: Iterable[Batch]) -> dict[str, float]:
        """Shares of right routes, right answers and right digits, in [0, 1]."""
        routes, answers, digits = list[Tensor](), list[Tensor](), list[Tensor]()
        for batch in batches:
            logits, _ = head.answer(batch)
            named, asked = logits.argmax(-1), batch.targets != IGNORED
            right = right_steps(batch, named, self.digits, self.mode)
            asking = asked.any(-1)
            routes.append((right | ~asking).all(0))
            answers.append(right[asking])
            digits.append((named == batch.targets)[asked])
        shares = {"routes": routes, "answers": answers, "digits": digits}
        return {name: torch.cat(share).float().mean().item() for name, share in shares.items()}

    def recipe(self, core: str) -> Recipe:
        """Adam, batches of 32, gradients clipped at norm 10."""
        return Recipe(optimizer="adam", learning_rate=1e-3, clip_norm=10.0, batch_size=32, steps=50_000, eval_every=250)

    def _envs(self, copies: int, graph: str, testing: bool = False) -> "GraphRoute":
        from memrl.envs.routes.graph_route import GraphRoute  # needs Gymnasium, which loads when a graph is wanted

        hops = (self.test_hops, self.test_hops) if testing and self.test_hops else (self.min_hops, self.max_hops)
        try:
            return GraphRoute(
                copies,
                self.mode,
                nodes=(self.test_nodes or None) if graph else (self.min_nodes, self.max_nodes),
                hops=hops,
                degree=(1, self.max_degree),
                digits=self.digits,
                planning=self.planning,
                show_position=self.show_position or None,
                graph=graph or None,
                level=1.0 if testing else self.level,
            )
        except ValueError as error:
            if not graph:
                raise
            # The environment names its own keywords; what it calls nodes of a given graph is test_nodes here.
            raise ValueError(re.sub(r"\bnodes(?=:|=\.\.\.)", "test_nodes", str(error))) from error


def episodes(envs: "GraphRoute") -> Batch:
    """The episodes that have just begun in the copies of an environment, with what the oracle would answer.

    Inputs are its observations (T, B, 4 + 30 digits), as if all answers were right; targets the digits of the answers
    (T, B, 3 digits). What does not count, such as the label of an edge that is inferred, is IGNORED.
    """
    from memrl.envs.routes.codes import Codes

    codes = Codes(envs.digits)
    lengths = envs.first_answer + envs.answers
    steps, copies = int(lengths.max()), envs.num_envs
    phases, shown = envs.phases[:, :steps].T, envs.shown[:, :steps].transpose(1, 0, 2)
    inputs = codes.observe(phases.ravel(), shown.reshape(-1, TRIPLE)).reshape(steps, copies, -1)
    targets = np.full((steps, copies, TRIPLE, envs.digits), IGNORED)
    for answer in range(int(envs.answers.max())):
        rows = np.flatnonzero(answer < envs.answers)
        ends = [envs.node_label[rows, envs.path[rows, answer + end]] for end in (0, 1)]
        edge = envs.path_edges[rows, answer]
        triple = codes.digits_of(np.stack([ends[0], edge, ends[1]], 1)).reshape(-1, TRIPLE, envs.digits)
        triple[edge == envs.num_labels, 1] = IGNORED
        targets[envs.first_answer[rows] + answer, rows] = triple
    return Batch(
        torch.from_numpy(inputs),
        opening(steps, copies),
        torch.from_numpy(targets.reshape(steps, copies, -1)),
        torch.from_numpy(lengths),
    )


@register_task("graph_traversal", paper="Graves et al. 2016 (DNC), traversal", order=20)
@dataclass(frozen=True)
class GraphTraversal(GraphTask):
    """Follow named edges through a graph that was described before: name every edge on the way."""

    mode: ClassVar[str] = "traversal"
    # Edges are looked up by their labels and not in the order in which they came: no links.
    core_options: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **GraphTask.core_options,
        "dnc": {"hidden_size": 128, "num_slots": 64, "slot_size": 64, "num_reads": 2, "link": False},
    }
    published: ClassVar[tuple[Published, ...]] = (
        Published("DNC, London Underground, 7 hops (test_graph=underground-zone-1)", "98.8 %", "Graves 2016"),
        Published("best LSTM, first lesson of the curriculum", "37 %", "Graves 2016"),
    )


@register_task("graph_shortest_path", paper="Graves et al. 2016 (DNC), shortest path", order=21)
@dataclass(frozen=True)
class GraphShortestPath(GraphTask):
    """Name the edges of a shortest path between two nodes of a graph that was described before, whichever it is.

    At every answer the input shows the node that has been reached on one of the shortest paths; an answer is right if
    it is an edge from there that leads nearer to the goal.
    """

    mode: ClassVar[str] = "shortest_path"
    published: ClassVar[tuple[Published, ...]] = (
        Published(
            "DNC, London Underground, 4 hops (test_graph=underground-zone-1), trained otherwise: as by DAgger",
            "55.3 %",
            "Graves 2016",
        ),
    )


@register_task("graph_inference", paper="Graves et al. 2016 (DNC), family tree", order=22)
@dataclass(frozen=True)
class GraphInference(GraphTask):
    """Follow relations, kinds of edges that share a label, and name the node at the end."""

    mode: ClassVar[str] = "inference"
    published: ClassVar[tuple[Published, ...]] = (
        Published("DNC, family tree, relations of 4 steps", "81.8 %", "Graves 2016"),
    )
