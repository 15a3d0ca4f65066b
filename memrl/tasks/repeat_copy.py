"""Repeat copy: say again what was shown, as often as asked."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from memrl.heads import IGNORED
from memrl.tasks.binary import BinaryTask
from memrl.tasks.generated import bits, check_range, whole
from memrl.tasks.registry import register_task
from memrl.tasks.task import Published


@register_task("repeat_copy", paper="Graves et al. 2014, section 4.2", order=1)
@dataclass(frozen=True)
class RepeatCopy(BinaryTask):
    """Binary vectors, a delimiter with a number of copies, then so many copies are asked for, and an end marker.

    The number stands on a channel of its own, normalised to mean 0 and variance 1 over its range in training.

    >>> inputs, targets = RepeatCopy(max_length=1, max_repeats=3, vector_bits=1).draw(Generator().manual_seed(1), 1)
    >>> inputs[:2, 0]  # the vector; the delimiter and the number 3, one of 1, 2, 3
    tensor([[0.0000, 0.0000, 0.0000],
            [0.0000, 1.0000, 1.2247]])
    >>> targets[2:, 0]  # three copies and the end marker
    tensor([[0., 0.],
            [0., 0.],
            [0., 0.],
            [0., 1.]])
    """

    min_length: int = 1  # vectors in the shortest sequence
    max_length: int = 10  # vectors in the longest sequence to learn from
    min_repeats: int = 1  # copies, at least
    max_repeats: int = 10  # copies to learn from, at most
    vector_bits: int = 8  # bits in a vector

    tests: ClassVar[tuple[str, ...]] = ("test", "length_20", "repeats_20")
    published: ClassVar[tuple[Published, ...]] = (
        Published("NTM", "about 0 after 100,000 sequences", "Graves 2014"),
        Published("LSTM, 3 layers of 512", "about 0 after 300,000 sequences", "Graves 2014"),
    )

    def __post_init__(self) -> None:
        check_range(self, "min_length", "max_length")
        check_range(self, "min_repeats", "max_repeats")

    @property
    def input_size(self) -> int:
        """Bits, a delimiter and a number."""
        return self.vector_bits + 2

    @property
    def num_bits(self) -> int:
        """Bits of a vector and an end marker."""
        return self.vector_bits + 1

    def draw_size(self, generator: Generator, split: str) -> tuple[int, int]:
        """Vectors and copies, drawn uniformly; a test set's name says the one that is beyond training."""
        length = whole(generator, self.min_length, self.max_length)
        repeats = whole(generator, self.min_repeats, self.max_repeats)
        kind, _, number = split.partition("_")
        if kind == "length":
            return int(number), self.max_repeats
        return (self.max_length, int(number)) if kind == "repeats" else (length, repeats)

    def draw(self, generator: Generator, rows: int, split: str = "train") -> tuple[Tensor, Tensor]:
        """Sequences of one length with one number of copies."""
        length, repeats = self.draw_size(generator, split)
        vectors = bits(generator, length, rows, self.vector_bits)
        steps, asked = length + 1 + length * repeats + 1, slice(length + 1, -1)
        inputs = torch.zeros(steps, rows, self.input_size)
        inputs[:length, :, : self.vector_bits] = vectors
        inputs[length, :, -2] = 1.0
        inputs[length, :, -1] = self.normalised(repeats)
        targets = torch.full((steps, rows, self.num_bits), float(IGNORED))
        targets[length + 1 :] = 0.0
        targets[asked, :, :-1] = vectors.repeat(repeats, 1, 1)
        targets[-1, :, -1] = 1.0
        return inputs, targets

    def normalised(self, repeats: int) -> float:
        """A number of copies, with mean 0 and variance 1 if drawn uniformly from the range of training."""
        span = self.max_repeats - self.min_repeats + 1
        deviation = ((span**2 - 1) / 12) ** 0.5 or 1.0  # of a discrete uniform distribution
        return (repeats - (self.min_repeats + self.max_repeats) / 2) / deviation
