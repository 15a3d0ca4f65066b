"""Copy: say again what was shown."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from memrl.heads import IGNORED
from memrl.tasks.binary import BinaryTask
from memrl.tasks.generated import bits, check_range, whole
from memrl.tasks.registry import register_task
from memrl.tasks.task import Published


@register_task("copy", paper="Graves et al. 2014, section 4.1", order=0)
@dataclass(frozen=True)
class Copy(BinaryTask):
    """Binary vectors, a delimiter on a channel of its own, and then the same vectors are asked for, without any input.

    >>> inputs, targets = Copy(max_length=1, vector_bits=2).draw(Generator().manual_seed(0), 1)
    >>> inputs[:, 0]  # a vector, the delimiter, the question
    tensor([[1., 1., 0.],
            [0., 0., 1.],
            [0., 0., 0.]])
    >>> targets[:, 0]
    tensor([[-100., -100.],
            [-100., -100.],
            [   1.,    1.]])
    """

    min_length: int = 1  # vectors in the shortest sequence
    max_length: int = 20  # vectors in the longest sequence to learn from
    vector_bits: int = 8  # bits in a vector

    tests: ClassVar[tuple[str, ...]] = ("test", "length_50", "length_120")
    published: ClassVar[tuple[Published, ...]] = (
        Published("NTM, LSTM or feedforward controller", "about 0 after 100,000 to 200,000 sequences", "Graves 2014"),
        Published("LSTM, 3 layers of 256", "about 2 after 1,000,000 sequences", "Graves 2014"),
    )

    def __post_init__(self) -> None:
        check_range(self, "min_length", "max_length")

    @property
    def input_size(self) -> int:
        """Bits and a delimiter."""
        return self.vector_bits + 1

    @property
    def num_bits(self) -> int:
        """Bits of a vector."""
        return self.vector_bits

    def draw(self, generator: Generator, rows: int, split: str = "train") -> tuple[Tensor, Tensor]:
        """Sequences of one length, which is drawn uniformly; that of test set `length_N` is N."""
        length = whole(generator, self.min_length, self.max_length)
        if split.startswith("length_"):
            length = int(split.removeprefix("length_"))
        vectors = bits(generator, length, rows, self.vector_bits)
        inputs = torch.zeros(2 * length + 1, rows, self.input_size)
        inputs[:length, :, :-1] = vectors
        inputs[length, :, -1] = 1.0
        targets = torch.full((2 * length + 1, rows, self.num_bits), float(IGNORED))
        targets[length + 1 :] = vectors
        return inputs, targets
