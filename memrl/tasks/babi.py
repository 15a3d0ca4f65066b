"""bAbI word by word, as the DNC reads it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from torch import nn

from memrl.core import MemoryCore
from memrl.heads import IGNORED, Batch, Head, QuestionAnswering
from memrl.recipe import Recipe
from memrl.tasks import words
from memrl.tasks.babi_stories import (
    SOURCE,
    Story,
    learned_and_held_out,
    load_stories,
    names_of_tests,
    number_words,
    parse_tasks,
)
from memrl.tasks.data import data_file
from memrl.tasks.registry import register_task
from memrl.tasks.scoring import accuracy
from memrl.tasks.task import Published, Task


@register_task("babi", paper="Weston et al. 2015; Graves et al. 2016, one word at a step", order=30)
@dataclass(frozen=True)
class Babi(Task):
    """Whole stories, one word at a step; after each question a "-" for every word of the answer, which is due there.

    Graves et al. 2016, Methods, "bAbI task descriptions". The last tenth of the stories to learn from is for
    validation. With several tasks one network learns them jointly; each then has a test set of its own, too.
    """

    tasks: str = "qa1"  # which of the 20: qa1, or several as in qa1,qa4 or qa1-20
    data: str = ""  # folder of the files of all tasks; "" is babi/en-10k in the folder that MEMRL_DATA names
    embedding_size: int = 64  # width of a word's vector, learned with the rest

    metric: ClassVar[str] = "error_percent"
    lower_is_better: ClassVar[bool] = True
    published: ClassVar[tuple[Published, ...]] = (
        Published("DNC, jointly, 10,000 questions, mean of 20 tasks, mean of 20 networks", "16.7 ± 7.6", "Graves 2016"),
        Published("the same with masks and deallocation", "9.5 ± 1.6", "Csordás & Schmidhuber 2019"),
        Published("LSTM, best of 20", "28.0", "Graves 2016"),
    )
    core_options: ClassVar[dict[str, dict[str, Any]]] = {
        "dnc": {
            **{"num_slots": 64, "slot_size": 32, "num_reads": 4},
            **{"masking": True, "deallocate": True, "layer_norm": True, "bypass_dropout": 0.1},
        }
    }

    def __post_init__(self) -> None:
        object.__setattr__(self, "tests", names_of_tests(parse_tasks(self.tasks)))  # the dataclass is frozen

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Words by their numbers; 0 pads, and the last is the "-" that asks."""
        return self._load().vocabulary

    @property
    def input_size(self) -> int:
        """Width of a word's vector."""
        return self.embedding_size

    def head(self, core: MemoryCore[Any]) -> Head:
        """A word for every "-"."""
        size = len(self.vocabulary)
        embedding = nn.Embedding(size, self.embedding_size, padding_idx=words.PADDING)
        return QuestionAnswering(core, size, embedding)

    def train(self, batch_size: int, seed: int) -> Iterator[Batch]:
        """Every story once in each pass, with others that are about as long."""
        return map(_batch, words.shuffled(self._load().parts["train"], batch_size, seed))

    def evaluation(self, split: str, batch_size: int) -> Iterable[Batch]:
        """The stories of "valid" or of a test set, task by task in their order."""
        return map(_batch, words.in_order(self._load().parts[split], batch_size))

    def scores(self, head: Head, batches: Iterable[Batch]) -> dict[str, float]:
        """Wrong words of answers in percent."""
        return {"error_percent": 100 * (1 - accuracy(head, batches))}

    def recipe(self, core: str) -> Recipe:
        """Adam; the paper's RMSProp at 1e-4 takes many times as long."""
        return Recipe(learning_rate=1e-3, clip_norm=10.0, batch_size=16, steps=20_000, eval_every=250)

    def _load(self) -> "Stories":
        return _load(data_file(self.data, "babi/en-10k", SOURCE), parse_tasks(self.tasks))


class Stories(NamedTuple):
    """All stories of some tasks in numbers."""

    vocabulary: tuple[str, ...]  # by number, "" for padding and "-" among them
    # "train", "valid", "test", and the test of each task as "qa1": words, and what is due at each
    parts: dict[str, list[tuple[list[int], list[int]]]]


@lru_cache(maxsize=32)
def _load(folder: Path, tasks: tuple[int, ...]) -> Stories:
    stories: dict[str, list[Story]] = {"train": [], "valid": [], "test": []}
    for task in tasks:
        learned, held_out = learned_and_held_out(load_stories(folder, task, "train"))
        stories["train"] += learned
        stories["valid"] += held_out
        stories[f"qa{task}"] = list(load_stories(folder, task, "test"))
        stories["test"] += stories[f"qa{task}"]
    numbers = number_words([story for told in stories.values() for story in told])
    asking = len(numbers) + 1
    return Stories(
        ("", *numbers, "-"),
        {part: [_word_by_word(story, numbers, asking) for story in told] for part, told in stories.items()},
    )


def _word_by_word(story: Story, numbers: dict[str, int], asking: int) -> tuple[list[int], list[int]]:
    """The words of a story, and the number of the word that is due at each of them, or IGNORED."""
    inputs: list[int] = []
    targets: list[int] = []
    for line in story:
        inputs += [numbers[word] for word in line.words] + [asking] * len(line.answers)
        targets += [IGNORED] * len(line.words) + [numbers[answer] for answer in line.answers]
    return inputs, targets


def _batch(stories: Sequence[tuple[list[int], list[int]]]) -> Batch:
    inputs, targets = zip(*stories, strict=True)
    return words.batch(inputs, words.pad(targets, IGNORED))
