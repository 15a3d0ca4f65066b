"""Which answers of a graph task are right, where several may be."""

from collections import defaultdict, deque

import torch
from torch import Tensor

from memrl.heads import IGNORED, Batch

DESCRIPTION, QUERY, ANSWER = 0, 1, 3  # channels of the inputs that say which phase it is


Triple = tuple[int, ...]  # labels of source, edge and destination


def right_steps(batch: Batch, named: Tensor, digits: int, mode: str) -> Tensor:
    """Which steps are answered right.

    Args:
        batch: inputs as `memrl.tasks.graphs.episodes` has them, targets (T, B, 3 digits).
        named: digits that were answered, (T, B, 3 digits).
        digits: of a label.
        mode: "traversal", where the target alone is right; "shortest_path", where every edge is that leads from the
            node shown to one nearer to the goal; or "inference", where every node is to which the relations may lead.

    Returns:
        bool, (T, B); false where nothing is asked.
    """
    asked = batch.targets != IGNORED
    if mode == "traversal":
        return ((named == batch.targets) | ~asked).all(-1) & asked.any(-1)
    right = torch.zeros(asked.shape[:2], dtype=torch.bool, device=asked.device)
    answers = _labels(named.cpu().unflatten(-1, (3, digits)))
    shown, phases = shown_labels(batch.inputs.cpu(), digits), batch.inputs[..., :4].cpu()
    for row in range(asked.shape[1]):
        edges = {tuple(triple) for triple in shown[phases[:, row, DESCRIPTION] > 0, row].tolist()}
        query = shown[phases[:, row, QUERY] > 0, row].tolist()
        away = distances_to(query[0][2], edges)
        for step in (phases[:, row, ANSWER] > 0).nonzero().flatten().tolist():
            source, _, target = answer = tuple(answers[step, row].tolist())
            if mode == "inference":
                right[step, row] = source == query[0][0] and target in ends_of(query, edges)
            else:
                at = int(shown[step, row, 0])
                right[step, row] = source == at and answer in edges and away.get(target, -2) == away[at] - 1
    return right


def shown_labels(inputs: Tensor, digits: int) -> Tensor:
    """Labels that inputs show, (T, B, 3), -1 for none."""
    ones = inputs[..., 4:].unflatten(-1, (3, digits, 10))
    return torch.where(ones.sum((-1, -2)) > 0, _labels(ones.argmax(-1)), -1)


def _labels(digits: Tensor) -> Tensor:
    """Digits in the last axis as numbers, the first digit highest."""
    return (digits * 10 ** torch.arange(digits.shape[-1] - 1, -1, -1)).sum(-1)


def ends_of(query: list[list[int]], edges: set[Triple]) -> set[int]:
    """Nodes to which the relations of a query lead, whichever of several edges is taken.

    >>> sorted(ends_of([[1, 7, -1], [-1, 8, -1]], {(1, 7, 2), (1, 7, 3), (2, 8, 4), (3, 8, 5), (1, 8, 6)}))
    [4, 5]
    """
    at = {query[0][0]}
    for _, relation, _ in query:
        at = {target for source, label, target in edges if source in at and label == relation}
    return at


def distances_to(goal: int, edges: set[Triple]) -> dict[int, int]:
    """Edges on the shortest path from each node to a goal, by breadth-first search; nodes without one are left out.

    >>> distances_to(3, {(1, 7, 2), (2, 7, 3)})
    {3: 0, 2: 1, 1: 2}
    """
    into = defaultdict(list)
    for source, _, target in edges:
        into[target].append(source)
    away, waiting = {goal: 0}, deque([goal])
    while waiting:
        node = waiting.popleft()
        for before in into[node]:
            if before not in away:
                away[before] = away[node] + 1
                waiting.append(before)
    return away
