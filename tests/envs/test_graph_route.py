"""memrl/GraphRoute-v0 against a referee who sees observations only, networkx, counts and hostile graphs."""

import itertools
import math
import os
import pickle
import re
from collections import Counter, defaultdict
from pathlib import Path

import gymnasium as gym
import networkx as nx
import numpy as np
import pytest
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks

from memrl.envs import GraphRoute, list_envs, make_env, make_vec_env


def plain(value):
    """A test's name, without addresses, which differ from process to process."""
    return re.sub(r"<[^<>]* at 0x\w+>", "graph", str(value))


DATA = Path(os.environ.get("MEMRL_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
needs_data = pytest.mark.skipif(not (DATA / "underground").exists(), reason=f"no data in {DATA}; set MEMRL_DATA")
(CARD,) = [card for card in list_envs() if card.id == "memrl/GraphRoute-v0"]
FAMILY = [
    *[("ann", "child", "bob"), ("ann", "child", "cid"), ("bob", "mother", "ann"), ("cid", "mother", "ann")],
    *[("bob", "child", "dora"), ("dora", "father", "bob"), ("cid", "child", "eve"), ("eve", "father", "cid")],
    *[("cid", "child", "fay"), ("fay", "father", "cid"), ("bob", "brother", "cid"), ("cid", "brother", "bob")],
]
# Two lines from a to b and from b to c: each of the edges is right on a shortest path.
PARALLEL = [(a, line, b) for line in ("red", "blue") for a, b in ("ab", "bc", "ba", "cb")] + [("c", "red", "d")]
# Ways from a to c and from e to f that weigh the same with different edges, and edges that weigh nothing, to and fro.
WEIGHTS = nx.DiGraph()
WEIGHTS.add_weighted_edges_from(
    [
        *[("a", "b", 0.1), ("b", "c", 0.2), ("a", "c", 0.3), ("c", "d", 0.3), ("b", "e", 0), ("e", "b", 0)],
        *[("e", "f", 0.5), ("f", "d", 0), ("d", "f", 0), ("d", "a", 2.5), ("c", "f", 0.2)],
    ]
)
ELEVEN = [(0, f"r{i}", 1) for i in range(11)]  # edges from one node to another
SETTINGS = [
    {},
    {"show_position": True},
    {"planning": 10, "answer": "nodes"},
    {"nodes": (2, 9), "hops": (1, 5), "degree": 2, "digits": 1},
    {"nodes": 14, "digits": 2, "hops": 7, "planning": 0},
    {"digits": 1, "answer": "nodes"},
    {"mode": "shortest_path"},
    {"mode": "shortest_path", "nodes": (3, 30), "hops": (1, 6), "degree": (1, 4)},
    {"mode": "shortest_path", "graph": nx.grid_2d_graph(4, 4), "hops": (2, 6), "digits": 2, "answer": "nodes"},
    {"mode": "shortest_path", "nodes": (3, 20), "hops": (1, 6), "weighted": True},
    {"mode": "shortest_path", "graph": WEIGHTS, "hops": (1, 3), "weighted": True},
    {"mode": "shortest_path", "graph": WEIGHTS, "hops": (1, 2), "nodes": (3, 5), "weighted": True},
    {"mode": "shortest_path", "graph": PARALLEL, "hops": (1, 3), "digits": 1},
    {"mode": "inference"},
    {"mode": "inference", "nodes": (2, 8), "hops": (1, 4), "digits": 2, "answer": "nodes"},
    {"mode": "inference", "graph": FAMILY, "hops": (1, 4), "digits": 1},
    {"mode": "inference", "graph": FAMILY, "nodes": (2, 5), "hops": 2},
    {"graph": FAMILY, "hops": (1, 4)},
]
every_setting = pytest.mark.parametrize("keywords", SETTINGS, ids=plain)


def make(n, **keywords):
    return GraphRoute(n, **keywords)


class Referee:
    """One episode, from what is seen: notes all triples, and says which answers are right."""

    def __init__(self, mode, digits, by_edge, greatest):
        self.mode, self.digits, self.by_edge, self.greatest = mode, digits, by_edge, greatest
        self.phases, self.edges, self.costs, self.query, self.turn = [], [], {}, [], 0
        self.at, self.been = None, []

    def look(self, seen):
        """Note an observation; returns the phase and the labels, None for no label."""
        weight = 0.0
        if self.greatest:
            seen, weight = seen[:-1], float(seen[-1]) * self.greatest
        assert set(np.unique(seen)) <= {0.0, 1.0}
        phase = int(seen[:4].argmax()) if seen[:4].sum() == 1 else None
        labels = []
        for part in np.split(seen[4:], 3):
            blocks = np.split(part, self.digits)
            assert len({block.sum() for block in blocks}) == 1
            labels.append(int("".join(str(block.argmax()) for block in blocks)) if part.any() else None)
        self.phases.append(phase)
        if phase == 0:
            assert None not in labels
            self.edges.append(tuple(labels))
            # An edge costs so little besides its weight that edges decide only where weights are equal.
            self.costs[tuple(labels)] = weight + 1e-5 if self.greatest else 1.0
        elif phase == 1:
            self.query.append(tuple(labels))
        elif phase == 2 or phase is None:
            assert labels == [None] * 3
        return phase, labels

    def begin_answer(self):
        """Work out the answers."""
        steps = [edge for _, edge, _ in self.query]
        self.at = start = self.query[0][0]
        if self.mode == "shortest_path":
            (triple,) = self.query
            assert triple[1] is None
            back, self.goal = nx.MultiDiGraph(), triple[2]
            back.add_weighted_edges_from((b, a, self.costs[a, edge, b]) for a, edge, b in self.edges)
            self.toward, ways = nx.single_source_dijkstra(back, self.goal)
            self.answers, each = len(ways[start]) - 1, 1e-5 if self.greatest else 0
            self.weighs = {node: cost - each * (len(ways[node]) - 1) for node, cost in self.toward.items()}
            self.optimal = self.weighs[start]
            return
        assert [triple for triple in self.query if triple[2] is not None] == []
        assert [triple[0] for triple in self.query[1:]] == [None] * (len(steps) - 1)
        reached, walked = [{start}], []
        for label in steps:
            walked.append({(a, edge, b) for a, edge, b in self.edges if a in reached[-1] and edge == label})
            reached.append({b for _, _, b in walked[-1]})
        if self.mode == "inference":
            walked = [{(start, None, end) for end in reached[-1]}]
        self.rights = walked
        self.answers = self.optimal = len(self.rights)

    def right(self):
        """Triples that are right now, None for a label that does not count."""
        if self.mode == "shortest_path":
            ways = {edge: self.toward.get(edge[2], np.inf) + self.costs[edge] for edge in self.edges}
            rights = {edge for edge, cost in ways.items() if edge[0] == self.at and cost < self.toward[self.at] + 3e-6}
        else:
            rights = self.rights[self.turn]
        return rights if self.by_edge else {(None, None, b) for _, _, b in rights}

    def cost(self, verdicts):
        """What the answers so far cost, twice where they were wrong."""
        if not self.greatest:
            return len(verdicts) + verdicts.count(False)
        weighs = [self.weighs[node] for node in [*self.been, self.goal]]
        edges = [before - after for before, after in itertools.pairwise(weighs)]
        return sum(edge * (2 - right) for edge, right in zip(edges, verdicts, strict=False))


def action_of(answer, digits, by_edge):
    """The digits of a triple of labels; zeros for what does not count."""
    labels = answer if by_edge else answer[2:]
    numbers = [int(digit) for label in labels for digit in f"{label or 0:0{digits}d}"]
    return np.array(numbers) if len(numbers) > 1 else numbers[0]


def is_right(answer, rights):
    """Whether a triple of labels agrees with one of the right ones in all that counts."""
    return any(all(b in (None, a) for a, b in zip(answer, right, strict=True)) for right in rights)


def play(env, seed, choose, shows):
    """One episode of a single environment under the referee's eyes; `choose` takes the right triples.

    Yields (reward, whether the answer was right, info) of each step of the answer phase.
    """
    program = env.unwrapped.copies
    mode, digits, by_edge = program.mode, program.digits, program.answer == "edges"
    referee = Referee(mode, digits, by_edge, program._source.greatest if program.weighted else 0.0)
    seen, info = env.reset(seed=seed)
    verdicts, over = [], False
    while not over:
        phase, labels = referee.look(seen)
        action, asked = env.action_space.sample(), phase == 3
        if asked:
            if referee.at is None:
                referee.begin_answer()
            if mode == "shortest_path" and shows:
                referee.at = labels[0]
                assert labels[1:] == [None, None]
            elif shows:
                before = referee.query[0][0] if referee.turn == 0 else min(referee.rights[referee.turn - 1])[2]
                assert labels == [before, referee.query[referee.turn][1], None]
            else:
                assert labels == [None] * 3
            referee.been.append(referee.at)
            right = referee.right()
            assert right
            answer = choose(right, 10**digits)
            action, was_right = action_of(answer, digits, by_edge), is_right(answer, right)
            assert info["cost"] == pytest.approx(referee.cost(verdicts), abs=1e-5)
            verdicts.append(was_right)
        seen, reward, over, truncated, info = env.step(action)
        assert not truncated
        if asked:
            referee.turn += 1
            assert info["optimal_cost"] == pytest.approx(referee.optimal, abs=1e-5)
            assert info["optimal_cost"] == 0 or info["ratio"] == info["cost"] / info["optimal_cost"]
            assert over == (referee.turn == referee.answers)
            yield reward, was_right, info
            if mode == "shortest_path" and not shows and was_right:
                referee.at = answer[2]
        else:
            assert (reward, over) == (0.0, False)
    assert info["cost"] == pytest.approx(referee.cost(verdicts), abs=1e-5)
    assert info["is_success"] == all(verdicts)
    assert referee.look(seen)[0] is None
    assert referee.phases[:-1] == sorted(referee.phases[:-1])
    assert Counter(referee.phases)[2] == program.planning
    assert len(referee.phases) - 1 <= program.horizon


def some_right(random, share):
    """Chooses a right triple with probability `share`, else one with another label where it counts."""

    def choose(rights, labels):
        answer = list(sorted(rights, key=str)[random.integers(len(rights))])
        if random.random() >= share:
            place = random.choice([place for place, label in enumerate(answer) if label is not None])
            answer[place] = int(random.integers(labels))
        return tuple(answer)

    return choose


@every_setting
def test_whoever_remembers_what_was_shown_earns_one(keywords):
    env = make_env("memrl/GraphRoute-v0", **keywords)
    shows = env.unwrapped.show_position
    for seed in range(15):
        steps = list(play(env, seed, some_right(np.random.default_rng(seed), 1.0), shows))
        assert sum(reward for reward, _, _ in steps) == pytest.approx(1.0)
        assert steps[-1][2]["ratio"] == 1.0
        assert steps[-1][2]["is_success"]


@every_setting
def test_every_answer_counts_by_itself(keywords):
    if keywords.get("mode") == "shortest_path":
        assert make(1, **keywords).show_position  # the referee must be told where a wrong answer leads
    env = make_env("memrl/GraphRoute-v0", **keywords)
    verdicts = Counter()
    for seed in range(25):
        steps = list(play(env, seed, some_right(np.random.default_rng(seed), 0.5), env.unwrapped.show_position))
        for reward, right, info in steps:
            verdicts[right] += 1
            assert reward == (1 / len(steps) if right else 0.0)
            assert env.unwrapped.copies.weighted or info["optimal_cost"] == len(steps)
    assert min(verdicts[True], verdicts[False]) > 5


@every_setting
def test_the_oracle_is_always_right(keywords):
    envs = make(64, **keywords)
    envs.reset(seed=0)
    earned, episodes = 0.0, 0
    for _ in range(3 * envs.horizon):
        _, rewards, over, _, infos = envs.step(envs.oracle())
        earned, episodes = earned + rewards.sum(), episodes + over.sum()
        if over.any():
            assert infos["final_info"]["is_success"][over].all()
            assert (infos["final_info"]["ratio"][over] == 1).all()
    assert episodes >= 128
    # The running episodes have earned at most 1 each.
    assert episodes - 1e-6 <= earned <= episodes + 64 + 1e-6


def test_after_a_wrong_answer_on_a_shortest_path_the_route_goes_on_as_the_oracle_would():
    envs = make(200, mode="shortest_path", graph=nx.grid_2d_graph(5, 5), hops=5, digits=2)
    envs.reset(seed=0)
    while not (envs.phases[np.arange(200), envs.steps] == 3).all():
        envs.step(envs.oracle())
    wanted = envs.next.copy()
    envs.step((envs.oracle() + 1) % 10)  # some other edge, or none
    assert (envs.num_right <= 1).all()
    wrong = envs.num_right == 0
    assert wrong.sum() > 150
    assert (envs.at[wrong] == wanted[wrong]).all()


def test_returns_with_sparse_reward_and_bonus():
    def returns(share, **keywords):
        env = make_env("memrl/GraphRoute-v0", **keywords)
        for seed in range(60):
            steps = list(play(env, seed, some_right(np.random.default_rng(seed), share), env.unwrapped.show_position))
            yield [reward for reward, _, _ in steps], [right for _, right, _ in steps]

    ends = Counter()
    for rewards, right in returns(0.8, goal_bonus=0.5):
        assert rewards == [a / 3 for a in right[:-1]] + [right[-1] / 3 + 0.5 * right[-1]]
    for rewards, right in returns(0.8, sparse=True, goal_bonus=0.25):
        ends[all(right), right[-1]] += 1
        assert rewards == [0.0] * (len(right) - 1) + [1.25 * all(right)]
    for rewards, right in returns(0.8, sparse=True, mode="shortest_path", hops=2):
        assert rewards == [0.0] * (len(right) - 1) + [float(all(right))]
    assert all(ends[case] for case in [(True, True), (False, True), (False, False)])


# -- the best memoryless return -------------------------------------------------------------------------------------


def right_answers(steps, n=1024, **keywords):
    """Whether an answer was due, and the labels of the one right triple, over many answers.

    Answers do not change what is right next in a traversal, so one play judges all policies. What is seen when an
    answer is due comes with it: without memory, a policy is a map from that to a distribution over answers, and its
    return is linear in it, so the best map names the most likely triple for everything seen.
    """
    envs = make(n, **keywords)
    assert envs.mode == "traversal"
    obs, _ = envs.reset(seed=0)
    seen, triples = [], []
    for _ in range(steps):
        rows = np.flatnonzero(obs[:, 3] == 1)
        labels = envs.node_label[rows]
        each = np.arange(len(rows))
        seen.append(obs[rows])
        triples.append(np.stack([labels[each, envs.at[rows]], envs.next_edge[rows], labels[each, envs.next[rows]]], 1))
        obs, *_ = envs.step(envs.action_space.sample() * 0)
    return np.concatenate(seen), np.concatenate(triples)


@pytest.mark.parametrize("digits", [1, 3])
def test_without_memory_every_edge_between_two_nodes_is_as_likely_as_any(digits):
    seen, triples = right_answers(300, digits=digits)
    assert len(np.unique(seen, axis=0)) == 1  # the answer phase looks alike, always
    labels, first = 10**digits, triples // 10 ** (digits - 1)
    assert (triples[:, 0] != triples[:, 2]).all()
    counts = np.bincount(first @ [100, 10, 1], minlength=1000).reshape(10, 10, 10)  # source, edge, destination
    # Pairs of different nodes with such first digits, out of labels (labels - 1); each with as many edges.
    pairs = np.full((10, 10), (labels / 10) ** 2) - np.eye(10) * labels / 10
    expected = len(triples) * (pairs / (labels * (labels - 1)))[:, None].repeat(10, axis=1) / 10
    assert len(triples) > 40_000
    # Answers of one episode share nodes, which widens the spread a little.
    assert (np.abs(counts - expected) <= 6 * np.sqrt(expected)).all()
    best = 1 / (labels * (labels - 1) * labels)
    assert digits == 1 or best == pytest.approx(CARD.memoryless_return)


def test_without_memory_every_node_is_as_good_as_any():
    seen, triples = right_answers(150, digits=1, answer="nodes")
    assert len(np.unique(seen, axis=0)) == 1
    shares = np.bincount(triples[:, 2], minlength=10) / len(triples)
    assert np.abs(shares - 0.1).max() < 6 * math.sqrt(0.1 * 0.9 / len(triples))
    returns = []
    for label in range(10):
        envs = make(512, digits=1, answer="nodes")
        envs.reset(seed=label)
        total, episodes = 0.0, 0
        for _ in range(60):
            _, rewards, over, _, _ = envs.step(np.full(512, label))
            total, episodes = total + rewards.sum(), episodes + over.sum()
        returns.append(total / episodes)
    assert np.abs(np.array(returns) - 0.1).max() < 0.02


def test_a_shown_position_leaves_the_destination_to_be_guessed():
    """The best map from (position, edge) to an edge: only the position itself is known not to be the destination."""
    seen, triples = right_answers(400, digits=1, show_position=True)
    position, edge = seen[:, 4:14].argmax(axis=1), seen[:, 14:24].argmax(axis=1)
    np.testing.assert_array_equal(triples[:, :2], np.stack([position, edge], axis=1))
    chances = np.zeros((10, 10, 10))
    for p, e in itertools.product(range(10), range(10)):
        there = (position == p) & (edge == e)
        assert there.sum() > 400
        chances[p, e] = np.bincount(triples[there, 2], minlength=10) / there.sum()
        assert chances[p, e, p] == 0.0
    others = chances[~np.eye(10, dtype=bool)[:, None].repeat(10, axis=1)]
    error = math.sqrt(1 / 9 * 8 / 9 / (len(triples) / 100))
    assert np.abs(others - 1 / 9).max() < 5 * error


def test_without_memory_an_inference_that_leads_back_is_the_best_guess():
    """All hundred constant answers (start, -, end) at once, by how often each would have been right."""
    envs = make(1024, mode="inference", hops=2, digits=1)
    envs.reset(seed=0)
    right, count, back = np.zeros((10, 10)), 0, 0
    for _ in range(150):
        rows = np.flatnonzero(envs.phases[np.arange(1024), envs.steps] == 3)
        start = envs.path[rows, 0]
        count, back = count + len(rows), back + envs.ends[rows, start].sum()
        row, end = np.nonzero(envs.ends[rows])
        np.add.at(right, (envs.node_label[rows[row], start[row]], envs.node_label[rows[row], end]), 1)
        envs.step(envs.oracle())
    same = np.eye(10, dtype=bool)
    assert 0.1 < back / count < 0.9
    assert np.abs(right[same] / count - back / count / 10).max() < 5 * math.sqrt(0.1 / count)
    assert right[same].min() > 2 * right[~same].max()


# -- sizes and the curriculum ---------------------------------------------------------------------------------------


def episode_sizes(envs, episodes):
    """Nodes and hops of many episodes, from the observations."""
    sizes, nodes = Counter(), [set() for _ in range(envs.num_envs)]
    obs, infos = envs.reset(seed=0)
    while sizes.total() < episodes:
        describing = obs[:, 0] == 1
        codes = obs[:, 4 : 4 + 10 * envs.digits].reshape(envs.num_envs, envs.digits, 10).argmax(axis=2)
        for row in np.flatnonzero(describing):
            nodes[row].add(tuple(codes[row].tolist()))
        obs, _, over, _, infos = envs.step(envs.oracle())
        for row in np.flatnonzero(over):
            sizes[len(nodes[row]), int(infos["final_info"]["optimal_cost"][row])] += 1
            nodes[row] = set()
    return sizes


def test_sizes_are_uniform_in_their_ranges():
    sizes = episode_sizes(make(64, nodes=(3, 6), hops=(1, 3)), 6000)
    assert set(sizes) == set(itertools.product(range(3, 7), range(1, 4)))
    share = 1 / 12
    total = sizes.total()
    # Long episodes are underrepresented among those that end early, by less than a hundredth here.
    assert all(abs(count / total - share) < 0.01 + 4.5 * math.sqrt(share / total) for count in sizes.values())


@pytest.mark.parametrize(
    ("level", "nodes", "hops"),
    [(0.0, {3}, {1}), (0.34, {3, 4}, {1, 2}), (0.5, {3, 4, 5}, {1, 2}), (1.0, {3, 4, 5, 6}, {1, 2, 3})],
)
def test_the_level_opens_the_ranges(level, nodes, hops):
    envs = make(32, nodes=(3, 6), hops=(1, 3))
    assert envs.level == 1.0
    envs.level = level
    sizes = episode_sizes(envs, 500)
    assert {size for size, _ in sizes} == nodes
    assert {cost for _, cost in sizes} == hops


def test_a_callback_raises_the_level_of_every_kind_of_environment():
    keywords = {"nodes": (2, 6), "hops": (1, 3)}
    vec = make_vec_env("memrl/GraphRoute-v0", 3, seed=0, **keywords)
    vec.set_attr("level", 0.25)
    vec.set_attr("show_position", True)
    assert vec.get_attr("level") == [0.25] * 3
    assert (vec.envs.unwrapped.level, vec.envs.unwrapped.show_position) == (0.25, True)
    single = make_env("memrl/GraphRoute-v0", **keywords)
    single.unwrapped.level = 0.25
    single.unwrapped.show_position = True
    assert (single.unwrapped.copies.level, single.unwrapped.copies.show_position) == (0.25, True)
    wrapped = gym.wrappers.FlattenObservation(gym.make("memrl/GraphRoute-v0", **keywords))
    wrapped.set_wrapper_attr("level", 0.75)
    assert wrapped.unwrapped.copies.level == wrapped.get_wrapper_attr("level") == 0.75
    for bad in (-0.1, 1.5, float("nan"), "high", True, None):
        with pytest.raises(ValueError, match=r"^level: "):
            single.unwrapped.level = bad


def test_showing_the_position_takes_effect_with_the_next_episode():
    envs = make(8)
    envs.reset(seed=0)
    envs.show_position = True
    shown = defaultdict(set)
    episode = np.zeros(8, int)
    for _ in range(80):
        obs, _, over, _, _ = envs.step(envs.oracle())
        answering = (obs[:, 3] == 1) & ~over
        for row in np.flatnonzero(answering):
            shown[min(episode[row], 1)].add(bool(obs[row, 4:].any()))
        episode += over
    assert shown == {0: {False}, 1: {True}}


def test_a_route_is_shorter_where_the_graph_has_none_so_long():
    line = [(0, 1), (1, 2), (2, 3), (0, 2)]
    sizes = episode_sizes(make(8, graph=line, hops=(1, 3)), 200)
    assert {cost for _, cost in sizes} == {1, 2, 3}
    sizes = episode_sizes(make(8, mode="shortest_path", nodes=(2, 6), hops=5, degree=1, digits=1), 400)
    assert {size for size, _ in sizes} == set(range(2, 7))
    assert all(cost < size for size, cost in sizes)
    assert len({cost for _, cost in sizes}) == 5


# -- copies, pictures, pickles --------------------------------------------------------------------------------------


@every_setting
def test_a_copy_is_the_same_alone(keywords):
    few, many = make(2, **keywords), make(7, **keywords)
    actions = np.random.default_rng(0).integers(0, 10, (200, 7, *few.single_action_space.shape))
    np.testing.assert_array_equal(few.reset(seed=2)[0], many.reset(seed=0)[0][2:4])
    for action in actions:
        (seen, rewards, over, *_), (all_seen, all_rewards, all_over, *_) = few.step(action[2:4]), many.step(action)
        np.testing.assert_array_equal(seen, all_seen[2:4])
        assert rewards.tolist() == all_rewards[2:4].tolist()
        assert over.tolist() == all_over[2:4].tolist()


@pytest.mark.parametrize("keywords", [SETTINGS[number] for number in (0, 3, 5, 9, 13)], ids=plain)
def test_pictures_and_texts_at_every_step(keywords):
    envs = make(1, render_mode="rgb_array", **keywords)
    envs.reset(seed=3)
    pictures = [envs.render()[0]]
    while envs.phases[0, envs.steps[0]] != 3:
        envs.step(envs.oracle())
        assert f"step {envs.steps[0]} of " in envs.text()
        pictures.append(envs.render()[0])
    assert len({picture.shape for picture in pictures}) == 1
    assert all((a != b).any() for a, b in itertools.pairwise(pictures))


def test_the_text_says_what_is_hidden():
    envs = make(1, graph=[("a", "b"), ("b", "a"), ("b", "c"), ("c", "b")], hops=2, digits=2, render_mode="ansi")
    envs.reset(seed=0)
    label = {name: f"{number:02d}" for name, number in zip(envs._source.names, envs.node_label[0], strict=True)}
    for _ in range(4 + 2 + 1 + 1):
        envs.step(envs.oracle())
    text = envs.render()[0]
    ways = re.findall(r"^  (\d\d) \w: (.*)$", text, re.MULTILINE)
    edge = {(source, way[3:]): way[:2] for source, leaving in ways for way in leaving.split()}
    first, *_, query, right, given = text.splitlines()
    assert first == "traversal: answer, step 8 of 9"
    assert query.startswith(f"query: from {label[envs._source.names[envs.path[0, 0]]]} ")
    first, second, third = (envs._source.names[node] for node in envs.path[0])
    edges = [f"{label[a]} {edge[label[a], label[b]]}>{label[b]}" for a, b in [(first, second), (second, third)]]
    assert query.endswith(f" along edges {edges[0][3:5]} {edges[1][3:5]}")
    assert right == f"right: {edges[0]} {second}, {edges[1]} {third}"
    assert given == f"given: {edges[0]}, ?"
    assert set(edge) == {(label[a], label[b]) for a, b in ("ab", "ba", "bc", "cb")}


def test_pickles_with_a_graph_of_its_own():
    env = make_env("memrl/GraphRoute-v0", graph=nx.cycle_graph(5), mode="shortest_path", hops=2)
    env.reset(seed=0)
    twin = pickle.loads(pickle.dumps(env))
    for _ in range(30):
        (seen, reward, over, *_), (other, same, *_) = (
            env.step(env.unwrapped.oracle()),
            twin.step(twin.unwrapped.oracle()),
        )
        np.testing.assert_array_equal(seen, other)
        assert reward == same
        if over:
            np.testing.assert_array_equal(env.reset()[0], twin.reset()[0])


# -- real and hostile graphs -----------------------------------------------------------------------------------------


@needs_data
@pytest.mark.parametrize(
    ("keywords", "episode"),
    [
        ({"graph": "underground-zone-1", "hops": 7, "planning": 10}, 230 + 7 + 10 + 7),
        ({"graph": "underground-zone-1", "mode": "shortest_path", "hops": 4, "planning": 10}, 230 + 1 + 10 + 4),
        ({"graph": "underground", "mode": "shortest_path", "hops": 36}, 812 + 1 + 1 + 36),
        ({"graph": "underground-zone-1", "mode": "inference", "hops": 2}, 230 + 2 + 1 + 1),
        ({"graph": "family", "nodes": (5, 20), "mode": "inference", "hops": (1, 4)}, None),
    ],
    ids=plain,
)
def test_the_referee_finds_its_way_in_london_and_among_relatives(monkeypatch, keywords, episode):
    monkeypatch.setenv("MEMRL_DATA", str(DATA))
    env = make_env("memrl/GraphRoute-v0", **keywords)
    for seed in range(3):
        steps = list(play(env, seed, some_right(np.random.default_rng(seed), 1.0), env.unwrapped.show_position))
        assert sum(reward for reward, _, _ in steps) == pytest.approx(1.0)
        assert episode is None or env.unwrapped.copies.steps[0] == episode


def test_parts_of_a_graph_of_a_hundred_thousand_nodes():
    grid = [(i, i + 1) for i in range(99_999)] + [(i, i + 317) for i in range(99_683)]
    with pytest.raises(ValueError, match=r"tell 1000 labels apart, but there are 100000 nodes; nodes=\.\.\. takes"):
        make(1, graph=grid)
    with pytest.raises(ValueError, match=r"there are 100000 nodes$"):
        make(1, nodes=100_000)
    envs = make(16, graph=grid, nodes=(5, 30), digits=2)
    assert envs.horizon < 200
    envs.reset(seed=0)
    for _ in range(200):
        envs.step(envs.oracle())
    star = [(0, i) for i in range(1, 100_000)] + [(i, 0) for i in range(1, 100_000)]
    envs = make(4, graph=star, nodes=8, mode="shortest_path", hops=2)
    envs.reset(seed=0)
    _, rewards, _, _, infos = [envs.step(envs.oracle()) for _ in range(14 + 1 + 1 + 2)][-1]
    assert rewards.tolist() == [0.5] * 4
    assert infos["final_info"]["is_success"].all()


def test_graphs_in_pieces_and_with_dead_ends_are_solved():
    pieces = nx.disjoint_union(nx.path_graph(4), nx.cycle_graph(5))
    for mode in ("traversal", "shortest_path", "inference"):
        env = make_env("memrl/GraphRoute-v0", graph=pieces, mode=mode, hops=2)
        for seed in range(20):
            steps = list(play(env, seed, some_right(np.random.default_rng(seed), 1.0), env.unwrapped.show_position))
            assert sum(reward for reward, _, _ in steps) == pytest.approx(1.0)
        env = make_env("memrl/GraphRoute-v0", graph=[("a", "b"), ("c", "b"), ("d", "e")], mode=mode, hops=1)
        steps = play(env, 0, some_right(np.random.default_rng(0), 1.0), env.unwrapped.show_position)
        assert [reward for reward, _, _ in steps] == [1.0]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"mode": "walk"}, "^mode: 'walk' given, one of 'traversal', 'shortest_path', 'inference' needed"),
        ({"nodes": 1}, "^nodes: 1 given, a whole number of at least 2"),
        ({"nodes": (6, 3)}, "^nodes: .*the least of both must come first"),
        ({"nodes": (3, 4, 5)}, "^nodes: "),
        ({"nodes": 2.5}, "^nodes: "),
        ({"nodes": float("nan")}, "^nodes: "),
        ({"answer": "labels"}, "^answer: 'labels' given, one of 'edges', 'nodes' needed"),
        ({"nodes": 11, "digits": 1}, "^digits: 1 given, which tell 10 labels apart, but there are 11 nodes$"),
        ({"hops": 0}, "^hops: 0 given"),
        ({"hops": (0, 2)}, "^hops: 0 given"),
        ({"hops": 10**9}, "^hops: .*at most 1000"),
        ({"hops": 6, "mode": "shortest_path"}, "^hops: 6 given, but the longest route is 5 for mode 'shortest_path'"),
        ({"degree": 0}, "^degree: 0 given"),
        ({"degree": "three"}, "^degree: "),
        ({"digits": 0}, "^digits: 0 given"),
        ({"digits": 4}, "^digits: 4 given, at most 3"),
        ({"planning": -1}, "^planning: -1 given"),
        ({"planning": 10**9}, "^planning: "),
        ({"show_position": "yes"}, "^show_position: 'yes' given"),
        ({"show_position": True, "mode": "inference"}, "^show_position: True given, but 'inference'"),
        ({"sparse": 1}, "^sparse: 1 given"),
        ({"goal_bonus": -1}, "^goal_bonus: -1 given"),
        ({"goal_bonus": float("nan")}, "^goal_bonus: nan given"),
        ({"goal_bonus": float("inf")}, "^goal_bonus: inf given"),
        ({"goal_bonus": None}, "^goal_bonus: None given"),
        ({"graph": []}, "a graph with an edge needed"),
        ({"graph": nx.path_graph(1)}, "a graph with an edge needed"),
        ({"graph": [(0, 0)]}, "edge 0: an edge from 0 to itself"),
        ({"graph": [(0, 1), (0, 1)]}, "the same edge"),
        ({"graph": nx.path_graph(3), "nodes": 4}, "^nodes: 4 given, but the largest part"),
        (
            {"graph": nx.path_graph(12), "digits": 1},
            "^digits: 1 given, .* there are 12 nodes; nodes=... takes parts of it",
        ),
        ({"graph": [(0, 1), (1, 2)], "hops": 3}, "^hops: 3 given, but the longest route is 2 for mode 'traversal'"),
        ({"graph": nx.path_graph(4), "hops": 4, "mode": "shortest_path"}, "^hops: 4 given, but the longest route is 3"),
        ({"graph": ELEVEN, "hops": 1, "digits": 1}, "^digits: .* 11 edges leave one node"),
        ({"graph": ELEVEN, "hops": 1, "digits": 1, "mode": "inference"}, "^digits: .* 11 relations"),
        ({"weighted": 1}, "^weighted: 1 given, True or False needed"),
        ({"weighted": True}, "^weighted: True given, but only in 'shortest_path' .* 'traversal'"),
        ({"weighted": True, "mode": "shortest_path", "graph": PARALLEL}, "^weighted: True given, .* no weights$"),
        ({"weighted": True, "mode": "shortest_path", "graph": WEIGHTS, "hops": 6}, "^hops: 6 given, .* route is 5"),
    ],
    ids=plain,
)
def test_bad_keywords_and_impossible_graphs_are_named(keywords, message):
    with pytest.raises(ValueError, match=message):
        make(2, **keywords)


def test_a_weighted_way_may_have_more_edges_and_ties_go_to_fewer():
    envs = make(64, mode="shortest_path", graph=WEIGHTS, hops=(1, 3), weighted=True)
    assert make(1, mode="shortest_path", graph=WEIGHTS).single_observation_space.shape == (94,)
    assert envs.single_observation_space.shape == (95,)
    names, ways = envs._source.names, defaultdict(set)
    envs.reset(seed=0)
    for _ in range(300):
        for row in np.flatnonzero(envs.steps == 0):
            way = "".join(names[node] for node in envs.path[row] if node >= 0)
            ways[way[0] + way[-1]].add((way, round(float(envs.report()["optimal_cost"][row]), 6)))
        envs.step(envs.oracle())
    assert ways["ac"] == {("ac", 0.3)}  # and not abc
    assert ways["bf"] == {("bcf", 0.4)}  # and not bef, of 0.5
    assert ways["ef"] == {("ebcf", 0.4)}
    assert ways["ed"] == set()  # ebcfd, but four edges are one too many


def test_weights_that_cannot_be_are_refused():
    graph = nx.Graph()
    graph.add_edge(0, 1, weight=-2.0)
    with pytest.raises(ValueError, match=r"weight -2\.0"):
        make(1, graph=graph, hops=1)
    graph[0][1]["weight"] = float("nan")
    with pytest.raises(ValueError, match="weight nan"):
        make(1, graph=graph, hops=1)


@pytest.mark.parametrize(
    ("keywords", "numbers"),
    [({}, 9), ({"digits": 1}, 3), ({"nodes": 100}, 9), ({"answer": "nodes"}, 3), ({"answer": "nodes", "digits": 2}, 2)],
    ids=plain,
)
def test_spaces(keywords, numbers):
    env = make_env("memrl/GraphRoute-v0", **keywords)
    digits = keywords.get("digits", 3)
    assert env.observation_space == gym.spaces.Box(0.0, 1.0, (4 + 30 * digits,), np.float32)
    assert env.action_space == gym.spaces.MultiDiscrete([10] * numbers)
    env.reset(seed=0)
    assert env.action_space.contains(env.unwrapped.oracle())
    assert "nodes" in keywords or env.unwrapped.copies.horizon == 22 + 3 + 1 + 3 == CARD.horizon


def test_a_node_of_one_digit_is_one_choice():
    env = make_env("memrl/GraphRoute-v0", digits=1, answer="nodes")
    env.reset(seed=0)
    assert env.action_space == gym.spaces.Discrete(10)
    assert np.shape(env.unwrapped.oracle()) == ()


@pytest.mark.parametrize("keywords", [{}, {"digits": 1, "answer": "nodes"}, {"mode": "inference"}], ids=plain)
def test_masks_leave_a_choice_only_where_it_counts(keywords):
    envs = GraphRoute(4, **keywords)
    single = gym.make("memrl/GraphRoute-v0", **keywords).unwrapped
    obs, _ = envs.reset(seed=0)
    single.reset(seed=0)
    numbers = 1 if keywords.get("digits") == 1 else 9
    counts = np.ones(numbers, bool)
    if "mode" in keywords:
        counts[3:6] = False  # an inferred edge has no label
    free = 0
    for _ in range(200):
        masks = envs.action_masks()
        answering = obs[:, 3] == 1  # the last of the four phases
        choices = masks.reshape(4, numbers, 10)
        np.testing.assert_array_equal(choices.all(axis=2), answering[:, None] & counts)
        assert choices[:, :, 0].all()
        assert not choices[~choices.all(axis=2), 1:].any()
        np.testing.assert_array_equal(single.action_masks(), masks[0])
        free += answering.sum()
        actions = envs.oracle()
        each = np.ogrid[:4, :numbers]
        assert choices[each[0], each[1], actions.reshape(4, numbers)].all()
        obs, _, terminated, *_ = envs.step(actions)
        if single.step(actions[0])[2]:
            single.reset()
        assert terminated[0] == (envs.steps[0] == 0)
    assert free > 40


def test_the_level_may_be_given_at_first():
    env = make_env("memrl/GraphRoute-v0", hops=(1, 3), level=0)
    assert env.unwrapped.level == 0
    assert {env.reset(seed=seed)[1]["optimal_cost"] for seed in range(20)} == {1}
    with pytest.raises(ValueError, match="level: 2 given"):
        make_env("memrl/GraphRoute-v0", level=2)


def test_maskable_ppo_answers_only_where_it_counts():
    env = make_env("memrl/GraphRoute-v0", mode="inference", hops=2)
    model = MaskablePPO("MlpPolicy", env, n_steps=32, batch_size=32, n_epochs=1, seed=0, device="cpu").learn(32)
    (seen, _), over, answers = env.reset(seed=0), False, []
    while not over:
        action, _ = model.predict(seen, action_masks=get_action_masks(env))
        if seen[3]:
            answers.append(action)
        else:
            assert not action.any()
        seen, _, over, _, _ = env.step(action)
    (answer,) = answers
    assert answer[:3].any()
    assert answer[6:].any()
    assert not answer[3:6].any()
