"""Dynamic n-grams: learn within a sequence how likely a bit is after those before it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from memrl.heads import Batch, Head
from memrl.tasks.binary import BinaryTask, bit_scores
from memrl.tasks.registry import register_task
from memrl.tasks.task import Published


@register_task("ngrams", paper="Graves et al. 2014, section 4.4", order=3)
@dataclass(frozen=True)
class NGrams(BinaryTask):
    """Bits of a random 6-gram model, drawn anew for each sequence; asked for is the next bit at every step.

    Each of the 2^`context` contexts has a probability of a 1 drawn from Beta(½, ½); the first `context` bits are drawn
    fairly. The input before the first bit is 0. The best that can be done in one pass is scored beside the head as
    `optimal_bits_per_sequence` (`optimal_cost`).

    >>> inputs, targets = NGrams(length=3, context=1).draw(Generator().manual_seed(0), 1)
    >>> inputs.flatten(), targets.flatten()
    (tensor([0., 1., 1.]), tensor([1., 1., 1.]))
    """

    length: int = 200  # bits in a sequence
    context: int = 5  # bits that decide about the next, from 1 to 16

    published: ClassVar[tuple[Published, ...]] = (
        Published("best estimator", "131 to 132", "Graves 2014"),
        Published("NTM", "133 to 134", "Graves 2014"),
        Published("LSTM", "about 137", "Graves 2014"),
    )

    def __post_init__(self) -> None:
        if not 1 <= self.context <= 16:
            raise ValueError(f"context: {self.context} given, 1 to 16 allowed")
        if self.length <= self.context:
            raise ValueError(f"length: {self.length} given, more than context ({self.context}) needed")

    @property
    def input_size(self) -> int:
        """The bit before."""
        return 1

    @property
    def num_bits(self) -> int:
        """The next bit."""
        return 1

    def draw(self, generator: Generator, rows: int, split: str = "train") -> tuple[Tensor, Tensor]:
        """Sequences of `length` bits."""
        # Beta(½, ½) is the distribution of sin² of a uniform angle.
        angle = 0.5 * math.pi * torch.rand(rows, 2**self.context, generator=generator)
        table = torch.sin(angle) ** 2
        fair = torch.rand(self.length, rows, generator=generator)
        bits = (fair < 0.5).float()
        for t in range(self.context, self.length):
            before = context_number(bits[t - self.context : t])
            bits[t] = (fair[t] < table[torch.arange(rows), before]).float()
        inputs = torch.cat([torch.zeros(1, rows), bits[:-1]])
        return inputs.unsqueeze(-1), bits.unsqueeze(-1)

    def scores(self, head: Head, batches: Iterable[Batch]) -> dict[str, float]:
        """As of all tasks over binary vectors, and the cost of the best estimator on the same sequences."""
        kept = list(batches)
        costs = torch.cat([optimal_cost(batch.targets[..., 0], self.context) for batch in kept])
        return {**bit_scores(head, kept), "optimal_bits_per_sequence": costs.mean().item()}


def context_number(bits: Tensor) -> Tensor:
    """The bits (context, rows) of each column as a number, the first bit highest. Whole numbers, (rows,).

    >>> context_number(torch.tensor([[1.0], [0.0], [1.0]]))
    tensor([5])
    """
    powers = 2 ** torch.arange(len(bits) - 1, -1, -1, device=bits.device)
    return (bits.long() * powers[:, None]).sum(0)


def optimal_cost(bits: Tensor, context: int) -> Tensor:
    """What the best estimator pays in bits for sequences. Shape (rows,).

    Murphy 2012; Graves et al. 2014, eq. 10: P(1 | N1, N0, c) = (N1 + ½) / (N1 + N0 + 1), where N1 and N0 count what
    followed the context c so far. The first `context` bits are fair: 1 bit each.

    Args:
        bits: 0 or 1, (T, rows).
        context: bits that decide about the next.

    >>> optimal_cost(torch.tensor([[1.0], [1.0], [1.0]]), 1)  # 1, then log₂ 2, then -log₂ (1.5 / 2)
    tensor([2.4150], dtype=torch.float64)
    """
    rows = torch.arange(bits.shape[1], device=bits.device)
    counts = torch.full((bits.shape[1], 2**context, 2), 0.5, dtype=torch.float64, device=bits.device)
    cost = torch.full((bits.shape[1],), float(context), dtype=torch.float64, device=bits.device)
    for t in range(context, len(bits)):
        seen, bit = context_number(bits[t - context : t]), bits[t].long()
        cost -= torch.log2(counts[rows, seen, bit] / counts[rows, seen].sum(1))
        counts[rows, seen, bit] += 1
    return cost
