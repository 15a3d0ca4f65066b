"""Questions in two steps about families: who is it, and is it true?"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from memrl.core import MemoryCore
from memrl.heads import IGNORED, Batch, Classifier, Head, QuestionAnswering
from memrl.recipe import Recipe
from memrl.tasks.data import data_file
from memrl.tasks.families import (
    FILES,
    NAMES,
    RELATIONS,
    SOURCE,
    VERDICTS,
    Claim,
    Fact,
    FamilyTales,
    Story,
    read_facts,
    split_families,
)
from memrl.tasks.generated import opening
from memrl.tasks.registry import register_task
from memrl.tasks.scoring import accuracy
from memrl.tasks.task import Published, Task

PAPER = "Graves et al. 2016 (family tree task); facts of Yang et al. 2017, Neural LP"
EVALUATED, EVALUATION_SEED = 1000, 1  # stories in every set that is evaluated on, and their seed


@dataclass(frozen=True)
class _Tales(Task):
    """A fact at each step, then the question, which stays for `thinking` more steps and is answered at the last.

    An input is four choices and a mark, as ones among zeros: head, relation and tail of a fact; of a question the
    candidate (of a claim), the first relation, the person, the second relation, and the mark.
    """

    data: str = ""  # folder of facts, train, valid and test; "" is family in the folder that MEMRL_DATA names
    min_facts: int = field(default=4, metadata={"least": 2})  # facts in the shortest story
    max_facts: int = field(default=8, metadata={"least": 2})  # facts in the longest story
    num_names: int = field(default=10, metadata={"least": 4})  # names in use, at most 20
    thinking: int = field(default=2, metadata={"least": 0})  # steps after the question, to follow it with

    metric: ClassVar[str] = "accuracy"

    def __post_init__(self) -> None:
        if self.min_facts > self.max_facts:
            raise ValueError(f"min_facts: {self.min_facts} given, at most max_facts ({self.max_facts}) allowed")
        if self.num_names > len(NAMES):
            raise ValueError(f"num_names: {self.num_names} given, at most {len(NAMES)} allowed")

    @property
    def input_size(self) -> int:
        """Two names, two relations and a mark."""
        return 2 * (self.num_names + len(RELATIONS)) + 1

    def tales(self, split: str) -> FamilyTales:
        """What can be told of the families of "train", "valid" or "test"."""
        facts = _load(data_file(self.data, "family", SOURCE))[split]
        return FamilyTales(facts, num_facts=(self.min_facts, self.max_facts), num_names=self.num_names)

    def train(self, batch_size: int, seed: int) -> Iterator[Batch]:
        """Stories without end about the families to learn from."""
        told = self._tell("train", 2 * seed)  # even: the random numbers of no evaluation
        while True:
            yield self._batch(list(islice(told, batch_size)))

    def evaluation(self, split: str, batch_size: int) -> Iterable[Batch]:
        """1,000 stories about the families of "valid" or "test"."""
        told = list(islice(self._tell(split, EVALUATION_SEED), EVALUATED))
        return (self._batch(told[start : start + batch_size]) for start in range(0, EVALUATED, batch_size))

    def scores(self, head: Head, batches: Iterable[Batch]) -> dict[str, float]:
        """Share of the questions that are answered rightly."""
        return {"accuracy": accuracy(head, batches)}

    def recipe(self, core: str) -> Recipe:
        """Adam, falling to 0."""
        return Recipe(learning_rate=5e-3, schedule="linear", clip_norm=1.0, batch_size=64, steps=5000, eval_every=500)

    def _tell(self, split: str, seed: int) -> Iterator[Any]:
        """Stories or claims of a part; if its families are too few, the error says where they were looked for."""
        folder = data_file(self.data, "family", SOURCE)
        _load(folder)  # malformed lines have errors of their own
        try:
            yield from self._told(self.tales(split), seed)
        except ValueError as error:
            about = f"{folder}, families of {split!r}"
            raise ValueError(f"{about}: {error}; the data is to be had from {SOURCE}") from error

    @abstractmethod
    def _told(self, tales: FamilyTales, seed: int) -> Iterator[Any]: ...

    @abstractmethod
    def _batch(self, told: Sequence[Any]) -> Batch: ...

    def _encode(self, told: Sequence[Story | Claim]) -> tuple[Tensor, Tensor]:
        """Facts and questions as inputs (T, B, input_size), and the steps of each."""
        relation, tail = self.num_names, self.num_names + len(RELATIONS)
        second, mark = tail + self.num_names, 2 * tail
        ones: list[tuple[int, int, int]] = []
        lengths = []
        for row, tale in enumerate(told):
            for step, fact in enumerate(tale.facts):
                places = (_NAME[fact.head], relation + _RELATION[fact.relation], tail + _NAME[fact.tail])
                ones += [(step, row, place) for place in places]
            lengths.append(len(tale.facts) + 1 + self.thinking)
            asked = [
                relation + _RELATION[tale.query.first],
                tail + _NAME[tale.query.person],
                second + _RELATION[tale.query.second],
                mark,
            ]
            asked += [_NAME[tale.candidate]] if isinstance(tale, Claim) else []
            ones += [(step, row, place) for step in range(len(tale.facts), lengths[-1]) for place in asked]
        inputs = torch.zeros(max(lengths), len(told), self.input_size)
        inputs[torch.tensor(ones).unbind(1)] = 1.0
        return inputs, torch.tensor(lengths)


@register_task("family_query", paper=PAPER, order=44)
@dataclass(frozen=True)
class FamilyQuery(_Tales):
    """Who is the mother of the father of robin? The answer is a name; the families of the test are met nowhere else.

    Names change in every story and tell nothing, so without the facts 1 answer of 9 is right (`num_names` - 1).
    """

    published: ClassVar[tuple[Published, ...]] = (
        Published("DNC, other family trees, relations of 4 steps", "81.8 %", "Graves 2016"),
    )

    def head(self, core: MemoryCore[Any]) -> Head:
        """A name at the last step."""
        return QuestionAnswering(core, self.num_names)

    def _told(self, tales: FamilyTales, seed: int) -> Iterator[Story]:
        return tales.stories(seed)

    def _batch(self, told: Sequence[Story]) -> Batch:
        inputs, lengths = self._encode(told)
        targets = torch.full(inputs.shape[:2], IGNORED)
        targets[lengths - 1, torch.arange(len(told))] = torch.tensor([_NAME[story.answer] for story in told])
        return Batch(inputs, opening(*targets.shape), targets, lengths)


@register_task("family_claim", paper=PAPER, order=45)
@dataclass(frozen=True)
class FamilyClaim(_Tales):
    """Is lee the mother of the father of robin? Supported, refuted or unknown, each a third of the claims.

    `FamilyTales` says what the three mean. Without the facts 1 verdict of 3 is right.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_facts < 3:
            raise ValueError(f"min_facts: {self.min_facts} given, at least 3 needed for claims")

    def head(self, core: MemoryCore[Any]) -> Head:
        """A verdict after the last step."""
        return Classifier(core, len(VERDICTS))

    def _told(self, tales: FamilyTales, seed: int) -> Iterator[Claim]:
        return tales.claims(seed)

    def _batch(self, told: Sequence[Claim]) -> Batch:
        inputs, lengths = self._encode(told)
        verdicts = torch.tensor([VERDICTS.index(claim.verdict) for claim in told])
        return Batch(inputs, opening(*inputs.shape[:2]), verdicts, lengths)


_NAME = {name: place for place, name in enumerate(NAMES)}
_RELATION = {relation: place for place, relation in enumerate(RELATIONS)}


@lru_cache(maxsize=2)
def _load(folder: Path) -> dict[str, list[Fact]]:
    return split_families(fact for file in FILES for fact in read_facts(folder / file))
