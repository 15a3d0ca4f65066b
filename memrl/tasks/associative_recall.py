"""Associative recall: shown one item of a list, name the next."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from memrl.heads import IGNORED
from memrl.tasks.binary import NTM_SIZES, BinaryTask
from memrl.tasks.generated import bits, check_range, whole
from memrl.tasks.registry import register_task
from memrl.tasks.task import Published


@register_task("associative_recall", paper="Graves et al. 2014, section 4.3", order=2)
@dataclass(frozen=True)
class AssociativeRecall(BinaryTask):
    """A list of items, each a delimiter and some binary vectors; then one of them between query delimiters.

    Asked for is the item that followed it in the list; the query is any item but the last.

    >>> task = AssociativeRecall(max_items=2, item_length=1, vector_bits=2)
    >>> inputs, targets = task.draw(Generator().manual_seed(0), 1)
    >>> inputs[:, 0]  # delimiter, item, delimiter, item, query delimiter, the first item, query delimiter, the answer
    tensor([[0., 0., 1., 0.],
            [1., 1., 0., 0.],
            [0., 0., 1., 0.],
            [0., 1., 0., 0.],
            [0., 0., 0., 1.],
            [1., 1., 0., 0.],
            [0., 0., 0., 1.],
            [0., 0., 0., 0.]])
    >>> targets[-1, 0]
    tensor([0., 1.])
    """

    min_items: int = 2  # items in the shortest list
    max_items: int = 6  # items in the longest list to learn from
    item_length: int = 3  # vectors in an item
    vector_bits: int = 6  # bits in a vector

    tests: ClassVar[tuple[str, ...]] = ("test", "items_8", "items_10", "items_12", "items_15", "items_20")
    # A feedforward controller with one head stays at 3 to 10 bits: experiments/supervised/README.md.
    core_options: ClassVar[Mapping[str, Mapping[str, Any]]] = NTM_SIZES | {
        "ntm": NTM_SIZES["ntm"] | {"controller": "lstm"}
    }
    published: ClassVar[tuple[Published, ...]] = (
        Published("NTM, feedforward controller, up to 6 items", "about 0 after 30,000 sequences", "Graves 2014"),
        Published("NTM, feedforward controller, 12 items", "about 0", "Graves 2014"),
        Published("LSTM", "not learned in 1,000,000 sequences", "Graves 2014"),
    )

    def __post_init__(self) -> None:
        if self.min_items < 2:
            raise ValueError(f"min_items: {self.min_items} given, at least 2 needed: one is asked with, another for")
        check_range(self, "min_items", "max_items")

    @property
    def input_size(self) -> int:
        """Bits, a delimiter of items and one of the query."""
        return self.vector_bits + 2

    @property
    def num_bits(self) -> int:
        """Bits of a vector."""
        return self.vector_bits

    def draw(self, generator: Generator, rows: int, split: str = "train") -> tuple[Tensor, Tensor]:
        """Lists of one number of items, which is drawn uniformly; that of test set `items_N` is N."""
        count = whole(generator, self.min_items, self.max_items)
        if split.startswith("items_"):
            count = int(split.removeprefix("items_"))
        length, width = self.item_length, self.vector_bits
        items = bits(generator, count, length, rows, width)
        query = torch.randint(count - 1, (rows,), generator=generator)
        listed = count * (length + 1)
        inputs = torch.zeros(listed + 2 * length + 2, rows, self.input_size)
        inputs[: listed : length + 1, :, width] = 1.0
        for item in range(count):
            begin = item * (length + 1) + 1
            inputs[begin : begin + length, :, :width] = items[item]
        row = torch.arange(rows)
        inputs[[listed, listed + length + 1], :, width + 1] = 1.0
        inputs[listed + 1 : listed + 1 + length, :, :width] = items[query, :, row].transpose(0, 1)
        targets = torch.full((len(inputs), rows, width), float(IGNORED))
        targets[-length:] = items[query + 1, :, row].transpose(0, 1)
        return inputs, targets
