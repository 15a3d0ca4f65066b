"""SNIPS: what does a voice command ask for (intent), and which of its words fill which slot?"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch

from memrl.core import MemoryCore
from memrl.heads import IGNORED, Batch, Classifier, Head, Tagger
from memrl.recipe import Recipe
from memrl.tasks import words
from memrl.tasks.data import data_file
from memrl.tasks.lines import enough, numbered_lines
from memrl.tasks.registry import register_task
from memrl.tasks.scoring import accuracy
from memrl.tasks.spans import count_spans
from memrl.tasks.task import Task

SOURCE = "https://github.com/MiuLab/SlotGated-SLU (data/snips)"
SPLITS = ("train", "dev", "test")


class Command(NamedTuple):
    """A command, a slot tag for each of its words, and the intent."""

    words: list[str]
    tags: list[str]  # "O", "B-slot" or "I-slot"
    intent: str


def read_snips(folder: str | Path, split: str) -> Iterator[Command]:
    """Stream commands of Coucke et al. 2018, "Snips Voice Platform", in the split of Goo et al. 2018.

    Args:
        folder: holds `SPLIT.seq.in`, `SPLIT.seq.out` and `SPLIT.label`, line by line the words, tags and intent of one
            command.
        split: "train", "dev" or "test".

    Raises:
        FileNotFoundError: no such file; says where to get it.
        ValueError: no such split; or lines that do not fit together, by their number.
    """
    if split not in SPLITS:
        raise ValueError(f"split: {split!r} given, one of {', '.join(SPLITS)} needed")
    streams = [numbered_lines(Path(folder, f"{split}.{end}"), SOURCE) for end in ("seq.in", "seq.out", "label")]
    for lines in zip_longest(*streams):
        if None in lines:
            raise ValueError(f"{next(filter(None, lines))[0]}: another of the three files ends before this line")
        (place, text), (_, slots), (_, intent) = lines
        words, tags = text.split(), slots.split()
        if len(words) != len(tags) or not words:
            raise ValueError(f"{place}: {len(words)} words and {len(tags)} tags given, a tag for every word needed")
        if wrong := [tag for tag in tags if tag != "O" and (tag[:2] not in {"B-", "I-"} or len(tag) == 2)]:
            raise ValueError(f"{place}: tag {wrong[0]!r} given, O, B-slot or I-slot needed")
        if not intent.strip():
            raise ValueError(f"{place}: no intent in {split}.label")
        yield Command(words, tags, intent.strip())


PAPER = "Coucke et al. 2018, Snips Voice Platform; split of Goo et al. 2018"


class Labels(NamedTuple):
    """What is to be known of a command, as numbers."""

    intent: int
    tags: list[int]


class _Data(NamedTuple):
    sentences: words.Sentences[Labels]
    intents: list[str]
    tags: list[str]


@lru_cache(maxsize=2)
def _load(folder: Path, least_count: int) -> _Data:
    files = {"train": "train", "valid": "dev", "test": "test"}
    parts = {
        part: enough(list(read_snips(folder, file)), 1, "commands", folder / f"{file}.seq.in", SOURCE)
        for part, file in files.items()
    }
    intents = sorted({command.intent for commands in parts.values() for command in commands})
    tags = sorted({tag for commands in parts.values() for command in commands for tag in command.tags})
    tag_number = {tag: number for number, tag in enumerate(tags)}
    numbers = {
        part: [
            (text, Labels(intents.index(intent), [tag_number[tag] for tag in slots]))
            for text, slots, intent in commands
        ]
        for part, commands in parts.items()
    }
    return _Data(words.number_sentences(numbers, least_count), intents, tags)


@dataclass(frozen=True)
class _Commands(Task):
    """The words of commands as numbers; the subclasses say what is to be found out about them."""

    data: str = ""  # folder of train, dev and test; "" is snips in the folder that MEMRL_DATA names
    embedding_size: int = 64  # width of a word's vector, learned with the rest
    dropout: float = 0.3  # share of the components of words' vectors that training leaves out, in [0, 1)
    least_count: int = 2  # times a word must occur to have a vector of its own

    def __post_init__(self) -> None:
        words.check_dropout(self.dropout)

    @property
    def input_size(self) -> int:
        """Width of a word's vector."""
        return self.embedding_size

    @property
    def _data(self) -> _Data:
        return _load(data_file(self.data, "snips", SOURCE), self.least_count)

    def train(self, batch_size: int, seed: int) -> Iterator[Batch]:
        """Every command once in each pass, with others that are about as long."""
        return map(self._batch, words.shuffled(self._data.sentences.parts["train"], batch_size, seed))

    def evaluation(self, split: str, batch_size: int) -> Iterable[Batch]:
        """The commands of "valid" (the files named dev) or "test" in their order."""
        return map(self._batch, words.in_order(self._data.sentences.parts[split], batch_size))

    def recipe(self, core: str) -> Recipe:
        """Adam, falling to 0 in about 5 passes."""
        return Recipe(learning_rate=1e-2, schedule="linear", clip_norm=1.0, steps=2000, eval_every=200)

    @abstractmethod
    def _batch(self, examples: Sequence[tuple[list[int], Labels]]) -> Batch: ...


@register_task("snips_intent", paper=PAPER, order=41)
@dataclass(frozen=True)
class SnipsIntent(_Commands):
    """What a command asks for, one of seven intents, after its last word; 13,084 to learn from, 700 and 700."""

    metric: ClassVar[str] = "accuracy"

    def head(self, core: MemoryCore[Any]) -> Head:
        """A classifier on embedded words."""
        embedding = words.word_embedding(self._data.sentences.vocabulary, self.embedding_size, self.dropout)
        return Classifier(core, len(self._data.intents), embedding)

    def scores(self, head: Head, batches: Iterable[Batch]) -> dict[str, float]:
        """Share of the commands whose intent is right."""
        return {"accuracy": accuracy(head, batches)}

    def _batch(self, examples: Sequence[tuple[list[int], Labels]]) -> Batch:
        rows, labels = zip(*examples, strict=True)
        return words.batch(rows, torch.tensor([label.intent for label in labels]))


@register_task("snips_slots", paper=PAPER, order=42)
@dataclass(frozen=True)
class SnipsSlots(_Commands):
    """The slot that each word of a command fills, as one of 72 tags; 13,084 commands to learn from, 700 and 700.

    A core reads forward only, and what a word is often shows in the next one ("the book ..."), so the tag of a word is
    asked for `look_ahead` words later.
    """

    look_ahead: int = field(default=1, metadata={"least": 0})  # words that are read before a word's tag is asked for

    metric: ClassVar[str] = "slot_f1"

    def head(self, core: MemoryCore[Any]) -> Head:
        """A tagger on embedded words."""
        embedding = words.word_embedding(self._data.sentences.vocabulary, self.embedding_size, self.dropout)
        return Tagger(core, len(self._data.tags), embedding)

    def scores(self, head: Head, batches: Iterable[Batch]) -> dict[str, float]:
        """F1 of the spans, and the share of the words whose tag is right."""
        predictions, targets = [], []
        for batch in batches:
            logits, _ = head.answer(batch)
            for tags, right in zip(logits.argmax(-1).T, batch.targets.T, strict=True):
                asked = right != IGNORED
                predictions.append([self._data.tags[tag] for tag in tags[asked]])
                targets.append([self._data.tags[tag] for tag in right[asked]])
        pairs = list(zip(chain(*predictions), chain(*targets), strict=True))
        return {
            "slot_f1": count_spans(predictions, targets).f1(),
            "accuracy": sum(tag == right for tag, right in pairs) / len(pairs),
        }

    def _batch(self, examples: Sequence[tuple[list[int], Labels]]) -> Batch:
        later = [IGNORED] * self.look_ahead
        rows = [[*sentence, *[words.PADDING] * self.look_ahead] for sentence, _ in examples]
        tags = [[*later, *labels.tags] for _, labels in examples]
        return words.batch(rows, words.pad(tags, padding=IGNORED))
