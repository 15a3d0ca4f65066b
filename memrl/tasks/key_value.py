"""Key-value recall both ways: asked with a key for its value, or with a value for its key."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from memrl.heads import IGNORED
from memrl.tasks.binary import BinaryTask
from memrl.tasks.generated import check_range, whole
from memrl.tasks.registry import register_task


@register_task("key_value", paper="Csordás & Schmidhuber 2019, section 4 (key-value retrieval)", order=5)
@dataclass(frozen=True)
class KeyValue(BinaryTask):
    """Pairs of a key and a value, then each pair is asked for once, in random order, by one of its halves.

    A channel says of each question whether it is a key or a value; no two keys are alike, and no two values. Looking up
    a slot by half of its content is what plain content addressing is bad at, and what a DNC with `masking` learns.

    >>> inputs, targets = KeyValue(max_pairs=1, half_bits=1).draw(Generator().manual_seed(0), 1)
    >>> inputs[:, 0]  # key, value, asked with a key, asked with a value
    tensor([[1., 0., 0., 0.],
            [0., 0., 0., 1.]])
    >>> targets[:, 0]
    tensor([[-100.],
            [   1.]])
    """

    min_pairs: int = 1  # pairs in the shortest list
    max_pairs: int = 16  # pairs in the longest list to learn from
    half_bits: int = 8  # bits in a key, and in a value, from 1 to 16

    def __post_init__(self) -> None:
        check_range(self, "min_pairs", "max_pairs")
        if not 1 <= self.half_bits <= 16:
            raise ValueError(f"half_bits: {self.half_bits} given, 1 to 16 allowed")
        if self.max_pairs > 2**self.half_bits:
            raise ValueError(f"max_pairs: {self.max_pairs} given, but half_bits tell {2**self.half_bits} keys apart")

    tests: ClassVar[tuple[str, ...]] = ("test",)

    @property
    def input_size(self) -> int:
        """Key, value, and a channel for either kind of question."""
        return 2 * self.half_bits + 2

    @property
    def num_bits(self) -> int:
        """Bits of the half that is asked for."""
        return self.half_bits

    def draw(self, generator: Generator, rows: int, split: str = "train") -> tuple[Tensor, Tensor]:
        """Lists of one number of pairs, which is drawn uniformly."""
        count, width = whole(generator, self.min_pairs, self.max_pairs), self.half_bits
        halves = torch.stack([_apart(generator, rows, count, width) for _ in range(2)])  # (2, count, rows, width)
        inputs = torch.zeros(2 * count, rows, self.input_size)
        inputs[:count, :, : 2 * width] = torch.cat([*halves], -1)
        row = torch.arange(rows)
        order = torch.rand(count, rows, generator=generator).argsort(0)
        by_value = torch.randint(2, (count, rows), generator=generator)
        given, wanted = halves[by_value, order, row], halves[1 - by_value, order, row]
        asked = inputs[count:]
        asked[..., :width] = given * (1 - by_value).unsqueeze(-1)
        asked[..., width : 2 * width] = given * by_value.unsqueeze(-1)
        asked[..., -2], asked[..., -1] = 1.0 - by_value, by_value.float()
        return inputs, torch.cat([torch.full((count, rows, width), float(IGNORED)), wanted])


def _apart(generator: Generator, rows: int, count: int, width: int) -> Tensor:
    """Binary vectors (count, rows, width), no two alike in a row."""
    numbers = torch.rand(rows, 2**width, generator=generator).argsort(1)[:, :count].T
    return (numbers.unsqueeze(-1) >> torch.arange(width) & 1).float()
