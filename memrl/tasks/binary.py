"""What tasks over binary vectors have in common: head, recipe, and a cost in bits per sequence."""

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import Generator, Tensor
from torch.nn import functional as F

from memrl.core import MemoryCore
from memrl.heads import IGNORED, Batch, BinaryVectors, Head
from memrl.recipe import Recipe
from memrl.tasks.generated import fixed, stream
from memrl.tasks.task import Task

# The memory of Graves et al. 2014, tables 1 to 3: 128 slots of 20; the DNC has the same, the LSTM is theirs for copy.
NTM_SIZES: dict[str, dict[str, Any]] = {
    "ntm": {"controller": "feedforward", "hidden_size": 100, "num_slots": 128, "slot_size": 20},
    "dnc": {"hidden_size": 100, "num_slots": 128, "slot_size": 20, "num_reads": 1},
    "lstm": {"hidden_size": 256, "num_layers": 3},
}


@dataclass(frozen=True)
class BinaryTask(Task):
    """A task whose inputs are vectors and whose answers are binary vectors."""

    metric: ClassVar[str] = "bits_per_sequence"
    lower_is_better: ClassVar[bool] = True
    core_options: ClassVar[Mapping[str, Mapping[str, Any]]] = NTM_SIZES

    @property
    @abstractmethod
    def num_bits(self) -> int:
        """Width of an answer."""

    @abstractmethod
    def draw(self, generator: Generator, rows: int, split: str = "train") -> tuple[Tensor, Tensor]:
        """Sequences of one size, which is drawn; the name of a test set may say that it is beyond that of training.

        Returns:
            Inputs (T, rows, input_size) and targets (T, rows, num_bits), IGNORED where nothing is asked.
        """

    def head(self, core: MemoryCore[Any]) -> Head:
        """Binary vectors."""
        return BinaryVectors(core, self.num_bits)

    def train(self, batch_size: int, seed: int) -> Iterator[Batch]:
        """Batches of sequences of one size each."""
        return stream(self.draw, batch_size, seed)

    def evaluation(self, split: str, batch_size: int) -> Iterable[Batch]:
        """128 sequences."""
        return fixed(partial(self.draw, split=split), split, batch_size)

    def scores(self, head: Head, batches: Iterable[Batch]) -> dict[str, float]:
        """Cost in bits per sequence, and the share of wrong bits."""
        return bit_scores(head, batches)

    def recipe(self, core: str) -> Recipe:
        """Adam, with a step size that falls to 0 over 48,000 sequences, and gradients clipped at a norm of 50.

        Of Collier & Beel 2018 ("Implementing Neural Turing Machines") but for the fall, and for 16 sequences at a time,
        which take hardly longer than one. The recipe of Graves et al. 2014, but for that, is `learning_rate=1e-4` with
        `optimizer="graves_rmsprop", schedule="constant"`.
        """
        return Recipe(learning_rate=1e-3, schedule="linear", clip_norm=50.0, batch_size=16, steps=3000, eval_every=125)


def bit_scores(head: Head, batches: Iterable[Batch]) -> dict[str, float]:
    """Scores of binary vectors, over all sequences.

    Graves et al. 2014, section 4: the cost of a sequence is - Σ log₂ p(bit) over all bits that are asked for.

    Returns:
        `bits_per_sequence`, at least 0, and `bit_error`, the share of bits that are guessed wrong, in [0, 1].
    """
    cost, wrong, asked_bits, sequences = 0.0, 0, 0, 0
    for batch in batches:
        logits, _ = head.answer(batch)
        asked = batch.targets != IGNORED
        logits, targets = logits[asked], batch.targets[asked].to(logits.dtype)
        cost += F.binary_cross_entropy_with_logits(logits, targets, reduction="sum").item() / math.log(2)
        wrong += int(((logits > 0) != (targets > 0.5)).sum())
        asked_bits += targets.numel()
        sequences += batch.inputs.shape[1]
    return {"bits_per_sequence": cost / sequences, "bit_error": wrong / asked_bits}
