"""Family relations: questions in two steps, answered from facts that were read in order.

Facts are what a data set of real families holds; the questions are made here, with names that change from story to
story, so that nothing can be known but from the facts.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from memrl.tasks.lines import numbered_lines

SOURCE = "https://github.com/fanyangxyz/Neural-LP (datasets/family)"
FILES = ("facts.txt", "train.txt", "valid.txt", "test.txt")
MALE = ("brother", "father", "husband", "nephew", "son", "uncle")
FEMALE = ("aunt", "daughter", "mother", "niece", "sister", "wife")
RELATIONS = tuple(sorted(MALE + FEMALE))
Choice = TypeVar("Choice")
VERDICTS = ("supported", "refuted", "unknown")
# Names that say nothing about who bears them.
NAMES = (
    *("alex", "andrea", "ariel", "casey", "chris", "dana", "eli", "frances", "jamie", "jean"),
    *("jess", "jordan", "kim", "lee", "noa", "pat", "robin", "sam", "sasha", "toni"),
)


class Fact(NamedTuple):
    """`head` is the `relation` of `tail`: ("7", "aunt", "72") says that 7 is an aunt of 72."""

    head: str
    relation: str
    tail: str


class Chain(NamedTuple):
    """Two facts that answer a query: the tail of the second is the head of the first."""

    first: Fact
    second: Fact


class Query(NamedTuple):
    """Who is the `second` of the `first` of `person`? The mother of the father of 72, say."""

    person: str
    first: str
    second: str


class Story(NamedTuple):
    """Facts in the order in which they are read, a question, and its answer."""

    facts: list[Fact]
    query: Query
    answer: str  # a name


class Claim(NamedTuple):
    """Facts, and whether they support that `candidate` answers the query."""

    facts: list[Fact]
    query: Query
    candidate: str  # a name
    verdict: str  # one of VERDICTS


def read_facts(path: str | Path) -> Iterator[Fact]:
    """Stream relation triples.

    Args:
        path: lines of head, tab, relation, tab, tail, as in Yang et al. 2017, "Differentiable learning of logical rules
            for knowledge base reasoning".

    Raises:
        FileNotFoundError: no such file; says where to get it.
        ValueError: a line that is not as above, or with a relation that is not in RELATIONS, by its number.
    """
    for place, line in numbered_lines(path, SOURCE):
        parts = line.split("\t")
        if len(parts) != 3 or not all(part.strip() for part in parts):
            raise ValueError(f"{place}: {line!r} given, head, relation and tail with tabs between them needed")
        if parts[1] not in RELATIONS:
            raise ValueError(f"{place}: relation {parts[1]!r} given, one of {', '.join(RELATIONS)} needed")
        yield Fact(*parts)


def split_families(facts: Iterable[Fact], valid: float = 0.1, test: float = 0.2) -> dict[str, list[Fact]]:
    """Three lists of facts, "train", "valid" and "test", that have no person in common.

    The people fall into communities (Blondel et al. 2008, the Louvain method). Whole communities go to the part that
    lacks most of its share, largest first. A fact about people in two parts is dropped, about one in 50.

    Args:
        facts: of all families.
        valid: share of the people, in [0, 1).
        test: share of the people, in [0, 1); together below 1.

    Raises:
        ValueError: shares out of their range.
    """
    if not (valid >= 0 and test >= 0 and valid + test < 1):
        raise ValueError(f"valid, test: {valid} and {test} given, shares that add up to less than 1 needed")
    import networkx as nx  # slow to load, and only needed here

    facts = sorted(set(facts))
    graph = nx.Graph((fact.head, fact.tail) for fact in facts)
    communities = sorted(
        nx.community.louvain_communities(graph, seed=0), key=lambda people: (-len(people), min(people))
    )
    lacking = {"train": (1 - valid - test) * len(graph), "valid": valid * len(graph), "test": test * len(graph)}
    part_of = {}
    for people in communities:
        part = max(lacking, key=lambda name: lacking[name])
        lacking[part] -= len(people)
        part_of.update(dict.fromkeys(people, part))
    return {
        part: [fact for fact in facts if part_of[fact.head] == part == part_of[fact.tail]]
        for part in ("train", "valid", "test")
    }


class FamilyTales:
    """Stories and claims without end about the families of a data set.

    The facts of a story hang together: each is about somebody whom another one or the question is about; they come in
    any order. People get other names in every story, drawn from NAMES, so what is right without reading the facts is
    left to chance: 1 of `num_names` - 1 for a query, 1 of 3 for a claim.

    Queries are over all pairs of relations that the data has, each pair as often as any other, and only where a person
    has one such relative in all the data, so that the answer is right even by what the story leaves out.

    Claims are about grandparents, since nobody has a second father or mother: a claim is *supported* if its two facts
    are in the story; *refuted* if the story tells that somebody else of the same sex is that grandparent; *unknown* if
    it is true in the data, but one of the two facts is missing and does not follow from the others (a son's parent is
    a parent; brothers and sisters, in these data, share both).

    Args:
        facts: what is true; a part of `split_families`, say.
        num_facts: least and most facts of a story, at least 2.
        num_names: names in use, 4 to 20; no story has more people.

    Raises:
        ValueError: a number out of its range, or facts among which no two lead from one to the next.

    >>> facts = [Fact("1", "father", "2"), Fact("2", "mother", "3"), Fact("4", "brother", "1")]
    >>> story = next(FamilyTales(facts, num_facts=(2, 2)).stories(seed=0))
    >>> sorted(fact.relation for fact in story.facts), story.query[1:]
    (['father', 'mother'], ('mother', 'father'))
    """

    def __init__(self, facts: Iterable[Fact], *, num_facts: tuple[int, int] = (4, 8), num_names: int = 10) -> None:
        if not 2 <= num_facts[0] <= num_facts[1]:
            raise ValueError(f"num_facts: {num_facts} given, (least, most) needed, of at least 2 facts")
        if not 4 <= num_names <= len(NAMES):
            raise ValueError(f"num_names: {num_names} given, 4 to {len(NAMES)} needed")
        self.num_facts, self.num_names = num_facts, num_names
        facts = sorted(set(facts))
        heads: dict[tuple[str, str], list[str]] = defaultdict(list)  # by tail and relation
        self._about: dict[str, list[Fact]] = defaultdict(list)
        for fact in facts:
            heads[fact.tail, fact.relation].append(fact.head)
            self._about[fact.head].append(fact)
            self._about[fact.tail].append(fact)
        self._male = {fact.head: fact.relation in MALE for fact in facts}
        only = {step: found[0] for step, found in heads.items() if len(found) == 1}
        chains: dict[tuple[str, str], list[Chain]] = defaultdict(list)
        for (person, first), between in only.items():
            for second in RELATIONS:
                if (answer := only.get((between, second), person)) != person:
                    chain = Chain(Fact(between, first, person), Fact(answer, second, between))
                    chains[first, second].append(chain)
        self._chains = [chains[pair] for pair in sorted(chains)]
        self._grandparents = [chains[pair] for pair in sorted(chains) if {*pair} <= {"father", "mother"}]
        if not self._chains:
            raise ValueError(f"facts: {len(facts)} given, no two of which lead from one relative to the next")

    def stories(self, seed: int) -> Iterator[Story]:
        """Facts and queries, the same for the same seed.

        Args:
            seed: of the random numbers, at least 0.
        """
        rng = np.random.default_rng(seed)
        while True:
            chain = pick(rng, pick(rng, self._chains))
            facts = self._facts(rng, chain, chain, self._count(rng))
            name = self._names(rng, facts)
            yield Story(
                [Fact(name[head], relation, name[tail]) for head, relation, tail in facts],
                Query(name[chain.first.tail], chain.first.relation, chain.second.relation),
                name[chain.second.head],
            )

    def claims(self, seed: int) -> Iterator[Claim]:
        """Facts and claims, the same for the same seed.

        Args:
            seed: of the random numbers, at least 0.

        Raises:
            ValueError: stories of 2 facts, in which nobody else fits; nobody's grandparent is known; or no story about
                one can be told.
        """
        if self.num_facts[0] < 3:
            raise ValueError(f"num_facts: {self.num_facts} given, claims need stories of at least 3 facts")
        if not self._grandparents:
            raise ValueError("facts: nobody's grandparents are among them, which claims are about")
        rng = np.random.default_rng(seed)
        while True:
            # Drawn once, not anew at every try, or what is hard to tell would be rarer and give the verdict away.
            verdict, chains, wanted = pick(rng, VERDICTS), pick(rng, self._grandparents), self._count(rng)
            for _ in range(1000):
                if claim := self._claim(rng, verdict, pick(rng, chains), wanted):
                    yield claim
                    break
            else:
                raise ValueError(f"facts: too few to tell a story in which a claim is {verdict}")

    def _claim(self, rng: np.random.Generator, verdict: str, chain: Chain, wanted: int) -> Claim | None:
        """One try: None where the facts that came up do not make the claim what it should be."""
        person, grandparent = chain.first.tail, chain.second.head
        told = chain if verdict != "unknown" else [pick(rng, chain)]
        facts = self._facts(rng, chain, told, wanted)
        people = {name for fact in facts for name in (fact.head, fact.tail)}
        others = [
            other
            for other in sorted(people - {person, grandparent})
            if self._male.get(other) == self._male[grandparent]
        ]
        # Somebody of the same sex is needed in every story, lest such stories are the refuted ones.
        if len(facts) < wanted or not {person, grandparent} <= people or not others:
            return None
        if verdict == "unknown" and grandparent in grandparents(facts, person):
            return None
        name = self._names(rng, facts)
        return Claim(
            [Fact(name[head], relation, name[tail]) for head, relation, tail in facts],
            Query(name[person], chain.first.relation, chain.second.relation),
            name[pick(rng, others) if verdict == "refuted" else grandparent],
            verdict,
        )

    def _count(self, rng: np.random.Generator) -> int:
        return int(rng.integers(self.num_facts[0], self.num_facts[1] + 1))

    def _facts(self, rng: np.random.Generator, chain: Chain, told: Sequence[Fact], wanted: int) -> list[Fact]:
        """The facts of `told`, and others about the people around `chain`, in any order; `wanted` if there are."""
        facts = list(told)
        people = [chain.first.tail, chain.first.head, chain.second.head]
        for _ in range(10 * wanted):
            if len(facts) == wanted:
                break
            fact = pick(rng, self._about[pick(rng, people)])
            new = [person for person in (fact.head, fact.tail) if person not in people]
            if fact not in facts and len(people) + len(new) <= self.num_names:
                facts.append(fact)
                people += new
        return [facts[place] for place in rng.permutation(len(facts))]

    def _names(self, rng: np.random.Generator, facts: Sequence[Fact]) -> dict[str, str]:
        people = list(dict.fromkeys(person for fact in facts for person in (fact.head, fact.tail)))
        return {person: NAMES[place] for person, place in zip(people, rng.permutation(self.num_names), strict=False)}


def grandparents(facts: Iterable[Fact], person: str) -> set[str]:
    """Who must be a grandparent of a person, where a child's parent is a parent and siblings share their parents.

    >>> grandparents([Fact("1", "son", "2"), Fact("1", "brother", "3"), Fact("4", "mother", "2")], "3")
    {'4'}
    """
    parents: dict[str, set[str]] = defaultdict(set)
    siblings: dict[str, set[str]] = defaultdict(set)
    for head, relation, tail in facts:
        if relation in ("father", "mother"):
            parents[tail].add(head)
        elif relation in ("son", "daughter"):
            parents[head].add(tail)
        elif relation in ("brother", "sister"):
            siblings[head].add(tail)
            siblings[tail].add(head)

    def above(people: set[str]) -> set[str]:
        children, grown = people, True
        while grown:  # siblings of siblings
            wider = children.union(*(siblings[child] for child in children))
            children, grown = wider, len(wider) > len(children)
        return set().union(*(parents[child] for child in children))

    return above(above({person}))


def pick(rng: np.random.Generator, choices: Sequence[Choice]) -> Choice:
    """One of several, all equally likely."""
    return choices[int(rng.integers(len(choices)))]
