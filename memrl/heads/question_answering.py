"""Answers at the steps where something is asked."""

from typing import Any

from torch import Tensor, nn

from memrl.core import MemoryCore
from memrl.heads.head import Head, State
from memrl.heads.losses import cross_entropy


class QuestionAnswering(Head):
    """Answer words at marked steps, as in Graves et al. 2016: the input says when, and the core answers at that step.

    An answer of several words is asked for at several steps, one word at each. An answer can also have `parts` that
    are given at the same step, such as the digits of a number, each of `num_answers` choices. Logits are
    (T, B, num_answers), or (T, B, parts, num_answers); targets (T, B) or (T, B, parts), IGNORED where nothing is
    asked; the loss is the mean cross-entropy of what is asked.

    Args:
        core: any core.
        num_answers: words, or choices for each part, to answer with.
        parts: of one answer; None for answers of one word.
        encoder: from inputs (T, B, ...) to (T, B, core.input_size); None if inputs are those already.

    >>> import torch
    >>> from memrl import make_core
    >>> from memrl.heads import IGNORED
    >>> answerer = QuestionAnswering(make_core("dnc", input_size=8), 20, encoder=nn.Embedding(20, 8))
    >>> story = torch.tensor([[3], [4], [1]])  # "mary kitchen ?"
    >>> logits, _ = answerer(story)
    >>> loss = answerer.loss(logits, torch.tensor([[IGNORED], [IGNORED], [4]]))
    >>> tuple(logits.shape)
    (3, 1, 20)
    """

    def __init__(
        self,
        core: MemoryCore[Any],
        num_answers: int,
        encoder: nn.Module | None = None,
        *,
        parts: int | None = None,
    ) -> None:
        super().__init__(core, num_answers * (1 if parts is None else parts), encoder)
        self.parts = parts

    def forward(
        self,
        inputs: Tensor,
        state: State | None = None,
        reset: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Logits (T, B, num_answers) or (T, B, parts, num_answers)."""
        y, state = self.remember(inputs, state, reset, lengths)
        logits: Tensor = self.output(y)
        return (logits if self.parts is None else logits.unflatten(-1, (self.parts, -1))), state

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of answers (T, B) or (T, B, parts) that are not IGNORED."""
        return cross_entropy(logits, targets)
