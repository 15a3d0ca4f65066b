"""Sequences that are drawn, not read: an endless stream to learn from, fixed sets to be evaluated on."""

from collections.abc import Callable, Iterator
from itertools import count

import torch
from torch import Generator, Tensor

from memrl.heads import IGNORED, Batch

# Draws sequences of one size, which it draws first: inputs (T, rows, ...) and targets (T, rows, ...).
Draw = Callable[[Generator, int], tuple[Tensor, Tensor]]

EVALUATED = 128  # sequences in every set


def stream(draw: Draw, batch_size: int, seed: int) -> Iterator[Batch]:
    """Batches without end, all sequences of a batch of the same size, so that none is padded."""
    generator = Generator().manual_seed(2 * seed)  # even, so no training draws what a fixed set holds
    for _ in count():
        inputs, targets = draw(generator, batch_size)
        yield Batch(inputs, opening(*inputs.shape[:2]), targets, torch.full((batch_size,), len(inputs)))


def fixed(draw: Draw, split: str, batch_size: int) -> Iterator[Batch]:
    """The same sequences at every call, each of a size of its own; another set for another name.

    Only the first 6 bytes of a name decide about the random numbers. `length_50` and `length_120` thus begin with the
    same ones, from which `draw` makes sequences of 50 vectors and of 120; what it draws alike for both, it shows in
    both. Recorded results were measured on these sets, so the seeds stay as they are.
    """
    seed = 2 * int.from_bytes(split.encode()[:6]) + 1
    generator = Generator().manual_seed(seed)
    sequences = sorted((draw(generator, 1) for _ in range(EVALUATED)), key=lambda drawn: len(drawn[0]))
    for start in range(0, EVALUATED, batch_size):
        yield collate(sequences[start : start + batch_size])


def collate(sequences: list[tuple[Tensor, Tensor]]) -> Batch:
    """Inputs and targets (T, 1, ...) of any lengths side by side, padded at the end.

    >>> batch = collate([(torch.ones(1, 1, 2), torch.ones(1, 1)), (torch.ones(2, 1, 2), torch.ones(2, 1))])
    >>> batch.lengths, batch.targets
    (tensor([1, 2]), tensor([[   1.,    1.],
            [-100.,    1.]]))
    """
    longest = max(len(inputs) for inputs, _ in sequences)

    def padded(part: Tensor, value: int) -> Tensor:
        return torch.cat([part, part.new_full((longest - len(part), *part.shape[1:]), value)])

    inputs = torch.cat([padded(inputs, 0) for inputs, _ in sequences], 1)
    targets = torch.cat([padded(targets, IGNORED) for _, targets in sequences], 1)
    lengths = torch.tensor([len(inputs) for inputs, _ in sequences])
    return Batch(inputs, opening(longest, len(sequences)), targets, lengths)


def opening(steps: int, rows: int) -> Tensor:
    """The `reset` of sequences that all open at step 0, (steps, rows).

    >>> opening(2, 1)
    tensor([[ True],
            [False]])
    """
    reset = torch.zeros(steps, rows, dtype=torch.bool)
    reset[0] = True
    return reset


def whole(generator: Generator, least: int, most: int) -> int:
    """A whole number from `least` to `most`, both included."""
    return int(torch.randint(least, most + 1, (), generator=generator))


def bits(generator: Generator, *shape: int) -> Tensor:
    """Random bits as 0.0 and 1.0."""
    return torch.randint(2, shape, generator=generator).float()


def check_range(task: object, least: str, most: str) -> None:
    """Refuse a task whose smallest size is above its largest.

    Raises:
        ValueError: it is; names both options.
    """
    low, high = getattr(task, least), getattr(task, most)
    if low > high:
        raise ValueError(f"{least}: {low} given, at most {most} ({high}) allowed")
