"""The graph tasks: episodes against the environment itself, answers that are right, and the curriculum."""

import os
from collections import defaultdict
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from memrl import make_core
from memrl.envs.routes.graph_route import GraphRoute
from memrl.heads import IGNORED, Batch
from memrl.tasks import make_task
from memrl.tasks.generated import EVALUATED
from memrl.tasks.graph_answers import right_steps, shown_labels
from memrl.tasks.graphs import episodes

DATA = Path(os.environ.get("MEMRL_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
NAMES = ("graph_traversal", "graph_shortest_path", "graph_inference")


@pytest.mark.parametrize("name", NAMES)
def test_episodes_are_what_the_environment_shows_to_its_oracle(name):
    task = make_task(name, max_nodes=6, max_hops=3, planning=2)
    envs = task._envs(5, "")
    obs, _ = envs.reset(seed=3)
    batch = episodes(envs)
    for t in range(len(batch.inputs)):
        running = (t < batch.lengths).numpy()
        np.testing.assert_array_equal(batch.inputs[t, running].numpy(), obs[running])
        counts = envs.action_masks().reshape(5, -1, 10)[..., 1]
        targets, oracle = batch.targets[t].numpy(), envs.oracle()
        np.testing.assert_array_equal((targets != IGNORED)[running], counts[running])
        np.testing.assert_array_equal(targets[counts & running[:, None]], oracle[counts & running[:, None]])
        obs, rewards, *_ = envs.step(oracle)
        assert (rewards[running & counts.any(1)] > 0).all()


def edges_of(batch, row, digits=3):
    shown = shown_labels(batch.inputs, digits)
    return [tuple(triple) for triple in shown[batch.inputs[:, row, 0] > 0, row].tolist()], shown[:, row]


def column(batch, row):
    return Batch(*(part[:, row : row + 1] for part in batch[:3]), batch.lengths[row : row + 1])


def digits_of(labels):
    return torch.tensor([[int(digit) for label in triple for digit in f"{label:03}"] for triple in labels])


def test_every_shortest_path_counts_and_no_other_edge_does():
    task = make_task("graph_shortest_path", min_nodes=8, max_nodes=8, min_hops=2, max_hops=3)
    several = 0
    for batch in [next(task.train(16, 1))]:
        for row in range(16):
            edges, shown = edges_of(batch, row)
            (query,) = shown[batch.inputs[:, row, 1] > 0].tolist()
            after = defaultdict(set)
            for source, _, target in edges:
                after[source].add(target)

            def walk(node, steps, after=after):
                """Nodes reached after exactly so many steps."""
                reached = {node}
                for _ in range(steps):
                    reached = set().union(*(after[one] for one in reached))
                return reached

            steps = (batch.inputs[:, row, 3] > 0).nonzero().flatten().tolist()
            for left, step in zip(range(len(steps), 0, -1), steps, strict=True):
                at = int(shown[step, 0])
                good = {e for e in edges if e[0] == at and query[2] in walk(e[2], left - 1)}
                several += len(good) > 1
                for edge in edges:
                    named = batch.targets.clone()
                    named[step, row] = digits_of([edge])[0]
                    one = column(batch, row)
                    right = right_steps(one, named[:, row : row + 1], 3, "shortest_path")
                    assert bool(right[step, 0]) == (edge in good)
    assert several  # else the test says nothing about several shortest paths


def test_inference_takes_every_end_by_brute_force():
    # From 1: relation 7 leads to 2 and 3, relation 8 from 2 to 4 and from 3 to 5.
    task = make_task("graph_inference", min_hops=2, max_hops=2, planning=0)
    batch = next(task.train(1, 0))
    edges = [(1, 7, 2), (1, 7, 3), (2, 8, 4), (3, 8, 5), (2, 9, 5), (6, 8, 1)]
    steps = [(0, edge) for edge in edges] + [(1, (1, 7, None)), (1, (None, 8, None)), (3, (None,) * 3)]
    inputs = torch.zeros(len(steps), 1, 94)
    for t, (phase, labels) in enumerate(steps):
        inputs[t, 0, phase] = 1
        for place, label in enumerate(labels):
            for digit in range(3) if label is not None else ():
                inputs[t, 0, 4 + 30 * place + 10 * digit + int(f"{label:03}"[digit])] = 1
    targets = torch.full((len(steps), 1, 9), IGNORED)
    targets[-1, 0] = digits_of([(1, 0, 4)])[0]
    targets[-1, 0, 3:6] = IGNORED
    batch = batch._replace(inputs=inputs, targets=targets)
    for source, target in product(range(1, 7), repeat=2):
        named = targets.clone()
        named[-1, 0] = digits_of([(source, 999, target)])[0]
        right = right_steps(batch, named, 3, "inference")
        assert bool(right[-1, 0]) == (source == 1 and target in (4, 5))
        assert not right[:-1].any()


@pytest.mark.parametrize("name", NAMES)
def test_perfect_answers_score_one_and_one_wrong_digit_costs_its_route(name):
    task = make_task(name, max_nodes=6, max_hops=2, planning=1)

    class Oracle:
        def __init__(self, spoil):
            self.spoil = spoil

        def answer(self, batch):
            digits = batch.targets.clamp(min=0).clone()
            if self.spoil:
                last = batch.lengths - 1
                rows = torch.arange(len(last))
                digits[last, rows, 0] = (digits[last, rows, 0] + 1) % 10
            return torch.nn.functional.one_hot(digits, 10).float(), None

    assert task.scores(Oracle(False), task.evaluation("test", 50)) == {"routes": 1.0, "answers": 1.0, "digits": 1.0}
    spoilt = task.scores(Oracle(True), task.evaluation("test", 50))
    assert spoilt["routes"] == 0.0
    assert 0 < spoilt["digits"] < 1


def test_lessons_open_the_ranges():
    task = make_task("graph_traversal", max_nodes=10, max_hops=4, curriculum=4)
    assert [task.lesson(k).level for k in range(task.lessons)] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    lookup = next(task.lesson(0).train(64, 0))  # every answer's source and edge are shown, its destination is not
    answering = lookup.inputs[:, :, 3] == 1
    assert (answering.sum(0) == task.max_hops).all()
    labels = torch.stack([part.unflatten(-1, (3, 10)).argmax(-1) for part in lookup.inputs[..., 4:].split(30, -1)], 2)
    assert (labels[answering][:, :2].flatten(1) == lookup.targets[answering][:, :6]).all()
    assert not lookup.inputs[..., 64:][answering].any()
    easy = next(task.lesson(1).train(64, 0))
    assert 1 <= easy.inputs[:, :, 3].sum(0).max() <= 2
    assert not easy.inputs[..., 4:][easy.inputs[:, :, 3] == 1].any()
    hard = next(task.train(64, 0))
    assert set(hard.inputs[:, :, 3].sum(0).tolist()) == {1.0, 2.0, 3.0, 4.0}
    assert task.passed({"routes": 0.9}), "nine of ten routes"
    assert not task.passed({"routes": 0.89})


@pytest.mark.parametrize("name", NAMES)
def test_training_follows_its_seed_and_sets_are_apart(name):
    task = make_task(name, max_nodes=6, max_hops=2, planning=0)

    def first(batches):
        return next(iter(batches)).inputs.tolist()

    assert first(task.train(16, 3)) == first(task.train(16, 3))
    drawn = [first(task.train(16, seed)) for seed in range(3)]
    drawn += [first(task.evaluation(split, 16)) for split in ("valid", "test")]
    assert len({str(inputs) for inputs in drawn}) == 5


def test_no_copy_of_the_environment_is_seeded_in_training_as_in_an_evaluation(monkeypatch):
    # The copies take a seed each, from the one given on.
    used = []
    reset = GraphRoute.reset

    def recorded(self, *, seed=None, options=None):
        used.append(range(seed, seed + self.num_envs) if seed is not None else range(0))
        return reset(self, seed=seed, options=options)

    monkeypatch.setattr(GraphRoute, "reset", recorded)
    task = make_task("graph_traversal", max_nodes=4, max_hops=1, planning=0)
    for split in ("valid", "test"):
        next(iter(task.evaluation(split, 1)))
    valid, test = map(set, used)
    assert len(valid) == len(test) == EVALUATED
    assert not valid & test
    used.clear()
    near = {seed // scale + away for seed in (min(valid), min(test)) for scale in (1, 10_000) for away in (-1, 0, 1)}
    for seed in {*range(5), *near}:
        next(task.train(512, seed))
    taken = [seed for seeds in used for seed in seeds]
    assert len(set(taken)) == len(taken), "every seed has graphs of its own"
    assert not set(taken) & (valid | test)


def test_errors_about_a_given_graph_name_the_options_of_the_task(tmp_path):
    (tmp_path / "path.txt").write_text("".join(f"{node}\tnext\t{node + 1}\n" for node in range(11)))
    task = make_task("graph_traversal", test_graph=str(tmp_path / "path.txt"), digits=1, max_nodes=6)
    with pytest.raises(ValueError, match=r"there are 12 nodes; test_nodes=\.\.\. takes parts of it"):
        next(iter(task.evaluation("test", 8)))
    with pytest.raises(ValueError, match=r"^test_nodes: 13 given, but the largest part"):
        next(iter(replace(task, digits=3, test_nodes=13).evaluation("test", 8)))


def test_the_head_answers_in_digits():
    task = make_task("graph_traversal", max_nodes=4, max_hops=1, planning=0, digits=1)
    head = task.head(make_core("gru", task.input_size, hidden_size=8))
    batch = next(task.train(3, 0))
    logits, _ = head.answer(batch)
    assert logits.shape == (*batch.inputs.shape[:2], 3, 10)
    head.loss(logits, batch.targets).backward()
    assert head.core.rnn.weight_ih_l0.grad.abs().max() > 0


@pytest.mark.skipif(not (DATA / "underground").exists(), reason=f"no data in {DATA}; set MEMRL_DATA")
def test_the_underground_is_a_test_set(monkeypatch):
    monkeypatch.setenv("MEMRL_DATA", str(DATA))
    task = make_task("graph_traversal", test_graph="underground-zone-1", test_hops=7)
    batch = next(iter(task.evaluation("test", 8)))
    assert (batch.inputs[:, :, 3].sum(0) == 7).all()
    described = batch.inputs[:, :, 0].sum(0)
    assert (described == described[0]).all()
    assert described[0] > 100
    assert len(next(iter(task.evaluation("valid", 8))).inputs) < 100  # random graphs


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"min_nodes": 13}, "min_nodes: 13 given, at most max_nodes"),
        ({"min_hops": 5}, "min_hops"),
        ({"digits": 4}, "digits: 4 given"),
        ({"curriculum": 0}, "curriculum: 0 given"),
        ({"level": 2.0}, "level: 2.0 given"),
        ({"max_nodes": 1}, "max_nodes: 1 given, a whole number of at least 2"),
    ],
    ids=["nodes", "hops", "digits", "lessons", "level", "few"],
)
def test_options_out_of_range_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        make_task("graph_traversal", **options)
