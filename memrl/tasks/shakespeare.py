"""Tiny Shakespeare: one text, read character by character."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import log
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from memrl.core import MemoryCore
from memrl.heads import Batch, Head, NextToken
from memrl.recipe import Recipe
from memrl.tasks.data import data_file
from memrl.tasks.lines import numbered_lines
from memrl.tasks.registry import register_task
from memrl.tasks.task import Task

SOURCE = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"


class Characters(NamedTuple):
    """A text as numbers: places in the alphabet."""

    alphabet: str  # all characters of the text, sorted
    train: NDArray[np.int64]  # the first nine tenths
    valid: NDArray[np.int64]  # the next twentieth
    test: NDArray[np.int64]  # the rest


def read_characters(path: str | Path) -> Characters:
    """Read a text, cut in the order in which it was written.

    Args:
        path: any text in UTF-8 of at least 40 characters; every line gets one newline as its end.

    Raises:
        FileNotFoundError: no such file; says where to get it.
        ValueError: too short, or a line that is no UTF-8, by its number.
    """
    text = "\n".join([line for _, line in numbered_lines(path, SOURCE)] + [""])
    if len(text) < 40:  # a twentieth has two: one to read and one to foretell
        raise ValueError(f"{path}: {len(text)} characters given, at least 40 needed")
    codes, ids = np.unique(np.frombuffer(text.encode("utf-32-le"), dtype="<u4"), return_inverse=True)
    train, valid = len(ids) * 9 // 10, len(ids) * 19 // 20
    return Characters("".join(map(chr, codes)), ids[:train], ids[train:valid], ids[valid:])


@register_task(
    "shakespeare", paper="Karpathy 2015, The unreasonable effectiveness of recurrent neural networks", order=43
)
@dataclass(frozen=True)
class Shakespeare(Task):
    """The next character of a text, Tiny Shakespeare unless another is given.

    Each row of a batch reads its own stretch of the text in chunks and keeps its state from one to the next. The first
    nine tenths are to learn from, a twentieth for validation, a twentieth for the test. Those are read in 50 stretches
    side by side, whatever the batch size, each from an initial state.
    """

    data: str = ""  # file; "" is text/tiny-shakespeare.txt in the folder that MEMRL_DATA names
    embedding_size: int = 32  # width of a character's vector, learned with the rest
    chunk: int = 64  # characters that are read between two updates, through which gradients flow

    metric: ClassVar[str] = "bits_per_character"
    lower_is_better: ClassVar[bool] = True

    @property
    def input_size(self) -> int:
        """Width of a character's vector."""
        return self.embedding_size

    @property
    def _text(self) -> Characters:
        return _load(data_file(self.data, "text/tiny-shakespeare.txt", SOURCE))

    def head(self, core: MemoryCore[Any]) -> Head:
        """A distribution over the next character."""
        return NextToken(core, len(self._text.alphabet))

    def train(self, batch_size: int, seed: int) -> Iterator[Batch]:
        """The text in `batch_size` stretches, cut anew in every pass.

        Raises:
            ValueError: the text is too short for so many.
        """
        text, rng = self._text.train, np.random.default_rng(seed)
        if len(text) <= 2 * batch_size:
            raise ValueError(f"batch_size: {batch_size} given, the text has {len(text)} characters to learn from")
        while True:
            # Turned by a random number of characters, so that no pass cuts it where another one did.
            yield from chunks(np.roll(text, int(rng.integers(len(text)))), batch_size, self.chunk)

    def evaluation(self, split: str, batch_size: int) -> Iterable[Batch]:
        """The text of "valid" or "test"."""
        text = self._text.valid if split == "valid" else self._text.test
        return chunks(text, min(50, len(text) // 2), self.chunk)

    def scores(self, head: Head, batches: Iterable[Batch]) -> dict[str, float]:
        """Bits for each character: the mean of -log2 of what was expected of the one that came."""
        bits, characters, state = 0.0, 0, None
        for batch in batches:
            logits, state = head.answer(batch, state)
            bits += head.loss(logits, batch.targets).item() / log(2) * batch.targets.numel()
            characters += batch.targets.numel()
        return {"bits_per_character": bits / characters}

    def recipe(self, core: str) -> Recipe:
        """Adam, falling to 0."""
        return Recipe(learning_rate=5e-3, schedule="linear", clip_norm=1.0, batch_size=64, steps=2000, eval_every=500)


def chunks(text: NDArray[np.int64], rows: int, size: int) -> Iterator[Batch]:
    """A text as `rows` stretches side by side, read `size` characters at a time; the first chunk opens, others go on.

    Args:
        text: at least 2 characters for each row; what does not fill all rows is left out at the end.
        rows: stretches.
        size: characters of a chunk; the last one may be shorter.

    >>> [(batch.inputs[:, 1].tolist(), batch.targets[:, 1].tolist()) for batch in chunks(np.arange(12), 2, 3)]
    [([6, 7, 8], [7, 8, 9]), ([9, 10], [10, 11])]
    """
    length = len(text) // rows
    stretches = torch.from_numpy(text[: rows * length].reshape(rows, length)).T
    for start in range(0, length - 1, size):
        inputs, targets = stretches[start : min(start + size, length - 1)], stretches[start + 1 : start + 1 + size]
        reset = torch.full(inputs.shape, False)
        reset[0] = start == 0
        yield Batch(inputs, reset, targets, torch.full((rows,), len(inputs)))


_load = lru_cache(maxsize=2)(read_characters)
