"""Family relations: answers are found again by brute force over the facts, verdicts by networkx, and nothing but the
facts gives them away."""

import os
import re
from collections import Counter, defaultdict
from itertools import islice
from pathlib import Path

import networkx as nx
import pytest
import torch

from memrl import make_core
from memrl.heads import IGNORED
from memrl.tasks import make_task
from memrl.tasks.families import (
    FILES,
    MALE,
    NAMES,
    RELATIONS,
    VERDICTS,
    Fact,
    FamilyTales,
    grandparents,
    read_facts,
    split_families,
)

DATA = Path(os.environ.get("MEMRL_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
needs_data = pytest.mark.skipif(not (DATA / "family").exists(), reason=f"no data in {DATA}; set MEMRL_DATA")


def people(facts):
    return {person for fact in facts for person in (fact.head, fact.tail)}


# --- the files


def test_lines_become_facts(tmp_path):
    (tmp_path / "facts.txt").write_text("7\taunt\t72\n8\tson\t7\n")
    assert list(read_facts(tmp_path / "facts.txt")) == [Fact("7", "aunt", "72"), Fact("8", "son", "7")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("7 aunt 72", "head, relation and tail with tabs"),
        ("7\taunt", "head, relation and tail with tabs"),
        ("7\taunt\t", "head, relation and tail with tabs"),
        ("7\tcousin\t72", "relation 'cousin' given, one of aunt, brother"),
    ],
)
def test_malformed_line_is_named(tmp_path, line, message):
    (tmp_path / "facts.txt").write_text(f"7\taunt\t72\n{line}\n")
    with pytest.raises(ValueError, match=rf"facts\.txt, line 2: .*{re.escape(message)}"):
        list(read_facts(tmp_path / "facts.txt"))


def test_missing_data_says_where_to_get_it(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"to be had from https://github\.com/fanyangxyz"):
        next(read_facts(tmp_path / "facts.txt"))
    monkeypatch.setenv("MEMRL_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"to be had from https://github\.com/fanyangxyz"):
        make_task("family_query").evaluation("test", 10)


# --- the real families


@pytest.fixture(scope="module")
def facts():
    if not (DATA / "family").exists():
        pytest.skip(f"no data in {DATA}; set MEMRL_DATA")
    return [fact for file in FILES for fact in read_facts(DATA / "family" / file)]


@pytest.fixture(scope="module")
def parts(facts):
    return split_families(facts)


def test_what_the_questions_take_for_granted_holds_in_the_data(facts):
    assert len(set(facts)) == len(facts) == 28356
    assert len(people(facts)) == 3007
    parents, sexes = defaultdict(set), defaultdict(set)
    for head, relation, tail in facts:
        sexes[head].add(relation in MALE)
        if relation in ("father", "mother"):
            parents[tail, relation].add(head)
    assert max(map(len, parents.values())) == 1, "nobody has two fathers or two mothers"
    assert max(map(len, sexes.values())) == 1
    everyone = set(facts)
    for head, relation, tail in facts:
        if relation in ("brother", "sister"):
            assert all(parents[head, parent] == parents[tail, parent] for parent in ("father", "mother"))
        if relation in ("son", "daughter"):
            assert {(tail, "father", head), (tail, "mother", head)} & everyone


def test_families_of_the_parts_do_not_meet(facts, parts):
    members = {part: people(some) for part, some in parts.items()}
    assert not members["train"] & members["valid"]
    assert not members["train"] & members["test"]
    assert not members["valid"] & members["test"]
    assert sum(map(len, parts.values())) > 0.9 * len(facts)
    assert {part: round(len(some) / 3007, 2) for part, some in members.items()} == {
        "train": pytest.approx(0.7, abs=0.03),
        "valid": pytest.approx(0.1, abs=0.03),
        "test": pytest.approx(0.2, abs=0.03),
    }
    for part, some in parts.items():
        assert set(some) == {fact for fact in facts if {fact.head, fact.tail} <= members[part]}, "nothing else is lost"
    assert split_families(reversed(facts)) == parts


# --- stories and claims


def stories_of(parts, part="test", number=500, seed=0, **options):
    return list(islice(FamilyTales(parts[part], **options).stories(seed), number))


def claims_of(parts, part="test", number=500, seed=0, **options):
    return list(islice(FamilyTales(parts[part], **options).claims(seed), number))


def answers(facts, query):
    """Brute force: whoever is the second relative of whoever is the first relative of the person."""
    return {
        second.head
        for first in facts
        for second in facts
        if (first.relation, first.tail) == (query.first, query.person)
        and (second.relation, second.tail) == (query.second, first.head)
    }


def test_answer_follows_from_the_facts_and_is_the_only_one(parts):
    for story in stories_of(parts):
        assert answers(story.facts, story.query) == {story.answer}
        assert story.answer != story.query.person
        assert len(set(story.facts)) == len(story.facts)


@pytest.mark.parametrize("tell", [stories_of, claims_of])
def test_stories_are_what_was_asked_for(parts, tell):
    told = tell(parts, num_facts=(3, 6), num_names=7)
    assert {len(tale.facts) for tale in told} == {3, 4, 5, 6}
    assert set().union(*(people(tale.facts) for tale in told)) == set(NAMES[:7])
    assert tell(parts, number=50, seed=1) == tell(parts, number=50, seed=1)
    assert tell(parts, number=50, seed=1) != tell(parts, number=50, seed=2)
    assert tell(parts, "train", 50) != tell(parts, "test", 50)


def test_facts_are_those_of_the_data_under_other_names():
    # A family small enough to try all names: the story must be a part of it.
    family = [
        *(Fact("a", "father", "b"), Fact("c", "mother", "a"), Fact("b", "son", "a"), Fact("a", "son", "c")),
        *(Fact("d", "brother", "a"), Fact("a", "brother", "d"), Fact("d", "uncle", "b"), Fact("b", "nephew", "d")),
    ]
    whole = nx.MultiDiGraph()
    whole.add_edges_from((head, tail, {"relation": relation}) for head, relation, tail in family)
    same = nx.isomorphism.categorical_multiedge_match("relation", None)
    for story in islice(FamilyTales(family, num_facts=(8, 8), num_names=4).stories(0), 20):
        told = nx.MultiDiGraph()
        told.add_edges_from((head, tail, {"relation": relation}) for head, relation, tail in story.facts)
        assert nx.is_isomorphic(told, whole, edge_match=same)


def parents_by_networkx(facts):
    """An edge from everybody to each parent that the facts give, by what a child and what brothers and sisters are."""
    graph, siblings = nx.DiGraph(), nx.Graph()
    for head, relation, tail in facts:
        if relation in ("father", "mother"):
            graph.add_edge(tail, head)
        if relation in ("son", "daughter"):
            graph.add_edge(head, tail)
        if relation in ("brother", "sister"):
            siblings.add_edge(head, tail)
    for together in nx.connected_components(siblings):
        up = {parent for child in together if child in graph for parent in graph.successors(child)}
        graph.add_edges_from((child, parent) for child in together for parent in up)
    return graph


def test_verdict_follows_from_the_facts(parts):
    for claim in claims_of(parts):
        told = answers(claim.facts, claim.query)
        if claim.verdict == "supported":
            assert told == {claim.candidate}
        elif claim.verdict == "refuted":
            assert len(told) == 1
            assert claim.candidate not in told
        else:
            assert told == set()
            above = parents_by_networkx(claim.facts)
            between = set(above[claim.query.person]) if claim.query.person in above else set()
            assert not any(above.has_edge(parent, claim.candidate) for parent in between)
        assert {claim.query.first, claim.query.second} <= {"father", "mother"}
        assert {claim.query.person, claim.candidate} <= people(claim.facts)


def test_refuted_candidate_might_be_it_by_sex(parts):
    for claim in claims_of(parts):
        sexes = {fact.head: fact.relation in MALE for fact in claim.facts}
        if claim.candidate in sexes:
            assert sexes[claim.candidate] == (claim.query.second == "father")


def test_grandparents_by_hand():
    story = [Fact("son", "son", "dad"), Fact("gran", "mother", "dad"), Fact("gramps", "father", "aunt")]
    assert grandparents(story, "son") == {"gran"}
    assert grandparents([*story, Fact("aunt", "sister", "dad")], "son") == {"gran", "gramps"}
    assert grandparents([*story, Fact("aunt", "aunt", "son")], "son") == {"gran"}, "an aunt may be of either side"
    assert grandparents([*story, Fact("girl", "sister", "son")], "girl") == {"gran"}
    assert grandparents(story, "dad") == set()


# --- nothing but the facts gives the answer away


def best_guess(train, test, seen, answer):
    """Accuracy of the commonest answer to what a guesser sees; the strongest there is without the rest."""
    counts = defaultdict(Counter)
    for tale in train:
        counts[seen(tale)][answer(tale)] += 1
    overall = Counter(answer(tale) for tale in train).most_common(1)[0][0]
    guesses = (counts[seen(tale)].most_common(1)[0][0] if seen(tale) in counts else overall for tale in test)
    return sum(guess == answer(tale) for guess, tale in zip(guesses, test, strict=True)) / len(test)


SHORT = {"num_facts": (3, 4), "num_names": 6}  # where little can be told, what is told gives away most


def test_queries_without_facts_are_left_to_chance(parts):
    train, test = stories_of(parts, "train", 6000, seed=0, **SHORT), stories_of(parts, "test", 3000, seed=1, **SHORT)
    for seen, names in (
        (lambda story: None, 6),
        (lambda story: story.query[1:], 6),
        (lambda story: story.query.person, 5),  # nobody is the answer to a question about himself
        (lambda story: story.query, 5),
        (lambda story: len(story.facts), 6),
    ):
        chance, deviation = 1 / names, (1 / names * (1 - 1 / names) / 3000) ** 0.5
        assert best_guess(train, test, seen, lambda story: story.answer) == pytest.approx(chance, abs=3 * deviation)
    pairs = Counter(story.query[1:] for story in test)
    assert len(pairs) > 100
    assert max(pairs.values()) < 3 * 3000 / len(pairs), "no pair of relations is asked about much more than others"


def test_claims_without_facts_are_left_to_chance(parts):
    train, test = claims_of(parts, "train", 6000, seed=0, **SHORT), claims_of(parts, "test", 3000, seed=1, **SHORT)
    deviation = (1 / 3 * 2 / 3 / 3000) ** 0.5
    for seen in (
        lambda claim: None,
        lambda claim: claim.query[1:],
        lambda claim: (claim.query, claim.candidate),
        lambda claim: len(claim.facts),
    ):
        assert best_guess(train, test, seen, lambda claim: claim.verdict) == pytest.approx(1 / 3, abs=3 * deviation)
    # Every verdict on every kind of question, and in stories of every length, equally often.
    for seen, kinds in ((lambda claim: claim.query[1:], 4), (lambda claim: len(claim.facts), 2)):
        counts = Counter((seen(claim), claim.verdict) for claim in train)
        assert len(counts) == 3 * kinds
        share = 1 / (3 * kinds)
        assert max(abs(count - 6000 * share) for count in counts.values()) < 3.5 * (6000 * share * (1 - share)) ** 0.5


@needs_data
@pytest.mark.parametrize("name", ["family_query", "family_claim"])
def test_no_training_draws_what_an_evaluation_draws(monkeypatch, name):
    monkeypatch.setenv("MEMRL_DATA", str(DATA))
    task = make_task(name)
    seeds = []
    told = type(task)._told
    monkeypatch.setattr(type(task), "_told", lambda self, tales, seed: seeds.append(seed) or told(self, tales, seed))
    for split in ("valid", "test"):
        list(task.evaluation(split, 1000))
    examined = set(seeds)
    seeds.clear()
    for seed in range(3):
        next(task.train(1, seed))
    assert len(set(seeds)) == 3
    assert not examined & set(seeds)


# --- the options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_facts": (1, 4)}, r"num_facts: \(1, 4\) given"),
        ({"num_facts": (5, 4)}, r"num_facts: \(5, 4\) given"),
        ({"num_names": 3}, "num_names: 3 given, 4 to 20 needed"),
        ({"num_names": 21}, "num_names: 21 given, 4 to 20 needed"),
    ],
)
def test_tales_refuse_what_cannot_be_told(options, message):
    with pytest.raises(ValueError, match=message):
        FamilyTales([Fact("a", "father", "b"), Fact("b", "father", "c")], **options)


def test_too_few_facts_are_refused():
    with pytest.raises(ValueError, match="no two of which lead"):
        FamilyTales([Fact("a", "father", "b")])
    with pytest.raises(ValueError, match="nobody's grandparents"):
        next(FamilyTales([Fact("a", "wife", "b"), Fact("c", "sister", "a")]).claims(0))
    with pytest.raises(ValueError, match=r"num_facts: \(2, 8\) given, claims need stories of at least 3 facts"):
        next(FamilyTales([Fact("a", "father", "b"), Fact("b", "father", "c")], num_facts=(2, 8)).claims(0))
    with pytest.raises(ValueError, match="too few to tell a story in which a claim is"):
        next(FamilyTales([Fact("a", "father", "b"), Fact("b", "father", "c")]).claims(0))
    with pytest.raises(ValueError, match=r"valid, test: 0\.5 and 0\.5 given"):
        split_families([], 0.5, 0.5)


@pytest.mark.parametrize("name", ["family_query", "family_claim"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_facts": 9}, r"min_facts: 9 given, at most max_facts \(8\) allowed"),
        ({"num_names": 21}, "num_names: 21 given, at most 20 allowed"),
        ({"min_facts": 1}, "min_facts: 1 given"),
    ],
)
def test_task_refuses_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        make_task(name, **options)


def test_claims_need_three_facts():
    make_task("family_query", min_facts=2)
    with pytest.raises(ValueError, match="min_facts: 2 given, at least 3 needed for claims"):
        make_task("family_claim", min_facts=2)


FEW = "a\tfather\tb\nc\tmother\ta\n"


@pytest.mark.parametrize("name", ["family_query", "family_claim"])
@pytest.mark.parametrize(("text", "part"), [("", "train"), ("", "test"), (FEW, "valid"), (FEW, "test")])
def test_too_few_families_are_refused_by_their_folder(tmp_path, name, text, part):
    for file in FILES:
        (tmp_path / file).write_text(text)
    task = make_task(name, data=str(tmp_path))
    message = re.escape(f"{tmp_path}, families of {part!r}: facts: 0 given, no two of which lead") + ".*from https://"
    with pytest.raises(ValueError, match=message):
        next(iter(task.train(2, 0) if part == "train" else task.evaluation(part, 2)))


def test_claims_that_cannot_be_told_are_refused_by_their_folder(tmp_path):
    for file in FILES:
        (tmp_path / file).write_text("a\twife\tb\nc\tsister\ta\n")
    task = make_task("family_claim", data=str(tmp_path))
    with pytest.raises(ValueError, match=re.escape(str(tmp_path)) + ".*nobody's grandparents .*had from https://"):
        next(task.train(2, 0))


def test_malformed_facts_are_named_once(tmp_path):
    for file in FILES:
        (tmp_path / file).write_text("a\tcousin\tb\n")
    with pytest.raises(ValueError, match="^" + re.escape(str(tmp_path / "facts.txt, line 1: relation 'cousin'"))):
        next(make_task("family_query", data=str(tmp_path)).train(2, 0))


# --- what a core sees


@needs_data
@pytest.mark.parametrize("name", ["family_query", "family_claim"])
def test_inputs_can_be_read_back(monkeypatch, name):
    monkeypatch.setenv("MEMRL_DATA", str(DATA))
    task = make_task(name, thinking=1)
    batch = next(iter(task.evaluation("test", 200)))
    tales = task.tales("test")
    told = list(islice(tales.stories(1) if name == "family_query" else tales.claims(1), 200))
    sizes = [10, 12, 10, 12, 1]
    assert batch.inputs.shape[2] == task.input_size == sum(sizes)
    for row, tale in enumerate(told):
        steps = int(batch.lengths[row])
        assert steps == len(tale.facts) + 2
        head, relation, tail, second, mark = batch.inputs[:, row].split(sizes, dim=1)

        def read(part, words, step):
            return [words[place] for place in part[step].nonzero().flatten()]

        for step, fact in enumerate(tale.facts):
            seen = (read(head, NAMES, step), read(relation, RELATIONS, step), read(tail, NAMES, step))
            assert seen == ([fact.head], [fact.relation], [fact.tail])
            assert not second[step].any()
            assert not mark[step].any()
        for step in range(len(tale.facts), steps):
            asked = [read(relation, RELATIONS, step), read(tail, NAMES, step), read(second, RELATIONS, step)]
            assert asked == [[tale.query.first], [tale.query.person], [tale.query.second]]
            assert read(head, NAMES, step) == ([tale.candidate] if name == "family_claim" else [])
            assert mark[step] == 1
        assert not batch.inputs[steps:, row].any()
        if name == "family_query":
            assert NAMES[batch.targets[steps - 1, row]] == tale.answer
            assert (batch.targets[:, row] != IGNORED).sum() == 1
        else:
            assert VERDICTS[batch.targets[row]] == tale.verdict


@needs_data
@pytest.mark.parametrize("name", ["family_query", "family_claim"])
def test_batches_and_scores(monkeypatch, name):
    monkeypatch.setenv("MEMRL_DATA", str(DATA))
    task = make_task(name)
    first, second = (next(task.train(8, seed=3)) for _ in range(2))
    assert all(map(torch.equal, first, second))
    assert not torch.equal(first.inputs, next(task.train(8, seed=4)).inputs)
    head = task.head(make_core("lstm", task.input_size, hidden_size=8))
    scores = [
        task.scores(head.eval(), islice(task.evaluation("test", size), 150 // size))["accuracy"] for size in (75, 50)
    ]
    assert scores[0] == pytest.approx(scores[1])
    # By hand: one row after the other.
    right = []
    with torch.no_grad():
        for batch in islice(task.evaluation("test", 1), 150):
            logits, _ = head(batch.inputs)
            guess = logits[-1, 0] if name == "family_query" else logits[0]
            target = batch.targets[-1, 0] if name == "family_query" else batch.targets[0]
            right.append(int(guess.argmax()) == int(target))
    assert scores[0] == pytest.approx(sum(right) / 150)
