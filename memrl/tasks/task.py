"""The protocol of a supervised task: data, head, metric and recipe, as one frozen dataclass of options."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from memrl.core import MemoryCore
from memrl.heads import Batch, Head
from memrl.recipe import Recipe


@dataclass(frozen=True)
class Published:
    """A result to compare with."""

    what: str  # system and setting, e.g. "DNC, joint, mean of 20"
    value: str  # in the task's metric, as printed, e.g. "16.7 ± 7.6"
    source: str  # author and year


@dataclass(frozen=True)
class Task(ABC):
    """Data, head and metric of a supervised task; the fields of a subclass are its options.

    A subclass is a frozen dataclass under `@register_task`: every field has a default and a comment that says what it
    means (`memrl fit --list TASK` shows them). It checks its options in `__post_init__`.

    Attributes:
        metric: the score that decides; one of the keys that `scores` returns.
        lower_is_better: whether a smaller metric is a better one.
        tests: names of the test sets, the one that counts first.
        published: results to compare with.
        core_options: for a core's name, the options it is run with unless others are given.
    """

    metric: ClassVar[str]
    lower_is_better: ClassVar[bool] = False
    tests: ClassVar[tuple[str, ...]] = ("test",)
    published: ClassVar[tuple[Published, ...]] = ()
    core_options: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @property
    @abstractmethod
    def input_size(self) -> int:
        """Width of the core's inputs; where inputs are tokens, the width of their embedding, an option of the task."""

    @abstractmethod
    def head(self, core: MemoryCore[Any]) -> Head:
        """The head of this task on a core of that input size."""

    @abstractmethod
    def train(self, batch_size: int, seed: int) -> Iterator[Batch]:
        """Batches to learn from, without end; the same seed gives the same batches."""

    @abstractmethod
    def evaluation(self, split: str, batch_size: int) -> Iterable[Batch]:
        """The batches of "valid" or of one of `tests`: always the same sequences, whatever the batch size."""

    @abstractmethod
    def scores(self, head: Head, batches: Iterable[Batch]) -> dict[str, float]:
        """What a head scores on batches, `metric` among it; called in eval mode and without gradients."""

    def recipe(self, core: str) -> Recipe:
        """How to train a core of this name unless told otherwise."""
        return Recipe()

    @property
    def lessons(self) -> int:
        """Lessons of the curriculum; 1 is none."""
        return 1

    def lesson(self, number: int) -> "Task":
        """The task as it is taught in lesson 0, 1, ...; the last lesson is the task itself."""
        return self

    def passed(self, scores: Mapping[str, float]) -> bool:
        """Whether these validation scores in a lesson lead to the next one."""
        return False
