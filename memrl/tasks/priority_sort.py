"""Priority sort: vectors in the order of the numbers they came with."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from memrl.heads import IGNORED
from memrl.tasks.binary import BinaryTask
from memrl.tasks.generated import bits
from memrl.tasks.registry import register_task
from memrl.tasks.task import Published


@register_task("priority_sort", paper="Graves et al. 2014, section 4.5", order=4)
@dataclass(frozen=True)
class PrioritySort(BinaryTask):
    """Binary vectors, each with a priority from -1 to 1, and a delimiter; asked for are those of highest priority.

    The highest comes first.

    >>> inputs, targets = PrioritySort(vectors=3, asked=2, vector_bits=2).draw(Generator().manual_seed(0), 1)
    >>> inputs[:3, 0]  # bits, priority, delimiter
    tensor([[ 0.0000,  1.0000, -0.0198,  0.0000],
            [ 1.0000,  0.0000,  0.7929,  0.0000],
            [ 1.0000,  1.0000, -0.0887,  0.0000]])
    >>> targets[-2:, 0]
    tensor([[1., 0.],
            [0., 1.]])
    """

    vectors: int = 20  # in a sequence
    asked: int = 16  # how many of highest priority are asked for
    vector_bits: int = 8  # bits in a vector

    published: ClassVar[tuple[Published, ...]] = (
        Published("NTM", "10 to 20", "Graves 2014"),
        Published("LSTM", "about 50", "Graves 2014"),
    )

    def __post_init__(self) -> None:
        if self.asked > self.vectors:
            raise ValueError(f"asked: {self.asked} given, at most vectors ({self.vectors}) allowed")

    @property
    def input_size(self) -> int:
        """Bits, a priority and a delimiter."""
        return self.vector_bits + 2

    @property
    def num_bits(self) -> int:
        """Bits of a vector."""
        return self.vector_bits

    def draw(self, generator: Generator, rows: int, split: str = "train") -> tuple[Tensor, Tensor]:
        """Sequences of `vectors` vectors."""
        shown = bits(generator, self.vectors, rows, self.vector_bits)
        priority = 2 * torch.rand(self.vectors, rows, generator=generator) - 1
        inputs = torch.zeros(self.vectors + 1 + self.asked, rows, self.input_size)
        inputs[: self.vectors, :, : self.vector_bits] = shown
        inputs[: self.vectors, :, -2] = priority
        inputs[self.vectors, :, -1] = 1.0
        targets = torch.full((len(inputs), rows, self.num_bits), float(IGNORED))
        best = priority.argsort(0, descending=True)[: self.asked]
        targets[-self.asked :] = shown[best, torch.arange(rows)]
        return inputs, targets
