"""One label for a whole sequence."""

from typing import Any

from torch import Tensor, nn

from memrl.core import MemoryCore
from memrl.heads.head import Head, State, last_step
from memrl.heads.losses import cross_entropy


class Classifier(Head):
    """A class for each sequence, from what the core gives out at its last step.

    Logits are (B, num_classes), targets class numbers (B,), the loss is the mean cross-entropy.

    Args:
        core: any core.
        num_classes: classes to tell apart.
        encoder: from inputs (T, B, ...) to (T, B, core.input_size); None if inputs are those already.

    >>> import torch
    >>> from memrl import make_core
    >>> core = make_core("gru", input_size=8)
    >>> classifier = Classifier(core, 3, encoder=nn.Embedding(100, 8))
    >>> questions = torch.tensor([[5, 7], [9, 0]])  # "5 9" and "7", padded
    >>> logits, _ = classifier(questions, lengths=torch.tensor([2, 1]))
    >>> tuple(logits.shape), classifier.loss(logits, torch.tensor([0, 2])).shape
    ((2, 3), torch.Size([]))
    """

    def __init__(self, core: MemoryCore[Any], num_classes: int, encoder: nn.Module | None = None) -> None:
        super().__init__(core, num_classes, encoder)

    def forward(
        self,
        inputs: Tensor,
        state: State | None = None,
        reset: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Logits (B, num_classes) at step `lengths - 1` of each row."""
        y, state = self.remember(inputs, state, reset, lengths)
        return self.output(last_step(y, lengths)), state

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of class numbers (B,)."""
        return cross_entropy(logits, targets)
