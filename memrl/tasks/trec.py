"""TREC-6: what kind of answer does a question ask for?"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch

from memrl.core import MemoryCore
from memrl.heads import Batch, Classifier, Head
from memrl.recipe import Recipe
from memrl.tasks import words
from memrl.tasks.data import data_file
from memrl.tasks.lines import enough, numbered_lines
from memrl.tasks.registry import register_task
from memrl.tasks.scoring import accuracy
from memrl.tasks.task import Task

SOURCE = "https://cogcomp.seas.upenn.edu/Data/QA/QC (as `class text` lines with classes 0 to 5)"
CLASSES = ("description", "entity", "abbreviation", "human", "location", "number")


class Question(NamedTuple):
    """A question and the kind of its answer."""

    words: list[str]
    label: int  # place in CLASSES


def read_trec(path: str | Path) -> Iterator[Question]:
    """Stream the questions of Li & Roth 2002, "Learning question classifiers", in six coarse classes.

    Args:
        path: lines of `class text`, the class from 0 to 5, the text cut into words by blanks. Latin-1.

    Raises:
        FileNotFoundError: no such file; says where to get it.
        ValueError: a line that is not as above, by its number.
    """
    for place, line in numbered_lines(path, SOURCE, encoding="latin-1"):
        label, _, text = line.partition(" ")
        if label not in {"0", "1", "2", "3", "4", "5"} or not text.strip():
            raise ValueError(f"{place}: {line!r} given, a class from 0 to 5 and the words of a question needed")
        yield Question(text.split(), int(label))


@register_task("trec", paper="Li & Roth 2002, Learning question classifiers", order=40)
@dataclass(frozen=True)
class TREC(Task):
    """The kind of answer that a question asks for, one of six, after its last word.

    Every tenth of the 5,452 questions to learn from is for validation; 500 are for the test. Words are in lower case.
    """

    data: str = ""  # folder of train.txt and test.txt; "" is trec in the folder that MEMRL_DATA names
    embedding_size: int = 64  # width of a word's vector, learned with the rest
    dropout: float = 0.3  # share of the components of words' vectors that training leaves out, in [0, 1)
    least_count: int = 2  # times a word must occur to have a vector of its own

    metric: ClassVar[str] = "accuracy"

    def __post_init__(self) -> None:
        words.check_dropout(self.dropout)

    @property
    def input_size(self) -> int:
        """Width of a word's vector."""
        return self.embedding_size

    @property
    def _data(self) -> words.Sentences[int]:
        return _load(data_file(self.data, "trec", SOURCE), self.least_count)

    def head(self, core: MemoryCore[Any]) -> Head:
        """A classifier on embedded words."""
        embedding = words.word_embedding(self._data.vocabulary, self.embedding_size, self.dropout)
        return Classifier(core, len(CLASSES), embedding)

    def train(self, batch_size: int, seed: int) -> Iterator[Batch]:
        """Every question once in each pass, with others that are about as long."""
        return map(_batch, words.shuffled(self._data.parts["train"], batch_size, seed))

    def evaluation(self, split: str, batch_size: int) -> Iterable[Batch]:
        """The questions of "valid" or "test" in their order."""
        return map(_batch, words.in_order(self._data.parts[split], batch_size))

    def scores(self, head: Head, batches: Iterable[Batch]) -> dict[str, float]:
        """Share of the questions whose class is right."""
        return {"accuracy": accuracy(head, batches)}

    def recipe(self, core: str) -> Recipe:
        """Adam, falling to 0 in about 10 passes."""
        return Recipe(learning_rate=5e-3, schedule="linear", clip_norm=1.0, steps=1500, eval_every=150)


def _batch(examples: Sequence[tuple[list[int], int]]) -> Batch:
    rows, labels = zip(*examples, strict=True)
    return words.batch(rows, torch.tensor(labels))


@lru_cache(maxsize=2)
def _load(folder: Path, least_count: int) -> words.Sentences[int]:
    # Two to learn from, because the first one is for validation.
    given, test = (
        enough(list(read_trec(file)), least, "questions", file, SOURCE)
        for file, least in ((folder / "train.txt", 2), (folder / "test.txt", 1))
    )
    train = [question for place, question in enumerate(given) if place % 10]
    return words.number_sentences({"train": train, "valid": given[::10], "test": test}, least_count)
