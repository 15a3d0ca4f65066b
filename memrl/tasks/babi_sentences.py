"""bAbI sentence by sentence, as memory networks read it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from memrl.core import MemoryCore
from memrl.heads import Batch, Head, StoryAnswer
from memrl.heads.story_answer import Recalls
from memrl.recipe import Recipe
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
from memrl.tasks.generated import opening
from memrl.tasks.registry import register_task
from memrl.tasks.task import Published, Task


class BagsOfWords(nn.Module):
    """Sentences as the two bags of words of position encoding, from which `memn2n` embeds them.

    Sukhbaatar et al. 2015, section 4.1: word j of J gets the weights l_kj = (1 - j/J) - (k/d)(1 - 2j/J), so a sentence
    is embedded as Σ_j l_j ∘ A x_j = A f + (k/d) ∘ A g with f = Σ_j (1 - j/J) x_j and g = -Σ_j (1 - 2j/J) x_j.

    Args:
        vocabulary: V, numbers of words from 1; 0 pads.

    Departs from the paper: twice those weights, so that a word counts 1 on average, as in the authors' code. With the
    recipe of the paper, which was found with that code, half as large embeddings learn too slowly.

    >>> BagsOfWords(3)(torch.tensor([[[2, 3, 0]]]))  # J = 2: twice 1/2 - 0 k/d, and twice 0 + 1 k/d
    tensor([[[0., 1., 0., 0., 0., 2.]]])
    """

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary

    def forward(self, sentences: Tensor) -> Tensor:
        """Words (T, B, J) to bags (T, B, 2V)."""
        count = (sentences > 0).sum(-1, keepdim=True).clamp(min=1)
        place = torch.arange(1, sentences.shape[-1] + 1, device=sentences.device) / count  # j/J
        bags = torch.zeros(2, *sentences.shape[:2], self.vocabulary + 1, device=sentences.device)
        bags = bags.scatter_add(-1, sentences.expand(2, -1, -1, -1), torch.stack([2 - 2 * place, 4 * place - 2]))
        return torch.cat([*bags[..., 1:]], -1)


class Asked(NamedTuple):
    """A question with the story before it, in numbers of words."""

    sentences: list[list[int]]  # the last ones, and the question at the end
    answer: int  # from 0


@register_task("babi_sentences", paper="Weston et al. 2015, Towards AI-complete question answering", order=31)
@dataclass(frozen=True)
class BabiSentences(Task):
    """A question about the last sentences of a story, one sentence at a step, and the question at the last.

    An answer of several words is one of the answers to choose from. The last tenth of the stories to learn from is for
    validation. With several tasks one network learns them jointly; each then has a test set of its own, too.
    """

    tasks: str = "qa1"  # which of the 20: qa1, or several as in qa1,qa4 or qa1-20
    data: str = ""  # folder of the files of all tasks; "" is babi/en in the folder that MEMRL_DATA names
    num_sentences: int = 50  # of a story, the last ones

    metric: ClassVar[str] = "error_percent"
    lower_is_better: ClassVar[bool] = True
    published: ClassVar[tuple[Published, ...]] = (
        Published("MemN2N, each task alone, 1,000 questions, mean of 20 tasks", "13.8", "authors' code"),
        Published("MemN2N, jointly, 1,000 questions, mean of 20 tasks", "12.4", "authors' code"),
        Published("MemN2N, each task alone, 10,000 questions, mean of 20 tasks", "6.6", "Sukhbaatar et al. 2015"),
    )
    core_options: ClassVar[dict[str, dict[str, Any]]] = {
        "memn2n": {"hidden_size": 20, "position_encoding": True, "noise": 0.1, "read_empty": True}
    }

    def __post_init__(self) -> None:
        object.__setattr__(self, "tests", names_of_tests(parse_tasks(self.tasks)))  # the dataclass is frozen

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Words, and answers of several words; an answer's number is its place."""
        return self._load().vocabulary

    @property
    def input_size(self) -> int:
        """Two bags of words."""
        return 2 * len(self.vocabulary)

    def head(self, core: MemoryCore[Any]) -> Head:
        """An answer to choose among all words; adjacent memory networks score them with their last embedding."""
        words = len(self.vocabulary)
        tied = isinstance(core, Recalls) and core.answer_weight is not None
        return StoryAnswer(core, words, BagsOfWords(words), tied=tied)

    def train(self, batch_size: int, seed: int) -> Iterator[Batch]:
        """Every question once in each pass, in batches that are always full."""
        questions, rng = self._load().parts["train"], np.random.default_rng(seed)
        waiting: list[int] = []
        while True:
            while len(waiting) < batch_size:
                waiting += rng.permutation(len(questions)).tolist()
            yield _batch([questions[place] for place in waiting[:batch_size]])
            del waiting[:batch_size]

    def evaluation(self, split: str, batch_size: int) -> Iterable[Batch]:
        """The questions of "valid" or of a test set, task by task in their order."""
        questions = self._load().parts[split]
        return (_batch(questions[start : start + batch_size]) for start in range(0, len(questions), batch_size))

    def scores(self, head: Head, batches: Iterable[Batch]) -> dict[str, float]:
        """Wrong answers in percent, and the loss in nats."""
        wrong, loss, total = 0, 0.0, 0
        for batch in batches:
            logits, _ = head.answer(batch)
            wrong += int((logits.argmax(-1) != batch.targets).sum())
            loss += head.loss(logits, batch.targets).item() * len(batch.targets)
            total += len(batch.targets)
        return {"error_percent": 100 * wrong / total, "loss": loss / total}

    def recipe(self, core: str) -> Recipe:
        """That of Sukhbaatar et al. 2015, section 4.2, for a mean over the batch, not a sum; Adam for other cores.

        Departs from the paper: no linear start, in which the softmax is left out at first, because a recipe trains one
        core from its beginning to its end. `experiments/supervised/babi.py` trains with one.
        """
        if core != "memn2n":
            return Recipe(clip_norm=1.0, steps=3000, eval_every=300)
        count = len(self._load().parts["train"])
        epoch = max(1, count // 32)
        return Recipe(
            optimizer="sgd",
            momentum=0.0,
            learning_rate=32 * 0.01,
            schedule="halve",
            halve_every=25 * epoch,
            clip_norm=40 / 32,
            steps=100 * epoch,
            eval_every=5 * epoch,
        )

    def _load(self) -> "Questions":
        return _load(data_file(self.data, "babi/en", SOURCE), parse_tasks(self.tasks), self.num_sentences)


class Questions(NamedTuple):
    """All questions of some tasks in numbers."""

    vocabulary: tuple[str, ...]
    parts: dict[str, list[Asked]]  # "train", "valid", "test", and the test of each task as "qa1"


@lru_cache(maxsize=32)
def _load(folder: Path, tasks: tuple[int, ...], num_sentences: int) -> Questions:
    stories: dict[str, list[Story]] = {"train": [], "valid": [], "test": []}
    for task in tasks:
        learned, held_out = learned_and_held_out(load_stories(folder, task, "train"))
        stories["train"] += map(_simplified, learned)
        stories["valid"] += map(_simplified, held_out)
        stories[f"qa{task}"] = list(map(_simplified, load_stories(folder, task, "test")))
        stories["test"] += stories[f"qa{task}"]
    numbers = number_words(list(chain(*stories.values())))
    return Questions(
        tuple(numbers),
        {
            part: [asked for story in told for asked in _asked(story, numbers, num_sentences)]
            for part, told in stories.items()
        },
    )


def _simplified(story: Story) -> Story:
    """Without the marks at the ends of sentences, and with one answer, which may be of several words."""
    return tuple(
        line._replace(words=line.words[:-1], answers=(",".join(line.answers),) if line.answers else ())
        for line in story
    )


def _asked(story: Story, numbers: Mapping[str, int], num_sentences: int) -> Iterator[Asked]:
    """Each question with the sentences before it; questions are no part of the story."""
    told: list[list[int]] = []
    for line in story:
        words = [numbers[word] for word in line.words]
        if line.answers:
            yield Asked([*told[-num_sentences:], words], numbers[line.answers[0]] - 1)
        else:
            told.append(words)


def _batch(questions: Sequence[Asked]) -> Batch:
    lengths = [len(asked.sentences) for asked in questions]
    words = max(len(sentence) for asked in questions for sentence in asked.sentences)
    inputs = np.zeros((max(lengths), len(questions), words), np.int64)
    for row, asked in enumerate(questions):
        for step, sentence in enumerate(asked.sentences):
            inputs[step, row, : len(sentence)] = sentence
    targets = torch.tensor([asked.answer for asked in questions])
    return Batch(torch.from_numpy(inputs), opening(*inputs.shape[:2]), targets, torch.tensor(lengths))
